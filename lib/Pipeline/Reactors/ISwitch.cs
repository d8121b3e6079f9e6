using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Reactors;

/// <summary>What a reactor sees of the node that it is part of.</summary>
/// <remarks>Source: <c>docs/protocol.md</c>, the grammar of reactor calls.</remarks>
public interface ISwitch
{
    /// <summary>What this node says of itself.</summary>
    NodeInfo NodeInfo { get; }

    /// <summary>Completes when the node and all its reactors have started, so that it may dial. Never does when it is stopped before.</summary>
    Task Started { get; }

    /// <summary>The connected peers at this moment; a snapshot that does not change.</summary>
    IReadOnlyCollection<IPeer> Peers { get; }

    /// <summary>How many peers there are at this moment, and are on the way to be.</summary>
    PeerCounts Counts { get; }

    /// <summary>
    /// The peers that are there, then those that come and go, until the switch has stopped. A reader that takes its time is told of the
    /// difference since it last looked, so nothing piles up, and it may not hear of a peer that came and went meanwhile.
    /// </summary>
    IAsyncEnumerable<PeerChange> WatchPeersAsync(CancellationToken cancellationToken = default);

    /// <summary>The reactor with a name; null when there is none.</summary>
    Reactor? GetReactor(string name);

    /// <summary>Whether a node is one whose address must not be passed on to others (<c>private_peer_ids</c>).</summary>
    bool IsPrivate(NodeId id);

    /// <summary>Whether a node is to be connected to at all times, so that the switch dials it by itself (<c>persistent_peers</c>).</summary>
    bool IsPersistent(NodeId id);

    /// <summary>Whether a node is a peer, is about to be or to be removed, or is being dialled: a dial would fail.</summary>
    bool IsConnectedOrDialling(NodeId id);

    /// <summary>
    /// Queues a message for every peer that has its channel, without waiting, and says for each what became of it. The caller still has to
    /// dispose of <paramref name="message"/>.
    /// </summary>
    /// <param name="message">The message.</param>
    /// <param name="recipients">
    /// The peers to send to; null for all. The result has those that were named and lack the channel, with
    /// <see cref="SendResult.UnknownChannel"/>, but not those that were not named.
    /// </param>
    IReadOnlyList<BroadcastResult> TryBroadcast(SerializedMessage message, IEnumerable<IPeer>? recipients = null);

    /// <summary>
    /// Queues a message for every peer that has its channel, waiting for room where there is none; a slow peer does not delay the others.
    /// The caller still has to dispose of <paramref name="message"/>. See <see cref="TryBroadcast"/> for <paramref name="recipients"/>.
    /// </summary>
    Task<IReadOnlyList<BroadcastResult>> BroadcastAsync(
        SerializedMessage message,
        IEnumerable<IPeer>? recipients = null,
        CancellationToken cancellationToken = default);

    /// <summary>Connects to a node and makes it a peer.</summary>
    /// <returns>The peer, which all reactors have added.</returns>
    /// <exception cref="HandshakeException">The node answered, but is no peer, or may not be one; the message says why.</exception>
    /// <exception cref="IOException">The node cannot be reached; the message says why.</exception>
    /// <exception cref="InvalidOperationException">The switch has not been started.</exception>
    Task<IPeer> DialAsync(NetAddress address, CancellationToken cancellationToken = default);

    /// <summary>
    /// Connects to several nodes, each after a random delay of up to 3 s, so that nodes that start together do not dial one node at one
    /// moment.
    /// </summary>
    /// <returns>For each address, in their order, the peer or why there is none.</returns>
    Task<IReadOnlyList<DialResult>> DialAllAsync(IEnumerable<NetAddress> addresses, CancellationToken cancellationToken = default);

    /// <summary>Says that a peer has proved to be of use, so that its address is remembered as a good one.</summary>
    void MarkGood(IPeer peer);

    /// <summary>Stops a peer for what it did, and bans its id.</summary>
    /// <param name="peer">The peer.</param>
    /// <param name="why">A sentence for people.</param>
    /// <param name="duration">For how long, more than 0; null for the node's setting, 24 h by default.</param>
    void MarkBad(IPeer peer, string why, TimeSpan? duration = null);

    /// <summary>Bans a node, an address or a subnet: peers that it is about are stopped, and none becomes one until the ban ends.</summary>
    /// <param name="target">Whom.</param>
    /// <param name="why">A sentence for people.</param>
    /// <param name="duration">For how long, more than 0; null for the node's setting, 24 h by default.</param>
    void Ban(AccessTarget target, string why, TimeSpan? duration = null);
}

/// <summary>How many peers a node has.</summary>
/// <param name="Inbound">Peers that dialled this node.</param>
/// <param name="Outbound">Peers that this node dialled.</param>
/// <param name="Dialling">Nodes that are being dialled.</param>
/// <param name="Unconditional">Peers, inbound or outbound, that are taken whatever the limits are; they are not in the other counts.</param>
public readonly record struct PeerCounts(int Inbound, int Outbound, int Dialling, int Unconditional);

/// <summary>A peer came or went.</summary>
/// <param name="Peer">The peer. One that went says in <see cref="IPeer.Completion"/> why.</param>
/// <param name="IsConnected">Whether it came: its reactors have been told that it is about to start. Else all of them have removed it.</param>
public readonly record struct PeerChange(IPeer Peer, bool IsConnected);

/// <summary>What became of a dial.</summary>
/// <param name="Address">What was dialled.</param>
/// <param name="Peer">The peer; null when there is none.</param>
/// <param name="Failure">Why there is none; null when there is one.</param>
public readonly record struct DialResult(NetAddress Address, IPeer? Peer, IOException? Failure);

/// <summary>What became of a broadcast at one peer.</summary>
/// <param name="Peer">The peer.</param>
/// <param name="Result">What became of the message.</param>
public readonly record struct BroadcastResult(IPeer Peer, SendResult Result);
