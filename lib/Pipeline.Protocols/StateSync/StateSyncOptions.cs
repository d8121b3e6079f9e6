using System.Diagnostics.Metrics;

namespace Pipeline.Protocols.StateSync;

/// <summary>Settings of a <see cref="StateSyncReactor"/>.</summary>
public sealed record StateSyncOptions
{
    /// <summary>The snapshots that are offered to others. Default none.</summary>
    public ISnapshotSource? Source { get; init; }

    /// <summary>Whether peers are asked which snapshots they have when they come. Default true.</summary>
    public bool Discovers { get; init; } = true;

    /// <summary>The most chunks of a snapshot; one with more is not taken. At least 1; default 100,000.</summary>
    public uint MaxChunks
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfZero(value, nameof(MaxChunks));
            field = value;
        }
    } = 100_000;

    /// <summary>
    /// How many bytes the hashes and metadata of all that one peer offers may have; of more, the lowest snapshots are not kept. At least 1; default 1 MiB.
    /// </summary>
    public int MaxOfferBytes { get; init => field = AtLeastOne(value, nameof(MaxOfferBytes)); } = 1 << 20;

    /// <summary>
    /// How many chunks are asked for or held at once, from the one that is handed out next: a download holds at most so many, of up to 16 MB
    /// each, and one more that is fetched again. At least 1; default 8.
    /// </summary>
    public int Window { get; init => field = AtLeastOne(value, nameof(Window)); } = 8;

    /// <summary>How many chunks are asked for at one peer at once. At least 1; default 2.</summary>
    public int ChunksPerPeer { get; init => field = AtLeastOne(value, nameof(ChunksPerPeer)); } = 2;

    /// <summary>
    /// How often a chunk is asked for before the download fails, which it does only when each peer that offers the snapshot has failed with it. At least 1;
    /// default 10.
    /// </summary>
    public int TriesPerChunk { get; init => field = AtLeastOne(value, nameof(TriesPerChunk)); } = 10;

    /// <summary>
    /// How long a peer that owes chunks may neither finish one nor send 64 KiB of one, before what it owes is asked of others. A slow one is waited for, as long as
    /// more comes. More than 0; default 15 s.
    /// </summary>
    public TimeSpan ChunkTimeout { get; init => field = Positive(value, nameof(ChunkTimeout)); } = TimeSpan.FromSeconds(15);

    /// <summary>How long a download waits while no connected peer offers its snapshot, before it fails. At least 0; default 60 s.</summary>
    public TimeSpan OfferTimeout { get; init => field = AtLeastZero(value, nameof(OfferTimeout)); } = TimeSpan.FromSeconds(60);

    /// <summary>How soon a peer that asks again which snapshots there are is answered again. At least 0; default 10 s.</summary>
    public TimeSpan AnswerPeriod { get; init => field = AtLeastZero(value, nameof(AnswerPeriod)); } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How many different chunks that a peer asks for may wait to be served; what it asks for beyond them is not answered. At least 1; default 32.
    /// </summary>
    public int MaxWaitingRequests { get; init => field = AtLeastOne(value, nameof(MaxWaitingRequests)); } = 32;

    /// <summary>Where time comes from. Default: the system's.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Makes the meter; null, the default, for one that ends with the node.</summary>
    public IMeterFactory? MeterFactory { get; init; }

    private static int AtLeastOne(int value, string name)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, name);
        return value;
    }

    private static TimeSpan AtLeastZero(TimeSpan value, string name)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, TimeSpan.Zero, name);
        return value;
    }

    private static TimeSpan Positive(TimeSpan value, string name)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(value, TimeSpan.Zero, name);
        return value;
    }
}
