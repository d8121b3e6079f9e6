using System.CommandLine;
using Pipeline.Experiments.Flooding;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Output;
using Pipeline.Switching;
using ScottPlot;

namespace Pipeline.Experiments.Experiments;

/// <summary>What thousands of connections that come to nothing do to a running node, to its peers and to those who want to become one.</summary>
internal sealed record FloodExperiment : Experiment
{
    private const int DefaultConnections = 10_000;
    private const int ManySources = 10_000;
    // A machine that does not make so many connections a second is too slow for the experiment.
    private const double MinRate = 250;

    private const int WarmUpConnections = 500;
    private const double MaxP99Rise = 10;
    private const double MinThroughput = 80;
    private const double MaxNewcomer = 5000;
    private const double MaxMemoryRise = 64;

    // Connections in their handshake, and as many that are being given up; the honest peers and newcomers, and one that is being refused.
    private static readonly int MaxOpen = (2 * new SwitchOptions().MaxInboundHandshakes) + HonestNetwork.Peers + 2 + 1;

    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(3);
    private static readonly (string Name, FloodKind Kind, bool IsFromMany)[] Variants =
    [
        ("silent", FloodKind.Silent, false),
        ("garbage", FloodKind.Garbage, false),
        ("half a handshake", FloodKind.HalfHandshake, false),
        ("silent, many addresses", FloodKind.Silent, true),
        ("garbage, many addresses", FloodKind.Garbage, true),
        ("half a handshake, many addresses", FloodKind.HalfHandshake, true),
    ];

    /// <summary>How many connections each flood makes.</summary>
    public int Connections { get; init; } = DefaultConnections;

    public override string Name => "flood";

    public override string Title => "A flood of connections";

    public override string Description =>
        $"A node with its default limits has {HonestNetwork.Peers} peers. Every {HonestNetwork.TrafficInterval.TotalMilliseconds} ms each sends it {HonestNetwork.SmallSize} bytes, whose latency is measured, and"
        + $" {Readable.Bytes(HonestNetwork.BulkSize)}, and gets {HonestNetwork.SmallSize} bytes. Then it is flooded by {Readable.Number(Connections)} connections at a time: they send nothing, or garbage, or an ephemeral key and then"
        + $" nothing more, and come from one address, with the limits for each address at work, or from {Readable.Number(ManySources)}. They stay until the node closes them; every fourth closes its own direction first. Meanwhile new"
        + " nodes try to become peers. The attacker is a process of its own on the same processor; what that alone costs is seen in a flood of a socket in the node's process that accepts"
        + " connections and closes them.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<int> connections = OptionOf.Count("--connections", "N", "How many connections each flood makes.", DefaultConnections, 1, 1_000_000);
        return commands.Create(
            "flood",
            "Thousands of connections that come to nothing: honest peers' latency and throughput, newcomers, memory and sockets.",
            $"In how long each flood makes its connections. [default: {DefaultDuration.TotalSeconds} s]",
            runs: null,
            [connections],
            arguments => new FloodExperiment { Connections = arguments.GetValue(connections) });
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        if (!SocketCensus.IsPossible)
        {
            throw new ExperimentException("This experiment needs Linux: many addresses to flood from, and a list of all sockets.");
        }

        TimeSpan duration = context.Duration ?? DefaultDuration;
        TimeSpan atMost = (3 * duration) + TimeSpan.FromSeconds(10 + (Connections / MinRate));
        await using HonestNetwork network = await HonestNetwork.StartAsync(context);
        await using AttackerProcess attacker = AttackerProcess.Start();
        await using Sink sink = new();
        foreach ((_, FloodKind kind, bool isFromMany) in Variants)
        {
            await FloodAsync("warm-up", kind, isFromMany, network.Port, WarmUpConnections);
        }

        GC.Collect();
        Phase before = await network.MeasureAsync("before", atMost, IdleAsync);
        Phase alone = await FloodAsync("the attacker alone", FloodKind.Silent, isFromMany: true, sink.Port, Connections);
        List<Phase> floods = [];
        foreach ((string name, FloodKind kind, bool isFromMany) in Variants)
        {
            floods.Add(await FloodAsync(name, kind, isFromMany, network.Port, Connections));
        }

        Phase after = await network.MeasureAsync("after", atMost, IdleAsync);
        (long sent, long received, long outOfOrder) = await network.StopTrafficAsync();
        SocketCensus end = await network.CountSocketsAtTheEndAsync();
        Phase[] phases = [before, alone, .. floods, after];

        Table table = new(
            "flood", "Each flood", "flood", "made", "seconds", "p50_ms", "p99_ms", "max_ms", "MB_s", "newcomers", "newcomer_p50_ms", "newcomer_max_ms", "newcomers_refused", "cpu_%", "attacker_cpu_%");
        Table memory = new("memory", "Memory and sockets", "flood", "managed_MiB", "resident_MiB", "open", "waiting", "close_wait", "overflows", "attacker_open");
        Table refusals = new("refusals", "Why connections became no peer", "flood", "reason", "connections");
        foreach (Phase phase in phases)
        {
            table.Add(
                phase.Name,
                phase.Outcome?.Connected,
                phase.Outcome?.Seconds,
                phase.Latencies.P50,
                phase.Latencies.P99,
                phase.Latencies.Max,
                phase.Throughput,
                phase.Newcomers.Length,
                phase.NewcomerMedian,
                phase.SlowestNewcomer,
                phase.NewcomersRefused,
                phase.Processor,
                phase.Outcome is { } outcome ? outcome.ProcessorSeconds / outcome.UntilClosed * 100 : null);
            memory.Add(
                phase.Name,
                phase.MaxManaged,
                phase.MaxResident,
                phase.Most(sockets => sockets.Open),
                phase.Most(sockets => sockets.Waiting),
                phase.Most(sockets => sockets.CloseWait),
                phase.Overflows,
                phase.Outcome?.MostOpen);
            foreach ((string reason, long count) in phase.Refusals)
            {
                refusals.Add(phase.Name, reason, count);
            }
        }

        Table memorySeries = new("memory-over-time", "Memory over time", "flood", "seconds", "managed_MiB", "resident_MiB") { IsSeries = true };
        Table socketSeries = new("sockets-over-time", "Sockets over time", "flood", "seconds", "open", "waiting", "close_wait", "time_wait") { IsSeries = true };
        foreach (Phase phase in phases)
        {
            foreach (Sample sample in phase.Samples)
            {
                memorySeries.Add(phase.Name, sample.Seconds, sample.Managed, sample.Resident);
            }

            foreach ((double seconds, SocketCensus sockets) in phase.Censuses)
            {
                socketSeries.Add(phase.Name, seconds, sockets.Open, sockets.Waiting, sockets.CloseWait, sockets.TimeWait);
            }
        }

        double undisturbed = Math.Max(before.Latencies.P99, alone.Latencies.P99);
        Phase slowest = floods.MaxBy(phase => phase.Latencies.P99)!;
        double throughput = floods.Min(phase => phase.Throughput) / before.Throughput * 100;
        double slowestNewcomer = floods.Max(phase => phase.SlowestNewcomer);
        int newcomers = floods.Sum(phase => phase.Newcomers.Length);
        double residentBefore = before.Samples[^1].Resident;
        double residentRise = floods.Max(phase => phase.MaxResident) - residentBefore;
        int mostOpen = floods.Max(phase => phase.Most(sockets => sockets.Open));
        int looks = floods.Sum(phase => phase.Censuses.Count);
        int made = floods.Min(phase => phase.Outcome!.Connected);
        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["connections"] = Connections,
                ["made"] = made,
                ["sent"] = sent,
                ["recv"] = received,
                ["before_p50_ms"] = before.Latencies.P50,
                ["before_p99_ms"] = before.Latencies.P99,
                ["sink_p99_ms"] = alone.Latencies.P99,
                ["p50_ms"] = floods.Max(phase => phase.Latencies.P50),
                ["p99_ms"] = slowest.Latencies.P99,
                ["before_MB_s"] = before.Throughput,
                ["sink_MB_s"] = alone.Throughput,
                ["MB_s"] = floods.Min(phase => phase.Throughput),
                ["newcomers"] = newcomers,
                ["newcomer_max_ms"] = slowestNewcomer,
                ["newcomers_refused"] = floods.Sum(phase => phase.NewcomersRefused),
                ["managed_MiB_before"] = before.Samples[^1].Managed,
                ["managed_MiB_max"] = floods.Max(phase => phase.MaxManaged),
                ["resident_MiB_before"] = residentBefore,
                ["resident_MiB_max"] = residentBefore + residentRise,
                ["resident_MiB_after"] = after.Samples[^1].Resident,
                ["open_max"] = mostOpen,
                ["open_after"] = end.Open,
                ["close_wait_max"] = floods.Max(phase => phase.Most(sockets => sockets.CloseWait)),
                ["close_wait_after"] = end.CloseWait,
                ["time_wait_after"] = end.TimeWait,
                ["seconds"] = duration.TotalSeconds,
            },
            Verdicts =
            [
                new Verdict("Every connection of the floods is made", $"{Readable.Number(made)} of {Readable.Number(Connections)} in the flood with the fewest", made == Connections),
                new Verdict(
                    "Every honest message arrives, once and in order",
                    $"{Readable.Number(received)} of {Readable.Number(sent)}, {Readable.Number(outOfOrder)} out of order",
                    received == sent && outOfOrder == 0 && sent > 0),
                Verdict.AtMost(
                    $"99 % of the honest messages take at most {MaxP99Rise} ms longer than without the floods, or with the attacker alone; in each flood",
                    slowest.Latencies.P99 - undisturbed,
                    MaxP99Rise,
                    $"ms ({slowest.Name}: {Readable.Number(slowest.Latencies.P99)}, before {Readable.Number(before.Latencies.P99)}, attacker alone {Readable.Number(alone.Latencies.P99)})"),
                Verdict.AtLeast($"Honest throughput is at least {MinThroughput} % of before, in each flood", throughput, MinThroughput, "%"),
                new Verdict(
                    $"Every honest newcomer becomes a peer within {MaxNewcomer / 1000} s",
                    $"{Readable.Number(newcomers)}, the slowest in {Readable.Number(slowestNewcomer)} ms",
                    newcomers > 0 && slowestNewcomer <= MaxNewcomer),
                Verdict.AtMost($"The process takes at most {MaxMemoryRise} MiB more than before", residentRise, MaxMemoryRise, "MiB more"),
                Verdict.AtMost($"There are never more than {MaxOpen} sockets of connections, in {looks} looks", mostOpen, MaxOpen, "at most"),
                new Verdict("In the end the peers' sockets are left, and none else", $"{end.Open} sockets, {end.Waiting} not accepted", end is { Open: HonestNetwork.Peers, Waiting: 0 }),
                new Verdict("In the end no socket is in CLOSE_WAIT", Readable.Number(end.CloseWait), end.CloseWait == 0),
            ],
            Tables = [table, memory, refusals, memorySeries, socketSeries],
            Figures =
            [
                new Figure(
                    "flood",
                    "Top: each honest message. Middle: memory of the node's process, which is the honest peers' and the newcomers' too. Bottom: sockets of connections to the node. Shaded: the first, third and fifth flood.",
                    () => Draw(before, alone, floods, after, undisturbed + MaxP99Rise)),
                new Figure(
                    "percentiles",
                    "Latency of the honest messages by percentile.",
                    () => Chart.Percentiles(
                        "Honest messages during floods",
                        [
                            ("before", before.Latencies, Chart.Muted),
                            ("the attacker alone", alone.Latencies, Chart.Palette[8]),
                            ("floods from one address", Together(floods, isFromMany: false), Chart.Palette[0]),
                            ("floods from many", Together(floods, isFromMany: true), Chart.Palette[1]),
                        ],
                        (0.99, undisturbed + MaxP99Rise)).ToPng()),
            ],
        };

        async Task<FloodOutcome?> IdleAsync()
        {
            await Task.Delay(duration, context.CancellationToken);
            return null;
        }

        Task<Phase> FloodAsync(string name, FloodKind kind, bool isFromMany, int port, int connections)
        {
            double seconds = duration.TotalSeconds * connections / Connections;
            Flood flood = new(kind, port, connections, isFromMany ? ManySources : 1, seconds, context.Seed);
            return network.MeasureAsync(name, atMost, async () => await attacker.FloodAsync(flood, context.CancellationToken));
        }
    }

    /// <summary>The messages of several phases, on one time axis.</summary>
    private static Latencies Together(params IEnumerable<Phase> phases) => new(
        [.. phases.SelectMany(phase => phase.Latencies.SentAt.Select(at => at + phase.From))],
        [.. phases.SelectMany(phase => phase.Latencies.Milliseconds)]);

    private static Latencies Together(List<Phase> floods, bool isFromMany) => Together(floods.Where((_, i) => Variants[i].IsFromMany == isFromMany));

    private static byte[] Draw(Phase before, Phase alone, List<Phase> floods, Phase after, double limit)
    {
        Phase[] phases = [before, alone, .. floods, after];
        Plot latency = Chart.OverTime(
            "Honest messages",
            [
                ("before and after", Together(before, after), Chart.Muted),
                ("the attacker alone", Together(alone), Chart.Palette[8]),
                ("floods from one address", Together(floods, isFromMany: false), Chart.Palette[0]),
                ("floods from many", Together(floods, isFromMany: true), Chart.Palette[1]),
            ],
            limit);
        Sample[] samples = [.. phases.SelectMany(phase => phase.Samples)];
        double[] seconds = [.. samples.Select(sample => sample.Seconds)];
        Plot memory = Chart.Create("Memory", "seconds", "MiB");
        memory.Line(seconds, [.. samples.Select(sample => sample.Resident)], Chart.Palette[0], "resident");
        memory.Line(seconds, [.. samples.Select(sample => sample.Managed)], Chart.Palette[2], "managed");
        memory.Axes.SetLimitsY(0, samples.Max(sample => sample.Resident) * 1.15);
        Plot sockets = Chart.Create("Sockets", "seconds", "sockets");
        AddSockets("open", census => census.Open, Chart.Palette[0]);
        AddSockets("waiting to be accepted", census => census.Waiting, Chart.Palette[4]);
        AddSockets("in CLOSE_WAIT", census => census.CloseWait, Chart.Palette[9]);
        sockets.Threshold(MaxOpen, $"{MaxOpen}, the limit of open ones");
        foreach (Plot plot in new[] { latency, memory, sockets })
        {
            // Every other one, so that one sees where the next begins.
            foreach (Phase flood in floods.Where((_, i) => i % 2 == 0))
            {
                plot.Span(flood.From, flood.From + flood.Seconds, "");
            }

            plot.Axes.SetLimitsX(seconds[0], seconds[^1]);
        }

        memory.LegendBelow();
        sockets.LegendBelow();

        return Chart.ToPng([latency, memory, sockets], 360);

        void AddSockets(string name, Func<SocketCensus, int> count, Color color)
        {
            (double Seconds, SocketCensus Sockets)[] censuses = [.. phases.SelectMany(phase => phase.Censuses)];
            sockets.Line([.. censuses.Select(census => census.Seconds)], [.. censuses.Select(census => (double)count(census.Sockets))], color, name);
        }
    }
}
