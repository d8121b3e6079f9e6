using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Tests.Support;
using Pipeline.Wire;

namespace Pipeline.Tests.Switching;

/// <summary>Remotes that shake hands as they should and then send what they should not.</summary>
public sealed class BadPacketTests
{
    private static readonly ChannelDescriptor<BytesValue> Chat = new(0x70, "chat", BytesValue.Parser) { MaxMessageSize = 3000 };

    public static IEnumerable<TestCaseData> BadBytes
    {
        get
        {
            yield return Case("An_unknown_channel", "A packet is for channel 0x05, which this node does not have.", Packets(0x05, [1]));
            yield return Case("A_channel_id_of_minus_1", "A packet names channel -1; channel ids are 0 to 255.", Delimited("1a0d 08ffffffffffffffffff01 1001"));
            yield return Case("A_channel_id_of_256", "A packet names channel 256; channel ids are 0 to 255.", Delimited("1a05 088002 1001"));
            yield return Case("No_kind", "A packet is neither a ping, a pong, nor a piece of a message.", Delimited(""));
            yield return Case("A_kind_that_nobody_knows", "A packet is neither a ping, a pong, nor a piece of a message.", Delimited("2200"));
            yield return Case("No_protobuf", "A packet of 3 bytes is not a protobuf message of type Packet:", Delimited("1aff01"));
            yield return Case("Too_long", "A packet of 1036 bytes is longer than the largest legal one, 1035 bytes.", [0x8c, 0x08]);
            yield return Case("A_length_without_end", "The length before a packet is not a varint", [.. Enumerable.Repeat((byte)0xff, 11)]);
            yield return Case(
                "A_message_over_the_capacity_of_its_channel",
                "A message on channel 0x70 chat is longer than the 3000 bytes that the channel allows.",
                Packets(0x70, new byte[3001]));
            yield return Case("A_message_of_another_type", "A message of 2 bytes on channel 0x70 chat is not a BytesValue:", Packets(0x70, [0x0a, 0x05]));
        }
    }

    [TestCaseSource(nameof(BadBytes))]
    [CancelAfter(30_000)]
    public async Task Bad_bytes_end_the_connection_with_a_reason_and_no_other(string reason, byte[] bytes, CancellationToken cancellationToken)
    {
        Counting counting = new();
        await using TestNode node = await TestNode.StartAsync(null, counting);
        await using RawRemote good = await RawRemote.ConnectAsync(node.Switch, NodeKey.Create(), null, cancellationToken);
        using NodeKey key = NodeKey.Create();
        await using RawRemote bad = await RawRemote.ConnectAsync(node.Switch, key, null, cancellationToken);
        IPeer peer = await node.PeerAsync(key.Id, cancellationToken);
        await bad.SendAsync(bytes, cancellationToken);

        DisconnectReason ended = await peer.Completion.WaitAsync(cancellationToken);
        Assert.That(ended.Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
        Assert.That(ended.Message, Does.StartWith(reason));
        await bad.ReadToEndAsync(cancellationToken);
        await good.SendMessageAsync(Chat.Id, new BytesValue { Value = ByteString.CopyFrom(new byte[2900]) }.ToByteArray(), cancellationToken);
        await counting.Pulse.UntilAsync(() => counting.Count == 1, cancellationToken);
        await node.UntilLoggedAsync($"Peer {key.Id} at", cancellationToken);
        Assert.That(node.Log, Has.None.StartsWith("Error"));
    }

    [TestCase("1a 07 0870", TestName = "A_packet_that_is_cut_off_loses_the_connection")]
    [CancelAfter(30_000)]
    public async Task A_remote_that_closes_within_a_packet(string hex, CancellationToken cancellationToken)
    {
        await using TestNode node = await TestNode.StartAsync(null, new RecordingReactor("chat", Chat));
        using NodeKey key = NodeKey.Create();
        RawRemote remote = await RawRemote.ConnectAsync(node.Switch, key, null, cancellationToken);
        IPeer peer = await node.PeerAsync(key.Id, cancellationToken);
        await remote.SendMessageAsync(Chat.Id, [1], cancellationToken);
        await remote.SendAsync(Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal)), cancellationToken);
        await remote.DisposeAsync();

        DisconnectReason reason = await peer.Completion.WaitAsync(cancellationToken);
        Assert.That(reason.Kind, Is.EqualTo(DisconnectKind.ConnectionLost));
        Assert.That(reason.Message, Is.EqualTo("The remote closed the connection in the middle of a packet."));
        await node.UntilAsync(() => node.Recording.Grammar.Removed == 1, cancellationToken);
        Assert.That(node.Recording.Received.Single().Data, Is.EqualTo(new byte[] { 1 }));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_message_that_is_cut_off_between_packets_is_not_received(CancellationToken cancellationToken)
    {
        await using TestNode node = await TestNode.StartAsync(null, new RecordingReactor("chat", Chat));
        using NodeKey key = NodeKey.Create();
        RawRemote remote = await RawRemote.ConnectAsync(node.Switch, key, null, cancellationToken);
        IPeer peer = await node.PeerAsync(key.Id, cancellationToken);
        await remote.SendAsync(RawRemote.PacketBytes(Chat.Id, false, new byte[1000]), cancellationToken);
        await remote.DisposeAsync();
        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.RemoteClosed));
        await node.UntilAsync(() => node.Recording.Grammar.Removed == 1, cancellationToken);
        Assert.That(node.Recording.Received, Is.Empty);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_flood_of_pings_gets_pongs_but_not_one_each(CancellationToken cancellationToken)
    {
        const int pings = 50_000;
        await using TestNode node = await TestNode.StartAsync(null, new RecordingReactor("chat", Chat));
        await using RawRemote remote = await RawRemote.ConnectAsync(node.Switch, NodeKey.Create(), null, cancellationToken);
        await remote.SendAsync(Enumerable.Repeat(new byte[] { 2, 0x0a, 0 }, pings).SelectMany(ping => ping).ToArray(), cancellationToken);
        await remote.SendMessageAsync(Chat.Id, [1], cancellationToken);
        await node.UntilAsync(() => node.Recording.Received.Count == 1, cancellationToken);
        List<PacketKind> kinds = [];
        await remote.ReadAsync(kinds, cancellationToken);
        await node.Switch.StopAsync();
        kinds.AddRange(await remote.ReadToEndAsync(cancellationToken));
        Assert.That(kinds, Has.All.EqualTo(PacketKind.Pong));
        Assert.That(kinds, Has.Count.InRange(1, pings / 10));
    }

    private static TestCaseData Case(string name, string reason, byte[] bytes) => new TestCaseData(reason, bytes).SetArgDisplayNames(name);

    private static byte[] Delimited(string hex)
    {
        byte[] body = Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal));
        return [(byte)body.Length, .. body];
    }

    private static byte[] Packets(byte channel, byte[] message) =>
        [.. message.Chunk(1000).SelectMany((piece, i) => RawRemote.PacketBytes(channel, (i * 1000) + piece.Length == message.Length, piece))];

    private sealed class Counting() : Reactor<BytesValue>("counting", Chat)
    {
        private int _count;

        public Pulse Pulse { get; } = new();

        public int Count => Volatile.Read(ref _count);

        protected internal override ValueTask ReceiveAsync(Envelope<BytesValue> envelope, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref _count);
            Pulse.Beat();
            return ValueTask.CompletedTask;
        }
    }
}
