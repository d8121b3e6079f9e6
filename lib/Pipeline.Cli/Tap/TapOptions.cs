using System.Collections.Immutable;
using Pipeline.Transport;

namespace Pipeline.Cli.Tap;

/// <summary>What is listened to, and for how long.</summary>
internal sealed record TapOptions
{
    /// <summary>The nodes, 1 to <see cref="Listening.ListenedNodes.MaxAddresses"/>, each once.</summary>
    public required ImmutableArray<NetAddress> Addresses { get; init; }

    /// <summary>The network that they are of.</summary>
    public required string Network { get; init; }

    /// <summary>The versions of the protocols that this node says it speaks.</summary>
    public ProtocolVersions Versions { get; init; } = new();

    /// <summary>What is of interest.</summary>
    public required TapFilter Filter { get; init; }

    /// <summary>How long, since the first node is connected; null: until interrupted.</summary>
    public TimeSpan? Duration { get; init; }

    /// <summary>How many messages, of those that pass the filter; null: without end.</summary>
    public long? Count { get; init; }
}
