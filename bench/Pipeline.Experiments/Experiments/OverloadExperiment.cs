using System.CommandLine;
using System.Diagnostics;
using System.Threading.Tasks.Dataflow;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;
using Pipeline.Reactors;
using ScottPlot;

namespace Pipeline.Experiments.Experiments;

/// <summary>What happens along a pipeline of a user's blocks, up to the sender on the other node, when its end is slow.</summary>
internal sealed record OverloadExperiment : Experiment
{
    private const int MessageSize = 4 << 10;
    private const int SendQueue = 64;
    private const int Lane = 64;
    private const int TransformBound = 32;
    private const int BatchSize = 8;
    private const int BatchBound = 4 * BatchSize;
    private const int ActionBound = 4;
    private const double MaxRateRatio = 1.25;
    private const string Sending = "send queue";
    private const string Inbox = "inbox";
    private const string Transforming = "TransformBlock";
    private const string Batching = "BatchBlock";
    private const string Acting = "ActionBlock";

    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(9);
    private static readonly TimeSpan SlowBatch = TimeSpan.FromMilliseconds(8);
    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    // An allowance smaller than the default, so that the picture is about the blocks and not about megabytes in between.
    private static readonly ConnectionOptions Options = Node.Unlimited with { ReceiveAllowance = 128 << 10 };

    public override string Name => "overload";

    public override string Title => "Overload";

    public override string Description =>
        $"A sender offers messages of {Readable.Bytes(MessageSize)} as fast as it can. They go through the inbox of a reactor that is made of a user's own bounded"
        + $" blocks: TransformBlock ({TransformBound}), BatchBlock ({BatchBound}, batches of {BatchSize}), ActionBlock ({ActionBound} batches). In the middle third"
        + $" of the time the last block takes {SlowBatch.TotalMilliseconds} ms a batch. Each queue fills up to its bound, from the last to the first, and then the sender"
        + " slows down to what the last block can do.";

    public static Command CreateCommand(ExperimentCommands commands) => commands.Create(
        "overload",
        "A pipeline of user blocks with a slow end: queues, rates and memory over time.",
        $"How long to measure in all. [default: {DefaultDuration.TotalSeconds} s]",
        runs: null,
        [],
        _ => new OverloadExperiment());

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        TimeSpan third = (context.Duration ?? DefaultDuration) / 3;
        Trace trace = await MeasureAsync(context, third);

        Table stages = new("stages", "Each queue on the way", "stage", "bound", "most_seen", "mean_when_slow", "mean_when_fast");
        bool isBounded = true;
        foreach (Stage stage in trace.Stages)
        {
            double[] depths = [.. trace.Samples.Select(sample => sample.Depths[stage.Name])];
            isBounded &= depths.Max() <= stage.Bound;
            stages.Add(stage.Name, stage.Bound, depths.Max(), Mean(stage, isSlow: true), Mean(stage, isSlow: false));
        }

        Table series = new("overload", "Over time", ["seconds", "sent", "handled", "managed_MiB", .. trace.Stages.Select(stage => stage.Name.Replace(' ', '_'))]) { IsSeries = true };
        foreach (Sample sample in trace.Samples)
        {
            series.Add([sample.Seconds, sample.Sent, sample.Handled, sample.ManagedMiB, .. trace.Stages.Select(stage => (object?)sample.Depths[stage.Name])]);
        }

        // The second half of the slow time, when the queues are full.
        Sample[] steady = [.. trace.Samples.Where(sample => sample.Seconds >= trace.SlowFrom + ((trace.SlowTo - trace.SlowFrom) / 2) && sample.Seconds <= trace.SlowTo)];
        Sample[] free = [.. trace.Samples.Where(sample => sample.Seconds < trace.SlowFrom)];
        double sentSlow = Rate(steady, sample => sample.Sent);
        double handledSlow = Rate(steady, sample => sample.Handled);
        double sentFree = Rate(free, sample => sample.Sent);
        context.Report($"sender: {Readable.Number(sentFree)} msgs/s free, {Readable.Number(sentSlow)} msgs/s while the end handles {Readable.Number(handledSlow)}");
        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["sent"] = trace.Sent,
                ["recv"] = trace.Handled,
                ["sender_msgs_s"] = sentFree,
                ["sender_slow_msgs_s"] = sentSlow,
                ["handled_slow_msgs_s"] = handledSlow,
                ["managed_MiB_max"] = trace.Samples.Max(sample => sample.ManagedMiB),
                ["managed_MiB_max_when_slow"] = steady.Length == 0 ? double.NaN : steady.Max(sample => sample.ManagedMiB),
                ["seconds"] = third.TotalSeconds * 3,
            },
            Verdicts =
            [
                new Verdict(
                    $"No queue exceeds its bound, in {trace.Samples.Count} looks",
                    string.Join(", ", stages.Rows.Select(row => $"{row[0]} {Readable.Cell(row[2])} of {Readable.Cell(row[1])}")),
                    isBounded),
                Verdict.AtMost("With the queues full, the sender is no faster than 1.25 times the slow end", sentSlow / handledSlow, MaxRateRatio, "times"),
                new Verdict(
                    "Every message is handled, once and in order",
                    $"{Readable.Number(trace.Handled)} of {Readable.Number(trace.Sent)}, {Readable.Number(trace.OutOfOrder)} out of order",
                    trace.Handled == trace.Sent && trace.OutOfOrder == 0),
            ],
            Tables = [stages, series],
            Figures =
            [
                new Figure(
                    "overload",
                    "Top: how full each queue is, as a part of its bound. Middle: messages a second that the sender gets rid of and that the last block handles."
                    + " Bottom: managed memory of the process, both ends and garbage included. Shaded: the last block is slow.",
                    () => Draw(trace)),
            ],
        };

        double Mean(Stage stage, bool isSlow)
        {
            double[] depths =
            [
                .. trace.Samples.Where(sample => isSlow == (sample.Seconds >= trace.SlowFrom && sample.Seconds <= trace.SlowTo)).Select(sample => sample.Depths[stage.Name]),
            ];
            return depths.Length == 0 ? double.NaN : depths.Average();
        }
    }

    private static double Rate(Sample[] samples, Func<Sample, long> count) =>
        samples.Length < 2 ? double.NaN : (count(samples[^1]) - count(samples[0])) / (samples[^1].Seconds - samples[0].Seconds);

    private static byte[] Draw(Trace trace)
    {
        double[] seconds = [.. trace.Samples.Select(sample => sample.Seconds)];
        Plot queues = Start("Queues", "% of the bound");
        for (int i = 0; i < trace.Stages.Count; i++)
        {
            Stage stage = trace.Stages[i];
            queues.Line(seconds, Smooth([.. trace.Samples.Select(sample => sample.Depths[stage.Name] / stage.Bound * 100)]), Chart.Palette[i], $"{stage.Name} ({Readable.Number(stage.Bound)})");
        }

        queues.Axes.SetLimitsY(0, 108);
        Plot rates = Start("Rates", "messages a second");
        Sample[] coarse = [.. trace.Samples.Where((_, i) => i % 10 == 0)];
        double[] middles = [.. coarse.Skip(1).Select((sample, i) => (sample.Seconds + coarse[i].Seconds) / 2)];
        AddRate("sent", sample => sample.Sent, Chart.Palette[0]);
        AddRate("handled", sample => sample.Handled, Chart.Palette[1]);
        Plot memory = Start("Managed memory", "MiB");
        memory.Line(seconds, [.. trace.Samples.Select(sample => sample.ManagedMiB)], Chart.Palette[6], "managed memory of the process");
        memory.Axes.SetLimitsY(0, trace.Samples.Max(sample => sample.ManagedMiB) * 1.2);
        foreach (Plot plot in new[] { queues, rates, memory })
        {
            plot.Axes.SetLimitsX(0, seconds[^1]);
            plot.LegendBelow();
        }

        return Chart.ToPng([queues, rates, memory], 330);

        Plot Start(string title, string unit)
        {
            Plot plot = Chart.Create(title, "seconds", unit);
            plot.Span(trace.SlowFrom, trace.SlowTo, "the last block is slow");
            return plot;
        }

        void AddRate(string name, Func<Sample, long> count, Color color)
        {
            double[] values = [.. coarse.Skip(1).Select((sample, i) => Math.Max(100, (count(sample) - count(coarse[i])) / (sample.Seconds - coarse[i].Seconds)))];
            rates.Line(middles, Chart.Log(values), color, name);
            (double least, double most) = Chart.Decades([.. values, 100, 100_000]);
            rates.LogarithmicY(least, most);
        }
    }

    // The mean of the nearest five, because a queue of a few messages is full or empty by turns when everything is fast.
    private static double[] Smooth(double[] values) =>
        [.. values.Select((_, i) => values[Math.Max(0, i - 2)..Math.Min(values.Length, i + 3)].Average())];

    private static async Task<Trace> MeasureAsync(RunContext context, TimeSpan third)
    {
        ChannelDescriptor channel = new(0x30, "transactions")
        {
            SendQueueCapacity = SendQueue,
            ReceiveQueueCapacity = Lane,
            ReceiveQueueBytes = Lane * 2 * MessageSize,
        };

        // A message that comes when its lane is full is charged to the allowance; the one that uses it up still gets in.
        long inboxBound = Lane + (Options.ReceiveAllowance / MessageSize) + 1;
        Arrivals arrivals = new(1);
        bool isSlow = false;
        int acting = 0;
        ExecutionDataflowBlockOptions one = new() { BoundedCapacity = TransformBound };
        TransformBlock<Envelope, byte[]> transform = new(
            envelope =>
            {
                byte[] copy = envelope.Data.ToArray();
                envelope.Release();
                return copy;
            },
            one);
        BatchBlock<byte[]> batch = new(BatchSize, new GroupingDataflowBlockOptions { BoundedCapacity = BatchBound });
        ActionBlock<byte[][]> act = new(
            async messages =>
            {
                Volatile.Write(ref acting, 1);
                if (Volatile.Read(ref isSlow))
                {
                    await Task.Delay(SlowBatch, context.CancellationToken);
                }

                foreach (byte[] message in messages)
                {
                    arrivals.Count(message);
                }

                Volatile.Write(ref acting, 0);
            },
            new ExecutionDataflowBlockOptions { BoundedCapacity = ActionBound });
        DataflowReactor reactor = new("transactions", channel);
        DataflowLinkOptions propagate = new() { PropagateCompletion = true };
        reactor.Source.LinkTo(transform, propagate);
        transform.LinkTo(batch, propagate);
        batch.LinkTo(act, propagate);

        await using Node near = await Node.StartAsync(context.CancellationToken, new HandlerReactor("sender", channel));
        Node far = await Node.StartAsync(Options, context.CancellationToken, reactor);
        await using Node stopped = far;
        (IPeer peer, IPeer farPeer) = await near.ConnectAsync(far, context.CancellationToken);
        List<Sample> samples = [];
        await using Saturation saturation = Saturation.Start(peer, channel, context.CreatePayload(MessageSize), 0, 0, context.CancellationToken);
        await Task.Delay(third / 4, context.CancellationToken);
        GC.Collect();
        long start = Stopwatch.GetTimestamp();
        double Seconds() => Stopwatch.GetElapsedTime(start).TotalSeconds;
        void Look() => samples.Add(new Sample(
            Seconds(),
            saturation.Sent,
            arrivals.Messages,
            GC.GetTotalMemory(forceFullCollection: false) / (double)(1 << 20),
            new Dictionary<string, double>
            {
                [Sending] = peer.GetStatus().Channels.Single(status => status.Channel == channel).SendQueueMessages,
                [Inbox] = farPeer.GetStatus().Channels.Single(status => status.Channel == channel).InboxMessages,

                // What has been done first: an item that moves on meanwhile would count twice the other way round.
                [Transforming] = transform.OutputCount + transform.InputCount,
                [Batching] = batch.OutputCount * BatchSize,

                // The one that it is busy with counts for its bound.
                [Acting] = act.InputCount + Volatile.Read(ref acting),
            }));
        context.Report("the last block is fast");
        await Pacing.EveryAsync(SampleInterval, third, Look, context.CancellationToken);
        double slowFrom = Seconds();
        Volatile.Write(ref isSlow, true);
        context.Report("the last block is slow");
        await Pacing.EveryAsync(SampleInterval, third, Look, context.CancellationToken);
        double slowTo = Seconds();
        Volatile.Write(ref isSlow, false);
        context.Report("the last block is fast again");
        await Pacing.EveryAsync(SampleInterval, third, Look, context.CancellationToken);
        long sent = await saturation.StopAsync();

        // What makes no full batch comes when the blocks complete.
        await Pacing.UntilAsync(() => arrivals.Messages > sent - BatchSize, Patience, context.CancellationToken);
        await far.DisposeAsync();
        await act.Completion.WaitAsync(Patience, context.CancellationToken);
        Stage[] stages =
        [
            new(Sending, SendQueue), new(Inbox, inboxBound), new(Transforming, TransformBound), new(Batching, BatchBound), new(Acting, ActionBound),
        ];
        return new Trace(samples, stages, slowFrom, slowTo, sent, arrivals.Messages, arrivals.OutOfOrder);
    }

    private sealed record Stage(string Name, double Bound);

    private sealed record Sample(double Seconds, long Sent, long Handled, double ManagedMiB, IReadOnlyDictionary<string, double> Depths);

    private sealed record Trace(IReadOnlyList<Sample> Samples, IReadOnlyList<Stage> Stages, double SlowFrom, double SlowTo, long Sent, long Handled, long OutOfOrder);
}
