using System.Collections.Immutable;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>
/// Which nodes are peers, or on the way to be. A node has one place here from before its reactors hear of it until the last of them has
/// removed it, so that it never is a peer twice.
/// </summary>
internal sealed class PeerSet(int maxInbound, bool allowDuplicateIp)
{
    // Guarded by _gate, as what changes in a place. Invariant: _places holds every place that was taken and not given back or lost; _shown
    // are the peers of those that are shown, and is replaced, never changed.
    private readonly Lock _gate = new();
    private readonly Dictionary<NodeId, Place> _places = [];
    private ImmutableArray<Peer> _shown = [];

    /// <summary>The connected peers at this moment.</summary>
    public ImmutableArray<Peer> Connected
    {
        get
        {
            lock (_gate)
            {
                return _shown;
            }
        }
    }

    /// <summary>Takes the place of a node that is about to be dialled. Until <see cref="Commit"/>, the node's own dial may take it over.</summary>
    /// <exception cref="HandshakeException">The node has a place already.</exception>
    public Place TakeForDial(NodeId id)
    {
        lock (_gate)
        {
            return _places.ContainsKey(id) ? throw IsTaken(id) : _places[id] = new Place(id);
        }
    }

    /// <summary>Says that the node that was dialled is there, at an address.</summary>
    /// <exception cref="HandshakeException">The place was lost to the node's own dial, or another node has the address.</exception>
    public void Commit(Place place, IPAddress ip)
    {
        lock (_gate)
        {
            if (!Owns(place))
            {
                throw IsTaken(place.Id);
            }

            EnsureIsFree(ip, place.Id);
            place.Ip = ip;
        }
    }

    /// <summary>Takes the place of a node that has dialled this one. False when its former self is likely to leave the place soon.</summary>
    /// <param name="id">The node.</param>
    /// <param name="ip">Its address.</param>
    /// <param name="localId">
    /// This node. When two nodes dial each other at the same moment, both keep the connection that the one with the lower id dialled.
    /// </param>
    /// <param name="place">The place that was taken; or the former one, to be waited for before the next try.</param>
    /// <exception cref="HandshakeException">There is no place for it.</exception>
    public bool TryTakeForInbound(NodeId id, IPAddress ip, NodeId localId, out Place place)
    {
        lock (_gate)
        {
            if (_places.TryGetValue(id, out Place? other) && (other.Ip is not null || localId < id))
            {
                // This node's dial may have been done before the other's came, which the node with the lower id keeps: then that node is
                // closing the one that is here.
                place = other;
                return other.IsLeaving || (!other.IsInbound && id < localId) ? false : throw IsTaken(id);
            }

            if (_places.Values.Count(place => place.IsInbound) >= maxInbound)
            {
                throw new HandshakeException(
                    HandshakeFailure.TooManyInboundPeers,
                    $"There are {maxInbound} inbound peers, as many as this node takes.")
                { RemoteId = id };
            }

            EnsureIsFree(ip, id);
            place = _places[id] = new Place(id) { Ip = ip, IsInbound = true };
            return true;
        }
    }

    /// <summary>Says whose place it is, before reactors hear of the peer.</summary>
    public void Settle(Place place, Peer peer)
    {
        lock (_gate)
        {
            place.Peer = peer;
        }
    }

    /// <summary>Shows the peer of a place to everybody.</summary>
    public void Show(Place place)
    {
        lock (_gate)
        {
            _shown = _shown.Add(place.Peer!);
        }
    }

    /// <summary>Gives a place back, and hides its peer.</summary>
    public void Leave(Place place)
    {
        lock (_gate)
        {
            if (Owns(place))
            {
                _places.Remove(place.Id);
                _shown = place.Peer is null ? _shown : _shown.Remove(place.Peer);
            }
        }

        place.SetLeft();
    }

    public static HandshakeException IsTaken(NodeId id) =>
        new(HandshakeFailure.AlreadyConnected, $"Node {id} is connected already, or being dialled.") { RemoteId = id };

    private bool Owns(Place place) => _places.TryGetValue(place.Id, out Place? owner) && ReferenceEquals(owner, place);

    // Called with the gate held.
    private void EnsureIsFree(IPAddress ip, NodeId id)
    {
        if (!allowDuplicateIp && _places.Values.Any(place => ip.Equals(place.Ip)))
        {
            throw new HandshakeException(HandshakeFailure.DuplicateIp, $"Another node with the address {ip} is connected already.")
            {
                RemoteId = id,
            };
        }
    }

    /// <summary>The place of one node.</summary>
    internal sealed class Place(NodeId id)
    {
        private readonly TaskCompletionSource _left = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public NodeId Id => id;

        /// <summary>Completes when the place has been given back.</summary>
        public Task Left => _left.Task;

        public bool IsLeaving => Peer?.Stopped.IsCancellationRequested ?? false;

        public bool IsInbound { get; init; }

        /// <summary>The node's address; null while it is being dialled.</summary>
        public IPAddress? Ip { get; set; }

        /// <summary>The peer, once there is one.</summary>
        public Peer? Peer { get; set; }

        public void SetLeft() => _left.TrySetResult();
    }
}
