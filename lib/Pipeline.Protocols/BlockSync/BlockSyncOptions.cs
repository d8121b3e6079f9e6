using System.Diagnostics.Metrics;
using Pipeline.Cryptography;

namespace Pipeline.Protocols.BlockSync;

/// <summary>Bounds of what block sync keeps, asks and answers.</summary>
public sealed record BlockSyncOptions
{
    /// <summary>How many blocks above the one that is to come next may be asked for or wait. At least 2; default 128.</summary>
    public int Window { get; init => field = AtLeast(2, value, nameof(Window)); } = 128;

    /// <summary>
    /// How much memory, in bytes, the blocks may take that wait to be verified or taken, at least 1; default 64 MiB. The two blocks that are to come next are kept whatever
    /// their size. Counted are the bytes of a block twice, as they are there in its parts and as they are hashed, and for the objects 80 bytes a transaction, 256 a
    /// signature and 1 KiB a piece of evidence.
    /// </summary>
    public long MaxBufferedBytes { get; init => field = AtLeast(1, value, nameof(MaxBufferedBytes)); } = 64 << 20;

    /// <summary>
    /// The largest answer with a block, in bytes: who sends a larger one is stopped before it is whole, and blocks that do not fit are not given to others. At least 1;
    /// default 23,068,672: 22,020,096, which networks have as the largest block unless told otherwise, and 1 MiB for what may come with it.
    /// </summary>
    public int MaxBlockSize { get; init => field = AtLeast(1, value, nameof(MaxBlockSize)); } = 22_020_096 + (1 << 20);

    /// <summary>How many blocks one peer may be asked for at once. It begins with 2, and grows while the peer answers fast. At least 1; default 20, which nodes of the reference allow.</summary>
    public int MaxAskedOfPeer { get; init => field = AtLeast(1, value, nameof(MaxAskedOfPeer)); } = 20;

    /// <summary>
    /// How long a peer that owes blocks may send none before others are asked for all that it owes, and it has failed once; more than 0, default 15 s. Blocks that are
    /// needed next are asked of a second peer as soon as that would probably have sent them three times over, after 250 ms at the least.
    /// </summary>
    public TimeSpan RequestTimeout { get; init => field = Positive(value, nameof(RequestTimeout)); } = TimeSpan.FromSeconds(15);

    /// <summary>How many times in a row a peer may fail to answer, have no block that it said it has, or leave and owe blocks, before it is asked no more. At least 1; default 3.</summary>
    public int MaxFailures { get; init => field = AtLeast(1, value, nameof(MaxFailures)); } = 3;

    /// <summary>How often all peers are asked which blocks they have, more than 0; default 10 s.</summary>
    public TimeSpan StatusInterval { get; init => field = Positive(value, nameof(StatusInterval)); } = TimeSpan.FromSeconds(10);

    /// <summary>How long no block may come before a sync fails, more than 0; default 60 s. The time that the consumer takes is not counted.</summary>
    public TimeSpan StallTimeout { get; init => field = Positive(value, nameof(StallTimeout)); } = TimeSpan.FromSeconds(60);

    /// <summary>How many requests of one peer may wait to be answered; one that has more is stopped. At least 1; default 200.</summary>
    public int MaxWaitingRequests { get; init => field = AtLeast(1, value, nameof(MaxWaitingRequests)); } = 200;

    /// <summary>How many requests of one peer are answered in a second; more wait. At least 1; default 2,000.</summary>
    public int MaxAnswersPerSecond { get; init => field = AtLeast(1, value, nameof(MaxAnswersPerSecond)); } = 2_000;

    /// <summary>Makes the meter; null, the default, for one that ends with the node.</summary>
    public IMeterFactory? MeterFactory { get; init; }

    private static int AtLeast(int minimum, int value, string property) => (int)AtLeast(minimum, (long)value, property);

    private static long AtLeast(long minimum, long value, string property) => value >= minimum
        ? value
        : throw new ArgumentOutOfRangeException(property, value, $"{property} is at least {minimum}.");

    private static TimeSpan Positive(TimeSpan value, string property) => value > TimeSpan.Zero
        ? value
        : throw new ArgumentOutOfRangeException(property, value, $"{property} is more than 0.");
}

/// <summary>Which blocks are wanted, and what they are verified by.</summary>
/// <param name="ChainId">The network.</param>
/// <param name="Validators">
/// The validators of the first block, which is trusted; those of later blocks may follow, see <see cref="BlockVerifier"/>.
/// </param>
public sealed record BlockSyncRequest(string ChainId, IReadOnlyList<TrustedValidators> Validators)
{
    /// <summary>The first block, at least 1; default 1. Without meaning when there is a <see cref="Last"/>.</summary>
    public long From { get; init; } = 1;

    /// <summary>The last block that is there already: its validators and its hash decide what may follow. Null, the default: none is, or the last of the store that is synced into.</summary>
    public StoredBlock? Last { get; init; }

    /// <summary>The last block that is wanted; it is verified by the one after it, which a peer has to have. Null, the default: all that peers have, but for the highest.</summary>
    public long? To { get; init; }

    /// <summary>Is told of peers that lied or failed. Called from any thread, and must not block. What it throws ends the sync.</summary>
    public Action<BlockSyncFault>? Faulted { get; init; }
}

/// <summary>What a peer did wrong.</summary>
/// <param name="Peer">Who.</param>
/// <param name="IsLie">Whether it is proved that the peer lied, so that it was banned; else it was too slow, or did not have what it said.</param>
/// <param name="Message">A sentence for people.</param>
public sealed record BlockSyncFault(NodeId Peer, bool IsLie, string Message);

/// <summary>How far a sync is.</summary>
/// <param name="Height">The last block that was verified; 0 before the first.</param>
/// <param name="Target">The last block that can be verified, or is wanted; 0 while that is not known.</param>
/// <param name="Verified">How many blocks were verified.</param>
/// <param name="BlocksPerSecond">How many were in a second, over the last 5 s.</param>
/// <param name="Peers">How many peers have blocks and are asked.</param>
/// <param name="Asked">How many blocks are asked for.</param>
/// <param name="Buffered">How much memory the blocks take that wait to be verified or taken, see <see cref="BlockSyncOptions.MaxBufferedBytes"/>.</param>
public readonly record struct BlockSyncProgress(long Height, long Target, long Verified, double BlocksPerSecond, int Peers, int Asked, long Buffered);

/// <summary>A sync cannot go on: no peer has the blocks, the validators are not known, or the node has stopped.</summary>
/// <param name="message">What is missing, and what would help.</param>
public sealed class BlockSyncException(string message) : Exception(message);
