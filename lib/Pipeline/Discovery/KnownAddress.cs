using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <summary>What a book knows of an address. Guarded by the gate of the book.</summary>
/// <param name="address">Where the node can be dialled.</param>
/// <param name="source">Who told of it.</param>
internal sealed class KnownAddress(NetAddress address, NetAddress source)
{
    /// <summary>How long an address that was just tried is given.</summary>
    private static readonly TimeSpan Trial = TimeSpan.FromMinutes(1);

    /// <summary>After how long without a try, or a success, an address may have gone.</summary>
    private static readonly TimeSpan Lost = TimeSpan.FromDays(7);

    private const int MaxAttemptsWithoutSuccess = 3;
    private const int MaxAttemptsSinceSuccess = 10;

    // A field, because it is changed in place.
    private BucketNumbers _buckets;

    // Ticks of UTC: of a full book the offsets alone would be half a megabyte.
    private long _lastAttempt;
    private long _lastSuccess;
    private long _keptOutUntil;

    public NetAddress Address => address;

    public NetAddress Source => source;

    /// <summary>Whether it is in an old bucket, because it was of use; else it is in new ones, or in none.</summary>
    public bool IsOld { get; set; }

    /// <summary>The buckets that it is in: of an old one exactly one, of a new one 1 to <see cref="BucketNumbers.Capacity"/> different ones.</summary>
    public ref BucketNumbers Buckets => ref _buckets;

    /// <summary>Its place in the table's list of its kind.</summary>
    public int Position { get; set; }

    /// <summary>How many tries have failed since the last that did not.</summary>
    public int Attempts { get; set; }

    /// <summary>When it was last tried; at first, when it was heard of.</summary>
    public DateTimeOffset LastAttempt
    {
        get => new(_lastAttempt, TimeSpan.Zero);
        set => _lastAttempt = value.UtcTicks;
    }

    /// <summary>When it was last of use; year 1 when it never was.</summary>
    public DateTimeOffset LastSuccess
    {
        get => new(_lastSuccess, TimeSpan.Zero);
        set => _lastSuccess = value.UtcTicks;
    }

    /// <summary>Until when it is kept out of the buckets; year 1 when it never was.</summary>
    public DateTimeOffset KeptOutUntil
    {
        get => new(_keptOutUntil, TimeSpan.Zero);
        set => _keptOutUntil = value.UtcTicks;
    }

    /// <summary>Whether it is kept out because of the list of bans; else because of the address itself.</summary>
    public bool IsOnBanList { get; set; }

    public bool HasSucceeded => _lastSuccess > 0;

    /// <summary>Whether it is not worth its place in a new bucket.</summary>
    public bool IsBad(DateTimeOffset now) =>
        !IsOld
        && now - LastAttempt > Trial
        && (now - LastAttempt > Lost
            || (!HasSucceeded && Attempts >= MaxAttemptsWithoutSuccess)
            || (now - LastSuccess > Lost && Attempts >= MaxAttemptsSinceSuccess));
}
