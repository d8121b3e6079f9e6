using System.CommandLine;
using Pipeline.Dataflow;
using Pipeline.Experiments.Nodes;

namespace Pipeline.Experiments.Draining;

/// <summary>The options that say what goes through a connection.</summary>
/// <param name="defaultSizes">Bytes of a message when none are given.</param>
/// <param name="defaultTotal">Bytes of messages of a run when none are given.</param>
internal sealed class LoadOptions(IReadOnlyList<int> defaultSizes, long defaultTotal)
{
    private readonly Option<IReadOnlyList<int>?> _sizes = OptionOf.Counts(
        "--size",
        "N[,N...]",
        $"Bytes of a message; with several sizes each is measured. [default: {OptionOf.Text(defaultSizes)}]",
        (1, 20),
        (Stamp.Size, ChannelDescriptor.DefaultMaxMessageSize));

    private readonly Option<int> _senders = OptionOf.Count("--senders", "K", "How many send at once, all over the same connection.", 1, 1, 1000);
    private readonly Option<long?> _total = OptionOf.Bytes("--total", "BYTES", "Bytes of messages that each run sends.", defaultTotal, 1, 1L << 40);

    public IEnumerable<Option> All => [_sizes, _senders, _total];

    public IReadOnlyList<int> SizesIn(ParseResult arguments) => arguments.GetValue(_sizes) ?? defaultSizes;

    public int SendersIn(ParseResult arguments) => arguments.GetValue(_senders);

    public long TotalIn(ParseResult arguments) => arguments.GetValue(_total)!.Value;
}
