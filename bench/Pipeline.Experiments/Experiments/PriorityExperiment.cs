using System.CommandLine;
using System.Diagnostics;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;

namespace Pipeline.Experiments.Experiments;

/// <summary>How long a small message on one channel takes while another channel is saturated.</summary>
internal sealed record PriorityExperiment : Experiment
{
    private const int DefaultRuns = 5;
    private const int SmallSize = 200;
    private const double MaxP50 = 0.5;
    private const double MaxP99 = 2;
    private const double MinBulkRatio = 0.85;

    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan SmallInterval = TimeSpan.FromMilliseconds(5);

    /// <summary>Bytes of a bulk message.</summary>
    public int Bulk { get; init; } = 64 << 10;

    public int Low { get; init; } = 5;

    public int High { get; init; } = 10;

    /// <summary>The limit of the sender in bytes a second; null for none.</summary>
    public long? Rate { get; init; }

    public override string Name => "priority";

    public override string Title => "Priority";

    public override string Description =>
        $"One channel is saturated with messages of {Readable.Bytes(Bulk)}; every 5 ms a message of {SmallSize} bytes goes over another channel of the same"
        + $" connection (priorities {Low} and {High}). Measured is the time from the call that sends a small message to the reactor that gets it, and"
        + " what the bulk achieves beside it, compared with the bulk alone. The figures are medians of the runs.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<int> bulk = OptionOf.Size("--bulk", "Bytes of a bulk message.", 64 << 10, Stamp.Size);
        Option<int> low = OptionOf.Count("--low", "P", "Priority of the bulk.", 5, 1, 100);
        Option<int> high = OptionOf.Count("--high", "Q", "Priority of the small messages.", 10, 1, 100);
        Option<long?> rate = OptionOf.Bytes("--rate", "R", "The most bytes the sender sends in a second. [default: no limit]", null, 10_000, 1L << 40);
        return commands.Create(
            "priority",
            "Latency of small messages beside a saturated channel.",
            $"How long each run measures. [default: {DefaultDuration.TotalSeconds} s]",
            DefaultRuns,
            [bulk, low, high, rate],
            arguments => new PriorityExperiment
            {
                Bulk = arguments.GetValue(bulk),
                Low = arguments.GetValue(low),
                High = arguments.GetValue(high),
                Rate = arguments.GetValue(rate),
            });
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        int runs = context.Runs ?? DefaultRuns;
        TimeSpan duration = context.Duration ?? DefaultDuration;
        List<Run> done = [];
        for (int run = 1; run <= runs; run++)
        {
            Run result = await MeasureAsync(context, duration);
            done.Add(result);
            context.Report(
                $"run {run} of {runs}: p50 {Readable.Number(result.Beside.P50)} ms, p99 {Readable.Number(result.Beside.P99)} ms, bulk {Readable.Number(result.BulkBeside)} of {Readable.Number(result.BulkAlone)} MB/s");
        }

        double p50 = Statistics.Median(done.Select(run => run.Beside.P50));
        double p99 = Statistics.Median(done.Select(run => run.Beside.P99));
        double ratio = Statistics.Median(done.Select(run => run.BulkRatio));
        long sent = done.Sum(run => run.Sent);
        long received = done.Sum(run => (long)run.Beside.Count);
        Table table = new("priority", "Each run", "run", "sent", "recv", "p50_ms", "p90_ms", "p99_ms", "max_ms", "idle_p50_ms", "idle_p99_ms", "bulk_MB_s", "bulk_alone_MB_s", "bulk_ratio");
        Table series = new("latencies", "Each small message of the run in the middle", "sent_at_s", "latency_ms") { IsSeries = true };
        for (int run = 0; run < done.Count; run++)
        {
            Run one = done[run];
            table.Add(run + 1, one.Sent, one.Beside.Count, one.Beside.P50, one.Beside.Percentile(0.9), one.Beside.P99, one.Beside.Max, one.Without.P50, one.Without.P99, one.BulkBeside, one.BulkAlone, one.BulkRatio);
        }

        Run middle = done.OrderBy(run => run.Beside.P99).ElementAt((done.Count - 1) / 2);
        for (int i = 0; i < middle.Beside.Count; i++)
        {
            series.Add(middle.Beside.SentAt[i], middle.Beside.Milliseconds[i]);
        }

        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["bulk"] = Bulk,
                ["low"] = Low,
                ["high"] = High,
                ["rate"] = Rate,
                ["sent"] = sent,
                ["recv"] = received,
                ["p50_ms"] = p50,
                ["p99_ms"] = p99,
                ["max_ms"] = done.Max(run => run.Beside.Max),
                ["bulk_MB_s"] = Statistics.Median(done.Select(run => run.BulkBeside)),
                ["bulk_alone_MB_s"] = Statistics.Median(done.Select(run => run.BulkAlone)),
                ["bulk_ratio"] = ratio,
                ["idle_p50_ms"] = Statistics.Median(done.Select(run => run.Without.P50)),
                ["idle_p99_ms"] = Statistics.Median(done.Select(run => run.Without.P99)),
                ["runs"] = runs,
                ["seconds"] = duration.TotalSeconds,
            },
            Verdicts =
            [
                Verdict.AtMost($"Half of the small messages take at most {MaxP50} ms", p50, MaxP50, "ms"),
                Verdict.AtMost($"99 % of the small messages take at most {MaxP99} ms", p99, MaxP99, "ms"),
                Verdict.AtLeast("The bulk reaches at least 85 % of what it reaches alone", ratio * 100, MinBulkRatio * 100, "%"),
                new Verdict("Every small message arrives", $"{Readable.Number(received)} of {Readable.Number(sent)}", received == sent && sent > 0),
            ],
            Tables = [table, series],
            Figures =
            [
                new Figure(
                    "percentiles",
                    "Latency by percentile, all runs together. The triangles are the limits: the curve beside the bulk has to pass below them.",
                    () => Chart.Percentiles(
                        "A small message beside a saturated channel",
                        [
                            ("beside bulk", Latencies.Together(done.Select(run => run.Beside)), Chart.Palette[0]),
                            ("without bulk", Latencies.Together(done.Select(run => run.Without)), Chart.Muted),
                        ],
                        (0.5, MaxP50),
                        (0.99, MaxP99)).ToPng()),
                new Figure(
                    "over-time",
                    "Each small message of the run in the middle, over the time at which it was sent.",
                    () => Chart.OverTime("Each small message beside a saturated channel", [("a message", middle.Beside, Chart.Palette[0])], MaxP99).ToPng()),
            ],
        };
    }

    private async Task<Run> MeasureAsync(RunContext context, TimeSpan duration)
    {
        ChannelDescriptor bulk = new(0x30, "bulk") { Priority = Low, SendQueueCapacity = 64, SendQueueBytes = 16 << 20, ReceiveQueueCapacity = 1000 };
        ChannelDescriptor small = new(0x20, "small") { Priority = High, SendQueueCapacity = 1000 };
        Arrivals bulkArrivals = new(1);
        LatencyProbe probe = new();
        ConnectionOptions options = Node.Unlimited with { SendRate = Rate };
        await using Node near = await Node.StartAsync(options, context.CancellationToken, new HandlerReactor("sender", bulk, small));
        await using Node far = await Node.StartAsync(
            context.CancellationToken,
            new HandlerReactor("bulk", [bulk], envelope => bulkArrivals.Count(envelope.Data.Span)),
            new HandlerReactor("small", [small], envelope => probe.Receive(envelope.Data.Span)));
        (IPeer peer, _) = await near.ConnectAsync(far, context.CancellationToken);
        Ticker ticker = new(peer, small, context.CreatePayload(SmallSize), sender: 0);
        GC.Collect();

        // Compiles what is measured, and is not measured.
        await using (Saturation warmUp = Saturation.Start(peer, bulk, context.CreatePayload(Bulk), 0, 0, context.CancellationToken))
        {
            await SendSmallAsync(duration / 4);
            await warmUp.StopAsync();
        }

        (_, Latencies without) = await SendSmallAsync(duration / 2);
        await using Saturation saturation = Saturation.Start(peer, bulk, context.CreatePayload(Bulk), 0, bulkArrivals.Messages, context.CancellationToken);
        await Task.Delay(duration / 8, context.CancellationToken);
        double before = await MeasureBulkAsync(() => Task.Delay(duration / 2, context.CancellationToken));
        long sent = 0;
        Latencies? beside = null;
        double together = await MeasureBulkAsync(async () => (sent, beside) = await SendSmallAsync(duration));
        double after = await MeasureBulkAsync(() => Task.Delay(duration / 2, context.CancellationToken));
        await saturation.StopAsync();
        return new Run(sent, beside!, without, together, (before + after) / 2);

        Task<(long Sent, Latencies Latencies)> SendSmallAsync(TimeSpan time) => probe.MeasureAsync(ticker, SmallInterval, time, context.CancellationToken);

        // In MB a second, as they arrive.
        async Task<double> MeasureBulkAsync(Func<Task> meanwhile)
        {
            long bytes = bulkArrivals.Bytes;
            long start = Stopwatch.GetTimestamp();
            await meanwhile();
            return (bulkArrivals.Bytes - bytes) / Stopwatch.GetElapsedTime(start).TotalSeconds / 1e6;
        }
    }

    private sealed record Run(long Sent, Latencies Beside, Latencies Without, double BulkBeside, double BulkAlone)
    {
        public double BulkRatio => BulkBeside / BulkAlone;
    }
}
