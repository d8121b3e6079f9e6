using System.Diagnostics;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Tests;

[TestFixture]
public sealed class LatencyRecorderTests
{
    [Test]
    public void Percentiles_are_exact_and_samples_come_in_the_order_of_sending()
    {
        LatencyRecorder recorder = new(100);
        long start = Stopwatch.GetTimestamp();
        long millisecond = Stopwatch.Frequency / 1000;
        for (int i = 100; i >= 1; i--)
        {
            recorder.Record(start + (i * millisecond), start + (2 * i * millisecond));
        }

        Latencies latencies = recorder.Take();

        Assert.That(latencies.Count, Is.EqualTo(100));
        Assert.That(latencies.P50, Is.EqualTo(50).Within(1e-9));
        Assert.That(latencies.P99, Is.EqualTo(99).Within(1e-9));
        Assert.That(latencies.Max, Is.EqualTo(100).Within(1e-9));
        Assert.That(latencies.Milliseconds[..3], Is.EqualTo(new[] { 1.0, 2.0, 3.0 }).Within(1e-9));
        Assert.That(latencies.SentAt[1] - latencies.SentAt[0], Is.EqualTo(0.001).Within(1e-9));
    }

    [Test]
    public void Recording_allocates_nothing()
    {
        LatencyRecorder recorder = new(2000);
        recorder.Record(Stopwatch.GetTimestamp());
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
        {
            recorder.Record(Stopwatch.GetTimestamp());
        }

        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    [Test]
    public void Recording_from_many_threads_loses_nothing()
    {
        LatencyRecorder recorder = new(40_000);
        Parallel.For(0, 4, _ =>
        {
            for (int i = 0; i < 10_000; i++)
            {
                recorder.Record(Stopwatch.GetTimestamp());
            }
        });

        Assert.That(recorder.Take().Count, Is.EqualTo(40_000));
    }
}
