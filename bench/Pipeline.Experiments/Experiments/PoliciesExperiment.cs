using System.CommandLine;
using System.Diagnostics;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;
using ScottPlot;

namespace Pipeline.Experiments.Experiments;

/// <summary>What each policy for a full lane does to delivery, latency and memory.</summary>
internal sealed record PoliciesExperiment : Experiment
{
    private const int MessageSize = 4 << 10;
    private const int Lane = 64;

    // A message in a lane costs its array and a little more, see Lane in the library; this is what 64 of them may take at most.
    private const int LaneBytes = Lane * 2 * MessageSize;

    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan Work = TimeSpan.FromMilliseconds(4);
    private static readonly TimeSpan OfferInterval = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan LookInterval = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private static readonly ConnectionOptions Options = Node.Unlimited with { ReceiveAllowance = 256 << 10, SendTimeout = Patience };

    public override string Name => "policies";

    public override string Title => "Policies for a full lane";

    public override string Description =>
        $"A sender offers about 1,000 messages of {Readable.Bytes(MessageSize)} a second to a reactor that takes about {Work.TotalMilliseconds} ms for each, over a channel whose"
        + $" lane has room for {Lane}; once with each policy for a full lane. Measured is what becomes of the messages, how old they are when the reactor begins with"
        + " them, and how many bytes wait for it.";

    public static Command CreateCommand(ExperimentCommands commands) => commands.Create(
        "policies",
        "Wait, drop the newest, drop the oldest, or disconnect: delivery, latency and memory side by side.",
        $"How long to measure each policy. [default: {DefaultDuration.TotalSeconds} s]",
        runs: null,
        [],
        _ => new PoliciesExperiment());

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        TimeSpan duration = context.Duration ?? DefaultDuration;
        List<Run> runs = [];
        Table table = new(
            "policies", "Side by side", "policy", "sent", "handled", "dropped", "handled_%", "p50_ms", "p99_ms", "max_ms", "inbox_msgs_max", "inbox_KiB_max", "ended_by");
        Table series = new("inbox", "Bytes that wait for the reactor, over time", "policy", "seconds", "inbox_messages", "inbox_bytes") { IsSeries = true };
        foreach (FullLanePolicy policy in Enum.GetValues<FullLanePolicy>())
        {
            Run run = await MeasureAsync(context, duration, policy);
            runs.Add(run);
            Latencies age = run.Age;
            table.Add(
                $"{policy}", run.Sent, run.Handled, run.Dropped, 100.0 * run.Handled / run.Sent, age.P50, age.P99, age.Max, run.MostMessages, run.MostBytes / 1024.0, run.End?.Kind.ToString());
            foreach ((double seconds, int messages, long bytes) in run.Looks)
            {
                series.Add($"{policy}", seconds, messages, bytes);
            }

            context.Report($"{policy}: {Readable.Number(run.Handled)} of {Readable.Number(run.Sent)} handled, {Readable.Number(run.Dropped)} dropped, p50 {Readable.Number(age.P50)} ms");
        }

        Run wait = runs[(int)FullLanePolicy.Wait];
        Run newest = runs[(int)FullLanePolicy.DropNewest];
        Run oldest = runs[(int)FullLanePolicy.DropOldest];
        Run disconnect = runs[(int)FullLanePolicy.Disconnect];
        OrderedDictionary<string, object?> fields = [];
        foreach (Run run in runs)
        {
            string prefix = char.ToLowerInvariant($"{run.Policy}"[0]) + $"{run.Policy}"[1..];
            fields[$"{prefix}_sent"] = run.Sent;
            fields[$"{prefix}_handled"] = run.Handled;
            fields[$"{prefix}_dropped"] = run.Dropped;
            fields[$"{prefix}_p50_ms"] = run.Age.P50;
            fields[$"{prefix}_p99_ms"] = run.Age.P99;
            fields[$"{prefix}_inbox_KiB_max"] = run.MostBytes / 1024.0;
        }

        fields["seconds"] = duration.TotalSeconds;
        return new ExperimentResult(Name)
        {
            Fields = fields,
            Verdicts =
            [
                new Verdict(
                    "Wait loses nothing",
                    $"{Readable.Number(wait.Handled)} of {Readable.Number(wait.Sent)} handled, {Readable.Number(wait.Dropped)} dropped",
                    wait.Handled == wait.Sent && wait.Dropped == 0),
                new Verdict(
                    "With the dropping policies each message is either handled or counted as dropped",
                    $"{Readable.Number(newest.Handled + newest.Dropped)} of {Readable.Number(newest.Sent)}, {Readable.Number(oldest.Handled + oldest.Dropped)} of {Readable.Number(oldest.Sent)}",
                    newest.Handled + newest.Dropped == newest.Sent && oldest.Handled + oldest.Dropped == oldest.Sent && newest.Dropped > 0 && oldest.Dropped > 0),
                new Verdict(
                    "Dropping the oldest hands on younger messages than dropping the newest",
                    $"median age {Readable.Number(oldest.Age.P50)} ms against {Readable.Number(newest.Age.P50)} ms",
                    oldest.Age.P50 < newest.Age.P50),
                new Verdict(
                    "Disconnect ends the connection, and says why",
                    disconnect.End?.ToString() ?? "the connection stayed",
                    disconnect.End?.Kind == DisconnectKind.LaneFull),
                new Verdict(
                    $"No lane holds more than its {Lane} messages; with Wait at most the allowance of {Readable.Bytes(Options.ReceiveAllowance)} more",
                    string.Join(", ", runs.Select(run => $"{run.Policy} {Readable.Number(run.MostMessages)}")),
                    runs.TrueForAll(run => run.MostMessages <= (run.Policy == FullLanePolicy.Wait ? Lane + (Options.ReceiveAllowance / MessageSize) + 1 : Lane))),
            ],
            Tables = [table, series],
            Figures =
            [
                new Figure("outcome", "What became of the messages that were sent, as a part of them.", () => DrawOutcome(runs)),
                new Figure("age", "How old messages were when the reactor began with them, by percentile.", () => Chart.Percentiles(
                    "Age of the messages that the reactor gets",
                    [.. runs.Select((run, i) => ($"{run.Policy}", run.Age, Chart.Palette[i]))]).ToPng()),
                new Figure("inbox", "Bytes that wait for the reactor, over time.", () => DrawInbox(runs)),
            ],
        };
    }

    private static byte[] DrawOutcome(List<Run> runs)
    {
        (string Name, Func<Run, double> Part, Color Color)[] parts =
        [
            ("handled", run => run.Handled, Chart.Palette[2]),
            ("dropped", run => run.Dropped, Chart.Palette[4]),
            ("lost with the connection", run => run.Sent - run.Handled - run.Dropped, Chart.Palette[1]),
        ];
        Plot plot = Chart.Create("What became of the messages", "policy", "% of those sent");
        for (int i = 0; i < runs.Count; i++)
        {
            double at = 0;
            foreach ((_, Func<Run, double> part, Color color) in parts)
            {
                double percent = 100 * part(runs[i]) / runs[i].Sent;
                if (percent > 0)
                {
                    plot.Add.Bar(new Bar { Position = i, ValueBase = at, Value = at + percent, FillColor = color, LineWidth = 0, Size = 0.62 });
                }

                if (percent >= 6)
                {
                    ScottPlot.Plottables.Text text = plot.Add.Text($"{Readable.Number(percent)} %", i, at + (percent / 2));
                    text.LabelAlignment = Alignment.MiddleCenter;
                    text.LabelFontColor = Colors.White;
                    text.LabelFontSize = 13;
                }

                at += percent;
            }
        }

        foreach ((string name, _, Color color) in parts)
        {
            plot.Legend.ManualItems.Add(new LegendItem { LabelText = name, FillColor = color });
        }

        plot.Names([.. runs.Select(run => $"{run.Policy}: {Readable.Number(run.Sent)} sent")]);
        plot.Axes.SetLimits(-0.6, runs.Count - 0.4, 0, 104);
        plot.LegendBelow();
        return plot.ToPng();
    }

    private static byte[] DrawInbox(List<Run> runs)
    {
        Plot plot = Chart.Create("Bytes that wait for the reactor", "seconds", "KiB");
        for (int i = 0; i < runs.Count; i++)
        {
            plot.Line([.. runs[i].Looks.Select(look => look.Seconds)], [.. runs[i].Looks.Select(look => look.Bytes / 1024.0)], Chart.Palette[i], $"{runs[i].Policy}");
        }

        plot.Axes.SetLimitsY(0, Math.Max(1, runs.Max(run => run.MostBytes) / 1024.0) * 1.12);
        plot.LegendBelow();
        return plot.ToPng();
    }

    private static async Task<Run> MeasureAsync(RunContext context, TimeSpan duration, FullLanePolicy policy)
    {
        ChannelDescriptor channel = new(0x30, "work")
        {
            SendQueueCapacity = 64,
            ReceiveQueueCapacity = Lane,
            ReceiveQueueBytes = LaneBytes,
            WhenFull = policy,
        };
        LatencyRecorder age = new((int)(duration / OfferInterval * 2) + 1000);
        long handled = 0;
        bool isSlow = true;
        async ValueTask HandleAsync(Envelope envelope, CancellationToken cancellationToken)
        {
            if (Volatile.Read(ref isSlow))
            {
                age.Record(Stamp.Read(envelope.Data.Span).Timestamp);
                await Task.Delay(Work, cancellationToken);
            }

            // Only what was finished counts.
            Volatile.Write(ref handled, handled + 1);
        }

        await using Node near = await Node.StartAsync(Options, context.CancellationToken, new HandlerReactor("sender", channel));
        await using Node far = await Node.StartAsync(Options, context.CancellationToken, new HandlerReactor("work", [channel], HandleAsync));
        (IPeer peer, IPeer farPeer) = await near.ConnectAsync(far, context.CancellationToken);
        GC.Collect();
        List<(double Seconds, int Messages, long Bytes)> looks = [];
        long start = Stopwatch.GetTimestamp();
        Task looking = Pacing.EveryAsync(LookInterval, duration, () =>
        {
            ChannelStatus status = StatusOf(farPeer);
            looks.Add((Stopwatch.GetElapsedTime(start).TotalSeconds, status.InboxMessages, status.InboxBytes));
        }, context.CancellationToken);
        long sent = await OfferAsync(context, peer, channel, duration, start);
        await looking;
        Volatile.Write(ref isSlow, false);

        // Until nothing is under way; a connection that has ended loses what was.
        await Pacing.UntilAsync(
            () => farPeer.Completion.IsCompleted || Volatile.Read(ref handled) + StatusOf(farPeer).MessagesDropped >= sent,
            Patience,
            context.CancellationToken);
        DisconnectReason? end = farPeer.Completion.IsCompleted ? await farPeer.Completion : null;
        return new Run(policy, sent, Volatile.Read(ref handled), StatusOf(farPeer).MessagesDropped, age.Take(), looks, end);

        ChannelStatus StatusOf(IPeer of) => of.GetStatus().Channels.Single(status => status.Channel == channel);
    }

    // As many as are due by now; when the sender has to wait, what it could not offer is not made up for.
    private static async Task<long> OfferAsync(RunContext context, IPeer peer, ChannelDescriptor channel, TimeSpan duration, long start)
    {
        byte[] message = context.CreatePayload(MessageSize);
        long sent = 0;
        using PeriodicTimer timer = new(OfferInterval);
        TimeSpan last = TimeSpan.Zero;
        while (last < duration)
        {
            await timer.WaitForNextTickAsync(context.CancellationToken);
            TimeSpan now = Stopwatch.GetElapsedTime(start);
            long due = Math.Clamp((long)((now - last) / OfferInterval), 1, 20);
            last = now;
            for (long i = 0; i < due; i++)
            {
                Stamp.Write(message, 0, sent);
                using SerializedMessage serialized = SerializedMessage.Create(channel, message);
                SendResult result = await peer.SendAsync(serialized, timeout: null, context.CancellationToken);
                if (result == SendResult.PeerStopped)
                {
                    return sent;
                }

                sent += result == SendResult.Queued ? 1 : 0;
            }
        }

        return sent;
    }

    private sealed record Run(
        FullLanePolicy Policy,
        long Sent,
        long Handled,
        long Dropped,
        Latencies Age,
        IReadOnlyList<(double Seconds, int Messages, long Bytes)> Looks,
        DisconnectReason? End)
    {
        public int MostMessages => Looks.Count == 0 ? 0 : Looks.Max(look => look.Messages);

        public long MostBytes => Looks.Count == 0 ? 0 : Looks.Max(look => look.Bytes);
    }
}
