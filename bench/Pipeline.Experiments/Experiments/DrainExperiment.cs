using System.CommandLine;
using Pipeline.Experiments.Draining;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Output;
using ScottPlot;

namespace Pipeline.Experiments.Experiments;

/// <summary>How fast messages of a size go through one connection.</summary>
internal sealed record DrainExperiment : Experiment
{
    private const int DefaultRuns = 5;
    private const long DefaultTotal = 128 << 20;

    private static readonly IReadOnlyList<int> DefaultSizes = [1024];

    public IReadOnlyList<int> Sizes { get; init; } = DefaultSizes;

    public int Senders { get; init; } = 1;

    /// <summary>Bytes of messages of each run.</summary>
    public long Total { get; init; } = DefaultTotal;

    public override string Name => "drain";

    public override string Title => "Throughput";

    public override string Description =>
        "Messages of a size go through one connection as fast as they can be sent. A run takes from the first send until the last message has"
        + " been handled; each message is serialised, split into packets, sealed, opened, put together and handed to a reactor. The figures are"
        + " medians of the runs.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        LoadOptions load = new(DefaultSizes, DefaultTotal);
        return commands.Create(
            "drain",
            "Time until all messages of a size are received.",
            "A run sends no more after this time, even when --total is not reached. [default: no limit]",
            DefaultRuns,
            load.All,
            arguments => new DrainExperiment { Sizes = load.SizesIn(arguments), Senders = load.SendersIn(arguments), Total = load.TotalIn(arguments) });
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        int runs = context.Runs ?? DefaultRuns;
        Table bySize = new("drain", "Medians by size of the message", "size", "senders", "messages", "msgs_s", "MB_s");
        Table byRun = new("runs", "Each run", "size", "run", "messages", "seconds", "msgs_s", "MB_s");
        PipelineContender contender = new();
        List<Drained> all = [];
        foreach (int size in Sizes)
        {
            List<Drained> done = [];

            // The first run is a warm-up: code is compiled and pools are filled.
            for (int run = 0; run <= runs; run++)
            {
                Drained result = await contender.CarryAsync(context, new Load(size, Senders, run == 0 ? Math.Max(Total / 8, size) : Total));
                all.Add(result);
                string phase = run == 0 ? "warm-up" : $"run {run} of {runs}";
                context.Report($"{Readable.Bytes(size)}, {phase}: {Readable.Number(result.MessagesPerSecond(size))} msgs/s, {Readable.Number(result.MegabytesPerSecond)} MB/s");
                if (run > 0)
                {
                    done.Add(result);
                    byRun.Add(size, run, result.Received, result.Seconds, result.MessagesPerSecond(size), result.MegabytesPerSecond);
                }
            }

            double messagesPerSecond = Statistics.Median(done.Select(run => run.MessagesPerSecond(size)));
            bySize.Add(size, Senders, done[0].Sent, messagesPerSecond, messagesPerSecond * size / 1e6);
        }

        OrderedDictionary<string, object?> fields = new() { ["size"] = Sizes is [int only] ? only : Sizes, ["senders"] = Senders };
        if (Sizes.Count == 1)
        {
            fields["msgs_s"] = bySize.Rows[0][3];
            fields["MB_s"] = bySize.Rows[0][4];
        }

        fields["total"] = Total;
        fields["runs"] = runs;
        return new ExperimentResult(Name)
        {
            Fields = fields,
            Verdicts = [Drained.Judge("Every message that was sent", all)],
            Tables = [bySize, byRun],
            Figures = [new Figure("drain", "Each point is the median of the runs; light points are the runs themselves.", () => Draw(bySize, byRun))],
        };
    }

    private byte[] Draw(Table bySize, Table byRun)
    {
        return Chart.ToPng([Panel("messages a second", 3, 4), Panel("MB a second", 4, 5)], 330);

        Plot Panel(string unit, int column, int runColumn)
        {
            Plot plot = Chart.Create($"Throughput of one connection, {unit}", "bytes of a message", unit);
            plot.Names([.. Sizes.Select(size => Readable.Bytes(size))]);
            double[] xs = [.. Sizes.Select((_, i) => (double)i)];
            double[] medians = [.. bySize.Rows.Select(row => (double)row[column]!)];
            double[] all = [.. byRun.Rows.Select(row => (double)row[runColumn]!)];
            plot.Points([.. byRun.Rows.Select(row => (double)Sizes.ToList().IndexOf((int)row[0]!))], Chart.Log(all), Chart.Muted, "a run");
            plot.LineWithPoints(xs, Chart.Log(medians), Chart.Palette[column - 3], "median");
            for (int i = 0; i < medians.Length; i++)
            {
                ScottPlot.Plottables.Text label = plot.Add.Text(Readable.Number(medians[i]), xs[i], Chart.Log(medians[i]));
                label.LabelFontSize = 12;
                label.LabelAlignment = Alignment.LowerCenter;
                label.OffsetY = -9;
            }

            (double least, double most) = Chart.Decades(all);
            plot.LogarithmicY(least, most);
            plot.Axes.SetLimitsX(-0.5, Sizes.Count - 0.5);
            plot.LegendBelow();
            return plot;
        }
    }
}
