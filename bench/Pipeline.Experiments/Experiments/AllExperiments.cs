using Pipeline.Experiments.Flooding;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Experiments;

/// <summary>What a report is made of.</summary>
internal static class AllExperiments
{
    /// <summary>Each experiment, with how long a run measures and how many runs there are.</summary>
    public static IEnumerable<(Experiment Experiment, TimeSpan Duration, int Runs)> Create() =>
    [
        (new DrainExperiment { Sizes = [64, 256, 1 << 10, 8 << 10, 64 << 10, 512 << 10], Total = 64 << 20 }, TimeSpan.FromSeconds(5), 3),
        (new LatencyExperiment(), TimeSpan.FromSeconds(2), 3),
        (new PriorityExperiment(), TimeSpan.FromSeconds(3), 3),
        (new SharesExperiment(), TimeSpan.FromSeconds(9), 1),
        (new StallExperiment(), TimeSpan.FromSeconds(3), 2),
        (new StallExperiment { Delay = Timeout.InfiniteTimeSpan }, TimeSpan.FromSeconds(3), 2),
        (new FairnessExperiment(), TimeSpan.FromSeconds(3), 2),
        (new BroadcastExperiment(), TimeSpan.FromSeconds(2), 2),
        (new OverloadExperiment(), TimeSpan.FromSeconds(9), 1),
        (new PoliciesExperiment(), TimeSpan.FromSeconds(3), 1),
        (new IdleExperiment(), TimeSpan.FromSeconds(2), 1),
        (new BlockSyncExperiment { Blocks = 500 }, TimeSpan.FromSeconds(1), 2),
        (new EclipseExperiment { Rounds = 240 }, TimeSpan.FromSeconds(8), 3),
        (new MempoolExperiment { Transactions = 20_000 }, TimeSpan.FromSeconds(20), 1),

        // The only one that not every system can carry out.
        .. SocketCensus.IsPossible ? [((Experiment)new FloodExperiment { Connections = 4_000 }, TimeSpan.FromSeconds(1.5), 1)] : Array.Empty<(Experiment, TimeSpan, int)>(),
    ];
}
