using System.CommandLine;
using System.Diagnostics;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;

namespace Pipeline.Experiments.Experiments;

/// <summary>Whether one peer that floods a reactor delays what the others send to it.</summary>
internal sealed record FairnessExperiment : Experiment
{
    private const int DefaultRuns = 5;
    private const int FloodSize = 1024;
    private const int SparseSize = 200;
    private const double MaxP99 = 10;

    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan SparseInterval = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan Work = TimeSpan.FromMilliseconds(0.5);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary>How many peers there are, the flooding one among them.</summary>
    public int Peers { get; init; } = 8;

    public override string Name => "fairness";

    public override string Title => "Fairness";

    public override string Description =>
        $"{Peers} peers send to one reactor, which deals with one message at a time and works {Work.TotalMilliseconds} ms for each. One of the peers floods it; each of"
        + $" the others sends a small message about every {SparseInterval.TotalMilliseconds} ms. Measured is how long those take from the call that sends"
        + " them until the reactor begins with them. What they would wait in one queue for all is what waits from the flooding peer, times the work.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<int> peers = OptionOf.Count("--peers", "N", "How many peers there are, one of which floods.", 8, 2, 500);
        return commands.Create(
            "fairness",
            "One peer floods a reactor; latency of the others.",
            $"How long each run measures. [default: {DefaultDuration.TotalSeconds} s]",
            DefaultRuns,
            [peers],
            arguments => new FairnessExperiment { Peers = arguments.GetValue(peers) });
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
            context.Report($"run {run} of {runs}: p50 {Readable.Number(result.Sparse.P50)} ms, p99 {Readable.Number(result.Sparse.P99)} ms, in one queue {Readable.Number(result.SharedQueueMilliseconds)} ms");
        }

        Table table = new("fairness", "Each run", "run", "sent", "recv", "p50_ms", "p99_ms", "max_ms", "flood_msgs_s", "waiting_of_flood", "one_queue_ms");
        Table series = new("latencies", "Each sparse message of the run in the middle", "sent_at_s", "latency_ms") { IsSeries = true };
        for (int i = 0; i < done.Count; i++)
        {
            Run run = done[i];
            table.Add(i + 1, run.Sent, run.Sparse.Count, run.Sparse.P50, run.Sparse.P99, run.Sparse.Max, run.FloodRate, run.FloodWaiting, run.SharedQueueMilliseconds);
        }

        Run middle = done.OrderBy(run => run.Sparse.P99).ElementAt((done.Count - 1) / 2);
        for (int i = 0; i < middle.Sparse.Count; i++)
        {
            series.Add(middle.Sparse.SentAt[i], middle.Sparse.Milliseconds[i]);
        }

        double p99 = Statistics.Median(done.Select(run => run.Sparse.P99));
        double flood = Statistics.Median(done.Select(run => run.FloodRate));
        double oneQueue = Statistics.Median(done.Select(run => run.SharedQueueMilliseconds));
        long sent = done.Sum(run => run.Sent);
        long received = done.Sum(run => (long)run.Sparse.Count);
        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["peers"] = Peers,
                ["sent"] = sent,
                ["recv"] = received,
                ["p50_ms"] = Statistics.Median(done.Select(run => run.Sparse.P50)),
                ["p99_ms"] = p99,
                ["max_ms"] = done.Max(run => run.Sparse.Max),
                ["flood_msgs_s"] = flood,
                ["one_queue_ms"] = oneQueue,
                ["work_ms"] = Work.TotalMilliseconds,
                ["runs"] = runs,
                ["seconds"] = duration.TotalSeconds,
            },
            Verdicts =
            [
                Verdict.AtMost($"99 % of the sparse peers' messages wait at most {MaxP99} ms", p99, MaxP99, "ms"),
                new Verdict("Every message of the sparse peers arrives", $"{Readable.Number(received)} of {Readable.Number(sent)}", received == sent && sent > 0),
                new Verdict("The flooding peer is served as well", $"{Readable.Number(flood)} messages/s", flood > 0),
            ],
            Tables = [table, series],
            Figures =
            [
                new Figure(
                    "over-time",
                    "Each message of the sparse peers, in the run in the middle. The grey line is what a message would wait in one queue for all peers.",
                    () =>
                    {
                        ScottPlot.Plot plot = Chart.OverTime("Sparse peers beside a flooding one", [("a message", middle.Sparse, Chart.Palette[0])], MaxP99);
                        double end = middle.Sparse.SentAt.LastOrDefault(1);
                        double queue = middle.SharedQueueMilliseconds;
                        plot.Line([0, end], [Chart.Log(queue), Chart.Log(queue)], Chart.Muted, $"in one queue: {Readable.Number(queue)} ms");
                        (double least, double most) = Chart.Decades(middle.Sparse.Percentile(0), middle.Sparse.Max, MaxP99, queue);
                        plot.LogarithmicY(least, most);
                        return plot.ToPng();
                    }),
            ],
        };
    }

    private async Task<Run> MeasureAsync(RunContext context, TimeSpan duration)
    {
        ChannelDescriptor channel = new(0x30, "work") { SendQueueCapacity = 256 };
        int capacity = (int)((duration + Patience) / SparseInterval * 3 * Peers);
        LatencyRecorder recorder = new(capacity);
        long flooded = 0;
        ValueTask Handle(Envelope envelope, CancellationToken cancellationToken)
        {
            long begin = Stopwatch.GetTimestamp();
            Stamp stamp = Stamp.Read(envelope.Data.Span);
            if (stamp.Sender == 0)
            {
                Volatile.Write(ref flooded, flooded + 1);
            }
            else
            {
                Volatile.Read(ref recorder).Record(stamp.Timestamp, begin);
            }

            // Work that needs the processor, as checking a signature does.
            while (Stopwatch.GetElapsedTime(begin) < Work)
            {
                Thread.SpinWait(20);
            }

            return ValueTask.CompletedTask;
        }

        await using Node far = await Node.StartAsync(context.CancellationToken, new HandlerReactor("work", [channel], Handle, maxConcurrency: 1));
        List<Node> nodes = [];
        try
        {
            List<(IPeer Near, IPeer Far)> connections = [];
            for (int i = 0; i < Peers; i++)
            {
                nodes.Add(await Node.StartAsync(context.CancellationToken, new HandlerReactor("sender", channel)));
                connections.Add(await nodes[^1].ConnectAsync(far, context.CancellationToken));
            }

            GC.Collect();
            Ticker[] tickers = [.. connections.Skip(1).Select((connection, i) => new Ticker(connection.Near, channel, context.CreatePayload(SparseSize), i + 1))];
            await using Saturation flood = Saturation.Start(connections[0].Near, channel, context.CreatePayload(FloodSize), 0, 0, context.CancellationToken);

            // Until the lane of the flooding peer is full.
            await Task.Delay(duration / 4, context.CancellationToken);
            LatencyRecorder own = new(capacity);
            Volatile.Write(ref recorder, own);
            long start = Stopwatch.GetTimestamp();
            long floodBefore = Volatile.Read(ref flooded);
            List<double> waiting = [];
            Task sampling = Pacing.EveryAsync(
                TimeSpan.FromMilliseconds(50),
                duration,
                () => waiting.Add(connections[0].Far.GetStatus().Channels.Sum(status => status.InboxMessages)),
                context.CancellationToken);
            await Task.WhenAll(tickers.Select((ticker, i) => SendSparselyAsync(context, ticker, i, duration)));
            await sampling;
            double floodRate = (Volatile.Read(ref flooded) - floodBefore) / Stopwatch.GetElapsedTime(start).TotalSeconds;
            long sent = tickers.Sum(ticker => ticker.Sent);
            await Pacing.UntilAsync(() => own.Count >= sent, Patience, context.CancellationToken);
            double waits = Statistics.Median(waiting);
            return new Run(sent + tickers.Sum(ticker => ticker.TakeRefused()), own.Take(), floodRate, waits, waits * Work.TotalMilliseconds);
        }
        finally
        {
            foreach (Node node in nodes)
            {
                await node.DisposeAsync();
            }
        }
    }

    // At moments of its own, so that the peers do not fall into step.
    private static async Task SendSparselyAsync(RunContext context, Ticker ticker, int purpose, TimeSpan duration)
    {
        Random random = context.CreateRandom(purpose);
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            await Task.Delay(SparseInterval * (0.5 + random.NextDouble()), context.CancellationToken);
            if (Stopwatch.GetElapsedTime(start) > duration)
            {
                return;
            }

            ticker.Send();
        }
    }

    private sealed record Run(long Sent, Latencies Sparse, double FloodRate, double FloodWaiting, double SharedQueueMilliseconds);
}
