using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;

namespace Pipeline.Protocols.Mempool;

/// <summary>Settings and limits of a <see cref="MempoolRelayReactor"/>.</summary>
/// <remarks>Names in brackets are those of the section <c>[mempool]</c> of the reference's configuration, at v0.38.</remarks>
public sealed record MempoolRelayOptions
{
    /// <summary>
    /// Looks at each transaction that the node had not seen, once, in the order in which its sender sent it. What it throws stops the peer, or is thrown to
    /// who submitted; the transaction counts as not seen then. Default: accepts all. A peer that sends what it accepts is useful, see <c>SwitchOptions.LazyPeerTime</c>; without a check
    /// no transaction makes a peer useful, because any bytes would.
    /// </summary>
    public Func<MempoolTransaction, CancellationToken, ValueTask<MempoolVerdict>>? Check { get; init; }

    /// <summary>How many checks run at once, each for another peer. At least 1; default: the number of processors.</summary>
    public int MaxConcurrentChecks { get; init => field = AtLeast(1, value); } = Environment.ProcessorCount;

    /// <summary>How many seen transactions are remembered; the oldest is forgotten (<c>cache_size</c>). At least 1; default 10,000.</summary>
    public int CacheSize { get; init => field = AtLeast(1, value); } = 10_000;

    /// <summary>
    /// Whether a transaction that the check rejected is remembered as seen, so that who sends it again costs no check
    /// (<c>keep-invalid-txs-in-cache</c>, where the default is false). Default true.
    /// </summary>
    public bool KeepRejected { get; init; } = true;

    /// <summary>The largest transaction, in bytes (<c>max_tx_bytes</c>). 1 to 64 MiB; default 1 MiB.</summary>
    public int MaxTransactionBytes { get; init => field = value <= 64 << 20 ? AtLeast(1, value) : throw OutOfRange(value, "at most 64 MiB"); } = 1 << 20;

    /// <summary>How many transactions are kept to be sent (<c>size</c>). At least 4; default 5,000.</summary>
    public int MaxPoolTransactions { get; init => field = AtLeast(4, value); } = 5_000;

    /// <summary>How many bytes they may have (<c>max_txs_bytes</c>). At least 1, and at least a transaction's; default 16 MiB.</summary>
    public long MaxPoolBytes { get; init => field = value >= 1 ? value : throw OutOfRange(value, "at least 1"); } = 16 << 20;

    /// <summary>How many transactions go in one message. At least 1; default 1,000. The reference sends one, and takes any number.</summary>
    public int MaxBatchTransactions { get; init => field = AtLeast(1, value); } = 1_000;

    /// <summary>
    /// How many bytes of transactions go in one message; a larger one goes alone. At least 1; default 64 KiB. What makes a message longer than the channel
    /// allows is not put into it.
    /// </summary>
    public int MaxBatchBytes { get; init => field = AtLeast(1, value); } = 64 << 10;

    /// <summary>How many transactions a peer may send in one message; one that sends more is stopped. At least 1; default 10,000.</summary>
    public int MaxReceivedTransactions { get; init => field = AtLeast(1, value); } = 10_000;

    /// <summary>
    /// How many transactions that it had sent already a peer may send again within a minute; one that sends more is banned. What it only got from this node counts as
    /// seen, not as repeated. At least 1; default 1,000.
    /// </summary>
    public int MaxRepeats { get; init => field = AtLeast(1, value); } = 1_000;

    /// <summary>
    /// Whether peers that can are told the hashes of transactions, and get those that they ask for, on the channel
    /// <see cref="MempoolRelayReactor.RelayChannel"/>; so that a transaction comes from one peer and not from all. Others get all transactions. Default true.
    /// </summary>
    public bool Announce { get; init; } = true;

    /// <summary>
    /// The longest time, of which a random part is taken, for which a transaction is held back from a peer that is told no hashes: it may come from there. 0 to 1 s;
    /// default 10 ms.
    /// </summary>
    public TimeSpan MaxHoldTime
    {
        get;
        init => field = value >= TimeSpan.Zero && value <= TimeSpan.FromSeconds(1) ? value : throw OutOfRange(value, "0 to 1 s");
    } = TimeSpan.FromMilliseconds(10);

    /// <summary>
    /// After how long a transaction that was asked for is asked of another peer that has it. A peer that owes as many as one may be asked for, and has sent nothing for five
    /// times this, is stopped. 10 ms to 1 h; default 2 s.
    /// </summary>
    public TimeSpan RequestTimeout
    {
        get;
        init => field = value >= TimeSpan.FromMilliseconds(10) && value <= TimeSpan.FromHours(1) ? value : throw OutOfRange(value, "10 ms to 1 h");
    } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// For how long others are held back for a peer that is behind. One that takes less than an eighth of what the pool holds in this time is not waited for until it has
    /// caught up; when nobody takes anything, peers that send are held back for as long, and then the oldest makes room, until a peer takes something.
    /// More than 0, at most 1 day; default 1 s.
    /// </summary>
    public TimeSpan MaxHoldBack { get; init => field = Positive(value); } = TimeSpan.FromSeconds(1);

    /// <summary>How long <see cref="MempoolRelayReactor.SubmitAsync"/> waits for room. More than 0, at most 1 day; default 10 s.</summary>
    public TimeSpan SubmitTimeout { get; init => field = Positive(value); } = TimeSpan.FromSeconds(10);

    /// <summary>How old a transaction may be that a new peer still gets, while it is in the pool. More than 0, at most 1 day; default 1 minute.</summary>
    public TimeSpan MaxAge { get; init => field = Positive(value); } = TimeSpan.FromMinutes(1);

    /// <summary>Where time comes from. Default: the system's clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Makes the meter; null, the default, for one that ends with the node.</summary>
    public IMeterFactory? MeterFactory { get; init; }

    private static int AtLeast(int minimum, int value, [CallerMemberName] string property = "") =>
        value >= minimum ? value : throw OutOfRange(value, $"at least {minimum}", property);

    private static TimeSpan Positive(TimeSpan value, [CallerMemberName] string property = "") =>
        value > TimeSpan.Zero && value <= TimeSpan.FromDays(1) ? value : throw OutOfRange(value, "more than 0 and at most 1 day", property);

    private static ArgumentOutOfRangeException OutOfRange(object value, string range, [CallerMemberName] string property = "") =>
        new(property, value, $"{property} is {range}.");
}
