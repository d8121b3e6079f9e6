using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Reactors;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>
/// Which nodes are peers, or on the way to be. A node has one place here from before its reactors hear of it until the last of them has
/// removed it, so that it never is a peer twice.
/// </summary>
internal sealed class PeerSet(SwitchOptions options)
{
    private readonly FrozenSet<NodeId> _unconditional = [.. options.UnconditionalPeers];

    // Guarded by _gate, as what changes in a place. Invariant: _places holds every place that was taken and not given back or lost; _shown
    // are the peers of those that are shown, and is replaced, never changed. Who waits for the next change of it has made _changed.
    private readonly Lock _gate = new();
    private readonly Dictionary<NodeId, Place> _places = [];
    private ImmutableArray<Peer> _shown = [];
    private TaskCompletionSource? _changed;

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

    /// <summary>How many there are at this moment.</summary>
    public PeerCounts Counts
    {
        get
        {
            int inbound = 0, outbound = 0, dialling = 0, unconditional = 0;
            lock (_gate)
            {
                foreach (Place place in _places.Values)
                {
                    _ = place switch
                    {
                        { Ip: null, IsUnconditional: false } => dialling++,
                        { Ip: null } => 0,
                        { IsUnconditional: true } => unconditional++,
                        { IsInbound: true } => inbound++,
                        _ => outbound++,
                    };
                }
            }

            return new PeerCounts(inbound, outbound, dialling, unconditional);
        }
    }

    /// <summary>The connected peers at this moment, and what completes when they are others.</summary>
    public (ImmutableArray<Peer> Connected, Task Changed) Observe()
    {
        lock (_gate)
        {
            _changed ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return (_shown, _changed.Task);
        }
    }

    /// <summary>The place of a node; null when it has none.</summary>
    public Place? Find(NodeId id)
    {
        lock (_gate)
        {
            return _places.GetValueOrDefault(id);
        }
    }

    /// <summary>Why whoever connects from an address cannot be taken, whoever it is; null when it may be.</summary>
    public (HandshakeFailure Failure, string Message)? FindRefusal(IPAddress ip)
    {
        lock (_gate)
        {
            // One that leaves may be the former self of the one that comes.
            bool isFull = _unconditional.Count == 0 && _places.Values.Count(place => place is { IsInbound: true, IsLeaving: false }) >= options.MaxInboundPeers;
            return isFull ? (HandshakeFailure.TooManyInboundPeers, TooMany)
                : !options.AllowDuplicateIp && _places.Values.Any(place => place is { IsInbound: true, IsLeaving: false } && ip.Equals(place.Ip)) ? (HandshakeFailure.DuplicateIp, IsDuplicate(ip))
                : null;
        }
    }

    /// <summary>Takes the place of a node that is about to be dialled. Until <see cref="Commit"/>, the node's own dial may take it over.</summary>
    /// <exception cref="HandshakeException">The node has a place already.</exception>
    public Place TakeForDial(NodeId id)
    {
        lock (_gate)
        {
            return _places.ContainsKey(id) ? throw IsTaken(id) : _places[id] = new Place(id) { IsUnconditional = _unconditional.Contains(id) };
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

            bool isUnconditional = _unconditional.Contains(id);
            if (!isUnconditional && _places.Values.Count(place => place is { IsInbound: true, IsUnconditional: false }) >= options.MaxInboundPeers)
            {
                throw new HandshakeException(HandshakeFailure.TooManyInboundPeers, TooMany) { RemoteId = id };
            }

            EnsureIsFree(ip, id);
            place = _places[id] = new Place(id) { Ip = ip, IsInbound = true, IsUnconditional = isUnconditional };
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
        TaskCompletionSource? changed;
        lock (_gate)
        {
            _shown = _shown.Add(place.Peer!);
            changed = Interlocked.Exchange(ref _changed, null);
        }

        changed?.SetResult();
    }

    /// <summary>Gives a place back, and hides its peer.</summary>
    public void Leave(Place place)
    {
        TaskCompletionSource? changed = null;
        lock (_gate)
        {
            if (Owns(place))
            {
                _places.Remove(place.Id);
                if (place.Peer is { } peer && _shown.Contains(peer))
                {
                    _shown = _shown.Remove(peer);
                    changed = Interlocked.Exchange(ref _changed, null);
                }
            }
        }

        place.SetLeft();
        changed?.SetResult();
    }

    public static HandshakeException IsTaken(NodeId id) =>
        new(HandshakeFailure.AlreadyConnected, $"Node {id} is connected already, or being dialled.") { RemoteId = id };

    private bool Owns(Place place) => _places.TryGetValue(place.Id, out Place? owner) && ReferenceEquals(owner, place);

    // Called with the gate held.
    private void EnsureIsFree(IPAddress ip, NodeId id)
    {
        if (!options.AllowDuplicateIp && _places.Values.Any(place => ip.Equals(place.Ip)))
        {
            throw new HandshakeException(HandshakeFailure.DuplicateIp, IsDuplicate(ip)) { RemoteId = id };
        }
    }

    private string TooMany => $"There are {options.MaxInboundPeers} inbound peers, as many as this node takes.";

    private static string IsDuplicate(IPAddress ip) => $"Another node with the address {ip} is connected already.";

    /// <summary>The place of one node.</summary>
    internal sealed class Place(NodeId id)
    {
        private readonly TaskCompletionSource _left = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public NodeId Id => id;

        /// <summary>Completes when the place has been given back.</summary>
        public Task Left => _left.Task;

        public bool IsLeaving => Peer?.Stopped.IsCancellationRequested ?? false;

        public bool IsInbound { get; init; }

        /// <summary>Whether it does not count when the number of peers is limited.</summary>
        public bool IsUnconditional { get; init; }

        /// <summary>The node's address; null while it is being dialled.</summary>
        public IPAddress? Ip { get; set; }

        /// <summary>The peer, once there is one.</summary>
        public Peer? Peer { get; set; }

        public void SetLeft() => _left.TrySetResult();
    }
}
