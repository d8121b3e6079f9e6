using System.CommandLine;
using System.Diagnostics;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Output;
using ScottPlot;

namespace Pipeline.Experiments.Experiments;

/// <summary>How fast connections are made, and what one costs while nothing goes over it.</summary>
internal sealed record IdleExperiment : Experiment
{
    private const int HandshakesAtOnce = 16;
    private const int WarmUps = 32;

    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(2);

    // Pings while nothing else goes on; every connection has to answer some within the time.
    private static readonly TimeSpan PingInterval = TimeSpan.FromSeconds(1);

    /// <summary>How many connections there are.</summary>
    public int Peers { get; init; } = 1000;

    public override string Name => "idle";

    public override string Title => "Idle connections";

    public override string Description =>
        $"{Readable.Number(Peers)} connections are made, {HandshakesAtOnce} handshakes at once, both ends of each in this process and both authenticated. Then nothing goes over"
        + " them but pings. Memory is that of the process after a collection, less what it was before the first connection, over the number of ends.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<int> peers = OptionOf.Count("--peers", "N", "How many connections; each has both ends here.", 1000, 1, 10_000);
        return commands.Create(
            "idle",
            "Handshakes a second, and memory of an idle connection.",
            $"How long the connections are left idle. [default: {DefaultDuration.TotalSeconds} s]",
            runs: null,
            [peers],
            arguments => new IdleExperiment { Peers = arguments.GetValue(peers) });
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        TimeSpan idle = context.Duration ?? DefaultDuration;
        int hubs = (int)Math.Ceiling(Math.Sqrt(Peers));
        ConnectionOptions options = Node.Unlimited with { PingInterval = PingInterval, PongTimeout = TimeSpan.FromSeconds(20) };
        List<Node> dialling = [];
        List<Node> listening = [];
        try
        {
            // Few nodes with many connections each, so that it is the connections that count. A pair of nodes has one connection at most.
            for (int i = 0; i < hubs; i++)
            {
                dialling.Add(await Node.StartAsync(options, context.CancellationToken, MakeReactor()));
                listening.Add(await Node.StartAsync(options, context.CancellationToken, MakeReactor()));
            }

            context.Report("warm-up");
            await WarmUpAsync(options, context.CancellationToken);
            Footprint before = Footprint.Take();
            (List<(IPeer Near, IPeer Far)> connections, double[] times, double seconds) = await ConnectAsync(context, dialling, listening);
            double rate = connections.Count / seconds;
            context.Report($"{Readable.Number(connections.Count)} connections, {Readable.Number(rate)} a second; now idle");
            TimeSpan processor = Environment.CpuUsage.TotalTime;
            await Task.Delay(idle, context.CancellationToken);
            double load = (Environment.CpuUsage.TotalTime - processor) / idle * 100;
            Footprint after = Footprint.Take();
            int alive = connections.Count(connection => !connection.Near.Completion.IsCompleted && !connection.Far.Completion.IsCompleted);
            double ends = 2.0 * connections.Count;
            double resident = (after.Resident - before.Resident) / ends / 1024;
            double managed = (after.Managed - before.Managed) / ends / 1024;

            Table table = new("idle", "Connections", "peers", "handshakes_s", "KiB_per_end", "managed_KiB_per_end", "idle_cpu_%", "alive");
            table.Add(connections.Count, rate, resident, managed, load, alive);
            Table series = new("made", "When each connection was made", "seconds", "connections") { IsSeries = true };
            for (int i = 0; i < times.Length; i++)
            {
                series.Add(times[i], i + 1);
            }

            return new ExperimentResult(Name)
            {
                Fields = new OrderedDictionary<string, object?>
                {
                    ["peers"] = connections.Count,
                    ["handshakes_s"] = rate,
                    ["KiB_per_end"] = resident,
                    ["managed_KiB_per_end"] = managed,
                    ["idle_cpu_%"] = load,
                    ["alive"] = alive,
                    ["handshakes_at_once"] = HandshakesAtOnce,
                    ["ping_interval_ms"] = PingInterval.TotalMilliseconds,
                    ["seconds"] = idle.TotalSeconds,
                },
                Verdicts =
                [
                    new Verdict("Every connection is made", $"{Readable.Number(connections.Count)} of {Readable.Number(Peers)}", connections.Count == Peers),
                    new Verdict("Every connection is up after the idle time", $"{Readable.Number(alive)} of {Readable.Number(Peers)}", alive == Peers),
                ],
                Tables = [table, series],
                Figures =
                [
                    new Figure("made", "Connections over the time it took to make them.", () => DrawMade(times)),
                    new Figure("memory", "KiB of memory for each end of an idle connection.", () =>
                    {
                        Plot plot = Chart.Create("Memory of an idle end", "", "KiB");
                        plot.Bars([("resident, all of the process", resident, Chart.Palette[0]), ("managed", managed, Chart.Palette[2])]);
                        return plot.ToPng();
                    }),
                ],
            };
        }
        finally
        {
            await Task.WhenAll(dialling.Concat(listening).Select(node => node.DisposeAsync().AsTask()));
        }
    }

    private static HandlerReactor MakeReactor() => new HandlerReactor("idle", new ChannelDescriptor(0x30, "idle"));

    private static byte[] DrawMade(double[] times)
    {
        Plot plot = Chart.Create("Connections made", "seconds", "connections");
        plot.Line([0, .. times], [0, .. times.Select((_, i) => i + 1.0)], Chart.Palette[0]);
        plot.Axes.SetLimits(0, times[^1], 0, times.Length * 1.04);
        return plot.ToPng();
    }

    private static async Task WarmUpAsync(ConnectionOptions options, CancellationToken cancellationToken)
    {
        await using Node listener = await Node.StartAsync(options, cancellationToken, MakeReactor());
        for (int i = 0; i < WarmUps; i++)
        {
            await using Node dialler = await Node.StartAsync(options, cancellationToken, MakeReactor());
            await dialler.ConnectAsync(listener, cancellationToken);
        }
    }

    private async Task<(List<(IPeer Near, IPeer Far)> Connections, double[] Times, double Seconds)> ConnectAsync(
        RunContext context,
        List<Node> dialling,
        List<Node> listening)
    {
        List<(IPeer, IPeer)> connections = new(Peers);
        List<double> times = new(Peers);
        Lock gate = new();
        long start = Stopwatch.GetTimestamp();
        await Parallel.ForAsync(
            0,
            Peers,
            new ParallelOptions { MaxDegreeOfParallelism = HandshakesAtOnce, CancellationToken = context.CancellationToken },
            async (i, token) =>
            {
                (IPeer, IPeer) connection = await dialling[i / listening.Count].ConnectAsync(listening[i % listening.Count], token);
                lock (gate)
                {
                    connections.Add(connection);
                    times.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
                }
            });
        return (connections, [.. times], Stopwatch.GetElapsedTime(start).TotalSeconds);
    }

    private readonly record struct Footprint(long Resident, long Managed)
    {
        public static Footprint Take()
        {
            // Twice, for what only a finalizer lets go of.
            GC.Collect();
            GC.WaitForPendingFinalizers();
            GC.Collect();
            using Process process = Process.GetCurrentProcess();
            return new Footprint(process.WorkingSet64, GC.GetTotalMemory(forceFullCollection: true));
        }
    }
}
