using System.Diagnostics;

namespace Pipeline.Experiments.Measuring;

/// <summary>
/// Keeps every latency, so that percentiles are exact. Recording takes no lock and allocates nothing, so it does not disturb what it
/// measures.
/// </summary>
/// <param name="capacity">The most that can be recorded; there is no excuse for more, because the sender knows how much it sends.</param>
internal sealed class LatencyRecorder(int capacity)
{
    // Invariant: each slot is written by the one thread that took its number from _taken.
    private readonly (long Sent, long Received)[] _samples = new (long, long)[capacity];
    private readonly long _start = Stopwatch.GetTimestamp();
    private int _taken;
    private int _recorded;

    /// <summary>How many latencies have been recorded.</summary>
    public int Count => Volatile.Read(ref _recorded);

    /// <summary>Records a message that arrives now.</summary>
    /// <param name="sent">When the call that sent it began: a timestamp of <see cref="Stopwatch"/>.</param>
    public void Record(long sent) => Record(sent, Stopwatch.GetTimestamp());

    public void Record(long sent, long received)
    {
        _samples[Interlocked.Increment(ref _taken) - 1] = (sent, received);
        Interlocked.Increment(ref _recorded);
    }

    /// <summary>What has been recorded; call it when nothing is recorded any more.</summary>
    public Latencies Take()
    {
        (long Sent, long Received)[] samples = [.. _samples.AsSpan(0, Count)];
        Array.Sort(samples);
        return new Latencies(
            [.. samples.Select(sample => Stopwatch.GetElapsedTime(_start, sample.Sent).TotalSeconds)],
            [.. samples.Select(sample => Stopwatch.GetElapsedTime(sample.Sent, sample.Received).TotalMilliseconds)]);
    }
}

/// <summary>Latencies in the order of sending.</summary>
/// <param name="SentAt">When each message was sent, in seconds since recording began.</param>
/// <param name="Milliseconds">How long it took to arrive.</param>
internal sealed record Latencies(double[] SentAt, double[] Milliseconds)
{
    private readonly double[] _sorted = [.. Milliseconds.Order()];

    public int Count => _sorted.Length;

    /// <summary>In milliseconds, shortest first.</summary>
    public ReadOnlySpan<double> Sorted => _sorted;

    public double P50 => Percentile(0.50);

    public double P99 => Percentile(0.99);

    public double Max => Percentile(1);

    /// <summary>The latencies of several runs, without when they were sent.</summary>
    public static Latencies Together(IEnumerable<Latencies> runs) => new([], [.. runs.SelectMany(run => run.Milliseconds)]);

    public double Percentile(double fraction) => Statistics.Percentile(_sorted, fraction);
}
