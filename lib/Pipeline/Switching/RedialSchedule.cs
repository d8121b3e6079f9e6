namespace Pipeline.Switching;

/// <summary>When a persistent peer is dialled again.</summary>
/// <remarks>
/// Source: <c>docs/protocol.md</c>, dialling. The reference gives up after the last of these; here the last interval goes on, because a peer
/// that is to be connected at all times is never one to give up.
/// </remarks>
internal sealed class RedialSchedule(TimeSpan? maxPeriod, Func<double> nextDouble)
{
    public const int EvenTries = 20;
    public const int GrowingTries = 10;

    /// <summary>The time between the first tries; and how long a connection has to last to count as one.</summary>
    public static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    /// <summary>The random part is less than this.</summary>
    public static readonly TimeSpan MaxJitter = TimeSpan.FromSeconds(3);

    /// <summary>The random part alone.</summary>
    public TimeSpan Jitter() => MaxJitter * nextDouble();

    /// <summary>How long to wait after a number of tries, at least 1, that have failed one after the other.</summary>
    public TimeSpan After(int failures)
    {
        TimeSpan period = failures <= EvenTries
            ? Interval
            : TimeSpan.FromSeconds(Math.Pow(3, Math.Min(failures - EvenTries, GrowingTries)));
        return (period > maxPeriod ? maxPeriod.Value : period) + Jitter();
    }
}
