using System.Collections.Immutable;
using Pipeline.Dataflow;
using Pipeline.Protocols;

namespace Pipeline.Cli.Tap;

/// <summary>How much came, by who sent it, channel and kind. The kinds are those of the schema, so it stays small.</summary>
internal sealed class TapCounts(ImmutableArray<TappedNode> nodes)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<TrafficKey, Traffic> _rows = [];

    public void Add(in HeardMessage message)
    {
        TrafficKey key = new(message.From.Index, message.Channel.Id, message.Kind);
        lock (_gate)
        {
            _rows[key] = _rows.GetValueOrDefault(key) + new Traffic(1, message.Size);
        }
    }

    public TapSnapshot Take(TimeSpan elapsed)
    {
        lock (_gate)
        {
            return new TapSnapshot(elapsed, nodes, new Dictionary<TrafficKey, Traffic>(_rows));
        }
    }
}

/// <summary>What traffic is counted by.</summary>
/// <param name="Node">The index of the node that sent it.</param>
/// <param name="Channel">The channel.</param>
/// <param name="Kind">The kind of message.</param>
internal readonly record struct TrafficKey(int Node, byte Channel, string Kind);

/// <summary>How much had come at one moment.</summary>
/// <param name="Elapsed">Since the first node was connected.</param>
/// <param name="Nodes">The nodes.</param>
/// <param name="Rows">How much came of each kind.</param>
internal sealed record TapSnapshot(TimeSpan Elapsed, ImmutableArray<TappedNode> Nodes, IReadOnlyDictionary<TrafficKey, Traffic> Rows)
{
    public Traffic Total => Sum(static _ => true);

    /// <summary>The channels that something came on, by id.</summary>
    public IEnumerable<ChannelDescriptor> Channels => StandardChannels.All.Where(channel => Rows.Keys.Any(key => key.Channel == channel.Id));

    /// <summary>The kinds that came on a channel, those that came most first.</summary>
    public IEnumerable<string> KindsOf(ChannelDescriptor channel) => Rows.Keys
        .Where(key => key.Channel == channel.Id)
        .Select(key => key.Kind)
        .Distinct()
        .OrderByDescending(kind => OfKind(channel, kind).Messages)
        .ThenBy(kind => kind, StringComparer.Ordinal);

    public Traffic OfChannel(ChannelDescriptor channel) => Sum(key => key.Channel == channel.Id);

    public Traffic OfKind(ChannelDescriptor channel, string kind) => Sum(key => key.Channel == channel.Id && key.Kind == kind);

    public Traffic OfNode(TappedNode node) => Sum(key => key.Node == node.Index);

    private Traffic Sum(Func<TrafficKey, bool> counts) =>
        Rows.Where(row => counts(row.Key)).Aggregate(default(Traffic), (sum, row) => sum + row.Value);
}
