using System.CommandLine;
using System.Diagnostics;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;
using Pipeline.Reactors;
using ScottPlot;

namespace Pipeline.Experiments.Experiments;

/// <summary>How fast messages go to several peers at once, and what slow peers among them do to the others.</summary>
internal sealed record BroadcastExperiment : Experiment
{
    private const int DefaultRuns = 3;
    private const int DefaultPeers = 8;
    private const double MinRatio = 0.85;

    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan SlowDelay = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    public int Size { get; init; } = 1024;

    public int Peers { get; init; } = DefaultPeers;

    /// <summary>How many of the peers are slow in the second part.</summary>
    public int Slow { get; init; } = 2;

    public override string Name => "broadcast";

    public override string Title => "Broadcast";

    public override string Description =>
        $"One node broadcasts messages of {Readable.Bytes(Size)} to {Peers} peers, as fast as they take them; each message is serialised once. A peer whose queue is"
        + " full is waited for, while the others go on."
        + (Slow == 0 ? "" : $" Then the same with {Slow} peers whose reactor takes {SlowDelay.TotalMilliseconds} ms for each message; what finds their queues full is not sent to them.");

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<int> size = OptionOf.Size("--size", "Bytes of a message.", 1024, Stamp.Size);
        Option<int> peers = OptionOf.Count("--peers", "K", "How many peers there are.", DefaultPeers, 1, 200);
        Option<int> slow = OptionOf.Count("--slow", "M", "How many of them are slow in a second part; fewer than K.", 0, 0, 199);
        Command command = commands.Create(
            "broadcast",
            "Deliveries a second to several peers, and the effect of slow ones on the others.",
            $"How long each run measures. [default: {DefaultDuration.TotalSeconds} s]",
            DefaultRuns,
            [size, peers, slow],
            arguments => new BroadcastExperiment { Size = arguments.GetValue(size), Peers = arguments.GetValue(peers), Slow = arguments.GetValue(slow) });
        command.Validators.Add(result =>
        {
            int all = result.GetResult(peers) is { Implicit: false } ? result.GetValue(peers) : DefaultPeers;
            if (result.GetResult(slow) is { Implicit: false } given && !given.Errors.Any() && result.GetValue(slow) >= all)
            {
                result.AddError($"--slow {result.GetValue(slow)} leaves no fast peer of {all}.");
            }
        });
        return command;
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        int runs = context.Runs ?? DefaultRuns;
        TimeSpan duration = context.Duration ?? DefaultDuration;
        List<Run> fast = [];
        List<Run> mixed = [];
        Table table = new("broadcast", "Each run", "run", "slow", "deliveries_s", "MB_s", "fast_peer_msgs_s", "slow_peer_msgs_s", "not_sent_to_slow");
        for (int run = 1; run <= runs; run++)
        {
            await MeasureAsync(slow: 0, fast);
            if (Slow > 0)
            {
                await MeasureAsync(Slow, mixed);
            }

            async Task MeasureAsync(int slow, List<Run> done)
            {
                Run result = await BroadcastAsync(context, duration, slow);
                done.Add(result);
                table.Add(run, slow, result.Deliveries, result.Deliveries * Size / 1e6, result.FastRate(slow), slow == 0 ? null : result.Rates[..slow].Average(), result.Skipped);
                context.Report($"run {run} of {runs}, {slow} slow: {Readable.Number(result.Deliveries)} deliveries/s, {Readable.Number(result.FastRate(slow))} msgs/s to each fast peer");
            }
        }

        double deliveries = Statistics.Median(fast.Select(run => run.Deliveries));
        OrderedDictionary<string, object?> fields = new()
        {
            ["size"] = Size,
            ["peers"] = Peers,
            ["slow"] = Slow,
            ["deliveries_s"] = deliveries,
            ["MB_s"] = deliveries * Size / 1e6,
            ["fast_peer_msgs_s"] = Statistics.Median(fast.Select(run => run.FastRate(0))),
            ["fast_peer_msgs_s_beside_slow"] = null,
            ["ratio_beside_slow"] = null,
            ["runs"] = runs,
            ["seconds"] = duration.TotalSeconds,
        };
        Run[] all = [.. fast, .. mixed];
        long sent = all.Sum(run => run.Sent);
        long received = all.Sum(run => run.Received);
        List<Verdict> verdicts =
        [
            new Verdict(
                "Every message that was queued for a peer arrives there, once and in order",
                $"{Readable.Number(received)} of {Readable.Number(sent)}, {Readable.Number(all.Sum(run => run.OutOfOrder))} out of order",
                received == sent && sent > 0 && all.All(run => run.OutOfOrder == 0)),
        ];
        if (Slow > 0)
        {
            double beside = Statistics.Median(mixed.Select(run => run.FastRate(Slow)));
            double ratio = Statistics.Median(mixed.Select((run, i) => run.FastRate(Slow) / fast[i].FastRate(0)));
            fields["fast_peer_msgs_s_beside_slow"] = beside;
            fields["ratio_beside_slow"] = ratio;
            verdicts.Add(Verdict.AtLeast($"Beside {Slow} slow peers the fast ones get at least 85 % of what they get without", ratio * 100, MinRatio * 100, "%"));
        }

        return new ExperimentResult(Name)
        {
            Fields = fields,
            Verdicts = verdicts,
            Tables = [table],
            Figures = [new Figure("broadcast", "Messages a second that reach each peer; medians of the runs.", () => Draw(fast, mixed))],
        };
    }

    private byte[] Draw(List<Run> fast, List<Run> mixed)
    {
        List<(string, double, Color)> bars = [.. Enumerable.Range(0, Peers).Select(peer => ($"{peer + 1}", Rate(fast, peer), Chart.Palette[0]))];
        Plot plot = Chart.Create("Messages a second that reach each peer", "", "messages a second");
        if (mixed.Count > 0)
        {
            bars.Add(("", 0, Chart.Muted));
            bars.AddRange(Enumerable.Range(0, Peers).Select(peer => ($"{peer + 1}", Rate(mixed, peer), peer < Slow ? Chart.Palette[1] : Chart.Palette[2])));
            plot.Legend.ManualItems.Add(new LegendItem { LabelText = "no slow peer", FillColor = Chart.Palette[0] });
            plot.Legend.ManualItems.Add(new LegendItem { LabelText = $"fast, beside {Slow} slow ones", FillColor = Chart.Palette[2] });
            plot.Legend.ManualItems.Add(new LegendItem { LabelText = "slow", FillColor = Chart.Palette[1] });
        }

        plot.Bars(bars);
        plot.XLabel("peer", 13);
        plot.LegendBelow();
        return plot.ToPng();

        static double Rate(List<Run> runs, int peer) => Statistics.Median(runs.Select(run => run.Rates[peer]));
    }

    private async Task<Run> BroadcastAsync(RunContext context, TimeSpan duration, int slow)
    {
        ChannelDescriptor channel = new(0x30, "news") { SendQueueCapacity = 1000 };
        Arrivals arrivals = new(Peers);
        bool isLate = true;
        List<Node> receivers = [];
        Dictionary<IPeer, int> numberOf = [];
        await using Node sender = await Node.StartAsync(context.CancellationToken, new HandlerReactor("sender", channel));
        try
        {
            for (int i = 0; i < Peers; i++)
            {
                receivers.Add(await Node.StartAsync(context.CancellationToken, new HandlerReactor("receiver", [channel], MakeHandler(i))));
                numberOf.Add((await sender.ConnectAsync(receivers[i], context.CancellationToken)).Near, i);
            }

            GC.Collect();
            long[] sent = new long[Peers];
            long skipped = 0;
            using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken);
            Task sending = Task.Run(SendAsync, CancellationToken.None);

            // Compiles what is measured, and lets the queues of slow peers fill.
            await Task.Delay(duration / 3, context.CancellationToken);
            long[] before = [.. Enumerable.Range(0, Peers).Select(arrivals.MessagesOf)];
            long start = Stopwatch.GetTimestamp();
            await Task.Delay(duration, context.CancellationToken);
            long[] after = [.. Enumerable.Range(0, Peers).Select(arrivals.MessagesOf)];
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            await end.CancelAsync();
            await sending;
            Volatile.Write(ref isLate, false);
            await arrivals.WaitForAsync(sent.Sum(), Patience, context.CancellationToken);
            return new Run([.. after.Select((count, i) => (count - before[i]) / seconds)], sent.Sum(), arrivals.Messages, arrivals.OutOfOrder, skipped);

            async Task SendAsync()
            {
                byte[] message = context.CreatePayload(Size);
                for (long sequence = 0; !end.IsCancellationRequested; sequence++)
                {
                    Stamp.Write(message, sender: 0, sequence);
                    using SerializedMessage serialized = SerializedMessage.Create(channel, message);
                    foreach (BroadcastResult result in sender.Switch.TryBroadcast(serialized))
                    {
                        int peer = numberOf[result.Peer];
                        SendResult outcome = result.Result;
                        if (outcome == SendResult.QueueFull && peer >= slow)
                        {
                            outcome = await result.Peer.SendAsync(serialized, Timeout.InfiniteTimeSpan, context.CancellationToken);
                        }

                        await result.Peer.EnsureAliveAsync(outcome);
                        skipped += outcome == SendResult.QueueFull ? 1 : 0;
                        sent[peer] += outcome == SendResult.Queued ? 1 : 0;
                    }
                }
            }
        }
        finally
        {
            foreach (Node node in receivers)
            {
                await node.DisposeAsync();
            }
        }

        // What was not sent to a slow peer leaves gaps in its sequence, so there only going back is out of order.
        Func<Envelope, CancellationToken, ValueTask> MakeHandler(int peer) => async (envelope, cancellationToken) =>
        {
            if (peer < slow && Volatile.Read(ref isLate))
            {
                await Task.Delay(SlowDelay, cancellationToken);
            }

            arrivals.Count(envelope.Data, peer, mayHaveGaps: peer < slow);
        };
    }

    private sealed record Run(double[] Rates, long Sent, long Received, long OutOfOrder, long Skipped)
    {
        public double Deliveries => Rates.Sum();

        public double FastRate(int slow) => Rates[slow..].Average();
    }
}
