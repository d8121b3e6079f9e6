using System.CommandLine;
using Pipeline.Experiments.Comparing;
using Pipeline.Experiments.Draining;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;

namespace Pipeline.Experiments.Experiments;

/// <summary>What one connection does and costs, beside what others reach on the same machine in the same minutes.</summary>
internal sealed record CompareExperiment : Experiment
{
    private const int DefaultRuns = 5;
    private const long DefaultTotal = 64 << 20;
    private const int DefaultConnections = 500;

    private const string Throughput = "throughput";
    private const string Latency = "latency";
    private const string Idle = "idle";

    private static readonly IReadOnlyList<int> DefaultSizes = [64, 256, 1 << 10, 8 << 10, 64 << 10, 512 << 10];
    private static readonly IReadOnlyList<string> AllParts = [Throughput, Latency, Idle];
    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(2);

    private static readonly IReadOnlyList<IMultiplexer> Multiplexers = [new PipelineMultiplexer(), new TlsMultiplexer(), new NerdbankMultiplexer(), new GrpcMultiplexer()];

    public IReadOnlyList<string> Parts { get; init; } = AllParts;

    public IReadOnlyList<int> Sizes { get; init; } = DefaultSizes;

    public int Senders { get; init; } = 1;

    /// <summary>Bytes of messages of each run.</summary>
    public long Total { get; init; } = DefaultTotal;

    /// <summary>How many idle connections each has.</summary>
    public int Connections { get; init; } = DefaultConnections;

    public override string Name => "compare";

    public override string Title => "Beside others";

    public override string Description =>
        "Messages of a size go through one connection as fast as they can be sent: through two nodes of ours, through our dataflow without encryption, through other ways to the same end,"
        + " and, without messages, through nothing but cipher and sockets. Of gRPC the better of two ways counts. The runs take turns, and a ratio is the median of those within a run."
        + $" Then a message of {LatencyComparison.SmallSize} bytes goes every {LatencyComparison.Interval.TotalMilliseconds} ms beside as many of {Readable.Bytes(LatencyComparison.BulkSize)}"
        + " as go over the same connection: over another channel, another call, or, over TLS, behind what waits in the one short queue. Last, memory of an end of an idle connection,"
        + $" with {Readable.Number(Connections)} of them in a process of their own.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        LoadOptions load = new(DefaultSizes, DefaultTotal);
        Option<IReadOnlyList<string>> parts = OptionOf.Parts([.. AllParts]);
        Option<int> connections = OptionOf.Count("--connections", "N", "How many idle connections each has.", DefaultConnections, 1, 4_000);
        return commands.Create(
            "compare",
            "Throughput, latency beside bulk, and memory of an idle connection, beside a ceiling and other ways to send messages.",
            $"A throughput run sends no more after this time, even when --total is not reached (a ceiling's always reaches it); a latency run measures so long, and connections are idle so long. [default: {DefaultDuration.TotalSeconds} s]",
            DefaultRuns,
            [parts, .. load.All, connections],
            arguments => new CompareExperiment
            {
                Parts = arguments.GetValue(parts)!,
                Sizes = load.SizesIn(arguments),
                Senders = load.SendersIn(arguments),
                Total = load.TotalIn(arguments),
                Connections = arguments.GetValue(connections),
            });
    }

    /// <summary>The command that measures one of them in a process of its own.</summary>
    public static Command CreateIdleCommand(CommandHost host) => IdleComparison.CreateCommand(host, Multiplexers);

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        if (Parts.Contains(Idle))
        {
            OpenFiles.EnsureRoom($"{Readable.Number(Connections)} connections with both ends in one process", Mesh.SocketsOf(Connections));
        }

        context = context with { Duration = context.Duration ?? DefaultDuration };
        int runs = context.Runs ?? DefaultRuns;
        List<Findings> findings = [];
        if (Parts.Contains(Throughput))
        {
            findings.Add(await ThroughputComparison.RunAsync(context, runs, [.. Sizes.Select(size => new Load(size, Senders, Total))]));
        }

        if (Parts.Contains(Latency))
        {
            findings.Add(await LatencyComparison.RunAsync(context, runs, context.Duration.Value, Multiplexers));
        }

        if (Parts.Contains(Idle))
        {
            findings.Add(await IdleComparison.RunAsync(context, context.Duration.Value, Connections, Multiplexers));
        }

        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["parts"] = string.Join(',', Parts),
                ["size"] = Sizes,
                ["senders"] = Senders,
                ["total"] = Total,
                ["connections"] = Connections,
                ["runs"] = runs,
            },
            Verdicts = [.. findings.SelectMany(part => part.Verdicts)],
            Tables = [.. findings.SelectMany(part => part.Tables)],
            Figures = [.. findings.SelectMany(part => part.Figures)],
        };
    }
}
