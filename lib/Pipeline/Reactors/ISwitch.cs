using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Reactors;

/// <summary>What a reactor sees of the node that it is part of.</summary>
/// <remarks>Source: <c>docs/protocol.md</c>, the grammar of reactor calls.</remarks>
public interface ISwitch
{
    /// <summary>What this node says of itself.</summary>
    NodeInfo NodeInfo { get; }

    /// <summary>The connected peers at this moment; a snapshot that does not change.</summary>
    IReadOnlyCollection<IPeer> Peers { get; }

    /// <summary>The reactor with a name; null when there is none.</summary>
    Reactor? GetReactor(string name);

    /// <summary>
    /// Queues a message for every peer that has its channel, without waiting, and says for each what became of it. The caller still has to
    /// dispose of <paramref name="message"/>.
    /// </summary>
    IReadOnlyList<BroadcastResult> TryBroadcast(SerializedMessage message);

    /// <summary>
    /// Queues a message for every peer that has its channel, waiting for room where there is none; a slow peer does not delay the others.
    /// The caller still has to dispose of <paramref name="message"/>.
    /// </summary>
    Task<IReadOnlyList<BroadcastResult>> BroadcastAsync(SerializedMessage message, CancellationToken cancellationToken = default);

    /// <summary>Connects to a node and makes it a peer.</summary>
    /// <exception cref="HandshakeException">The node answered, but is no peer; the message says why.</exception>
    /// <exception cref="IOException">The node cannot be reached; the message says why.</exception>
    Task<IPeer> DialAsync(NetAddress address, CancellationToken cancellationToken = default);

    /// <summary>Sends a peer what waits for it, and then ends the connection.</summary>
    Task StopPeerGracefullyAsync(IPeer peer);
}

/// <summary>What became of a broadcast at one peer.</summary>
/// <param name="Peer">The peer.</param>
/// <param name="Result">What became of the message.</param>
public readonly record struct BroadcastResult(IPeer Peer, SendResult Result);
