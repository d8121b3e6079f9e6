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
