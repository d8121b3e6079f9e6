using System.CommandLine;
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

    // So few connections at a time that the memory they leave behind is little beside what is measured.
    private const int WarmUpPeers = 100;

    // Handshakes are measured in batches, whose connections are closed between.
    private const int BatchPeers = 500;

    // What is promised, and of how many connections.
    private const int ManyPeers = 1000;
    private const int MostPeers = 5000;
    private const double MinRate = 3500;
    private const double MaxKibibytesPerEnd = 12;
    private const double MaxMebibytes = 250;
    private const double MaxLoad = 2;

    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan DefaultPingInterval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan WarmUpTime = TimeSpan.FromSeconds(12);
    private static readonly TimeSpan WarmUpPingInterval = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan HandshakeTime = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan PromisedPingInterval = new ConnectionOptions().PingInterval;

    /// <summary>How many connections there are.</summary>
    public int Peers { get; init; } = ManyPeers;

    /// <summary>How often each end pings the other. By default so often that each has to answer some within the idle time.</summary>
    public TimeSpan PingInterval { get; init; } = DefaultPingInterval;

    public override string Name => "idle";

    public override string Title => "Idle connections";

    public override string Description =>
        $"{Readable.Number(Peers)} connections are made, {HandshakesAtOnce} handshakes at once, both ends of each in this process and both authenticated. Then nothing goes over"
        + $" them but a ping each way every {Readable.Number(PingInterval.TotalSeconds)} s. Memory is that of the process after a collection, less what it was before the first connection,"
        + " over the number of ends: managed is what objects on the collected heap take, native all else that is resident (OpenSSL, sockets, the runtime, room on the heap that no"
        + $" object takes); buffers of the kernel are in neither. Handshakes a second are the median of batches of {BatchPeers}, made after {WarmUpTime.TotalSeconds} s of others.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<int> peers = OptionOf.Count("--peers", "N", "How many connections; each has both ends here.", ManyPeers, 1, 10_000);
        Option<TimeSpan?> pingInterval = OptionOf.Duration("--ping-interval", $"How often each end pings the other. [default: {DefaultPingInterval.TotalSeconds}s]");
        return commands.Create(
            "idle",
            "Handshakes a second, and memory of an idle connection.",
            $"How long the connections are left idle. [default: {DefaultDuration.TotalSeconds} s]",
            runs: null,
            [peers, pingInterval],
            arguments => new IdleExperiment { Peers = arguments.GetValue(peers), PingInterval = arguments.GetValue(pingInterval) ?? DefaultPingInterval });
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        OpenFiles.EnsureRoom($"{Readable.Number(Peers)} connections with both ends here", Mesh.SocketsOf(Math.Max(Peers, BatchPeers)));
        TimeSpan idle = context.Duration ?? DefaultDuration;
        ConnectionOptions options = Node.Unlimited with { PingInterval = PingInterval };
        context.Report("warm-up");
        await WarmUpAsync(context, options);
        (double[] times, Footprint total, Footprint growth, double load, int alive) = await StayIdleAsync(context, options, idle);
        List<double> rates = [];
        for (double seconds = 0; seconds < HandshakeTime.TotalSeconds; seconds += BatchPeers / rates[^1])
        {
            rates.Add(await MeasureBatchAsync(context, BatchPeers, options));
        }

        double rate = Statistics.Median(rates);
        context.Report($"{Readable.Number(rate)} handshakes a second");
        double resident = KibibytesPerEnd(growth.Resident);
        double managed = KibibytesPerEnd(growth.Managed);
        double native = KibibytesPerEnd(growth.Native);
        double mebibytes = total.Resident / (double)(1 << 20);
        Table table = new("idle", "Connections", "peers", "handshakes_s", "KiB_per_end", "managed_KiB_per_end", "native_KiB_per_end", "resident_MiB", "idle_cpu_%", "alive");
        table.Add(times.Length, rate, resident, managed, native, mebibytes, load, alive);
        Table batches = new("batches", $"Handshakes a second, {BatchPeers} at a time", "batch", "handshakes_s");
        rates.ForEach(batch => batches.Add(batches.Rows.Count + 1, batch));
        Table series = new("made", "When each connection was made", "seconds", "connections") { IsSeries = true };
        Array.ForEach(times, time => series.Add(time, series.Rows.Count + 1));
        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["peers"] = times.Length,
                ["handshakes_s"] = rate,
                ["KiB_per_end"] = resident,
                ["managed_KiB_per_end"] = managed,
                ["native_KiB_per_end"] = native,
                ["resident_growth_MiB"] = growth.Resident / (double)(1 << 20),
                ["resident_MiB"] = mebibytes,
                ["idle_cpu_%"] = load,
                ["alive"] = alive,
                ["handshakes_at_once"] = HandshakesAtOnce,
                ["ping_interval_ms"] = PingInterval.TotalMilliseconds,
                ["seconds"] = idle.TotalSeconds,
            },
            Verdicts =
            [
                new Verdict("Every connection is made", $"{Readable.Number(times.Length)} of {Readable.Number(Peers)}", times.Length == Peers),
                new Verdict("Every connection is up after the idle time", $"{Readable.Number(alive)} of {Readable.Number(Peers)}", alive == Peers),
                .. JudgeMany(),
                .. JudgeMost(),
            ],
            Tables = [table, batches, series],
            Figures =
            [
                new Figure("made", "Connections over the time it took to make them.", () => DrawMade(times)),
                new Figure("memory", "KiB of memory for each end of an idle connection; resident is the sum of managed and native.", () =>
                {
                    Plot plot = Chart.Create("Memory of an idle end", "", "KiB");
                    plot.Bars([("resident", resident, Chart.Palette[0]), ("managed", managed, Chart.Palette[2]), ("native", native, Chart.Palette[1])]);
                    return plot.ToPng();
                }),
            ],
        };

        double KibibytesPerEnd(long bytes) => bytes / (2.0 * times.Length) / 1024;

        // With few connections, what the process takes once counts too much; and what pings cost is seen when each end has sent one, as often as by default.
        IEnumerable<Verdict> JudgeMany() => Peers < ManyPeers ? [] :
        [
            Verdict.AtLeast($"There are at least {Readable.Number(MinRate)} handshakes a second, both ends of each here", rate, MinRate, "a second"),
            Verdict.AtMost($"An idle end takes at most {MaxKibibytesPerEnd} KiB, managed and native", resident, MaxKibibytesPerEnd, "KiB"),
        ];

        IEnumerable<Verdict> JudgeMost() => Peers < MostPeers ? [] :
        [
            Verdict.AtMost($"The whole process takes at most {MaxMebibytes} MiB", mebibytes, MaxMebibytes, "MiB"),
            .. PingInterval < PromisedPingInterval || idle < PingInterval
                ? Array.Empty<Verdict>()
                : [Verdict.AtMost($"A ping each way every {PingInterval.TotalSeconds} s takes at most {MaxLoad} % of a core", load, MaxLoad, "%")],
        ];
    }

    // Also the code of pings takes memory once, and not for each connection.
    private static async Task WarmUpAsync(RunContext context, ConnectionOptions options)
    {
        await Compilation.WarmUpAsync(() => MeasureBatchAsync(context, WarmUpPeers, options), WarmUpTime);
        await using Mesh pinged = await Mesh.StartAsync(WarmUpPeers, options with { PingInterval = WarmUpPingInterval }, context.CancellationToken);
        await pinged.ConnectAsync(HandshakesAtOnce, context.CancellationToken);
        await Task.Delay(20 * WarmUpPingInterval, context.CancellationToken);
    }

    // Makes connections and closes them again; the time of closing does not count.
    private static async Task<double> MeasureBatchAsync(RunContext context, int peers, ConnectionOptions options)
    {
        await using Mesh mesh = await Mesh.StartAsync(peers, options, context.CancellationToken);
        return peers / (await mesh.ConnectAsync(HandshakesAtOnce, context.CancellationToken))[^1];
    }

    private static byte[] DrawMade(double[] times)
    {
        Plot plot = Chart.Create("Connections made", "seconds", "connections");
        plot.Line([0, .. times], [0, .. times.Select((_, i) => i + 1.0)], Chart.Palette[0]);
        plot.Axes.SetLimits(0, times[^1], 0, times.Length * 1.04);
        return plot.ToPng();
    }

    private async Task<(double[] Times, Footprint Total, Footprint Growth, double Load, int Alive)> StayIdleAsync(RunContext context, ConnectionOptions options, TimeSpan idle)
    {
        await using Mesh mesh = await Mesh.StartAsync(Peers, options, context.CancellationToken);
        Footprint before = Footprint.Take();
        double[] times = await mesh.ConnectAsync(HandshakesAtOnce, context.CancellationToken);
        context.Report($"{Readable.Number(times.Length)} connections made in {Readable.Number(times[^1])} s; now idle");
        TimeSpan processor = Environment.CpuUsage.TotalTime;
        await Task.Delay(idle, context.CancellationToken);
        double load = (Environment.CpuUsage.TotalTime - processor) / idle * 100;
        Footprint after = Footprint.Take();
        return (times, after, after - before, load, mesh.Alive);
    }
}
