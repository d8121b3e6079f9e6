using System.CommandLine;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;
using Pipeline.Experiments.Scaling;
using Pipeline.Transport;

namespace Pipeline.Experiments.Experiments;

/// <summary>How cost grows with peers, channels, senders and the size of messages.</summary>
internal sealed record ScaleExperiment : Experiment
{
    private const int DefaultRuns = 3;
    private const long DefaultTotal = 64 << 20;

    private const string PeersPart = "peers";
    private const string ChannelsPart = "channels";
    private const string SendersPart = "senders";
    private const string SizesPart = "sizes";

    private static readonly IReadOnlyList<string> AllParts = [PeersPart, ChannelsPart, SendersPart, SizesPart];
    private static readonly IReadOnlyList<int> DefaultPeers = [1, 10, 100, 1000];
    private static readonly IReadOnlyList<int> DefaultChannels = [1, 2, 4, 8, 16];
    private static readonly IReadOnlyList<int> DefaultSenders = [1, 2, 4, 8, 16, 32, 64];
    private static readonly IReadOnlyList<int> DefaultSizes = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 20 << 20];
    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(3);

    public IReadOnlyList<string> Parts { get; init; } = AllParts;

    public IReadOnlyList<int> Peers { get; init; } = DefaultPeers;

    public IReadOnlyList<int> Channels { get; init; } = DefaultChannels;

    public IReadOnlyList<int> Senders { get; init; } = DefaultSenders;

    public IReadOnlyList<int> Sizes { get; init; } = DefaultSizes;

    /// <summary>Bytes of messages of a run with senders or sizes.</summary>
    public long Total { get; init; } = DefaultTotal;

    public override string Name => "scale";

    public override string Title => "Scale";

    public override string Description =>
        $"Peers, each of which sends {Readable.Bytes(PeersScale.Size)} {PeersScale.PerSecond} times a second into one switch: what one costs of the processor and of memory, and how long a message"
        + $" takes. Channels of one connection that are all kept full with messages of {Readable.Bytes(ChannelsScale.Size)}: what they carry together. Senders that share a channel, with messages of"
        + $" {Readable.Bytes(LoadScale.SenderSize)}, and one sender with messages of different sizes: how many go through in a second.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<IReadOnlyList<string>> parts = OptionOf.Parts([.. AllParts]);
        Option<IReadOnlyList<int>?> peers = Numbers("--peers", "peers", DefaultPeers, (1, 5000));
        Option<IReadOnlyList<int>?> channels = Numbers("--channels", "channels", DefaultChannels, (1, NodeInfo.MaxChannels));
        Option<IReadOnlyList<int>?> senders = Numbers("--senders", "senders", DefaultSenders, (1, 1000));
        Option<IReadOnlyList<int>?> sizes = Numbers("--size", "bytes of a message", DefaultSizes, (Stamp.Size, ChannelDescriptor.DefaultMaxMessageSize));
        Option<long?> total = OptionOf.Bytes("--total", "BYTES", "Bytes of messages that each run with senders or sizes sends; of large messages at least 8.", DefaultTotal, 1, 1L << 40);
        return commands.Create(
            "scale",
            "How cost grows with peers, channels, senders and sizes.",
            $"How long each run with peers or channels measures, and when one with senders or sizes sends no more. [default: {DefaultDuration.TotalSeconds} s]",
            DefaultRuns,
            [parts, peers, channels, senders, sizes, total],
            arguments => new ScaleExperiment
            {
                Parts = arguments.GetValue(parts)!,
                Peers = arguments.GetValue(peers) ?? DefaultPeers,
                Channels = arguments.GetValue(channels) ?? DefaultChannels,
                Senders = arguments.GetValue(senders) ?? DefaultSenders,
                Sizes = arguments.GetValue(sizes) ?? DefaultSizes,
                Total = arguments.GetValue(total)!.Value,
            });

        static Option<IReadOnlyList<int>?> Numbers(string name, string what, IReadOnlyList<int> defaults, (int, int) range) =>
            OptionOf.Counts(name, "N[,N...]", $"The numbers of {what}. [default: {OptionOf.Text(defaults)}]", (1, 20), range);
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        int runs = context.Runs ?? DefaultRuns;
        TimeSpan duration = context.Duration ?? DefaultDuration;
        context = context with { Duration = duration };
        List<Findings> findings = [];
        foreach (string part in AllParts.Where(Parts.Contains))
        {
            findings.Add(await (part switch
            {
                PeersPart => PeersScale.RunAsync(context, duration, Peers),
                ChannelsPart => ChannelsScale.RunAsync(context, runs, duration, Channels),
                SendersPart => LoadScale.RunSendersAsync(context, runs, Total, Senders),
                _ => LoadScale.RunSizesAsync(context, runs, Total, Sizes),
            }));
        }

        return new ExperimentResult(Name)
        {
            Fields = new OrderedDictionary<string, object?>
            {
                ["parts"] = string.Join(',', Parts),
                ["peers"] = Peers,
                ["channels"] = Channels,
                ["senders"] = Senders,
                ["size"] = Sizes,
                ["total"] = Total,
                ["runs"] = runs,
                ["seconds"] = duration.TotalSeconds,
            },
            Verdicts = [.. findings.SelectMany(part => part.Verdicts)],
            Tables = [.. findings.SelectMany(part => part.Tables)],
            Figures = [.. findings.SelectMany(part => part.Figures)],
        };
    }
}
