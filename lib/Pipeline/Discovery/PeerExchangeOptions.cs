using System.Collections.Immutable;
using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <summary>Settings of a <see cref="PeerExchangeReactor"/>.</summary>
public sealed record PeerExchangeOptions
{
    /// <summary>
    /// How many peers the node has dialled, as far as it knows enough addresses; those that others dial for it count. At least 0; default 10
    /// (<c>max_num_outbound_peers</c>).
    /// </summary>
    public int MaxOutboundPeers
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value, nameof(MaxOutboundPeers));
            field = value;
        }
    } = 10;

    /// <summary>
    /// Nodes that are dialled for addresses when there is nobody else to dial (<c>seeds</c>). Their hosts may be names. Default none.
    /// </summary>
    public ImmutableArray<NetAddress> Seeds { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>
    /// Whether the node is a seed (<c>seed_mode</c>): it visits the addresses that it knows of, one after the other, answers who asks it, and stays
    /// connected to nobody. Default false.
    /// </summary>
    public bool IsSeed { get; init; }

    /// <summary>How long a seed stays connected to whoever asks it for nothing and is no persistent peer. More than 0; default 28 h.</summary>
    public TimeSpan SeedDisconnectWaitPeriod { get; init => field = Positive(value, nameof(SeedDisconnectWaitPeriod)); } = TimeSpan.FromHours(28);

    /// <summary>
    /// How often the node looks whether it has enough peers. A peer may ask it once in a third of this; others count by their own setting. More than 0;
    /// default 30 s.
    /// </summary>
    public TimeSpan Period { get; init => field = Positive(value, nameof(Period)); } = TimeSpan.FromSeconds(30);

    /// <summary>How often a seed takes a selection of its book to visit. More than 0; default 30 s.</summary>
    public TimeSpan CrawlPeriod { get; init => field = Positive(value, nameof(CrawlPeriod)); } = TimeSpan.FromSeconds(30);

    /// <summary>After how long a seed visits an address again. More than 0; default 2 minutes.</summary>
    public TimeSpan RevisitPeriod { get; init => field = Positive(value, nameof(RevisitPeriod)); } = TimeSpan.FromMinutes(2);

    /// <summary>How many addresses a seed visits at once. At least 1; default 32.</summary>
    public int MaxVisits
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, nameof(MaxVisits));
            field = value;
        }
    } = 32;

    /// <summary>Where time comes from. Default: the system's clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Where choices and the random part of delays come from.</summary>
    internal Random Random { get; init; } = Random.Shared;

    private static TimeSpan Positive(TimeSpan value, string property)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(value, TimeSpan.Zero, property);
        return value;
    }
}
