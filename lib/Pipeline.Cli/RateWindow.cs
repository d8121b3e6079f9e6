namespace Pipeline.Cli;

/// <summary>How much came until some moment.</summary>
internal readonly record struct Traffic(long Messages, long Bytes)
{
    public static Traffic operator +(Traffic a, Traffic b) => new(a.Messages + b.Messages, a.Bytes + b.Bytes);
}

/// <summary>How fast figures grow: over the last second, or as long as there are snapshots.</summary>
/// <param name="elapsed">When a snapshot was taken, since some start.</param>
/// <typeparam name="TSnapshot">The figures of one moment.</typeparam>
internal sealed class RateWindow<TSnapshot>(Func<TSnapshot, TimeSpan> elapsed)
    where TSnapshot : class
{
    private static readonly TimeSpan Length = TimeSpan.FromSeconds(1);

    private readonly Queue<TSnapshot> _snapshots = [];
    private TSnapshot? _last;

    /// <summary>Takes the next snapshot.</summary>
    public void Add(TSnapshot snapshot)
    {
        _snapshots.Enqueue(snapshot);
        _last = snapshot;
        while (_snapshots.Count > 2 && elapsed(_snapshots.ElementAt(1)) <= elapsed(snapshot) - Length)
        {
            _snapshots.Dequeue();
        }
    }

    /// <summary>Messages and bytes a second of some of the figures.</summary>
    public (double Messages, double Bytes) Of(Func<TSnapshot, Traffic> select)
    {
        if (_last is not { } last || !_snapshots.TryPeek(out TSnapshot? first) || elapsed(last) <= elapsed(first))
        {
            return default;
        }

        double seconds = (elapsed(last) - elapsed(first)).TotalSeconds;
        Traffic before = select(first);
        Traffic after = select(last);
        return ((after.Messages - before.Messages) / seconds, (after.Bytes - before.Bytes) / seconds);
    }
}
