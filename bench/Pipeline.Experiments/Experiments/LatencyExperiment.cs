using System.CommandLine;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Experiments.Baselines;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;

namespace Pipeline.Experiments.Experiments;

/// <summary>How long a message takes from one reactor to another when nothing else goes on.</summary>
internal sealed record LatencyExperiment : Experiment
{
    private const int DefaultRuns = 5;
    private const int DefaultSize = 200;
    private const double MaxP50 = 60;
    private const double MaxP99 = 200;

    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan DefaultInterval = TimeSpan.FromMilliseconds(2);
    private static readonly TimeSpan WarmUpStep = TimeSpan.FromMilliseconds(150);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary>Bytes of a message.</summary>
    public int Size { get; init; } = DefaultSize;

    /// <summary>How often one is sent.</summary>
    public TimeSpan Interval { get; init; } = DefaultInterval;

    public override string Name => "latency";

    public override string Title => "Latency of an idle connection";

    public override string Description =>
        $"Every {Readable.Number(Interval.TotalMilliseconds)} ms a message of {Readable.Bytes(Size)} goes over a connection that does nothing else, one way. Measured is the time from"
        + " just before the call that sends it to the reactor that gets it; when the timer comes late, the message is sent late and measured from then. Before that messages are"
        + " sent, quickly and slowly, until nothing is compiled any more. Beside it, in turns: the bytes of one frame over a bare socket, read asynchronously. The figures are"
        + " medians of the runs.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<int> size = OptionOf.Size("--size", "Bytes of a message.", DefaultSize, Stamp.Size);
        Option<TimeSpan?> interval = OptionOf.Duration("--interval", $"How often a message is sent. [default: {DefaultInterval.TotalMilliseconds}ms]", "1ms", "10s");
        return commands.Create(
            "latency",
            "Latency of a message on an idle connection.",
            $"How long each run measures. [default: {DefaultDuration.TotalSeconds} s]",
            DefaultRuns,
            [size, interval],
            arguments => new LatencyExperiment { Size = arguments.GetValue(size), Interval = arguments.GetValue(interval) ?? DefaultInterval });
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        int runs = context.Runs ?? DefaultRuns;
        TimeSpan duration = context.Duration ?? DefaultDuration;
        List<(long Sent, Latencies Latencies)> done = [];
        Table table = new("latency", "Each run", "run", "sent", "recv", "p50_us", "p90_us", "p99_us", "max_us", "socket_p50_us", "socket_p99_us");
        List<Latencies> sockets = [];
        for (int run = 1; run <= runs; run++)
        {
            (long Sent, Latencies Latencies) result = await MeasureAsync(context, duration);
            done.Add(result);
            Latencies one = result.Latencies;
            Latencies socket = await MeasureSocketAsync(context, duration / 2);
            sockets.Add(socket);
            table.Add(run, result.Sent, one.Count, one.P50 * 1000, one.Percentile(0.9) * 1000, one.P99 * 1000, one.Max * 1000, socket.P50 * 1000, socket.P99 * 1000);
            context.Report($"run {run} of {runs}: p50 {Readable.Number(one.P50 * 1000)} µs, p99 {Readable.Number(one.P99 * 1000)} µs, max {Readable.Number(one.Max * 1000)} µs; a bare socket {Readable.Number(socket.P50 * 1000)} and {Readable.Number(socket.P99 * 1000)} µs");
        }

        double p50 = Median(latencies => latencies.P50);
        double p99 = Median(latencies => latencies.P99);
        long sent = done.Sum(run => run.Sent);
        long received = done.Sum(run => (long)run.Latencies.Count);
        Latencies middle = done.OrderBy(run => run.Latencies.P99).ElementAt((done.Count - 1) / 2).Latencies;
        Latencies together = Latencies.Together(done.Select(run => run.Latencies));
        Table series = new("latencies", "Each message of the run in the middle", "sent_at_s", "latency_us") { IsSeries = true };
        for (int i = 0; i < middle.Count; i++)
        {
            series.Add(middle.SentAt[i], middle.Milliseconds[i] * 1000);
        }

        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["size"] = Size,
                ["interval_ms"] = Interval.TotalMilliseconds,
                ["sent"] = sent,
                ["recv"] = received,
                ["p50_us"] = p50,
                ["p90_us"] = Median(latencies => latencies.Percentile(0.9)),
                ["p99_us"] = p99,
                ["socket_p50_us"] = Statistics.Median(sockets.Select(socket => socket.P50 * 1000)),
                ["socket_p99_us"] = Statistics.Median(sockets.Select(socket => socket.P99 * 1000)),
                ["max_us"] = done.Max(run => run.Latencies.Max) * 1000,
                ["runs"] = runs,
                ["seconds"] = duration.TotalSeconds,
            },
            Verdicts =
            [
                Verdict.AtMost($"Half of the messages take at most {MaxP50} µs", p50, MaxP50, "µs"),
                Verdict.AtMost($"99 % of the messages take at most {MaxP99} µs", p99, MaxP99, "µs"),
                new Verdict("Every message arrives", $"{Readable.Number(received)} of {Readable.Number(sent)}", received == sent && sent > 0),
            ],
            Tables = [table, series],
            Figures =
            [
                new Figure(
                    "distribution",
                    "How many messages took how long, all runs together; the slowest 0.5 % are not shown.",
                    () => Chart.Histogram("A message on an idle connection", "µs", [.. together.Milliseconds.Select(time => time * 1000)]).ToPng()),
                new Figure(
                    "percentiles",
                    "Latency by percentile, all runs together. The triangles are the limits: the curve has to pass below them.",
                    () => Chart.Percentiles("A message on an idle connection", [("a message", together, Chart.Palette[0])], (0.5, MaxP50 / 1000), (0.99, MaxP99 / 1000)).ToPng()),
                new Figure(
                    "over-time",
                    "Each message of the run in the middle, over the time at which it was sent.",
                    () => Chart.OverTime("Each message on an idle connection", [("a message", middle, Chart.Palette[0])], MaxP99 / 1000).ToPng()),
            ],
        };

        double Median(Func<Latencies, double> milliseconds) => Statistics.Median(done.Select(run => milliseconds(run.Latencies) * 1000));
    }

    private async Task<Latencies> MeasureSocketAsync(RunContext context, TimeSpan duration)
    {
        await using Loopback ends = await Loopback.ConnectAsync(context.CancellationToken);
        LatencyProbe probe = new();
        SocketTicker ticker = new(ends.Near, context.CreatePayload(FrameCipher.SealedSize));
        Task receiving = ticker.ReceiveAsync(ends.Far, probe);
        await Compilation.WarmUpAsync(() => Pacing.EveryAsync(Interval, WarmUpStep, ticker.Send, context.CancellationToken));
        await Pacing.UntilAsync(() => probe.Received >= ticker.Sent, Patience, context.CancellationToken);
        (_, Latencies latencies) = await probe.MeasureAsync(ticker, Interval, duration, context.CancellationToken);
        await ends.Near.DisposeAsync();
        await receiving;
        return latencies;
    }

    private async Task<(long Sent, Latencies Latencies)> MeasureAsync(RunContext context, TimeSpan duration)
    {
        ChannelDescriptor channel = new(0x20, "small") { SendQueueCapacity = 1000, ReceiveQueueCapacity = 1000 };
        LatencyProbe probe = new();
        await using Node near = await Node.StartAsync(context.CancellationToken, new HandlerReactor("sender", channel));
        await using Node far = await Node.StartAsync(context.CancellationToken, new HandlerReactor("receiver", [channel], envelope => probe.Receive(envelope.Data.Span)));
        (IPeer peer, _) = await near.ConnectAsync(far, context.CancellationToken);
        Ticker ticker = new(peer, channel, context.CreatePayload(Size), sender: 0);
        long burstSent = 0;
        await Compilation.WarmUpAsync(async () =>
        {
            await using (Saturation burst = Saturation.Start(peer, channel, context.CreatePayload(Size), 0, burstSent, context.CancellationToken))
            {
                await Task.Delay(WarmUpStep, context.CancellationToken);
                burstSent = await burst.StopAsync();
            }

            await Pacing.EveryAsync(Interval, WarmUpStep, ticker.Send, context.CancellationToken);
            await Pacing.UntilAsync(() => probe.Received >= burstSent + ticker.Sent, Patience, context.CancellationToken);
        });
        GC.Collect();
        return await probe.MeasureAsync(ticker, Interval, duration, context.CancellationToken);
    }
}
