using System.Collections.Immutable;
using Pipeline.Diagnostics;
using Pipeline.Reactors;

namespace Pipeline.Switching;

/// <content>What a node shows of itself.</content>
public sealed partial class Switch
{
    private readonly PipelineMetrics _metrics;
    private long _startTimestamp;

    /// <summary>What the node is and does at this moment; can be written as JSON.</summary>
    /// <exception cref="InvalidOperationException">The switch has not been started.</exception>
    public SwitchStatus GetStatus()
    {
        PeerCounts counts = Counts;
        PersistentPeer[] persistent;
        lock (_gate)
        {
            persistent = [.. _persistent.Values];
        }

        ImmutableArray<Peer> connected = _peers.Connected;
        ImmutableArray<PeerStatus> peers =
        [
            .. connected.Select(peer => PeerStatus.Of(peer) with
            {
                IsPersistent = peer.IsPersistent,
                IsUnconditional = _options.UnconditionalPeers.Contains(peer.Id),
                IsLazy = peer.IsLazy,
            }),
        ];
        return new SwitchStatus
        {
            Time = _options.TimeProvider.GetUtcNow(),
            NodeInfo = NodeInfo,
            ListenAddress = _listener is null ? null : ListenAddress,
            Uptime = _options.TimeProvider.GetElapsedTime(_startTimestamp),
            InboundPeers = counts.Inbound,
            OutboundPeers = counts.Outbound,
            DiallingPeers = counts.Dialling,
            UnconditionalPeers = counts.Unconditional,
            Peers = peers,
            Reactors = [.. _reactors.Select(reactor => ReactorStatus.Of(reactor.Name, reactor.Channels, reactor.Outbox.Undelivered, peers))],
            PersistentPeers =
            [
                .. persistent.Select(peer => new PersistentPeerStatus(
                    peer.Address,
                    connected.Any(other => other.Id == peer.Address.Id),
                    peer.Failures,
                    peer.NextDial,
                    peer.LastFailure)),
            ],
            Bans = [.. Bans.Bans.Select(ban => new BanStatus(ban.Target.ToString(), ban.Reason, ban.Until))],
            InboundRefusals = _metrics.InboundRefusals,
        };
    }
}
