namespace Pipeline.Cli.Demo.Views;

/// <summary>How fast figures grow: over the last second, or as long as there are snapshots.</summary>
internal sealed class RateWindow
{
    private static readonly TimeSpan Length = TimeSpan.FromSeconds(1);

    private readonly Queue<DemoSnapshot> _snapshots = [];
    private DemoSnapshot? _last;

    /// <summary>Takes the next snapshot.</summary>
    public void Add(DemoSnapshot snapshot)
    {
        _snapshots.Enqueue(snapshot);
        _last = snapshot;
        while (_snapshots.Count > 2 && _snapshots.ElementAt(1).Elapsed <= snapshot.Elapsed - Length)
        {
            _snapshots.Dequeue();
        }
    }

    /// <summary>Messages and bytes a second of some of the figures.</summary>
    public (double Messages, double Bytes) Of(Func<DemoSnapshot, Figures> select)
    {
        if (_last is not { } last || !_snapshots.TryPeek(out DemoSnapshot? first) || last.Elapsed <= first.Elapsed)
        {
            return default;
        }

        double seconds = (last.Elapsed - first.Elapsed).TotalSeconds;
        LaneCounts before = select(first).Counts;
        LaneCounts after = select(last).Counts;
        return ((after.Received - before.Received) / seconds, (after.Bytes - before.Bytes) / seconds);
    }
}
