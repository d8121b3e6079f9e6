using System.Diagnostics;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;

namespace Pipeline.Experiments.Comparing;

/// <summary>How long a small message takes beside as much bulk as goes over the same connection.</summary>
internal static class LatencyComparison
{
    public const int SmallSize = 200;
    public const int BulkSize = 64 << 10;

    public static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(5);

    private static readonly TimeSpan WarmUpStep = TimeSpan.FromMilliseconds(150);

    /// <param name="context">How to run it.</param>
    /// <param name="runs">How many runs the medians are of.</param>
    /// <param name="duration">How long a run measures.</param>
    /// <param name="contenders">Ours, and then the others.</param>
    public static async Task<Findings> RunAsync(RunContext context, int runs, TimeSpan duration, IReadOnlyList<IMultiplexer> contenders)
    {
        Dictionary<string, List<Run>> done = contenders.ToDictionary(contender => contender.Name, _ => new List<Run>());
        for (int run = 1; run <= runs; run++)
        {
            foreach (IMultiplexer contender in contenders)
            {
                done[contender.Name].Add(await MeasureAsync(context, duration, contender));
            }

            context.Report($"run {run} of {runs}, small beside bulk: "
                + string.Join(", ", done.Select(entry => $"{entry.Key} {Readable.Number(entry.Value[^1].Small.P50)} / {Readable.Number(entry.Value[^1].Small.P99)}")) + " ms (p50 / p99)");
        }

        Table table = new("latency", "A small message beside bulk, medians", "contender", "p50_ms", "p99_ms", "max_ms", "bulk_MB_s", "sent", "recv");
        foreach ((string name, List<Run> all) in done)
        {
            table.Add(
                name,
                Median(name, run => run.Small.P50),
                Median(name, run => run.Small.P99),
                all.Max(run => run.Small.Max),
                Median(name, run => run.Bulk),
                all.Sum(run => run.Sent),
                all.Sum(run => (long)run.Small.Count));
        }

        string ours = contenders[0].Name;
        return new Findings(
            [
                .. done.Select(entry => new Verdict(
                    $"Every small message that goes through {entry.Key} arrives",
                    $"{Readable.Number(entry.Value.Sum(run => (long)run.Small.Count))} of {Readable.Number(entry.Value.Sum(run => run.Sent))}",
                    entry.Value.TrueForAll(run => run.Small.Count == run.Sent))),
                .. contenders.Skip(1).SelectMany(other => new[]
                {
                    Ahead(other.Name, "half", run => run.Small.P50),
                    Ahead(other.Name, "99 %", run => run.Small.P99),
                }),
            ],
            [table],
            [
                new Figure(
                    "latency",
                    $"A message of {SmallSize} bytes every {Interval.TotalMilliseconds} ms beside as many of {Readable.Bytes(BulkSize)} as go, by percentile, all runs together.",
                    () => Chart.Percentiles(
                        "A small message beside bulk",
                        [.. done.Select((entry, i) => (entry.Key, Latencies.Together(entry.Value.Select(run => run.Small)), Chart.Palette[i]))]).ToPng()),
            ]);

        double Median(string name, Func<Run, double> figure) => Statistics.Median(done[name].Select(figure));

        Verdict Ahead(string other, string part, Func<Run, double> figure)
        {
            double limit = Median(other, figure);
            return Verdict.AtMost($"Beside bulk, {part} of the small messages take no longer than through {other} ({Readable.Number(limit)} ms)", Median(ours, figure), limit, "ms");
        }
    }

    private static async Task<Run> MeasureAsync(RunContext context, TimeSpan duration, IMultiplexer contender)
    {
        LatencyProbe probe = new();
        long bulkBytes = 0;
        Receivers receivers = new(message => Volatile.Write(ref bulkBytes, bulkBytes + message.Length), probe.Receive);
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken);
        await using ITwoStreams streams = await contender.OpenAsync(receivers, context.CancellationToken);
        OrderedTicker ticker = new(streams, context.CreatePayload(SmallSize), stop.Token);
        Task bulk = Task.Run(SaturateAsync, CancellationToken.None);
        await Compilation.WarmUpAsync(() => Pacing.EveryAsync(Interval, WarmUpStep, ticker.Send, context.CancellationToken));
        await Pacing.UntilAsync(() => probe.Received >= ticker.Sent, WarmUpStep + duration, context.CancellationToken);
        GC.Collect();

        long bytes = Volatile.Read(ref bulkBytes);
        long start = Stopwatch.GetTimestamp();
        (long sent, Latencies small) = await probe.MeasureAsync(ticker, Interval, duration, context.CancellationToken);
        double megabytes = (Volatile.Read(ref bulkBytes) - bytes) / Stopwatch.GetElapsedTime(start).TotalSeconds / 1e6;
        bool isBroken = bulk.IsCompleted;
        await stop.CancelAsync();
        await bulk.ConfigureAwait(isBroken ? ConfigureAwaitOptions.None : ConfigureAwaitOptions.SuppressThrowing);
        return new Run(sent, small, megabytes);

        async Task SaturateAsync()
        {
            byte[] message = context.CreatePayload(BulkSize);
            while (true)
            {
                await streams.SendBulkAsync(message, stop.Token);
            }
        }
    }

    private sealed record Run(long Sent, Latencies Small, double Bulk);
}
