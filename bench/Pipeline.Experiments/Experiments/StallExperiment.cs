using System.CommandLine;
using System.Diagnostics;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;
using ScottPlot;

namespace Pipeline.Experiments.Experiments;

/// <summary>What a slow reactor, or one that never returns, does to everything beside it.</summary>
internal sealed record StallExperiment : Experiment
{
    private const int DefaultRuns = 5;
    private const int FastSize = 200;
    private const int SlowSize = 1024;
    private const int FloodSize = 16 << 10;
    private const double MaxP99 = 2;
    private const int PausedPings = 10;

    // Senders, by their numbers in stamps.
    private const int Near = 0;
    private const int Other = 1;

    private static readonly TimeSpan DefaultDelay = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan FastInterval = TimeSpan.FromMilliseconds(5);
    private static readonly TimeSpan SlowInterval = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan PingInterval = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>What the slow reactor takes for a message; infinite for one that never returns.</summary>
    public TimeSpan Delay { get; init; } = DefaultDelay;

    public override string Name => "stall";

    public override string Title => IsNever ? "A reactor that never returns" : "A slow reactor";

    public override string Description =>
        (IsNever ? "One reactor never returns from its first message" : $"One reactor takes {Readable.Number(Delay.TotalMilliseconds)} ms for each message")
        + " and is offered 50 a second. Beside it, a small message goes every 5 ms over another channel of the same connection to another reactor, and"
        + $" another peer does the same; pings go every {PingInterval.TotalMilliseconds} ms. Then the reactor stands still and its channel is flooded until the"
        + $" peer's allowance is used up and its connection is not read any more; that lasts {PausedPings} ping intervals, and ends when the reactor goes on.";

    private bool IsNever => Delay == Timeout.InfiniteTimeSpan;

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<TimeSpan?> delay = OptionOf.MillisecondsOrNever("--delay", "How long the slow reactor takes for a message. [default: 100]");
        return commands.Create(
            "stall",
            "A slow reactor beside a fast one: latency of the fast one, and pings.",
            $"How long each run measures. [default: {DefaultDuration.TotalSeconds} s]",
            DefaultRuns,
            [delay],
            arguments => new StallExperiment { Delay = arguments.GetValue(delay) ?? DefaultDelay });
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
            context.Report($"run {run} of {runs}: p50 {Readable.Number(result.Fast.P50)} ms, p99 {Readable.Number(result.Fast.P99)} ms, other peer p99 {Readable.Number(result.OtherPeer.P99)} ms, stood still for {Readable.Number(result.PausedSeconds)} s");
        }

        Table table = new("stall", "Each run", "run", "sent", "recv", "p50_ms", "p99_ms", "max_ms", "other_p99_ms", "pings_answered", "paused_s", "connected", "slow_sent", "slow_recv");
        Table series = new("latencies", "Each small message of the run in the middle", "peer", "sent_at_s", "latency_ms") { IsSeries = true };
        for (int i = 0; i < done.Count; i++)
        {
            Run run = done[i];
            table.Add(i + 1, run.Sent, run.Fast.Count, run.Fast.P50, run.Fast.P99, run.Fast.Max, run.OtherPeer.P99, run.PingsAnswered, run.PausedSeconds, run.StayedConnected, run.SlowSent, run.SlowReceived);
        }

        Run middle = done.OrderBy(run => run.Fast.P99).ElementAt((done.Count - 1) / 2);
        AddSeries(series, "same peer", middle.Fast);
        AddSeries(series, "other peer", middle.OtherPeer);
        double p99 = Statistics.Median(done.Select(run => run.Fast.P99));
        double otherP99 = Statistics.Median(done.Select(run => run.OtherPeer.P99));
        long sent = done.Sum(run => run.Sent);
        long received = done.Sum(run => (long)run.Fast.Count);
        long slowSent = done.Sum(run => run.SlowSent);
        long slowReceived = done.Sum(run => run.SlowReceived);
        long outOfOrder = done.Sum(run => run.SlowOutOfOrder);
        double paused = done.Min(run => run.PausedSeconds);
        bool pingsAnswered = done.TrueForAll(run => run.PingsAnswered);
        return new ExperimentResult(Name)
        {
            FilePrefix = IsNever ? $"{Name}-never" : Name,
            Fields = new OrderedDictionary<string, object?>
            {
                ["delay_ms"] = IsNever ? "never" : Delay.TotalMilliseconds,
                ["sent"] = sent,
                ["recv"] = received,
                ["p50_ms"] = Statistics.Median(done.Select(run => run.Fast.P50)),
                ["p99_ms"] = p99,
                ["max_ms"] = done.Max(run => run.Fast.Max),
                ["pings_answered"] = pingsAnswered,
                ["other_p99_ms"] = otherP99,
                ["paused_s"] = paused,
                ["ping_interval_ms"] = PingInterval.TotalMilliseconds,
                ["slow_sent"] = slowSent,
                ["slow_recv"] = slowReceived,
                ["runs"] = runs,
                ["seconds"] = duration.TotalSeconds,
            },
            Verdicts =
            [
                Verdict.AtMost($"99 % of the messages on the fast channel take at most {MaxP99} ms", p99, MaxP99, "ms"),
                Verdict.AtMost($"99 % of another peer's messages take at most {MaxP99} ms, also while the connection is not read", otherP99, MaxP99, "ms"),
                new Verdict("Every message on the fast channel arrives", $"{Readable.Number(received)} of {Readable.Number(sent)}", received == sent && sent > 0),
                new Verdict("Pings are answered", pingsAnswered ? "every one in time" : "the connection ended", pingsAnswered),
                new Verdict(
                    $"A connection that is not read stays for at least {PausedPings} ping intervals ({(PausedPings * PingInterval).TotalSeconds} s)",
                    $"{Readable.Number(paused)} s not read{(done.TrueForAll(run => run.StayedConnected) ? "" : ", and the connection ended")}",
                    paused >= (PausedPings * PingInterval).TotalSeconds && done.TrueForAll(run => run.StayedConnected)),
                new Verdict(
                    "Then it goes on, and every message for the slow reactor arrives in order",
                    $"{Readable.Number(slowReceived)} of {Readable.Number(slowSent)}, {Readable.Number(outOfOrder)} out of order",
                    slowReceived == slowSent && outOfOrder == 0),
            ],
            Tables = [table, series],
            Figures =
            [
                new Figure(
                    "over-time",
                    "Small messages beside the slow reactor, from the same peer and from another. Shaded: the allowance of the first peer is used up and its connection is not read.",
                    () => Draw(middle)),
                new Figure(
                    "percentiles",
                    "Latency by percentile, all runs together.",
                    () => Chart.Percentiles(
                        Title + ": the messages beside it",
                        [
                            ("same peer", Latencies.Together(done.Select(run => run.Fast)), Chart.Palette[0]),
                            ("other peer", Latencies.Together(done.Select(run => run.OtherPeer)), Chart.Palette[1]),
                        ],
                        (0.99, MaxP99)).ToPng()),
            ],
        };
    }

    private static void AddSeries(Table series, string peer, Latencies latencies)
    {
        for (int i = 0; i < latencies.Count; i++)
        {
            series.Add(peer, latencies.SentAt[i], latencies.Milliseconds[i]);
        }
    }

    private byte[] Draw(Run run)
    {
        Plot plot = Chart.OverTime(
            Title + ": each message beside it",
            [("same peer", run.Fast, Chart.Palette[0]), ("other peer", run.OtherPeer, Chart.Palette[1])],
            MaxP99);
        plot.Span(run.PausedAt, run.PausedAt + run.PausedSeconds, "first peer not read");
        return plot.ToPng();
    }

    private async Task<Run> MeasureAsync(RunContext context, TimeSpan duration)
    {
        ChannelDescriptor slow = new(0x30, "slow") { SendQueueCapacity = 64 };
        ChannelDescriptor fast = new(0x20, "fast") { SendQueueCapacity = 1000 };
        ConnectionOptions options = Node.Unlimited with { PingInterval = PingInterval, PongTimeout = TimeSpan.FromMilliseconds(500) };

        // Everything up to the flood fits into the lane and the allowance, so that the connection goes on being read.
        long mostSlow = slow.ReceiveQueueCapacity + (options.ReceiveAllowance / (2 * SlowSize));
        int capacity = (int)((duration + Patience + Patience) / FastInterval);
        LatencyRecorder[] recorders = [new(capacity), new(capacity)];
        Arrivals slowArrivals = new(1);
        TaskCompletionSource gate = new(TaskCreationOptions.RunContinuationsAsynchronously);
        bool standsStill = IsNever;
        bool isLate = !IsNever;
        await using Node near = await Node.StartAsync(options, context.CancellationToken, new HandlerReactor("sender", slow, fast));
        await using Node other = await Node.StartAsync(options, context.CancellationToken, new HandlerReactor("sender", fast));
        await using Node far = await Node.StartAsync(
            options,
            context.CancellationToken,
            new HandlerReactor("slow", [slow], HandleSlowAsync),
            new HandlerReactor("fast", [fast], envelope =>
            {
                Stamp stamp = Stamp.Read(envelope.Data.Span);
                Volatile.Read(ref recorders)[stamp.Sender].Record(stamp.Timestamp);
            }));
        (IPeer nearPeer, IPeer farPeer) = await near.ConnectAsync(far, context.CancellationToken);
        (IPeer otherPeer, _) = await other.ConnectAsync(far, context.CancellationToken);
        Ticker slowTicker = new(nearPeer, slow, context.CreatePayload(SlowSize), 0);
        Ticker fastTicker = new(nearPeer, fast, context.CreatePayload(FastSize), Near);
        Ticker otherTicker = new(otherPeer, fast, context.CreatePayload(FastSize), Other);
        GC.Collect();

        // Compiles what is measured.
        await Pacing.EveryAsync(FastInterval, duration / 8, SendFast, context.CancellationToken);
        LatencyRecorder[] warmUp = recorders;
        await Pacing.UntilAsync(() => warmUp[Near].Count + warmUp[Other].Count >= fastTicker.Sent + otherTicker.Sent, Patience, context.CancellationToken);
        long first = fastTicker.Sent;
        long firstOfOther = otherTicker.Sent;
        LatencyRecorder fastRecorder = new(capacity);
        LatencyRecorder otherRecorder = new(capacity);
        Volatile.Write(ref recorders, [fastRecorder, otherRecorder]);
        long start = Stopwatch.GetTimestamp();

        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken);
        Task otherSending = Pacing.EveryAsync(FastInterval, Timeout.InfiniteTimeSpan, otherTicker.Send, end.Token);
        Task slowSending = Pacing.EveryAsync(
            SlowInterval,
            duration,
            () =>
            {
                if (slowTicker.Sent < mostSlow)
                {
                    slowTicker.Send();
                }
            },
            context.CancellationToken);
        await Pacing.EveryAsync(FastInterval, duration, fastTicker.Send, context.CancellationToken);
        await slowSending;
        long sent = fastTicker.Sent - first + fastTicker.TakeRefused();
        await Pacing.UntilAsync(() => fastRecorder.Count >= sent, Patience, context.CancellationToken);
        bool pingsAnswered = !nearPeer.Completion.IsCompleted && !farPeer.Completion.IsCompleted;

        // The reactor stands still, and its channel is flooded until the connection is not read any more.
        Volatile.Write(ref standsStill, true);
        long slowSent;
        double pausedAt;
        double pausedSeconds;
        await using (Saturation flood = Saturation.Start(nearPeer, slow, context.CreatePayload(FloodSize), 0, slowTicker.Sent, context.CancellationToken))
        {
            bool hasPaused = await Pacing.UntilAsync(() => farPeer.GetStatus().IsPaused, Patience, context.CancellationToken);
            pausedAt = Stopwatch.GetElapsedTime(start).TotalSeconds;
            long pause = Stopwatch.GetTimestamp();
            bool hasGoneOn = await Pacing.UntilAsync(
                () => !farPeer.GetStatus().IsPaused || farPeer.Completion.IsCompleted || nearPeer.Completion.IsCompleted,
                (PausedPings * PingInterval) + FastInterval,
                context.CancellationToken);
            pausedSeconds = hasPaused ? Stopwatch.GetElapsedTime(pause).TotalSeconds : 0;
            pingsAnswered &= !otherPeer.Completion.IsCompleted;
            slowSent = hasGoneOn && nearPeer.Completion.IsCompleted ? flood.Sent : await flood.StopAsync();
        }

        bool stayedConnected = !nearPeer.Completion.IsCompleted && !farPeer.Completion.IsCompleted;
        await end.CancelAsync();
        await otherSending.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        Volatile.Write(ref isLate, false);
        gate.SetResult();
        await slowArrivals.WaitForAsync(slowSent, stayedConnected ? Patience : TimeSpan.Zero, context.CancellationToken);
        await Pacing.UntilAsync(() => otherRecorder.Count >= otherTicker.Sent - firstOfOther, Patience, context.CancellationToken);
        return new Run(
            sent,
            fastRecorder.Take(),
            otherRecorder.Take(),
            pingsAnswered,
            pausedAt,
            pausedSeconds,
            stayedConnected,
            slowSent,
            slowArrivals.Messages,
            slowArrivals.OutOfOrder);

        void SendFast()
        {
            fastTicker.Send();
            otherTicker.Send();
        }

        async ValueTask HandleSlowAsync(Envelope envelope, CancellationToken cancellationToken)
        {
            if (Volatile.Read(ref standsStill))
            {
                await gate.Task.WaitAsync(cancellationToken);
            }
            else if (Volatile.Read(ref isLate))
            {
                await Task.Delay(Delay, cancellationToken);
            }

            slowArrivals.Count(envelope.Data.Span);
        }
    }

    private sealed record Run(
        long Sent,
        Latencies Fast,
        Latencies OtherPeer,
        bool PingsAnswered,
        double PausedAt,
        double PausedSeconds,
        bool StayedConnected,
        long SlowSent,
        long SlowReceived,
        long SlowOutOfOrder);
}
