using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Pipeline.Diagnostics;
using Pipeline.Transport;

namespace Pipeline.Protocols;

/// <summary>What the meters of all reactors have in common: their name, the node as a tag, and its network as a tag of each measurement.</summary>
internal static class ReactorMeter
{
    /// <summary>Makes the meter of a reactor, which ends it when it stops.</summary>
    /// <param name="factory">Who makes it; null: it is made here.</param>
    /// <param name="node">The node.</param>
    /// <param name="chain">Gets the tag for each measurement.</param>
    public static Meter Create(IMeterFactory? factory, NodeInfo node, out KeyValuePair<string, object?> chain)
    {
        chain = new("chain_id", node.Network);
        MeterOptions options = new(PipelineDiagnostics.MeterName) { Tags = [new("node_id", node.Id.ToString())] };
        return factory?.Create(options) ?? new Meter(options);
    }
}

/// <summary>Counts something by its kind, also while nobody listens. Safe for use by several threads at once.</summary>
/// <param name="tag">The tag that says the kind.</param>
internal sealed class KindCounter(string tag)
{
    private readonly ConcurrentDictionary<string, long> _counts = new();

    public void Add(string kind) => _counts.AddOrUpdate(kind, 1, static (_, count) => count + 1);

    public IEnumerable<Measurement<long>> Read(KeyValuePair<string, object?> chain) =>
        _counts.Select(count => new Measurement<long>(count.Value, chain, new KeyValuePair<string, object?>(tag, count.Key)));
}
