using System.Collections.Immutable;
using System.Net;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Protocols;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Diagnostics;

public sealed class SwitchStatusTests
{
    private static readonly JsonSerializerOptions Readable = new()
    {
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };
    private static readonly NodeId Id = NodeId.Parse("00112233445566778899aabbccddeeff00112233");

    [Test]
    public void A_status_is_the_same_after_it_was_written_and_read()
    {
        SwitchStatus status = Sample();
        SwitchStatus read = SwitchStatus.FromJson(status.ToJson());
        Assert.That(read.ToJson(), Is.EqualTo(status.ToJson()));

        // What JSON has the same name for must have come back to where it was.
        Assert.That(read, Is.EqualTo(status).UsingPropertiesComparer());
    }

    [Test]
    public void Names_are_in_snake_case_lengths_of_time_in_seconds_and_ids_hexadecimal()
    {
        JsonNode json = JsonNode.Parse(Sample().ToJson())!;
        JsonNode peer = json["peers"]![0]!;
        JsonNode channel = peer["connection"]!["channels"]![0]!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That((string?)json["time"], Is.EqualTo("2026-01-02T03:04:05+00:00"));
            Assert.That((string?)json["listen_address"], Is.EqualTo($"{Id}@203.0.113.7:26656"));
            Assert.That((decimal)json["uptime"]!, Is.EqualTo(86_400.0000001m));
            Assert.That((string?)json["node_info"]!["channels"], Is.EqualTo("0020"));
            Assert.That((int)json["node_info"]!["protocol_version"]!["p2p"]!, Is.EqualTo(8));
            Assert.That((string?)json["node_info"]!["other"]!["tx_index"], Is.EqualTo("on"));
            Assert.That((string?)peer["id"], Is.EqualTo(Id.ToString()));
            Assert.That((string?)peer["remote_end_point"], Is.EqualTo("[2001:db8::1]:443"));
            Assert.That((decimal)peer["connection"]!["paused_time"]!, Is.EqualTo(1.5m));
            Assert.That((string?)channel["channel"]!["id"], Is.EqualTo("0x20"));
            Assert.That((string?)channel["channel"]!["when_full"], Is.EqualTo("drop_oldest"));
            Assert.That((long)channel["recently_sent"]!, Is.EqualTo(11));
            Assert.That((string?)json["persistent_peers"]![0]!["next_dial"], Is.EqualTo("2026-01-02T03:04:10+00:00"));
            Assert.That((string?)json["bans"]![0]!["target"], Is.EqualTo("198.51.100.0/24"));
            Assert.That((long)json["inbound_refusals"]!["duplicate_ip"]!, Is.EqualTo(3));
        }
    }

    [TestCase("null")]
    [TestCase("{}")]
    [TestCase("[]")]
    [TestCase("{")]
    [TestCase("{\"time\":\"yesterday\",\"node_info\":{}}")]
    public void What_is_no_status_is_refused(string json) => Assert.That(() => SwitchStatus.FromJson(json), Throws.InstanceOf<JsonException>());

    [TestCase("\"0x20\"", "\"20\"")]
    [TestCase("\"0x20\"", "\"0x120\"")]
    [TestCase("\"priority\":6", "\"priority\":0")]
    [TestCase("drop_oldest", "drop_all")]
    [TestCase("203.0.113.7:26656", "203.0.113.7")]
    [TestCase("[2001:db8::1]:443", "somewhere")]
    [TestCase("\"uptime\":86400", "\"uptime\":9999999999999999")]
    [TestCase("\"channels\":\"0020\"", "\"channels\":\"002\"")]
    [TestCase("\"moniker\":\"me\",", "")]
    public void A_value_that_cannot_be_is_refused(string was, string becomes)
    {
        string json = Sample().ToJson();
        Assert.That(json, Does.Contain(was));
        Assert.That(
            () => SwitchStatus.FromJson(json.Replace(was, becomes, StringComparison.Ordinal)),
            Throws.InstanceOf<JsonException>().With.Message.Not.Empty);
    }

    [Test]
    public void A_status_of_nothing_much_can_be_written_and_read()
    {
        SwitchStatus status = new() { Time = DateTimeOffset.UnixEpoch, NodeInfo = new NodeInfo() };
        Assert.That(SwitchStatus.FromJson(status.ToJson()).Peers, Is.Empty);
    }

    [Test]
    public void The_documentation_shows_a_status() =>
        Accepted.AssertSection(
            "docs/concepts/diagnostics.md",
            "```json",
            "```",
            JsonSerializer.Serialize(JsonNode.Parse(Sample().ToJson()), Readable).ReplaceLineEndings("\n").Split('\n'));

    [Test]
    public void A_reactor_has_to_do_what_waits_on_its_channels_of_all_peers()
    {
        ChannelDescriptor own = new(1, "own");
        ChannelDescriptor other = new(2, "other");
        ReactorStatus status = ReactorStatus.Of("reactor", [own], undelivered: 4, [Peer(10), Peer(20)]);
        Assert.That(
            status with { Channels = [] },
            Is.EqualTo(new ReactorStatus
            {
                Name = "reactor",
                Channels = [],
                InboxMessages = 30,
                InboxBytes = 300,
                MessagesDropped = 60,
                Undelivered = 4,
            }));
        Assert.That(status.Channels, Is.EqualTo([1]));

        PeerStatus Peer(int n) => new()
        {
            Id = Id,
            NodeInfo = new NodeInfo(),
            RemoteEndPoint = new IPEndPoint(IPAddress.Loopback, n),
            Connection = new ConnectionStatus(
                TimeSpan.Zero,
                0,
                0,
                false,
                [new ChannelStatus(own, 0, 0, 0, 0, n, 10 * n, 100, 1000, 2 * n), new ChannelStatus(other, 0, 0, 0, 0, 9, 9, 9, 9, 9)]),
        };
    }

    [Test, CancelAfter(30_000)]
    public async Task A_peer_of_a_running_node_has_a_status(CancellationToken cancellationToken)
    {
        await using TestNode a = await TestNode.StartAsync(configure: null, new RecordingReactor("reactor", StandardChannels.ConsensusState));
        await using TestNode b = await TestNode.StartAsync(configure: null, new RecordingReactor("reactor", StandardChannels.ConsensusState));
        PeerStatus status = PeerStatus.Of(await a.DialAsync(b, cancellationToken));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(status.Id, Is.EqualTo(b.Switch.Id));
            Assert.That(status.IsOutbound, Is.True);
            Assert.That(status.DialledAddress, Is.EqualTo(b.Switch.ListenAddress));
            Assert.That(status.NodeInfo, Is.EqualTo(b.Switch.NodeInfo));
            Assert.That(status.Connection.Channels.Single().Channel, Is.SameAs(StandardChannels.ConsensusState));
        }
    }

    internal static SwitchStatus Sample() => new()
    {
        Time = new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero),
        NodeInfo = new NodeInfo
        {
            ProtocolVersions = new ProtocolVersions(8, 11, 1),
            Id = Id,
            ListenAddress = "tcp://0.0.0.0:26656",
            Network = "chain",
            Version = "1.2.3",
            Channels = [0x00, 0x20],
            Moniker = "me",
            TxIndex = "on",
            RpcAddress = "tcp://127.0.0.1:26657",
        },
        ListenAddress = new NetAddress(Id, "203.0.113.7", 26656),
        Uptime = TimeSpan.FromDays(1) + TimeSpan.FromTicks(1),
        InboundPeers = 1,
        OutboundPeers = 2,
        DiallingPeers = 3,
        UnconditionalPeers = 4,
        Peers =
        [
            new PeerStatus
            {
                Id = Id,
                NodeInfo = new NodeInfo { Id = Id, Moniker = "peer" },
                RemoteEndPoint = new IPEndPoint(IPAddress.Parse("2001:db8::1"), 443),
                DialledAddress = new NetAddress(Id, "example.org", 443),
                IsOutbound = true,
                IsPersistent = true,
                IsUnconditional = true,
                IsLazy = true,
                Connection = new ConnectionStatus(
                    TimeSpan.FromSeconds(61.25),
                    100,
                    200,
                    IsPaused: true,
                    [
                        new ChannelStatus(
                            new ChannelDescriptor(0x20, "consensus state")
                            {
                                Priority = 6,
                                SendQueueCapacity = 100,
                                SendQueueBytes = 2000,
                                MaxMessageSize = 3000,
                                ReceiveQueueCapacity = 40,
                                ReceiveQueueBytes = 5000,
                                WhenFull = FullLanePolicy.DropOldest,
                            },
                            SendQueueMessages: 1,
                            SendQueueBytes: 2,
                            MessagesSent: 3,
                            BytesSent: 4,
                            InboxMessages: 5,
                            InboxBytes: 6,
                            MessagesReceived: 7,
                            BytesReceived: 8,
                            MessagesDropped: 9)
                        {
                            RecentlySent = 11,
                            SendersWaiting = 12,
                            SendWaits = 13,
                            SendWaitTime = TimeSpan.FromSeconds(0.25),
                        },
                    ])
                {
                    SendRate = 12.5,
                    ReceiveRate = 25,
                    SendIdle = TimeSpan.FromSeconds(1),
                    ReceiveIdle = TimeSpan.FromSeconds(2),
                    Pauses = 3,
                    PausedTime = TimeSpan.FromSeconds(1.5),
                },
            },
        ],
        Reactors =
        [
            new ReactorStatus { Name = "consensus", Channels = [0x20], InboxMessages = 5, InboxBytes = 6, MessagesDropped = 9, Undelivered = 1 },
        ],
        PersistentPeers =
        [
            new PersistentPeerStatus(
                new NetAddress(Id, "example.org", 443),
                IsConnected: false,
                Tries: 2,
                NextDial: new DateTimeOffset(2026, 1, 2, 3, 4, 10, TimeSpan.Zero),
                LastFailure: "The remote did not finish the handshake within 20 s."),
        ],
        Bans = [new BanStatus("198.51.100.0/24", "It floods.", new DateTimeOffset(2026, 1, 3, 3, 4, 5, TimeSpan.Zero))],
        InboundRefusals = ImmutableSortedDictionary<string, long>.Empty.Add("banned", 1).Add("duplicate_ip", 3),
    };
}
