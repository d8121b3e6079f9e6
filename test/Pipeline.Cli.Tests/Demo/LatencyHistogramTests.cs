using CsCheck;
using Pipeline.Cli.Demo;

namespace Pipeline.Cli.Tests.Demo;

[TestFixture]
public sealed class LatencyHistogramTests
{
    [Test]
    public void Nothing_recorded_has_no_percentile() => Assert.That(new LatencyHistogram().Percentile(0.5), Is.Null);

    [Test]
    public void A_percentile_is_within_two_percent_of_the_exact_one() =>
        Gen.Select(Gen.Long[0, 1L << 39].Select(Gen.Int[0, 39], (ticks, shift) => ticks >> shift).Array[1, 300], Gen.Double[0, 1]).Sample((ticks, fraction) =>
        {
            LatencyHistogram histogram = new();
            foreach (long duration in ticks)
            {
                histogram.Record(TimeSpan.FromTicks(duration));
            }

            long exact = ticks.Order().ElementAt(Math.Max(1, (int)Math.Ceiling(ticks.Length * fraction)) - 1);
            return Math.Abs(histogram.Percentile(fraction)!.Value.Ticks - exact) <= 0.02 * exact;
        });

    [Test]
    public void What_is_out_of_range_counts_as_the_end_of_it()
    {
        LatencyHistogram histogram = new();
        histogram.Record(TimeSpan.MinValue);
        histogram.Record(TimeSpan.MaxValue);

        Assert.That(histogram.Percentile(0), Is.EqualTo(TimeSpan.Zero));
        Assert.That(histogram.Percentile(1)!.Value.TotalHours, Is.EqualTo(30).Within(1));
    }

    [Test]
    public void A_sum_holds_what_its_parts_hold()
    {
        LatencyHistogram fast = new();
        LatencyHistogram slow = new();
        for (int i = 0; i < 50; i++)
        {
            fast.Record(TimeSpan.FromTicks(10));
            slow.Record(TimeSpan.FromTicks(60));
        }

        LatencyHistogram sum = LatencyHistogram.Sum([fast, slow]);

        Assert.That(sum.Percentile(0.5)!.Value.Ticks, Is.EqualTo(10));
        Assert.That(sum.Percentile(0.51)!.Value.Ticks, Is.EqualTo(60));
    }

    [Test]
    public void Recording_from_many_threads_loses_nothing_and_allocates_nothing()
    {
        LatencyHistogram histogram = new();
        Parallel.For(0, 4, i =>
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int n = 0; n < 100_000; n++)
            {
                histogram.Record(TimeSpan.FromTicks(i < 2 ? 7 : 9));
            }

            Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        });

        Assert.That(histogram.Percentile(200_000 / 400_000.0)!.Value.Ticks, Is.EqualTo(7));
        Assert.That(histogram.Percentile(200_001 / 400_000.0)!.Value.Ticks, Is.EqualTo(9));
    }
}
