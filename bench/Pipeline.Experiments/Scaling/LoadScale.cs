using Pipeline.Experiments.Draining;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Output;

namespace Pipeline.Experiments.Scaling;

/// <summary>How fast messages go through one connection as the load changes: with more senders, or with larger messages.</summary>
internal static class LoadScale
{
    public const int SenderSize = 1024;

    // Of large messages so many that it is not the first one which is measured.
    private const int MinMessages = 8;

    /// <param name="context">How to run it; its duration, if there is one, is when a run sends no more.</param>
    /// <param name="runs">How many runs the medians are of.</param>
    /// <param name="total">Bytes of messages of a run.</param>
    /// <param name="counts">The numbers of senders.</param>
    public static Task<Findings> RunSendersAsync(RunContext context, int runs, long total, IReadOnlyList<int> counts) => RunAsync(
        context,
        runs,
        "senders",
        "senders",
        [.. counts.Select(count => ($"{count}", new Load(SenderSize, count, total)))],
        $"Senders that share one channel of one connection, with messages of {Readable.Bytes(SenderSize)}.");

    /// <param name="context">How to run it; its duration, if there is one, is when a run sends no more.</param>
    /// <param name="runs">How many runs the medians are of.</param>
    /// <param name="total">Bytes of messages of a run, which has some messages at least.</param>
    /// <param name="sizes">Bytes of a message.</param>
    public static Task<Findings> RunSizesAsync(RunContext context, int runs, long total, IReadOnlyList<int> sizes) => RunAsync(
        context,
        runs,
        "sizes",
        "bytes of a message",
        [.. sizes.Select(size => (Readable.Bytes(size), new Load(size, 1, Math.Max(total, (long)MinMessages * size))))],
        "One sender, with messages of different sizes.");

    private static async Task<Findings> RunAsync(RunContext context, int runs, string name, string axis, IReadOnlyList<(string Name, Load Load)> loads, string caption)
    {
        PipelineContender contender = new();
        List<Drained> all = [];
        Table table = new(name, $"Throughput by {name}, medians", "size", "senders", "messages", "msgs_s", "MB_s");
        foreach ((string label, Load load) in loads)
        {
            // The first run is a warm-up: code is compiled and pools are filled.
            List<Drained> done = [];
            for (int run = 0; run <= runs; run++)
            {
                done.Add(await contender.CarryAsync(context, load));
            }

            all.AddRange(done);
            double speed = Statistics.Median(done.Skip(1).Select(run => run.MegabytesPerSecond));
            table.Add(load.Size, load.Senders, done[^1].Sent, speed * 1e6 / load.Size, speed);
            context.Report($"{name} {label}: {Readable.Number(speed)} MB/s");
        }

        string[] names = [.. loads.Select(load => load.Name)];
        return new Findings(
            [Drained.Judge($"Every message that was sent ({name})", all)],
            [table],
            [
                new Figure(name, caption, () => Chart.ToPng(
                    [
                        Chart.Curves("Messages a second", axis, "messages a second", names, ("median", ChannelsScale.Column(table, 3))),
                        Chart.CurvesFromZero("MB a second", axis, "MB a second", names, ("median", ChannelsScale.Column(table, 4))),
                    ],
                    330)),
            ]);
    }
}
