using System.Diagnostics.Metrics;
using System.Text.RegularExpressions;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Protocols;
using Pipeline.Protocols.Consensus;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Diagnostics;

public sealed partial class PipelineMetricsTests
{
    private static readonly ChannelDescriptor State = StandardChannels.ConsensusState;
    private static readonly ChannelDescriptor Pex = StandardChannels.PeerExchange;
    private static readonly DisconnectReason Gone = new(DisconnectKind.RemoteClosed, "gone");
    private static readonly byte[] NewRoundStep = new Message { NewRoundStep = new NewRoundStep { Height = 7 } }.ToByteArray();

    private readonly NodeId _node = NodeId.Parse(Convert.ToHexString(Guid.NewGuid().ToByteArray()) + "00000000");

    [Test]
    public void The_metrics_of_the_reference_have_its_names_and_tags()
    {
        using PipelineMetrics metrics = Metrics();
        using MeterProbe probe = new(_node);
        using StubPeer peer = new() { Status = Status(received: 10) };
        using StubPeer other = new() { Status = Status(received: 100) };
        metrics.PeerAdded(peer);
        metrics.PeerAdded(other);
        ((IMessageCounter)metrics).Received(State, NewRoundStep);
        ((IMessageCounter)metrics).Received(State, NewRoundStep);
        ((IMessageCounter)metrics).Sent(new ChannelDescriptor(0x77, "raw"), new byte[3]);

        Assert.That(
            probe.Collect().Where(entry => entry.Key.StartsWith("cometbft", StringComparison.Ordinal)).OrderBy(entry => entry.Key, StringComparer.Ordinal),
            Is.EqualTo(new Dictionary<string, double>
            {
                ["cometbft_p2p_message_receive_bytes_total{chain_id=net,message_type=consensus_NewRoundStep}"] = 2 * NewRoundStep.Length,
                ["cometbft_p2p_message_send_bytes_total{chain_id=net,message_type=unknown}"] = 3,
                [$"cometbft_p2p_peer_receive_bytes_total{{chain_id=net,peer_id={peer.Id},chID=0x20}}"] = 10,
                [$"cometbft_p2p_peer_receive_bytes_total{{chain_id=net,peer_id={other.Id},chID=0x20}}"] = 100,
                [$"cometbft_p2p_peer_send_bytes_total{{chain_id=net,peer_id={peer.Id},chID=0x0}}"] = 20,
                [$"cometbft_p2p_peer_send_bytes_total{{chain_id=net,peer_id={other.Id},chID=0x0}}"] = 200,
                [$"cometbft_p2p_peer_send_queue_size{{chain_id=net,peer_id={peer.Id}}}"] = 3,
                [$"cometbft_p2p_peer_send_queue_size{{chain_id=net,peer_id={other.Id}}}"] = 3,
                ["cometbft_p2p_peers{chain_id=net}"] = 2,
            }.OrderBy(entry => entry.Key, StringComparer.Ordinal)));
    }

    [Test]
    public void What_a_node_has_done_is_neither_lost_nor_counted_twice_when_a_peer_leaves()
    {
        using PipelineMetrics metrics = Metrics();
        using MeterProbe probe = new(_node);
        using StubPeer peer = new() { Status = Status(received: 10) };
        using StubPeer other = new() { Status = Status(received: 100), IsOutbound = true };
        metrics.PeerAdded(peer);
        metrics.PeerAdded(other);
        Dictionary<string, double> before = probe.Collect();
        peer.Status = Status(received: 15);
        metrics.PeerRemoved(peer, Gone);
        metrics.PeerRemoved(peer, Gone);
        Dictionary<string, double> after = probe.Collect();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(before["pipeline_received_bytes_total{chain_id=net,chID=0x20,channel=consensus state}"], Is.EqualTo(110));
            Assert.That(after["pipeline_received_bytes_total{chain_id=net,chID=0x20,channel=consensus state}"], Is.EqualTo(115));
            Assert.That(after["pipeline_received_messages_total{chain_id=net,chID=0x20,channel=consensus state}"], Is.EqualTo(2));
            Assert.That(after["pipeline_sent_bytes_total{chain_id=net,chID=0x0,channel=pex}"], Is.EqualTo(230));
            Assert.That(after["pipeline_sent_messages_total{chain_id=net,chID=0x0,channel=pex}"], Is.EqualTo(4));
            Assert.That(after["pipeline_lane_drops_total{chain_id=net,chID=0x20,channel=consensus state}"], Is.EqualTo(14));
            Assert.That(after["pipeline_send_waits_total{chain_id=net,chID=0x0,channel=pex}"], Is.EqualTo(16));
            Assert.That(after["pipeline_send_wait_seconds_total{chain_id=net,chID=0x0,channel=pex}"], Is.EqualTo(3));
            Assert.That(after["pipeline_pauses_total{chain_id=net}"], Is.EqualTo(18));
            Assert.That(after["pipeline_paused_seconds_total{chain_id=net}"], Is.EqualTo(5));

            // What is at the moment is only that of those who are there.
            Assert.That(before["pipeline_inbox_messages{chain_id=net,chID=0x20,channel=consensus state}"], Is.EqualTo(10));
            Assert.That(after["pipeline_inbox_messages{chain_id=net,chID=0x20,channel=consensus state}"], Is.EqualTo(5));
            Assert.That(after["pipeline_inbox_bytes{chain_id=net,chID=0x20,channel=consensus state}"], Is.EqualTo(6));
            Assert.That(after["pipeline_senders_waiting{chain_id=net,chID=0x0,channel=pex}"], Is.EqualTo(4));
            Assert.That(after["pipeline_paused_peers{chain_id=net}"], Is.EqualTo(1));
            Assert.That(before["pipeline_peers{chain_id=net,direction=inbound}"], Is.EqualTo(1));
            Assert.That(after["pipeline_peers{chain_id=net,direction=inbound}"], Is.Zero);
            Assert.That(after["pipeline_peers{chain_id=net,direction=outbound}"], Is.EqualTo(1));
            Assert.That(after["pipeline_peers_removed_total{chain_id=net,direction=inbound,reason=remote_closed}"], Is.EqualTo(1));
            Assert.That(after.Keys, Has.None.Contains(peer.Id.ToString()));
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task Totals_only_grow_while_peers_come_and_go(CancellationToken cancellationToken)
    {
        const string total = "pipeline_received_bytes_total{chain_id=net,chID=0x20,channel=consensus state}";
        const int peers = 2000;
        using PipelineMetrics metrics = Metrics();
        using MeterProbe probe = new(_node);
        Task churn = Task.Run(
            () =>
            {
                Queue<StubPeer> live = [];
                for (int i = 0; i < peers; i++)
                {
                    StubPeer peer = new() { Status = Status(received: 0) };
                    live.Enqueue(peer);
                    metrics.PeerAdded(peer);
                    peer.Status = Status(received: 10);
                    if (live.Count == 8)
                    {
                        using StubPeer leaving = live.Dequeue();
                        leaving.Status = Status(received: 11);
                        metrics.PeerRemoved(leaving, Gone);
                    }
                }
            },
            cancellationToken);

        double last = 0;
        while (!churn.IsCompleted)
        {
            double now = probe.Collect().GetValueOrDefault(total);
            Assert.That(now, Is.GreaterThanOrEqualTo(last));
            last = now;
        }

        await churn;
        Assert.That(probe.Collect(total), Is.EqualTo(((peers - 7) * 11) + (7 * 10)));
    }

    [Test]
    public void Nothing_is_done_while_nobody_listens()
    {
        using PipelineMetrics metrics = Metrics(activeBans: () => throw new InvalidOperationException("Nobody wants to know."));
        using StubPeer peer = new() { Status = Status(received: 10) };
        metrics.PeerAdded(peer);
        HappenOften(1);
        long before = GC.GetAllocatedBytesForCurrentThread();
        HappenOften(1000);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(peer.StatusReads, Is.Zero);

        void HappenOften(int count)
        {
            for (int i = 0; i < count; i++)
            {
                ((IMessageCounter)metrics).Received(State, NewRoundStep);
                ((IMessageCounter)metrics).Sent(State, NewRoundStep);
                metrics.HandshakeEnded(isOutbound: true, TimeSpan.FromSeconds(1), failure: null);
            }
        }
    }

    [Test]
    public void What_is_seldom_is_counted_by_its_outcome_also_before_anybody_listens()
    {
        using PipelineMetrics metrics = Metrics(activeBans: () => 5);
        metrics.DialEnded(failure: null);
        metrics.DialEnded(new HandshakeException(HandshakeFailure.DuplicateIp, "there is one"));
        metrics.DialEnded(new HandshakeException(HandshakeFailure.DuplicateIp, "there is one"));
        metrics.DialEnded(new IOException("nobody there"));
        metrics.DialEnded(new OperationCanceledException());
        metrics.DialEnded(new InvalidOperationException("a mistake"));
        metrics.HandshakeRefused(isOutbound: false, new HandshakeException(HandshakeFailure.DuplicateIp, "there is one"));
        metrics.HandshakeRefused(isOutbound: true, new HandshakeException(HandshakeFailure.Timeout, "too slow"));
        metrics.InboundRefused(HandshakeFailure.TooManyInboundPeers);
        metrics.InboundRefused(HandshakeFailure.DuplicateIp);
        metrics.BanAdded();
        using MeterProbe probe = new(_node);
        metrics.BanAdded();
        Dictionary<string, double> counts = probe.Collect();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(counts["pipeline_dials_total{chain_id=net,outcome=success}"], Is.EqualTo(1));
            Assert.That(counts["pipeline_dials_total{chain_id=net,outcome=duplicate_ip}"], Is.EqualTo(2));
            Assert.That(counts["pipeline_dials_total{chain_id=net,outcome=unreachable}"], Is.EqualTo(1));
            Assert.That(counts["pipeline_dials_total{chain_id=net,outcome=cancelled}"], Is.EqualTo(1));
            Assert.That(counts["pipeline_dials_total{chain_id=net,outcome=failed}"], Is.EqualTo(1));
            Assert.That(counts["pipeline_handshakes_refused_total{chain_id=net,direction=inbound,reason=duplicate_ip}"], Is.EqualTo(1));
            Assert.That(counts["pipeline_handshakes_refused_total{chain_id=net,direction=outbound,reason=timeout}"], Is.EqualTo(1));
            Assert.That(counts["pipeline_inbound_refused_total{chain_id=net,reason=too_many_inbound_peers}"], Is.EqualTo(1));
            Assert.That(counts["pipeline_bans_active{chain_id=net}"], Is.EqualTo(5));
            Assert.That(counts["pipeline_bans_added_total{chain_id=net}"], Is.EqualTo(2));
            Assert.That(
                metrics.InboundRefusals,
                Is.EqualTo(new Dictionary<string, long> { ["duplicate_ip"] = 2, ["too_many_inbound_peers"] = 1 }),
                "before a handshake and after");
        }
    }

    [Test]
    public void Handshakes_are_timed_by_direction_and_outcome()
    {
        using PipelineMetrics metrics = Metrics();
        using MeterProbe probe = new(_node);
        metrics.HandshakeEnded(isOutbound: true, TimeSpan.FromMilliseconds(30), failure: null);
        metrics.HandshakeEnded(isOutbound: false, TimeSpan.FromSeconds(20), new HandshakeException(HandshakeFailure.Timeout, "too slow"));
        Dictionary<string, double> sums = probe.Collect();
        Assert.That(sums["pipeline_handshake_seconds{chain_id=net,direction=outbound,outcome=success}"], Is.EqualTo(0.03));
        Assert.That(sums["pipeline_handshake_seconds{chain_id=net,direction=inbound,outcome=timeout}"], Is.EqualTo(20));
    }

    [Test]
    public void A_kind_that_the_enum_does_not_have_does_no_harm()
    {
        using PipelineMetrics metrics = Metrics();
        using MeterProbe probe = new(_node);
        using StubPeer peer = new();
        metrics.PeerAdded(peer);
        metrics.PeerRemoved(peer, new DisconnectReason((DisconnectKind)1000, "cast"));
        Assert.That(probe.Collect("pipeline_peers_removed_total{chain_id=net,direction=inbound,reason=unknown}"), Is.EqualTo(1));
    }

    [Test]
    public void A_factory_makes_the_meter_and_keeps_it()
    {
        using Factory factory = new();
        using MeterProbe probe = new(_node);
        PipelineMetrics metrics = new(_node, "net", activeBans: null, factory);
        Assert.That(factory.Options!.Name, Is.EqualTo(PipelineDiagnostics.MeterName));
        Assert.That(probe.Instruments, Is.Not.Empty);
        Assert.That(probe.Instruments.Select(instrument => instrument.Meter.Scope), Is.All.SameAs(factory));
        metrics.Dispose();
    }

    [Test]
    public void Without_a_factory_the_instruments_end_with_the_node()
    {
        using MeterProbe probe = new(_node);
        PipelineMetrics metrics = Metrics();
        Assert.That(probe.Ended, Is.Zero);
        metrics.Dispose();
        Assert.That(probe.Ended, Is.EqualTo(probe.Instruments.Count).And.Positive);
    }

    [Test, CancelAfter(30_000)]
    public async Task Messages_of_a_running_node_are_counted_by_their_types(CancellationToken cancellationToken)
    {
        RecordingReactor received = new("reactor", State);
        await using TestNode sender = await TestNode.StartAsync(null, new RecordingReactor("reactor", State));
        await using TestNode receiver = await TestNode.StartAsync(null, received);
        using MeterProbe sent = new(sender.Switch.Id), came = new(receiver.Switch.Id);
        IPeer peer = await sender.DialAsync(receiver, cancellationToken);

        // One packet, and many.
        byte[] large = new Message { BlockPart = new BlockPart { Part = new Protocols.Types.Part { Bytes = ByteString.CopyFrom(new byte[10_000]) } } }.ToByteArray();
        foreach (byte[] bytes in (byte[][])[NewRoundStep, large])
        {
            using SerializedMessage message = SerializedMessage.Create(State, bytes);
            Assert.That(await peer.SendAsync(message, timeout: null, cancellationToken), Is.EqualTo(SendResult.Queued));
        }

        await receiver.UntilAsync(() => received.Received.Count == 2, cancellationToken);
        foreach ((MeterProbe probe, string direction) in ((MeterProbe, string)[])[(came, "receive"), (sent, "send")])
        {
            Dictionary<string, double> counts = probe.Collect();
            Assert.That(
                counts[$"cometbft_p2p_message_{direction}_bytes_total{{chain_id=test-network,message_type=consensus_NewRoundStep}}"],
                Is.EqualTo(NewRoundStep.Length));
            Assert.That(
                counts[$"cometbft_p2p_message_{direction}_bytes_total{{chain_id=test-network,message_type=consensus_BlockPart}}"],
                Is.EqualTo(large.Length));
            Assert.That(counts["cometbft_p2p_peers{chain_id=test-network}"], Is.EqualTo(1));
        }
    }

    [Test]
    public void The_documentation_lists_the_instruments_that_there_are()
    {
        using PipelineMetrics metrics = Metrics();
        using MeterProbe probe = new(_node);
        using StubPeer peer = new() { Status = Status(received: 1) };
        using StubPeer leaving = new();
        metrics.PeerAdded(peer);
        metrics.PeerAdded(leaving);
        metrics.PeerRemoved(leaving, Gone);
        metrics.HandshakeEnded(isOutbound: true, TimeSpan.Zero, failure: null);
        metrics.HandshakeRefused(isOutbound: true, new OperationCanceledException());
        metrics.InboundRefused(default);
        metrics.DialEnded(failure: null);
        metrics.AddressTold("added");
        metrics.ExchangeFault("unasked");
        ((IMessageCounter)metrics).Received(State, NewRoundStep);
        ((IMessageCounter)metrics).Sent(State, NewRoundStep);
        Dictionary<string, string> tags = probe.Collect().Keys
            .Select(key => key.Split('{'))
            .GroupBy(parts => parts[0])
            .ToDictionary(parts => parts.Key, parts => string.Join(", ", parts.First()[1].TrimEnd('}').Split(',').Select(tag => $"`{tag.Split('=')[0]}`")));

        IEnumerable<string> expected = probe.Instruments.Select(instrument =>
            $"| `{instrument.Name}` | {KindOf(instrument)} | {(instrument.Unit is "By" or "s" ? instrument.Unit : instrument.Unit!.Trim('{', '}'))} | {tags[instrument.Name]} |");
        string page = File.ReadAllText(Path.Combine(Repository.Root, "docs", "concepts", "diagnostics.md"));
        Assert.That(InstrumentRow().Matches(page).Select(row => row.Groups["row"].Value), Is.EquivalentTo(expected));

        static string KindOf(Instrument instrument) => instrument.GetType().Name.Split('`')[0] switch
        {
            "ObservableGauge" => "gauge",
            "ObservableCounter" or "Counter" => "counter",
            "Histogram" => "histogram",
            string other => other,
        };
    }

    [GeneratedRegex(@"^(?<row>\| `(cometbft|pipeline)_\w+` \|[^|]*\|[^|]*\|[^|]*\|)", RegexOptions.Multiline | RegexOptions.ExplicitCapture)]
    private static partial Regex InstrumentRow();

    private PipelineMetrics Metrics(Func<int>? activeBans = null) => new(_node, "net", activeBans);

    private static ConnectionStatus Status(long received) => new(
        TimeSpan.Zero,
        0,
        0,
        IsPaused: true,
        [
            new ChannelStatus(State, 1, 2, MessagesSent: 0, BytesSent: 0, InboxMessages: 5, InboxBytes: 6, MessagesReceived: 1, received, MessagesDropped: 7),
            new ChannelStatus(Pex, 2, 3, MessagesSent: 2, BytesSent: 2 * received, 0, 0, 0, 0, 0)
            {
                SendersWaiting = 4,
                SendWaits = 8,
                SendWaitTime = TimeSpan.FromSeconds(1.5),
            },
        ])
    {
        Pauses = 9,
        PausedTime = TimeSpan.FromSeconds(2.5),
    };

    private sealed class Factory : IMeterFactory
    {
        private Meter? _meter;

        public MeterOptions? Options { get; private set; }

        public Meter Create(MeterOptions options)
        {
            Options = options;
            options.Scope = this;
            return _meter = new Meter(options);
        }

        public void Dispose() => _meter?.Dispose();
    }
}
