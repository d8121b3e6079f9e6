namespace Pipeline.Dataflow;

/// <summary>
/// Holds one direction of a connection to a number of bytes a second. What was sent or received is paid for afterwards, so that the average
/// is exact; what was not used for a while may be used in a burst of <see cref="Burst"/>. Owned by one loop.
/// </summary>
internal sealed class TokenBucket
{
    /// <summary>How much may be saved up, as a time. A timer that is late by less costs nothing of the rate.</summary>
    public static readonly TimeSpan Burst = TimeSpan.FromMilliseconds(50);

    private readonly TimeProvider _timeProvider;
    private readonly long _rate;

    // Invariant: _tokens are what may be used at time _at: at most a burst, negative while something has yet to be paid for.
    private double _tokens;
    private long _at;

    private TokenBucket(long rate, TimeProvider timeProvider)
    {
        _rate = rate;
        _timeProvider = timeProvider;
        _at = timeProvider.GetTimestamp();
    }

    /// <summary>The bytes that may be used in a time.</summary>
    public int BytesIn(TimeSpan time) => (int)Math.Clamp(_rate * time.TotalSeconds, 1, int.MaxValue);

    /// <summary>A bucket for a number of bytes a second; null when there is no limit.</summary>
    public static TokenBucket? Create(long? rate, TimeProvider timeProvider) => rate is { } limit ? new TokenBucket(limit, timeProvider) : null;

    /// <summary>Uses bytes, and says how long to wait before using more.</summary>
    public TimeSpan Use(long bytes)
    {
        long now = _timeProvider.GetTimestamp();
        _tokens = Math.Min(_rate * Burst.TotalSeconds, _tokens + (_rate * _timeProvider.GetElapsedTime(_at, now).TotalSeconds)) - bytes;
        _at = now;
        return _tokens >= 0 ? TimeSpan.Zero : TimeSpan.FromSeconds(-_tokens / _rate);
    }
}
