using System.Collections.Concurrent;
using System.Diagnostics.Metrics;

namespace Pipeline.Diagnostics;

/// <summary>
/// Counts what happens seldom, by one or two tags of few values. It counts also while nobody listens, so that who begins to listen later, or
/// asks for a status, gets all of it.
/// </summary>
internal sealed class Tally(string tag, string? otherTag = null)
{
    private readonly ConcurrentDictionary<(string Value, string? Other), long> _counts = new();

    public void Count(string value, string? other = null) => _counts.AddOrUpdate((value, other), 1, static (_, count) => count + 1);

    public IEnumerable<(string Value, string? Other, long Count)> Read() => _counts.Select(entry => (entry.Key.Value, entry.Key.Other, entry.Value));

    public IEnumerable<Measurement<long>> Measure(KeyValuePair<string, object?> common) =>
        Read().Select(entry => otherTag is null
            ? new Measurement<long>(entry.Count, common, new(tag, entry.Value))
            : new Measurement<long>(entry.Count, common, new(tag, entry.Value), new(otherTag, entry.Other)));
}
