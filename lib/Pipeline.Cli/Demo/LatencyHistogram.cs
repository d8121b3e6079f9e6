using System.Numerics;

namespace Pipeline.Cli.Demo;

/// <summary>
/// Counts durations in buckets that are linear within each power of two, so that a percentile is off by 1.6 % at most. Recording
/// takes no lock and allocates nothing; reading while others record gives the counts of about that moment.
/// </summary>
/// <remarks>The idea is Gil Tene's HdrHistogram. Resolution 100 ns, range up to 30 hours; what is longer counts as that.</remarks>
internal sealed class LatencyHistogram
{
    // Buckets for each power of two. Below 2 * Steps ticks every tick has its own bucket.
    private const int StepBits = 5;
    private const int Steps = 1 << StepBits;
    private const int LongestBits = 40;
    private const int Buckets = (LongestBits - StepBits + 1) * Steps;
    private const long Longest = (1L << LongestBits) - 1;

    private readonly long[] _counts = new long[Buckets];

    /// <summary>Counts one duration; a negative one counts as none at all.</summary>
    public void Record(TimeSpan duration) => Interlocked.Increment(ref _counts[BucketOf(Math.Clamp(duration.Ticks, 0, Longest))]);

    /// <summary>What several histograms hold together.</summary>
    public static LatencyHistogram Sum(IEnumerable<LatencyHistogram> histograms)
    {
        LatencyHistogram sum = new();
        foreach (LatencyHistogram histogram in histograms)
        {
            for (int bucket = 0; bucket < Buckets; bucket++)
            {
                sum._counts[bucket] += Volatile.Read(ref histogram._counts[bucket]);
            }
        }

        return sum;
    }

    /// <summary>The duration that <paramref name="fraction"/> (0 to 1) of what was recorded does not exceed; null when nothing was.</summary>
    public TimeSpan? Percentile(double fraction)
    {
        long total = 0;
        foreach (ref long count in _counts.AsSpan())
        {
            total += Volatile.Read(ref count);
        }

        long wanted = Math.Max(1, (long)Math.Ceiling(total * fraction));
        for (int bucket = 0; bucket < Buckets; bucket++)
        {
            wanted -= Volatile.Read(ref _counts[bucket]);
            if (wanted <= 0)
            {
                return TimeSpan.FromTicks(MiddleOf(bucket));
            }
        }

        return null;
    }

    private static int BucketOf(long ticks)
    {
        int shift = Math.Max(0, BitOperations.Log2((ulong)ticks | 1) - StepBits);
        return (shift * Steps) + (int)(ticks >> shift);
    }

    private static long MiddleOf(int bucket)
    {
        int shift = Math.Max(0, (bucket / Steps) - 1);
        return ((long)(bucket - (shift * Steps)) << shift) + (1L << shift >> 1);
    }
}
