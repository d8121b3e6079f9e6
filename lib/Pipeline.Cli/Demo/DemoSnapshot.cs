using System.Collections.Immutable;

namespace Pipeline.Cli.Demo;

/// <summary>What waits somewhere, of what may wait there; both in messages.</summary>
internal readonly record struct Fill(long Messages, long Capacity)
{
    /// <summary>How full it is, 0 to 1.</summary>
    public double Level => Capacity == 0 ? 0 : (double)Messages / Capacity;

    public static Fill operator +(Fill a, Fill b) => new(a.Messages + b.Messages, a.Capacity + b.Capacity);
}

/// <summary>The traffic of a peer, of a channel, or of all.</summary>
/// <param name="Name">What it is the traffic of.</param>
/// <param name="Expected">Messages that are to arrive.</param>
/// <param name="Counts">What has arrived.</param>
/// <param name="SendQueue">What waits to be sent.</param>
/// <param name="Inbox">What waits for the reactors.</param>
/// <param name="P50">The latency from send to reactor that half of the messages did not exceed; null when there were none.</param>
/// <param name="P99">The same for 99 of 100.</param>
internal sealed record Figures(string Name, long Expected, LaneCounts Counts, Fill SendQueue, Fill Inbox, TimeSpan? P50, TimeSpan? P99)
{
    /// <summary>What has arrived, for rates.</summary>
    public Traffic Traffic => new(Counts.Received, Counts.Bytes);
}

/// <summary>The figures of one moment of a run.</summary>
/// <param name="Elapsed">Since the first message was sent.</param>
/// <param name="Total">Of everything.</param>
/// <param name="Peers">Of each peer.</param>
/// <param name="Channels">Of each channel, in the order of their ids.</param>
internal sealed record DemoSnapshot(TimeSpan Elapsed, Figures Total, ImmutableArray<Figures> Peers, ImmutableArray<Figures> Channels)
{
    /// <summary>Reads what the lanes say.</summary>
    /// <param name="lanes">The lanes.</param>
    /// <param name="waiting">What waits in a lane: to be sent, and for the reactor.</param>
    /// <param name="elapsed">Since the first message was sent.</param>
    public static DemoSnapshot Take(IReadOnlyList<ReplayLane> lanes, Func<ReplayLane, (Fill SendQueue, Fill Inbox)> waiting, TimeSpan elapsed)
    {
        ImmutableArray<Reading> readings = [.. lanes.Select(lane => new Reading(lane, lane.Counts, waiting(lane)))];
        return new DemoSnapshot(
            elapsed,
            Add("all", readings),
            [.. readings.GroupBy(reading => reading.Lane.Peer).OrderBy(peer => peer.Key).Select(peer => Add($"peer {peer.Key}", peer))],
            [.. readings.GroupBy(reading => reading.Lane.Channel).OrderBy(channel => channel.Key.Id).Select(channel => Add(channel.Key.ToString(), channel))]);
    }

    private static Figures Add(string name, IEnumerable<Reading> readings)
    {
        LatencyHistogram latency = LatencyHistogram.Sum(readings.Select(reading => reading.Lane.Latency));
        return new Figures(
            name,
            readings.Sum(reading => (long)reading.Lane.Messages.Count),
            readings.Aggregate(default(LaneCounts), (sum, reading) => sum + reading.Counts),
            readings.Aggregate(default(Fill), (sum, reading) => sum + reading.Waiting.SendQueue),
            readings.Aggregate(default(Fill), (sum, reading) => sum + reading.Waiting.Inbox),
            latency.Percentile(0.50),
            latency.Percentile(0.99));
    }

    private readonly record struct Reading(ReplayLane Lane, LaneCounts Counts, (Fill SendQueue, Fill Inbox) Waiting);
}
