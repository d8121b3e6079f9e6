using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>
/// How many connections a second come from each source: a token bucket for each that has come lately. Not safe for several threads.
/// </summary>
/// <param name="perSecond">Connections a second, at least 1. So many may come at once after a pause.</param>
/// <param name="maxTracked">The most sources to know of; when there are more, the one that came longest ago is forgotten. At least 1.</param>
/// <param name="timeProvider">Where time comes from.</param>
internal sealed class AddressRates(int perSecond, int maxTracked, TimeProvider timeProvider)
{
    // An empty bucket is full after it, because it holds what comes in a second.
    private static readonly TimeSpan UntilFull = TimeSpan.FromSeconds(1);

    // Invariant: _byUse holds the buckets of _bySource, the one that was used longest ago first. One that is full is as that of a source
    // that is not known, and need not be kept.
    private readonly Dictionary<AddressBits, LinkedListNode<Bucket>> _bySource = [];
    private readonly LinkedList<Bucket> _byUse = [];

    public int Tracked => _bySource.Count;

    /// <summary>Takes a connection of a source. False when it has too many.</summary>
    public bool TryTake(AddressBits source)
    {
        long now = timeProvider.GetTimestamp();
        if (_bySource.Remove(source, out LinkedListNode<Bucket>? node))
        {
            _byUse.Remove(node);
        }

        while (_byUse.First is { } oldest
            && (timeProvider.GetElapsedTime(oldest.Value.At, now) >= UntilFull || _bySource.Count >= maxTracked))
        {
            _byUse.RemoveFirst();
            _bySource.Remove(oldest.Value.Source);
        }

        double tokens = node is null
            ? perSecond
            : Math.Min(perSecond, node.Value.Tokens + (perSecond * timeProvider.GetElapsedTime(node.Value.At, now).TotalSeconds));
        bool isTaken = tokens >= 1;
        node ??= new LinkedListNode<Bucket>(default);
        node.Value = new Bucket(source, isTaken ? tokens - 1 : tokens, now);
        _byUse.AddLast(node);
        _bySource.Add(source, node);
        return isTaken;
    }

    /// <param name="Source">Whose connections.</param>
    /// <param name="Tokens">How many connections could come at time <paramref name="At"/>: from 0 to those of a second.</param>
    /// <param name="At">When it was used last.</param>
    private readonly record struct Bucket(AddressBits Source, double Tokens, long At);
}
