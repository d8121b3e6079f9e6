using System.Diagnostics.Metrics;

namespace Pipeline.Protocols.Consensus;

/// <summary>Settings of a <see cref="ConsensusObserver"/> and of a <see cref="ConsensusObserverReactor"/>.</summary>
public sealed record ConsensusObserverOptions
{
    /// <summary>
    /// How many heights are shown, and how many of what a peer says are kept (and two more, as peers do not move together). 1 to 1,000;
    /// default 20.
    /// </summary>
    public int Heights { get; init => field = InRange(value, 1, 1_000, nameof(Heights)); } = 20;

    /// <summary>How many rounds of a height are kept of what a peer says: the latest. 1 to 1,000; default 32.</summary>
    public int RoundsPerHeight { get; init => field = InRange(value, 1, 1_000, nameof(RoundsPerHeight)); } = 32;

    /// <summary>
    /// How many facts (a proposal, a part of a block, a vote) are kept of what a peer says, over all heights: what it says beyond them pushes out
    /// its lowest height. A fact takes less than 2 KiB. 1 to 10,000,000; default 20,000, which is 180 validators' votes of two rounds a height.
    /// </summary>
    public int FactsPerPeer { get; init => field = InRange(value, 1, 10_000_000, nameof(FactsPerPeer)); } = 20_000;

    /// <summary>
    /// Whether the reactor answers each NewRoundStep with the same, so that nodes of the reference, which send proposals, parts and votes to
    /// peers at their own height and round, send them here. Default true.
    /// </summary>
    public bool MirrorsSteps { get; init; } = true;

    /// <summary>
    /// How long it is at least from one view that <see cref="ConsensusObserver.WatchAsync"/> gives to the next. Zero (each change) to 1 minute; default
    /// 100 ms.
    /// </summary>
    public TimeSpan WatchInterval
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, TimeSpan.Zero, nameof(WatchInterval));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value, TimeSpan.FromMinutes(1), nameof(WatchInterval));
            field = value;
        }
    } = TimeSpan.FromMilliseconds(100);

    /// <summary>Where the reactor's time comes from, and that between views. Default: the system's.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Makes the reactor's meter; null, the default, for one that ends with the node.</summary>
    public IMeterFactory? MeterFactory { get; init; }

    private static int InRange(int value, int least, int most, string name)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, least, name);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(value, most, name);
        return value;
    }
}
