using System.Diagnostics.Metrics;

namespace Pipeline.Protocols.Observing;

/// <summary>Settings and limits of an <see cref="EvidenceObserverReactor"/>.</summary>
public sealed record EvidenceObserverOptions
{
    /// <summary>
    /// How much evidence is kept, and remembered as seen; the oldest of the peer that sent most of it is forgotten. At least 1; default 1,000.
    /// </summary>
    public int MaxKept { get; init => field = AtLeastOne(value, nameof(MaxKept)); } = 1_000;

    /// <summary>How many addresses of validators are kept of one piece of evidence. At least 1; default 200.</summary>
    public int MaxValidators { get; init => field = AtLeastOne(value, nameof(MaxValidators)); } = 200;

    /// <summary>How many pieces of evidence a peer may send in one message; one that sends more is stopped. At least 1; default 1,000.</summary>
    public int MaxReceived { get; init => field = AtLeastOne(value, nameof(MaxReceived)); } = 1_000;

    /// <summary>Where time comes from. Default: the system's clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Makes the meter; null, the default, for one that ends with the node.</summary>
    public IMeterFactory? MeterFactory { get; init; }

    private static int AtLeastOne(int value, string property)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, property);
        return value;
    }
}
