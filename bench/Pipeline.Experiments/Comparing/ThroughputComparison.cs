using Pipeline.Experiments.Baselines;
using Pipeline.Experiments.Draining;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Output;
using ScottPlot;

namespace Pipeline.Experiments.Comparing;

/// <summary>How fast messages go through one connection, beside what others reach in the same minutes.</summary>
internal static class ThroughputComparison
{
    private static readonly Contender Ours = new PipelineContender();
    private static readonly Contender Limit = new CipherCeiling();
    private static readonly Contender Grpc = new GrpcBaseline();

    private static readonly IReadOnlyList<Contender> Contenders =
    [
        Ours, new PlainPipelineContender(), Limit, new PlainBaseline(), new TlsCeiling(), new TlsBaseline(), new NerdbankBaseline(), Grpc,
    ];

    /// <param name="context">How to run it.</param>
    /// <param name="runs">How many runs the medians are of.</param>
    /// <param name="loads">What goes through, a size of a message each.</param>
    public static async Task<Findings> RunAsync(RunContext context, int runs, IReadOnlyList<Load> loads)
    {
        Table byRun = new("runs", "Each run", "size", "run", "contender", "sent", "received", "out_of_order", "seconds", "msgs_s", "MB_s") { IsSeries = true };
        Dictionary<(Contender, int Size, int Run), Drained> done = [];

        // The first run is a warm-up: code is compiled and pools are filled.
        for (int run = 0; run <= runs; run++)
        {
            foreach (Load load in loads)
            {
                foreach (Contender contender in Contenders)
                {
                    Drained result = await contender.CarryAsync(context, load);
                    done[(contender, load.Size, run)] = result;
                    if (run > 0)
                    {
                        byRun.Add(
                            load.Size, run, contender.Name, result.Sent, result.Received, result.OutOfOrder, result.Seconds, result.MessagesPerSecond(load.Size), result.MegabytesPerSecond);
                    }
                }

                string phase = run == 0 ? "warm-up" : $"run {run} of {runs}";
                context.Report($"{phase}, {Readable.Bytes(load.Size)}: "
                    + string.Join(", ", Contenders.Select(contender => $"{contender.Name} {Readable.Number(done[(contender, load.Size, run)].MegabytesPerSecond)}")) + " MB/s");
            }
        }

        Table bySize = new("compare", "Medians by size of the message", "size", "contender", "msgs_s", "MB_s", "of_ceiling", "of_pipeline");
        foreach (Load load in loads)
        {
            foreach (Contender contender in Contenders)
            {
                double speed = Statistics.Median(Enumerable.Range(1, runs).Select(run => done[(contender, load.Size, run)].MegabytesPerSecond));
                bySize.Add(load.Size, contender.Name, speed * 1e6 / load.Size, speed, RatioTo(contender, Limit, load), RatioTo(contender, Ours, load));
            }
        }

        return new Findings(
            [
                .. Contenders.Select(contender => Drained.Judge(
                    $"Everything that goes through {contender.Name}", done.Where(entry => entry.Key.Item1 == contender).Select(entry => entry.Value))),
                .. loads.Select(load => Verdict.AtLeast(
                    $"Messages of {Readable.Bytes(load.Size)} go at least as fast as through {Grpc.Name}", RatioTo(Ours, Grpc, load) * 100, 100, "%")),
            ],
            [bySize, byRun],
            [
                new Figure(
                    "compare",
                    "Each point is the median of the runs. Ceilings carry no messages; theirs are bytes over size.",
                    () => Draw([.. loads.Select(load => load.Size)], bySize)),
            ]);

        // Within a run, whose parts took their turns in the same minutes.
        double RatioTo(Contender contender, Contender other, Load load) => Statistics.Median(
            Enumerable.Range(1, runs).Select(run => done[(contender, load.Size, run)].MegabytesPerSecond / done[(other, load.Size, run)].MegabytesPerSecond));
    }

    private static byte[] Draw(int[] sizes, Table bySize)
    {
        return Chart.ToPng([Panel("messages a second", 2), Panel("MB a second", 3)]);

        Plot Panel(string unit, int column) => Chart.Curves(
            $"Throughput of one connection, {unit}",
            "bytes of a message",
            unit,
            [.. sizes.Select(size => Readable.Bytes(size))],
            [.. Contenders.Select(contender => (contender.Name, bySize.Rows.Where(row => contender.Name.Equals(row[1])).Select(row => (double)row[column]!).ToArray()))]);
    }
}
