using System.Diagnostics;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;

namespace Pipeline.Experiments.Scaling;

/// <summary>What saturated channels of one connection carry together.</summary>
internal static class ChannelsScale
{
    public const int Size = 1024;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan WarmUpStep = TimeSpan.FromMilliseconds(100);

    /// <param name="context">How to run it.</param>
    /// <param name="runs">How many runs the medians are of.</param>
    /// <param name="duration">How long a run measures.</param>
    /// <param name="counts">The numbers of channels.</param>
    public static async Task<Findings> RunAsync(RunContext context, int runs, TimeSpan duration, IReadOnlyList<int> counts)
    {
        Table table = new("channels", "Saturated channels of one connection, medians", "channels", "msgs_s", "MB_s", "of_first");
        List<Run> all = [];
        foreach (int count in counts)
        {
            List<Run> done = [];
            for (int run = 1; run <= runs; run++)
            {
                done.Add(await MeasureAsync(context, duration, count));
            }

            all.AddRange(done);
            double speed = Statistics.Median(done.Select(run => run.BytesPerSecond));
            table.Add(count, speed / Size, speed / 1e6, table.Rows.Count == 0 ? 1.0 : speed / 1e6 / (double)table.Rows[0][2]!);
            context.Report($"{count} channels: {Readable.Number(speed / 1e6)} MB/s");
        }

        (long sent, long received, long outOfOrder) = (all.Sum(run => run.Sent), all.Sum(run => run.Received), all.Sum(run => run.OutOfOrder));
        return new Findings(
            [
                new Verdict(
                    "Every message on every channel arrives, once and in the order of sending",
                    $"{Readable.Number(received)} of {Readable.Number(sent)}, {Readable.Number(outOfOrder)} out of order",
                    received == sent && sent > 0 && outOfOrder == 0),
            ],
            [table],
            [
                new Figure(
                    "channels",
                    $"Channels of one connection, each kept full with messages of {Readable.Bytes(Size)} by a sender of its own; what all of them carry together.",
                    () => Chart.CurvesFromZero("Throughput of all channels", "channels", "MB a second", [.. counts.Select(count => $"{count}")], ("all channels", Column(table, 2))).ToPng()),
            ]);
    }

    /// <summary>The numbers of a column.</summary>
    public static double[] Column(Table table, int column) => [.. table.Rows.Select(row => (double)row[column]!)];

    private static async Task<Run> MeasureAsync(RunContext context, TimeSpan duration, int count)
    {
        ChannelDescriptor[] channels = [.. Enumerable.Range(0, count).Select(i => new ChannelDescriptor((byte)(0x30 + i), $"bulk {i + 1}")
        {
            SendQueueCapacity = 1000,
            ReceiveQueueCapacity = 1000,
        })];
        Arrivals arrivals = new(count);
        await using Node near = await Node.StartAsync(context.CancellationToken, new HandlerReactor("sender", channels));
        await using Node far = await Node.StartAsync(
            context.CancellationToken,
            new HandlerReactor("receiver", channels, envelope => arrivals.Count(envelope.Data.Span)));
        (IPeer peer, _) = await near.ConnectAsync(far, context.CancellationToken);
        Saturation[] saturations =
        [
            .. channels.Select((channel, i) => Saturation.Start(peer, channel, context.CreatePayload(Size), i, 0, context.CancellationToken)),
        ];
        try
        {
            await Compilation.WarmUpAsync(() => Task.Delay(WarmUpStep, context.CancellationToken));
            long bytes = arrivals.Bytes;
            long start = Stopwatch.GetTimestamp();
            await Task.Delay(duration, context.CancellationToken);
            double speed = (arrivals.Bytes - bytes) / Stopwatch.GetElapsedTime(start).TotalSeconds;
            long sent = (await Task.WhenAll(saturations.Select(saturation => saturation.StopAsync()))).Sum();
            await arrivals.WaitForAsync(sent, Patience, context.CancellationToken);
            return new Run(speed, sent, arrivals.Messages, arrivals.OutOfOrder);
        }
        finally
        {
            foreach (Saturation saturation in saturations)
            {
                await saturation.DisposeAsync();
            }
        }
    }

    private sealed record Run(double BytesPerSecond, long Sent, long Received, long OutOfOrder);
}
