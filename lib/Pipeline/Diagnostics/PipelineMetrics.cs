using System.Collections.Immutable;
using System.Diagnostics.Metrics;
using System.Numerics;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Transport;
using Pipeline.Wire;

namespace Pipeline.Diagnostics;

/// <summary>
/// The meter of one node: the reference's metrics of the peer-to-peer layer by their names there, and ours. Nearly all are read off the
/// connections when somebody collects them; what has to be counted as it happens is counted only while somebody listens, when it happens for
/// each message.
/// </summary>
/// <remarks>Source of the reference's names, kinds and tags: its <c>p2p/metrics.go</c> and <c>p2p/peer.go</c>; see <c>docs/concepts/diagnostics.md</c>.</remarks>
internal sealed class PipelineMetrics : IMessageCounter, IDisposable
{
    private const string Bytes = "By";
    private const string Seconds = "s";
    private const string Messages = "{message}";
    private const string PeerUnit = "{peer}";

    // From a neighbour to the longest that a handshake may take unless configured otherwise.
    private static readonly double[] HandshakeBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20];

    private readonly Meter _meter;
    private readonly KeyValuePair<string, object?> _chainId;
    private readonly Counter<long> _received;
    private readonly Counter<long> _sent;
    private readonly Histogram<double> _handshakes;
    private readonly Tally _inboundRefused = new("reason");
    private readonly Tally _handshakesRefused = new("direction", "reason");
    private readonly Tally _removed = new("direction", "reason");
    private readonly Tally _dials = new("outcome");
    private readonly Tally _addresses = new("outcome");
    private readonly Tally _exchangeFaults = new("fault");
    private long _bansAdded;

    // Guarded by _gate, and replaced, never changed. Invariant: what every peer has done that was ever added is seen in exactly one of them:
    // those in _live say it themselves, _left is the sum of all others.
    private readonly Lock _gate = new();
    private ImmutableArray<IPeer> _live = [];
    private ConnectionStatus _left = new(TimeSpan.Zero, 0, 0, IsPaused: false, []);

    /// <summary>Makes the instruments of a node.</summary>
    /// <param name="node">The node's id: a tag of the meter.</param>
    /// <param name="network">The node's network: a tag of every measurement, as in the reference.</param>
    /// <param name="activeBans">Says how many bans there are at the moment; null when nobody is ever banned.</param>
    /// <param name="factory">Makes and owns the meter; null for one that <see cref="Dispose"/> ends.</param>
    public PipelineMetrics(NodeId node, string network, Func<int>? activeBans = null, IMeterFactory? factory = null)
    {
        MeterOptions options = new(PipelineDiagnostics.MeterName)
        {
            Version = PipelineDiagnostics.Version,
            Tags = [new("node_id", node.ToString())],
        };
        _meter = factory?.Create(options) ?? new Meter(options);
        _chainId = new("chain_id", network);

        Gauge("cometbft_p2p_peers", PeerUnit, "Peers.", () => [new(Live.Length, _chainId)]);
        Counter("cometbft_p2p_peer_receive_bytes_total", Bytes, "Bytes of messages received from a peer.", () => OfPeers(status => status.BytesReceived));
        Counter("cometbft_p2p_peer_send_bytes_total", Bytes, "Bytes of messages sent to a peer.", () => OfPeers(status => status.BytesSent));
        Gauge("cometbft_p2p_peer_send_queue_size", Messages, "Messages that wait to be sent to a peer.", ObserveSendQueues);
        _received = _meter.CreateCounter<long>("cometbft_p2p_message_receive_bytes_total", Bytes, "Bytes of messages received, by their type.");
        _sent = _meter.CreateCounter<long>("cometbft_p2p_message_send_bytes_total", Bytes, "Bytes of messages sent, by their type.");

        Gauge("pipeline_peers", PeerUnit, "Peers by who dialled.", ObserveDirections);
        Gauge("pipeline_paused_peers", PeerUnit, "Peers that are not read from, because reactors are behind.", () => [new(Read().Count(status => status.IsPaused), _chainId)]);
        Counter("pipeline_pauses_total", "{pause}", "How often reading from a peer has waited for reactors.", () => OfNode(status => status.Pauses));
        Counter("pipeline_paused_seconds_total", Seconds, "How long it has waited.", () => OfNode(status => status.PausedTime.TotalSeconds));
        Counter("pipeline_received_bytes_total", Bytes, "Bytes of messages received.", () => OfChannels(status => status.BytesReceived));
        Counter("pipeline_received_messages_total", Messages, "Messages received.", () => OfChannels(status => status.MessagesReceived));
        Counter("pipeline_sent_bytes_total", Bytes, "Bytes of messages sent.", () => OfChannels(status => status.BytesSent));
        Counter("pipeline_sent_messages_total", Messages, "Messages sent.", () => OfChannels(status => status.MessagesSent));
        Gauge("pipeline_inbox_messages", Messages, "Messages that wait for the reactor.", () => OfChannels(status => (long)status.InboxMessages));
        Gauge("pipeline_inbox_bytes", Bytes, "What they cost, in bytes.", () => OfChannels(status => status.InboxBytes));
        Counter("pipeline_lane_drops_total", Messages, "Messages received and dropped, because too many waited for the reactor.", () => OfChannels(status => status.MessagesDropped));
        Gauge("pipeline_senders_waiting", "{sender}", "Senders that wait for room in a send queue.", () => OfChannels(status => (long)status.SendersWaiting));
        Counter("pipeline_send_waits_total", "{wait}", "How often a sender has had to wait for room.", () => OfChannels(status => status.SendWaits));
        Counter("pipeline_send_wait_seconds_total", Seconds, "How long senders have waited for room.", () => OfChannels(status => status.SendWaitTime.TotalSeconds));
        _handshakes = _meter.CreateHistogram(
            "pipeline_handshake_seconds",
            Seconds,
            "How long handshakes took.",
            tags: null,
            new InstrumentAdvice<double> { HistogramBucketBoundaries = HandshakeBuckets });
        Counter("pipeline_handshakes_refused_total", "{handshake}", "Connections that came to a handshake and to no peer.", () => _handshakesRefused.Measure(_chainId));
        Counter("pipeline_inbound_refused_total", "{connection}", "Inbound connections that were closed before a handshake.", () => _inboundRefused.Measure(_chainId));
        Counter("pipeline_dials_total", "{dial}", "Dials.", () => _dials.Measure(_chainId));
        Counter("pipeline_peers_removed_total", PeerUnit, "Peers that have left.", () => _removed.Measure(_chainId));
        Gauge("pipeline_bans_active", "{ban}", "Bans that have not ended.", () => [new(activeBans?.Invoke() ?? 0, _chainId)]);
        Counter<long>("pipeline_bans_added_total", "{ban}", "Bans made.", () => [new(Volatile.Read(ref _bansAdded), _chainId)]);
        Counter("pipeline_pex_addresses_total", "{address}", "Addresses that peers told, by what became of them.", () => _addresses.Measure(_chainId));
        Counter("pipeline_pex_faults_total", "{fault}", "Peers that were banned for what they did in peer exchange.", () => _exchangeFaults.Measure(_chainId));
    }

    /// <summary>How many inbound connections became no peer, for each reason.</summary>
    public ImmutableSortedDictionary<string, long> InboundRefusals =>
        _inboundRefused.Read().Select(entry => (Reason: entry.Value, entry.Count))
            .Concat(_handshakesRefused.Read()
                .Where(entry => entry.Value == PipelineDiagnostics.DirectionOf(isOutbound: false))
                .Select(entry => (Reason: entry.Other!, entry.Count)))
            .GroupBy(entry => entry.Reason, entry => entry.Count)
            .ToImmutableSortedDictionary(reason => reason.Key, reason => reason.Sum(), StringComparer.Ordinal);

    private ImmutableArray<IPeer> Live => Snapshot().Live;

    /// <summary>A connection has become a peer. Called before it receives anything.</summary>
    public void PeerAdded(IPeer peer)
    {
        lock (_gate)
        {
            _live = _live.Add(peer);
        }
    }

    /// <summary>A peer that was added is gone. Called when its connection has ended and none of its messages waits any more.</summary>
    public void PeerRemoved(IPeer peer, DisconnectReason reason)
    {
        ConnectionStatus last = peer.GetStatus();
        lock (_gate)
        {
            if (!_live.Contains(peer))
            {
                return;
            }

            _live = _live.Remove(peer);
            _left = Add(_left, last);
        }

        _removed.Count(PipelineDiagnostics.DirectionOf(peer.IsOutbound), SnakeCase<DisconnectKind>.Of(reason.Kind));
    }

    /// <summary>A handshake has ended, well or not.</summary>
    public void HandshakeEnded(bool isOutbound, TimeSpan duration, Exception? failure)
    {
        if (_handshakes.Enabled)
        {
            _handshakes.Record(
                duration.TotalSeconds,
                _chainId,
                new KeyValuePair<string, object?>("direction", PipelineDiagnostics.DirectionOf(isOutbound)),
                new KeyValuePair<string, object?>("outcome", OutcomeOf(failure)));
        }
    }

    /// <summary>A connection that came to a handshake has become no peer, because of the handshake or of what was found after it.</summary>
    public void HandshakeRefused(bool isOutbound, Exception reason) =>
        _handshakesRefused.Count(PipelineDiagnostics.DirectionOf(isOutbound), OutcomeOf(reason));

    /// <summary>An inbound connection was closed before any handshake.</summary>
    public void InboundRefused(HandshakeFailure reason) => _inboundRefused.Count(SnakeCase<HandshakeFailure>.Of(reason));

    /// <summary>A dial has ended: with a peer, or else with what was thrown.</summary>
    public void DialEnded(Exception? failure) => _dials.Count(OutcomeOf(failure));

    /// <summary>Somebody has been banned.</summary>
    public void BanAdded() => Interlocked.Increment(ref _bansAdded);

    /// <summary>A peer has told an address.</summary>
    public void AddressTold(string outcome) => _addresses.Count(outcome);

    /// <summary>A peer has broken a rule of peer exchange.</summary>
    public void ExchangeFault(string fault) => _exchangeFaults.Count(fault);

    /// <summary>Ends the instruments, unless a factory owns them.</summary>
    public void Dispose() => _meter.Dispose();

    void IMessageCounter.Received(ChannelDescriptor channel, ReadOnlySpan<byte> message) => Count(_received, channel, message);

    void IMessageCounter.Sent(ChannelDescriptor channel, ReadOnlySpan<byte> message) => Count(_sent, channel, message);

    /// <summary>How tags call the way in which something ended.</summary>
    internal static string OutcomeOf(Exception? failure) => failure switch
    {
        null => "success",
        HandshakeException refused => SnakeCase<HandshakeFailure>.Of(refused.Failure),
        OperationCanceledException => "cancelled",
        IOException => "unreachable",
        _ => "failed",
    };

    private void Count(Counter<long> counter, ChannelDescriptor channel, ReadOnlySpan<byte> message)
    {
        if (counter.Enabled)
        {
            counter.Add(
                message.Length,
                _chainId,
                new KeyValuePair<string, object?>("message_type", channel.Labels?.Of(message) ?? MessageName.Unknown));
        }
    }

    private void Gauge(string name, string unit, string description, Func<IEnumerable<Measurement<long>>> observe) =>
        _meter.CreateObservableGauge(name, observe, unit, description);

    private void Counter<T>(string name, string unit, string description, Func<IEnumerable<Measurement<T>>> observe)
        where T : struct => _meter.CreateObservableCounter(name, observe, unit, description);

    private (ImmutableArray<IPeer> Live, ConnectionStatus Left) Snapshot()
    {
        lock (_gate)
        {
            return (_live, _left);
        }
    }

    // Peers that leave meanwhile are asked all the same, so that what they did is not missing.
    private IEnumerable<ConnectionStatus> Read()
    {
        (ImmutableArray<IPeer> live, ConnectionStatus left) = Snapshot();
        return live.Select(peer => peer.GetStatus()).Append(left);
    }

    private IEnumerable<Measurement<long>> ObserveDirections() =>
        from isOutbound in (bool[])[false, true]
        let count = Live.Count(peer => peer.IsOutbound == isOutbound)
        select new Measurement<long>(count, _chainId, new("direction", PipelineDiagnostics.DirectionOf(isOutbound)));

    private IEnumerable<Measurement<long>> ObserveSendQueues() =>
        from peer in Live
        let count = peer.GetStatus().Channels.Sum(status => status.SendQueueMessages)
        select new Measurement<long>(count, _chainId, new("peer_id", peer.Id.ToString()));

    // As in the reference, a channel that was not used has no value.
    private IEnumerable<Measurement<long>> OfPeers(Func<ChannelStatus, long> select) =>
        from peer in Live
        from status in peer.GetStatus().Channels
        let value = @select(status)
        where value > 0
        select new Measurement<long>(value, _chainId, new("peer_id", peer.Id.ToString()), new("chID", IdOf(status.Channel)));

    private IEnumerable<Measurement<T>> OfChannels<T>(Func<ChannelStatus, T> select)
        where T : struct, INumber<T> =>
        from status in Read().SelectMany(connection => connection.Channels)
        group status by status.Channel.Id into channel
        let descriptor = channel.First().Channel
        let sum = channel.Aggregate(T.Zero, (sum, status) => sum + @select(status))
        select new Measurement<T>(sum, _chainId, new("chID", IdOf(descriptor)), new("channel", descriptor.Name));

    private IEnumerable<Measurement<T>> OfNode<T>(Func<ConnectionStatus, T> select)
        where T : struct, INumber<T> => [new(Read().Aggregate(T.Zero, (sum, status) => sum + select(status)), _chainId)];

    // As the reference writes it: 0x0, not 0x00.
    private static string IdOf(ChannelDescriptor channel) => $"0x{channel.Id:x}";

    private static ConnectionStatus Add(ConnectionStatus left, ConnectionStatus last) => left with
    {
        Pauses = left.Pauses + last.Pauses,
        PausedTime = left.PausedTime + last.PausedTime,
        Channels =
        [
            .. from status in left.Channels.Concat(last.Channels)
               group status by status.Channel.Id into channel
               select channel.Aggregate(new ChannelStatus(channel.First().Channel, 0, 0, 0, 0, 0, 0, 0, 0, 0), Add),
        ],
    };

    // What only grows; nothing waits at a peer that has left.
    private static ChannelStatus Add(ChannelStatus sum, ChannelStatus status) => sum with
    {
        MessagesSent = sum.MessagesSent + status.MessagesSent,
        BytesSent = sum.BytesSent + status.BytesSent,
        MessagesReceived = sum.MessagesReceived + status.MessagesReceived,
        BytesReceived = sum.BytesReceived + status.BytesReceived,
        MessagesDropped = sum.MessagesDropped + status.MessagesDropped,
        SendWaits = sum.SendWaits + status.SendWaits,
        SendWaitTime = sum.SendWaitTime + status.SendWaitTime,
    };
}
