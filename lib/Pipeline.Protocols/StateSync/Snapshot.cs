using System.Collections.Immutable;
using Google.Protobuf;
using Pipeline.Cryptography;

namespace Pipeline.Protocols.StateSync;

/// <summary>A snapshot of an application's state. Two are the same when all that is said of them is.</summary>
/// <param name="Height">The height whose state it is; at least 1.</param>
/// <param name="Format">The application's number for its form.</param>
/// <param name="Chunks">How many chunks it has; at least 1.</param>
/// <param name="Hash">What the application calls its hash; at least 1 byte.</param>
/// <param name="Metadata">What the application adds. All together must fit into a message of 4,000,000 bytes.</param>
public sealed record Snapshot(ulong Height, uint Format, uint Chunks, ByteString Hash, ByteString Metadata)
{
    internal bool IsValid => Height > 0 && Chunks > 0 && !Hash.IsEmpty;
}

/// <summary>A snapshot and the connected peers that offer it.</summary>
/// <param name="Snapshot">The snapshot.</param>
/// <param name="Peers">The peers.</param>
public sealed record OfferedSnapshot(Snapshot Snapshot, ImmutableArray<NodeId> Peers);

/// <summary>A chunk that came.</summary>
/// <param name="Index">Which, from 0.</param>
/// <param name="Data">The bytes; they are the receiver's.</param>
/// <param name="From">The peer that sent it.</param>
public sealed record SnapshotChunk(uint Index, ReadOnlyMemory<byte> Data, NodeId From);

/// <summary>What the application says of a chunk.</summary>
public enum ChunkVerdict
{
    /// <summary>It is what it should be.</summary>
    Accept,

    /// <summary>It is not, and is fetched again, from another peer if there is one.</summary>
    Refetch,

    /// <summary>
    /// It cannot be honest: the sender is stopped and rejected as by <see cref="StateSyncReactor.RejectPeer"/>, and the chunk fetched from another.
    /// </summary>
    RejectSender,
}

/// <summary>Where snapshots come from that this node offers. Called for several peers at once.</summary>
/// <remarks>What it throws is logged and counted, and costs the peer that asked nothing but the answer; see the methods.</remarks>
public interface ISnapshotSource
{
    /// <summary>
    /// The snapshots that there are, of which the ten with the greatest height are offered, those of a greater format first. None are when this throws.
    /// </summary>
    ValueTask<IReadOnlyList<Snapshot>> ListAsync(CancellationToken cancellationToken);

    /// <summary>
    /// Reads a chunk, of at most 15,990,000 bytes; null when there is none, which a null array is not: it is an empty chunk. A chunk that is longer, and one
    /// for which this throws, is said to be missing.
    /// </summary>
    ValueTask<ReadOnlyMemory<byte>?> ReadChunkAsync(ulong height, uint format, uint index, CancellationToken cancellationToken);
}

/// <summary>What is known of a peer as one that chunks come from.</summary>
/// <param name="Peer">The peer.</param>
/// <param name="Chunks">Chunks that were accepted since it connected.</param>
/// <param name="Failures">
/// Chunks since then that did not come in time, or later than from another who was asked after it; that were said to be missing, or not accepted.
/// </param>
public readonly record struct ChunkPeerReport(NodeId Peer, int Chunks, int Failures);

/// <summary>A snapshot cannot be downloaded. The message says why.</summary>
public sealed class StateSyncException(string message) : Exception(message);
