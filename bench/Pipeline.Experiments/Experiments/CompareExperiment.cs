using System.CommandLine;
using Pipeline.Dataflow;
using Pipeline.Experiments.Baselines;
using Pipeline.Experiments.Draining;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;
using ScottPlot;

namespace Pipeline.Experiments.Experiments;

/// <summary>How fast messages go through one connection, beside what others reach on the same machine in the same minutes.</summary>
internal sealed record CompareExperiment : Experiment
{
    private const int DefaultRuns = 5;
    private const long DefaultTotal = 64 << 20;

    private static readonly int[] DefaultSizes = [64, 256, 1 << 10, 8 << 10, 64 << 10, 512 << 10];
    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(2);

    private static readonly Contender Ours = new PipelineContender();
    private static readonly Contender Limit = new CipherCeiling();

    private static readonly IReadOnlyList<Contender> Contenders =
    [
        Ours, Limit, new PlainBaseline(), new TlsCeiling(), new TlsBaseline(), new NerdbankBaseline(), new GrpcBaseline(),
    ];

    public IReadOnlyList<int> Sizes { get; init; } = DefaultSizes;

    public int Senders { get; init; } = 1;

    /// <summary>Bytes of messages of each run.</summary>
    public long Total { get; init; } = DefaultTotal;

    public override string Name => "compare";

    public override string Title => "Throughput beside others";

    public override string Description =>
        "Messages of a size go through one connection as fast as they can be sent: through two nodes of ours, through other ways to the same end,"
        + " and, without messages, through nothing but cipher and sockets. The runs take turns, and a ratio is the median of those within a run.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<IReadOnlyList<int>?> size = OptionOf.Counts(
            "--size",
            "N[,N...]",
            "Bytes of a message; with several sizes each is measured. [default: 64,256,1Ki,8Ki,64Ki,512Ki]",
            (1, 20),
            (Stamp.Size, ChannelDescriptor.DefaultMaxMessageSize));
        Option<int> senders = OptionOf.Count("--senders", "K", "How many send at once, all over the same connection.", 1, 1, 1000);
        Option<long?> total = OptionOf.Bytes("--total", "BYTES", "Bytes of messages that each run sends.", DefaultTotal, 1, 1L << 40);
        return commands.Create(
            "compare",
            "Throughput beside a ceiling and other ways to send messages.",
            $"A run sends no more after this time, even when --total is not reached; a ceiling's always reaches it. [default: {DefaultDuration.TotalSeconds} s]",
            DefaultRuns,
            [size, senders, total],
            arguments => new CompareExperiment { Sizes = arguments.GetValue(size) ?? DefaultSizes, Senders = arguments.GetValue(senders), Total = arguments.GetValue(total)!.Value });
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        context = context with { Duration = context.Duration ?? DefaultDuration };
        int runs = context.Runs ?? DefaultRuns;
        Table byRun = new("runs", "Each run", "size", "run", "contender", "sent", "received", "out_of_order", "seconds", "msgs_s", "MB_s") { IsSeries = true };
        Dictionary<(Contender, int Size, int Run), Drained> done = [];

        // The first run is a warm-up: code is compiled and pools are filled.
        for (int run = 0; run <= runs; run++)
        {
            foreach (int size in Sizes)
            {
                foreach (Contender contender in Contenders)
                {
                    Drained result = await contender.CarryAsync(context, new Load(size, Senders, run == 0 ? Math.Max(Total / 8, size) : Total));
                    done[(contender, size, run)] = result;
                    if (run > 0)
                    {
                        byRun.Add(
                            size, run, contender.Name, result.Sent, result.Received, result.OutOfOrder, result.Seconds, result.MessagesPerSecond(size), result.MegabytesPerSecond);
                    }
                }

                string phase = run == 0 ? "warm-up" : $"run {run} of {runs}";
                context.Report($"{phase}, {Readable.Bytes(size)}: "
                    + string.Join(", ", Contenders.Select(contender => $"{contender.Name} {Readable.Number(done[(contender, size, run)].MegabytesPerSecond)}")) + " MB/s");
            }
        }

        Table bySize = new("compare", "Medians by size of the message", "size", "contender", "msgs_s", "MB_s", "of_ceiling", "of_pipeline");
        foreach (int size in Sizes)
        {
            foreach (Contender contender in Contenders)
            {
                bySize.Add(
                    size,
                    contender.Name,
                    Median(run => done[(contender, size, run)].MessagesPerSecond(size)),
                    Median(run => done[(contender, size, run)].MegabytesPerSecond),
                    Median(run => done[(contender, size, run)].MegabytesPerSecond / done[(Limit, size, run)].MegabytesPerSecond),
                    Median(run => done[(contender, size, run)].MegabytesPerSecond / done[(Ours, size, run)].MegabytesPerSecond));
            }
        }

        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["size"] = Sizes,
                ["senders"] = Senders,
                ["total"] = Total,
                ["runs"] = runs,
            },
            Verdicts = [.. Contenders.Select(Judge)],
            Tables = [bySize, byRun],
            Figures = [new Figure("compare", "Each point is the median of the runs. Ceilings carry no messages; theirs are bytes over size.", () => Draw(bySize))],
        };

        double Median(Func<int, double> figure) => Statistics.Median(Enumerable.Range(1, runs).Select(figure));

        Verdict Judge(Contender contender)
        {
            Drained[] all = [.. done.Where(entry => entry.Key.Item1 == contender).Select(entry => entry.Value)];
            (long sent, long received, long outOfOrder) = (all.Sum(run => run.Sent), all.Sum(run => run.Received), all.Sum(run => run.OutOfOrder));
            return new Verdict(
                $"Everything that goes through {contender.Name} arrives, once and in the order of sending",
                $"{Readable.Number(received)} of {Readable.Number(sent)} arrived, {Readable.Number(outOfOrder)} out of order",
                received == sent && outOfOrder == 0);
        }
    }

    private byte[] Draw(Table bySize)
    {
        return Chart.ToPng([Panel("messages a second", 2), Panel("MB a second", 3)]);

        Plot Panel(string unit, int column)
        {
            Plot plot = Chart.Create($"Throughput of one connection, {unit}", "bytes of a message", unit);
            plot.Names([.. Sizes.Select(size => Readable.Bytes(size))]);
            double[] xs = [.. Sizes.Select((_, i) => (double)i)];
            for (int i = 0; i < Contenders.Count; i++)
            {
                string name = Contenders[i].Name;
                double[] ys = [.. bySize.Rows.Where(row => name.Equals(row[1])).Select(row => (double)row[column]!)];
                plot.LineWithPoints(xs, Chart.Log(ys), Chart.Palette[i], name);
            }

            (double least, double most) = Chart.Decades(bySize.Rows.Select(row => (double)row[column]!));
            plot.LogarithmicY(least, most);
            plot.Axes.SetLimitsX(-0.5, Sizes.Count - 0.5);
            plot.LegendBelow();
            return plot;
        }
    }
}
