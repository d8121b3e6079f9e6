using System.Diagnostics;
using System.Runtime;

namespace Pipeline.Experiments.Measuring;

/// <summary>
/// What the runtime compiles while something runs: first quickly, then again and better what is called often. What is measured before that is over is the
/// compiler and slow code.
/// </summary>
internal static class Compilation
{
    // What is called now and then is compiled now and then, for a long time, and matters little.
    private const int Trickle = 15;

    // The runtime waits for 100 ms without new methods before it compiles some again, and does so more than once.
    private static readonly TimeSpan Quiet = TimeSpan.FromMilliseconds(700);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    /// <summary>Does something over and over until next to nothing has been compiled for a while.</summary>
    /// <param name="act">What is done.</param>
    /// <param name="atLeast">The shortest time; default none.</param>
    /// <param name="atMost">When to have done enough all the same; default 15 s.</param>
    public static async Task WarmUpAsync(Func<Task> act, TimeSpan atLeast = default, TimeSpan? atMost = null)
    {
        long start = Stopwatch.GetTimestamp();
        long changed = start;
        long compiled = -Trickle;
        while (Stopwatch.GetElapsedTime(start) < (atMost ?? Patience) && (Stopwatch.GetElapsedTime(start) < atLeast || Stopwatch.GetElapsedTime(changed) < Quiet))
        {
            await act();
            long count = JitInfo.GetCompiledMethodCount();
            if (count - compiled >= Trickle)
            {
                compiled = count;
                changed = Stopwatch.GetTimestamp();
            }
        }
    }
}
