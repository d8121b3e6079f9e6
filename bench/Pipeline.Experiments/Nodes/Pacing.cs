using System.Diagnostics;

namespace Pipeline.Experiments.Nodes;

/// <summary>Doing something at intervals.</summary>
internal static class Pacing
{
    private static readonly TimeSpan LookInterval = TimeSpan.FromMilliseconds(5);

    /// <summary>
    /// Does something once an interval for a while, which may be infinite. A tick that comes late is not made up for, so what is done measures itself and not the
    /// timer.
    /// </summary>
    public static async Task EveryAsync(TimeSpan interval, TimeSpan duration, Action act, CancellationToken cancellationToken)
    {
        using PeriodicTimer timer = new(interval);
        long start = Stopwatch.GetTimestamp();
        while (duration == Timeout.InfiniteTimeSpan || Stopwatch.GetElapsedTime(start) < duration)
        {
            await timer.WaitForNextTickAsync(cancellationToken);
            act();
        }
    }

    /// <summary>Does something so often a second for a while, evenly; what comes late because the timer does is made up for.</summary>
    public static async Task EvenlyAsync(double perSecond, TimeSpan duration, Action act, CancellationToken cancellationToken)
    {
        using PeriodicTimer timer = new(TimeSpan.FromMilliseconds(Math.Max(1, 1000 / perSecond)));
        long start = Stopwatch.GetTimestamp();
        long end = (long)(duration.TotalSeconds * perSecond);
        for (long done = 0; done < end;)
        {
            await timer.WaitForNextTickAsync(cancellationToken);
            for (long due = Math.Min(end, (long)(Stopwatch.GetElapsedTime(start).TotalSeconds * perSecond)); done < due; done++)
            {
                act();
            }
        }
    }

    /// <summary>Waits until something is so; false when it is not in time.</summary>
    public static async Task<bool> UntilAsync(Func<bool> condition, TimeSpan timeout, CancellationToken cancellationToken)
    {
        using PeriodicTimer timer = new(LookInterval);
        long start = Stopwatch.GetTimestamp();
        while (!condition())
        {
            if (Stopwatch.GetElapsedTime(start) > timeout)
            {
                return false;
            }

            await timer.WaitForNextTickAsync(cancellationToken);
        }

        return true;
    }
}
