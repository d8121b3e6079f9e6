using System.Collections.Immutable;
using Pipeline.Cli.Traces;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols;
using Pipeline.Wire;

namespace Pipeline.Cli.Tap;

/// <summary>Which messages are of interest; where nothing is named, all are.</summary>
internal sealed class TapFilter(IEnumerable<ChannelDescriptor> channels, IEnumerable<string> kinds, IEnumerable<NodeId> nodes)
{
    private readonly ImmutableHashSet<byte> _channels = [.. channels.Select(channel => channel.Id)];
    private readonly ImmutableHashSet<string> _kinds = [.. kinds];
    private readonly ImmutableHashSet<NodeId> _nodes = [.. nodes];

    public bool Passes(NodeId node, byte channel, string kind) =>
        (_nodes.IsEmpty || _nodes.Contains(node))
        && (_channels.IsEmpty || _channels.Contains(channel))
        && (_kinds.IsEmpty || _kinds.Contains(kind));

    /// <summary>
    /// The channels that a text means: <c>0x20</c>, <c>consensus state</c> (or with a dash), or the first words of several, as
    /// <c>consensus</c>.
    /// </summary>
    /// <returns>The channels; none with what would be right in <paramref name="error"/>.</returns>
    public static ImmutableArray<ChannelDescriptor> FindChannels(string text, out string? error)
    {
        string name = text.Trim().Replace('-', ' ').Replace('_', ' ').ToLowerInvariant();
        ImmutableArray<ChannelDescriptor> found =
        [
            .. StandardChannels.All.Where(channel => channel.Name == name || $"0x{channel.Id:x2}" == name || channel.Name.StartsWith(name + " ", StringComparison.Ordinal)),
        ];
        error = found.IsEmpty
            ? $"There is no channel '{Printable.Of(text, 40)}'; there is {string.Join(", ", StandardChannels.All)}."
            : null;
        return found;
    }

    /// <summary>Says why a kind cannot come on any of some channels, or null; of none stands for all.</summary>
    public static string? FindFault(string kind, IReadOnlyCollection<ChannelDescriptor> channels)
    {
        IEnumerable<ChannelDescriptor> wanted = channels.Count == 0 ? StandardChannels.All : channels;
        string[] kinds =
        [
            .. wanted.SelectMany(channel => StandardMessages.Kinds[channel.Id]).Where(known => known != MessageName.Unknown).Distinct(),
            MessageName.Unknown,
            HeardMessage.Malformed,
        ];
        return kinds.Contains(kind)
            ? null
            : $"There is no kind '{Printable.Of(kind, 40)}' of message{(channels.Count == 0 ? "" : " on the channels asked for")}; there is {string.Join(", ", kinds)}.";
    }

    /// <summary>The one of some nodes whose id is, or begins with, a text; null when there is none or several, with what would be right in <paramref name="error"/>.</summary>
    public static NodeId? FindNode(string text, IReadOnlyCollection<NodeId> nodes, out string? error)
    {
        NodeId[] found = [.. nodes.Where(node => text.Length > 0 && node.ToString().StartsWith(text, StringComparison.OrdinalIgnoreCase))];
        error = found.Length == 1
            ? null
            : $"'{Printable.Of(text, 40)}' is not the id, or the beginning of the id, of one of the nodes: {string.Join(", ", nodes)}.";
        return found.Length == 1 ? found[0] : null;
    }
}
