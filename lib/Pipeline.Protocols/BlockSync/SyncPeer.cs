using System.Threading.Channels;
using Pipeline.Dataflow;

namespace Pipeline.Protocols.BlockSync;

/// <summary>What block sync knows of a peer.</summary>
internal sealed class SyncPeer(IPeer peer, int maxWaiting)
{
    public static readonly PeerItemKey<SyncPeer> Key = new("block sync");

    public IPeer Peer => peer;

    /// <summary>The heights that the peer has asked for and not been answered; <see cref="Status"/> for what blocks there are.</summary>
    public Channel<long> Requests { get; } = Channel.CreateBounded<long>(new BoundedChannelOptions(maxWaiting) { SingleReader = true });

    public const long Status = 0;

    public Task Serving { get; set; } = Task.CompletedTask;

    // The rest is guarded by the reactor's gate.

    /// <summary>What the peer says that it has.</summary>
    public BlockRange Range { get; set; }

    /// <summary>The blocks that the peer is asked for, and when it was.</summary>
    public Dictionary<long, long> Asked { get; } = [];

    /// <summary>The blocks that it was asked for and has not sent in time; few, as it is asked no more after some failures. They may still come.</summary>
    public HashSet<long> Late { get; } = [];

    /// <summary>Whether it was asked what it has and has not said so yet; when.</summary>
    public long? StatusAskedAt { get; set; }

    public int Limit { get; set; } = 2;

    public int Failures { get; set; }

    /// <summary>Asked no more in this sync.</summary>
    public bool IsExcluded { get; set; }

    public TimeSpan Latency { get; set; }
}
