using System.Diagnostics;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;

namespace Pipeline.Experiments.Scaling;

/// <summary>What a peer costs that sends now and then, when there are few and when there are many.</summary>
internal static class PeersScale
{
    public const int Size = 1024;
    public const int PerSecond = 10;

    private const int HandshakesAtOnce = 16;
    private const int WarmUpPeers = 10;

    private static readonly TimeSpan WarmUpStep = TimeSpan.FromMilliseconds(300);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <param name="context">How to run it.</param>
    /// <param name="duration">How long is measured with each number of peers.</param>
    /// <param name="counts">The numbers of peers.</param>
    public static async Task<Findings> RunAsync(RunContext context, TimeSpan duration, IReadOnlyList<int> counts)
    {
        OpenFiles.EnsureRoom($"{Readable.Number(counts.Max())} peers with both ends here", 2 * (counts.Max() + 1));
        Table table = new("peers", "Peers that send now and then", "peers", "cpu_%", "cpu_%_per_peer", "timer_cpu_%", "p50_ms", "p99_ms", "max_ms", "KiB_per_peer", "managed_KiB_per_peer", "sent", "recv");
        List<Sample> done = [];

        // What the process takes once is not the first peer's.
        await MeasureAsync(context, WarmUpStep, WarmUpPeers);
        foreach (int count in counts)
        {
            Sample sample = await MeasureAsync(context, duration, count);
            done.Add(sample);
            table.Add(
                count,
                sample.Load,
                sample.Load / count,
                sample.Timer,
                sample.Latencies.P50,
                sample.Latencies.P99,
                sample.Latencies.Max,
                sample.Growth.Resident / 1024.0 / count,
                sample.Growth.Managed / 1024.0 / count,
                sample.Sent,
                sample.Latencies.Count);
            context.Report($"{Readable.Number(count)} peers: {Readable.Number(sample.Load)} % of a core, p50 {Readable.Number(sample.Latencies.P50)} ms, p99 {Readable.Number(sample.Latencies.P99)} ms");
        }

        string[] names = [.. counts.Select(count => Readable.Number(count))];
        return new Findings(
            [
                new Verdict(
                    "Every message of every peer arrives",
                    $"{Readable.Number(done.Sum(sample => (long)sample.Latencies.Count))} of {Readable.Number(done.Sum(sample => sample.Sent))}",
                    done.TrueForAll(sample => sample.Latencies.Count == sample.Sent && sample.Sent > 0)),
            ],
            [table],
            [
                new Figure(
                    "peers",
                    $"Each peer sends {Readable.Bytes(Size)} {PerSecond} times a second into one switch. Processor and memory are those of both ends of each connection,"
                    + " without the nodes themselves and without the timer that paces the senders.",
                    () => Chart.ToPng(
                        [
                            Chart.CurvesFromZero("Processor for each peer", "peers", "% of a core", names, ("a peer", [.. done.Select((sample, i) => sample.Load / counts[i])])),
                            Chart.Curves(
                                "Latency of a message",
                                "peers",
                                "milliseconds",
                                names,
                                ("p50", [.. done.Select(sample => sample.Latencies.P50)]),
                                ("p99", [.. done.Select(sample => sample.Latencies.P99)])),
                            Chart.Curves(
                                "Memory for each peer, both ends",
                                "peers",
                                "KiB",
                                names,
                                ("resident", [.. done.Select((sample, i) => sample.Growth.Resident / 1024.0 / counts[i])]),
                                ("managed", [.. done.Select((sample, i) => sample.Growth.Managed / 1024.0 / counts[i])])),
                        ],
                        330)),
            ]);
    }

    private static async Task<Sample> MeasureAsync(RunContext context, TimeSpan duration, int count)
    {
        ChannelDescriptor channel = new(0x30, "news") { SendQueueCapacity = 100 };
        LatencyRecorder? recorder = null;
        long received = 0;
        await using Node hub = await Node.StartAsync(context.CancellationToken, new HandlerReactor("hub", [channel], envelope =>
        {
            Volatile.Read(ref recorder)?.Record(Stamp.Read(envelope.Data.Span).Timestamp);
            Interlocked.Increment(ref received);
        }));
        List<Node> nodes = [];
        try
        {
            for (int i = 0; i < count; i++)
            {
                nodes.Add(await Node.StartAsync(
                    options => options with { ListenEndPoint = null },
                    context.CancellationToken,
                    new HandlerReactor("sender", channel)));
            }

            Footprint before = Footprint.Take();
            Ticker[] tickers = new Ticker[count];
            byte[] message = context.CreatePayload(Size);
            await Parallel.ForAsync(
                0,
                count,
                new ParallelOptions { MaxDegreeOfParallelism = HandshakesAtOnce, CancellationToken = context.CancellationToken },
                async (i, token) => tickers[i] = new Ticker((await nodes[i].ConnectAsync(hub, token)).Near, channel, message, i));

            // Each in its turn, also where one round is shorter than it takes for all of them.
            int turn = 0;
            await Compilation.WarmUpAsync(() => SendAsync(WarmUpStep));
            await UntilReceivedAsync();

            // What the timer costs that paces the senders is not the peers' cost.
            double timer = await MeasureLoadAsync(() => Pacing.EvenlyAsync(PerSecond * count, duration, static () => { }, context.CancellationToken));
            long first = tickers.Sum(ticker => ticker.Sent);
            Array.ForEach(tickers, ticker => ticker.TakeRefused());
            LatencyRecorder own = new((int)(duration.TotalSeconds * PerSecond * count) + 1);
            Volatile.Write(ref recorder, own);
            double load = await MeasureLoadAsync(() => SendAsync(duration));
            await UntilReceivedAsync();
            Volatile.Write(ref recorder, null);
            long sent = tickers.Sum(ticker => ticker.Sent) - first + tickers.Sum(ticker => ticker.TakeRefused());
            return new Sample(sent, own.Take(), load - timer, timer, Footprint.Take() - before);

            Task SendAsync(TimeSpan time) => Pacing.EvenlyAsync(
                PerSecond * count,
                time,
                () =>
                {
                    tickers[turn].Send();
                    turn = (turn + 1) % count;
                },
                context.CancellationToken);

            Task<bool> UntilReceivedAsync() => Pacing.UntilAsync(
                () => Interlocked.Read(ref received) >= tickers.Sum(ticker => ticker.Sent), Patience, context.CancellationToken);
        }
        finally
        {
            await Task.WhenAll(nodes.Select(node => node.DisposeAsync().AsTask()));
        }
    }

    // In percent of a core.
    private static async Task<double> MeasureLoadAsync(Func<Task> act)
    {
        TimeSpan processor = Environment.CpuUsage.TotalTime;
        long start = Stopwatch.GetTimestamp();
        await act();
        return (Environment.CpuUsage.TotalTime - processor) / Stopwatch.GetElapsedTime(start) * 100;
    }

    private sealed record Sample(long Sent, Latencies Latencies, double Load, double Timer, Footprint Growth);
}
