using System.Collections.Immutable;
using Google.Protobuf;
using Pipeline.Cryptography;

namespace Pipeline.Protocols.StateSync;

/// <summary>A snapshot of an application's state. Two are the same when all that is said of them is.</summary>
/// <param name="Height">The height whose state it is; at least 1.</param>
/// <param name="Format">The application's number for its form.</param>
/// <param name="Chunks">How many chunks it has; at least 1.</param>
/// <param name="Hash">What the application calls its hash; 1 to 256 bytes.</param>
/// <param name="Metadata">What the application adds; at most 64 KiB.</param>
public sealed record Snapshot(ulong Height, uint Format, uint Chunks, ByteString Hash, ByteString Metadata);

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

    /// <summary>It cannot be honest: the sender is stopped, and the chunk fetched from another.</summary>
    RejectSender,
}

/// <summary>Where snapshots come from that this node offers. Called for several peers at once.</summary>
public interface ISnapshotSource
{
    /// <summary>The snapshots that there are, of which the ten with the greatest height are offered.</summary>
    ValueTask<IReadOnlyList<Snapshot>> ListAsync(CancellationToken cancellationToken);

    /// <summary>Reads a chunk, of at most 15,990,000 bytes; null when there is none, which a null array is not: it is an empty chunk.</summary>
    ValueTask<ReadOnlyMemory<byte>?> ReadChunkAsync(ulong height, uint format, uint index, CancellationToken cancellationToken);
}

/// <summary>What is known of a peer as one that chunks come from.</summary>
/// <param name="Peer">The peer.</param>
/// <param name="Chunks">Chunks that were accepted.</param>
/// <param name="Failures">Chunks that did not come in time, were said to be missing, or were not accepted; who has fewer is asked first.</param>
public readonly record struct ChunkPeerReport(NodeId Peer, int Chunks, int Failures);

/// <summary>A snapshot cannot be downloaded. The message says why.</summary>
public sealed class StateSyncException(string message) : Exception(message);

/// <summary>Settings of a <see cref="StateSyncReactor"/>.</summary>
public sealed record StateSyncOptions
{
    /// <summary>The snapshots that are offered to others. Default none.</summary>
    public ISnapshotSource? Source { get; init; }

    /// <summary>Whether peers are asked which snapshots they have when they come. Default true.</summary>
    public bool Discovers { get; init; } = true;

    /// <summary>The most chunks of a snapshot; one with more is not taken. At least 1; default 100,000.</summary>
    public uint MaxChunks { get; init; } = 100_000;

    /// <summary>
    /// How many chunks are asked for or held at once, from the one that is handed out next: a download holds at most so many, of up to 16 MB
    /// each. At least 1; default 8.
    /// </summary>
    public int Window { get; init => field = AtLeastOne(value, nameof(Window)); } = 8;

    /// <summary>How many chunks are asked for at one peer at once. At least 1; default 2.</summary>
    public int ChunksPerPeer { get; init => field = AtLeastOne(value, nameof(ChunksPerPeer)); } = 2;

    /// <summary>How often a chunk is asked for before the download fails. At least 1; default 10.</summary>
    public int TriesPerChunk { get; init => field = AtLeastOne(value, nameof(TriesPerChunk)); } = 10;

    /// <summary>How long a peer may take for a chunk before another is asked. More than 0; default 15 s.</summary>
    public TimeSpan ChunkTimeout
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(value, TimeSpan.Zero, nameof(ChunkTimeout));
            field = value;
        }
    } = TimeSpan.FromSeconds(15);

    /// <summary>How soon a peer that asks again which snapshots there are is answered again. Default 10 s.</summary>
    public TimeSpan AnswerPeriod { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Where time comes from. Default: the system's.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    private static int AtLeastOne(int value, string name)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, name);
        return value;
    }
}
