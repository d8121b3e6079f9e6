using System.CommandLine;
using System.Diagnostics;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;
using ScottPlot;

namespace Pipeline.Experiments.Experiments;

/// <summary>What part of the bytes each of several saturated channels gets.</summary>
internal sealed record SharesExperiment : Experiment
{
    private const double MaxDeviation = 0.05;
    private const int MessageSize = 8 << 10;

    // The throughput of a shared machine varies by a fifth from second to second.
    private const double MinThroughput = 0.75;

    private static readonly int[] DefaultPriorities = [1, 2, 5, 10];
    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(9);
    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan Window = TimeSpan.FromSeconds(1);

    // What was sent when a channel's queue has run empty still has to arrive.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Transition = TimeSpan.FromMilliseconds(200);

    public IReadOnlyList<int> Priorities { get; init; } = DefaultPriorities;

    public override string Name => "shares";

    public override string Title => "Shares";

    public override string Description =>
        $"Channels of the priorities {string.Join(", ", Priorities)} of one connection are all saturated; for the last third of the time the one of the highest"
        + " priority is idle. Measured is what part of the bytes each channel gets, over every second, against its priority over the sum of the"
        + " priorities of the busy channels.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<IReadOnlyList<int>?> priorities = OptionOf.Counts(
            "--priorities", "P,P[,...]", "The priorities of the channels, two to ten. [default: 1,2,5,10]", (2, 10), (1, 100));
        return commands.Create(
            "shares",
            "Byte shares of saturated channels against the ideal.",
            $"How long to measure in all. [default: {DefaultDuration.TotalSeconds} s]",
            runs: null,
            [priorities],
            arguments => new SharesExperiment { Priorities = arguments.GetValue(priorities) ?? DefaultPriorities });
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        TimeSpan duration = context.Duration ?? DefaultDuration;
        TimeSpan idleAfter = duration * 2 / 3;
        int idle = Priorities.ToList().IndexOf(Priorities.Max());
        (List<Sample> samples, double idleFrom) = await MeasureAsync(context, duration, idleAfter, idle);
        bool[] allBusy = [.. Priorities.Select(_ => true)];
        bool[] oneIdle = [.. Priorities.Select((_, i) => i != idle)];

        Table table = new("shares", "Each channel, over every second", "busy", "channel", "priority", "ideal_%", "mean_%", "least_%", "most_%", "deviation_%");
        Table series = new("seconds", "Shares over every window", ["from_s", "to_s", .. Priorities.Select((priority, i) => $"channel_{i}_priority_{priority}_%")]) { IsSeries = true };
        double worst = AddPhase(table, series, "all channels", allBusy, [.. samples.Where(sample => sample.Seconds <= idleAfter.TotalSeconds)]);
        double worstIdle = AddPhase(
            table, series, "one idle", oneIdle, [.. samples.Where(sample => sample.Seconds >= idleFrom + Transition.TotalSeconds)]);
        double throughput = Rate(samples, 0, idleAfter.TotalSeconds);
        double throughputIdle = Rate(samples, idleFrom + Transition.TotalSeconds, double.MaxValue);
        context.Report($"worst deviation {Readable.Number(worst * 100)} %, with one channel idle {Readable.Number(worstIdle * 100)} %");

        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["priorities"] = Priorities,
                ["ideal_%"] = string.Join(", ", Statistics.IdealShares(Priorities, allBusy).Select(share => Readable.Number(share * 100))),
                ["worst_deviation_%"] = worst * 100,
                ["worst_deviation_one_idle_%"] = worstIdle * 100,
                ["MB_s"] = throughput,
                ["MB_s_one_idle"] = throughputIdle,
                ["seconds"] = duration.TotalSeconds,
            },
            Verdicts =
            [
                Verdict.AtMost("Over any second each channel's share is within 5 % of its ideal", worst * 100, MaxDeviation * 100, "% at worst"),
                Verdict.AtMost("An idle channel's share goes to the others in proportion", worstIdle * 100, MaxDeviation * 100, "% at worst"),
                Verdict.AtLeast("Nothing of it is lost: with one channel idle, the connection carries at least 75 % of before", throughputIdle / throughput * 100, MinThroughput * 100, "%"),
            ],
            Tables = [table, series],
            Figures =
            [
                new Figure(
                    "shares",
                    "Shares of the bytes received, a point for each fifth of a second; dashed: the ideal. In the shaded time one channel has nothing to send.",
                    () => Draw(samples, idleFrom, allBusy, oneIdle)),
            ],
        };
    }

    private async Task<(List<Sample> Samples, double IdleFrom)> MeasureAsync(RunContext context, TimeSpan duration, TimeSpan idleAfter, int idle)
    {
        ChannelDescriptor[] channels =
        [
            .. Priorities.Select((priority, i) => new ChannelDescriptor((byte)(0x40 + i), $"priority {priority}")
            {
                Priority = priority,

                // Enough that no queue runs empty when its sender has to wait for the processor.
                SendQueueCapacity = 1024,
                SendQueueBytes = 8 << 20,
                ReceiveQueueCapacity = 1000,
            }),
        ];
        Arrivals arrivals = new(channels.Length);
        await using Node near = await Node.StartAsync(context.CancellationToken, new HandlerReactor("sender", channels));
        await using Node far = await Node.StartAsync(
            context.CancellationToken,
            new HandlerReactor("receiver", channels, envelope => arrivals.Count(envelope.Data.Span)));
        (IPeer peer, _) = await near.ConnectAsync(far, context.CancellationToken);
        Saturation[] saturations =
        [
            .. channels.Select((channel, i) => Saturation.Start(peer, channel, context.CreatePayload(MessageSize), i, 0, context.CancellationToken)),
        ];
        List<Sample> samples = [];
        double idleFrom = 0;
        try
        {
            // Compiles what is measured, and lets every queue fill.
            await Task.Delay(TimeSpan.FromMilliseconds(Math.Min(1000, duration.TotalMilliseconds / 3)), context.CancellationToken);
            long start = Stopwatch.GetTimestamp();
            Sample Take() => new(Stopwatch.GetElapsedTime(start).TotalSeconds, [.. channels.Select((_, i) => arrivals.BytesOf(i))]);
            void Add() => samples.Add(Take());
            Add();
            context.Report($"all {channels.Length} channels are saturated for {Readable.Number(idleAfter.TotalSeconds)} s");
            await Pacing.EveryAsync(SampleInterval, idleAfter, Add, context.CancellationToken);
            context.Report($"the channel of priority {Priorities[idle]} falls idle for {Readable.Number((duration - idleAfter).TotalSeconds)} s");
            await saturations[idle].StopAsync();
            await Pacing.UntilAsync(() => peer.GetStatus().Channels.All(status => status.Channel != channels[idle] || status.SendQueueMessages == 0), Patience, context.CancellationToken);
            idleFrom = Stopwatch.GetElapsedTime(start).TotalSeconds;
            Add();
            await Pacing.EveryAsync(SampleInterval, duration - idleAfter, Add, context.CancellationToken);
            await Task.WhenAll(saturations.Select(saturation => saturation.StopAsync()));
        }
        finally
        {
            foreach (Saturation saturation in saturations)
            {
                await saturation.DisposeAsync();
            }
        }

        return (samples, idleFrom);
    }

    // Over each second that lies within the phase; over all of it when it is shorter.
    private double AddPhase(Table table, Table series, string busyName, bool[] busy, Sample[] samples)
    {
        double[] ideal = Statistics.IdealShares(Priorities, busy);
        List<double[]> windows = [];
        int from = 0;
        for (int to = 1; to < samples.Length; to++)
        {
            bool isLong = samples[to].Seconds - samples[from].Seconds >= Window.TotalSeconds;
            if (isLong || (to == samples.Length - 1 && windows.Count == 0))
            {
                windows.Add(samples[to].SharesSince(samples[from]));
                series.Add([samples[from].Seconds, samples[to].Seconds, .. windows[^1].Select(share => (object?)(share * 100))]);
                while (from < to && samples[to].Seconds - samples[from].Seconds >= Window.TotalSeconds)
                {
                    from++;
                }
            }
        }

        double worst = windows.Count == 0 ? double.NaN : 0;
        for (int channel = 0; channel < Priorities.Count && windows.Count > 0; channel++)
        {
            double[] shares = [.. windows.Select(window => window[channel])];
            double deviation = shares.Max(share => Statistics.Deviation(share, ideal[channel]));
            worst = Math.Max(worst, deviation);
            table.Add(busyName, channel, Priorities[channel], ideal[channel] * 100, samples[^1].SharesSince(samples[0])[channel] * 100, shares.Min() * 100, shares.Max() * 100, deviation * 100);
        }

        return worst;
    }

    // MB a second of all channels.
    private static double Rate(List<Sample> samples, double from, double to)
    {
        Sample[] within = [.. samples.Where(sample => sample.Seconds >= from && sample.Seconds <= to)];
        return within.Length < 2 ? double.NaN
            : (within[^1].Bytes.Sum() - within[0].Bytes.Sum()) / (within[^1].Seconds - within[0].Seconds) / 1e6;
    }

    private byte[] Draw(List<Sample> samples, double idleFrom, bool[] allBusy, bool[] oneIdle)
    {
        Plot plot = Chart.Create("Shares of saturated channels", "seconds", "% of the bytes");
        double end = samples[^1].Seconds;
        plot.Span(idleFrom, end, "one channel idle");
        double[] before = Statistics.IdealShares(Priorities, allBusy);
        double[] after = Statistics.IdealShares(Priorities, oneIdle);
        Sample[] coarse = [.. samples.Where((_, i) => i % 2 == 0)];
        for (int channel = 0; channel < Priorities.Count; channel++)
        {
            Color color = Chart.Palette[channel];
            plot.Line(
                [0, idleFrom, idleFrom, end],
                [before[channel] * 100, before[channel] * 100, after[channel] * 100, after[channel] * 100],
                color.WithAlpha(0.6),
                width: 1.2f,
                pattern: LinePattern.Dashed);
            plot.LineWithPoints(
                [.. coarse.Skip(1).Select((sample, i) => (sample.Seconds + coarse[i].Seconds) / 2)],
                [.. coarse.Skip(1).Select((sample, i) => sample.SharesSince(coarse[i])[channel] * 100)],
                color,
                $"priority {Priorities[channel]}");
        }

        plot.Axes.SetLimitsX(0, end);
        plot.Axes.SetLimitsY(0, Math.Max(before.Max(), after.Max()) * 125);
        plot.LegendBelow();
        return plot.ToPng();
    }

    private sealed record Sample(double Seconds, long[] Bytes)
    {
        public double[] SharesSince(Sample earlier) => Statistics.Shares([.. Bytes.Select((bytes, i) => bytes - earlier.Bytes[i])]);
    }
}
