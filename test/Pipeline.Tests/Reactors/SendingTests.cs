using System.Net;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Reactors;

/// <summary>What a reactor that sends is told became of its messages.</summary>
public sealed class SendingTests
{
    private static readonly ChannelDescriptor<BytesValue> Common = new(0x70, "common", BytesValue.Parser) { SendQueueCapacity = 2, MaxMessageSize = 1 << 20 };
    private static readonly ChannelDescriptor<BytesValue> Lacking = new(0x71, "lacking", BytesValue.Parser);
    private static readonly ChannelDescriptor<BytesValue> Foreign = new(0x72, "foreign", BytesValue.Parser);
    private static readonly BytesValue Small = new() { Value = ByteString.CopyFromUtf8("small") };
    private static readonly BytesValue Big = new() { Value = ByteString.CopyFrom(new byte[1_000_000]) };

    [Test]
    [CancelAfter(30_000)]
    public async Task A_send_says_what_became_of_it(CancellationToken cancellationToken)
    {
        await using TestNode node = await TestNode.StartAsync(null, new RecordingReactor("recording", Common, Lacking));
        await using RawRemote remote = await RawRemote.ConnectAsync(node.Switch, NodeKey.Create(), info => info with { Channels = [Common.Id] }, cancellationToken);
        IPeer peer = await AnyPeerAsync(node, cancellationToken);
        TimeSpan now = TimeSpan.Zero;

        Assert.That(peer.HasChannel(Common.Id), Is.True);
        Assert.That(peer.HasChannel(Lacking.Id), Is.False);
        Assert.That(peer.HasChannel(Foreign.Id), Is.False);
        Assert.That(peer.TrySend(Common, Small), Is.EqualTo(SendResult.Queued));
        Assert.That(peer.TrySend(Lacking, Small), Is.EqualTo(SendResult.UnknownChannel));
        Assert.That(peer.TrySend(Foreign, Small), Is.EqualTo(SendResult.UnknownChannel));
        Assert.That(await peer.SendAsync(Lacking, Small, now, cancellationToken), Is.EqualTo(SendResult.UnknownChannel));
        BytesValue tooLarge = new() { Value = ByteString.CopyFrom(new byte[1 << 20]) };
        Assert.That(peer.TrySend(Common, tooLarge), Is.EqualTo(SendResult.MessageTooLarge));
        Assert.That(await peer.SendAsync(Common, tooLarge, now, cancellationToken), Is.EqualTo(SendResult.MessageTooLarge));

        // The remote does not read, so what is sent fills the sockets and then the queue.
        while (await peer.SendAsync(Common, Big, TimeSpan.FromMilliseconds(100), cancellationToken) == SendResult.Queued)
        {
        }

        Assert.That(peer.TrySend(Common, Small), Is.EqualTo(SendResult.QueueFull));
        Assert.That(await peer.SendAsync(Common, Small, now, cancellationToken), Is.EqualTo(SendResult.QueueFull));
        ChannelStatus status = peer.GetStatus().Channels.Single(channel => channel.Channel == Common);
        Assert.That(status.SendQueueMessages, Is.EqualTo(2));
        Assert.That(status.SendQueueBytes, Is.EqualTo(2 * Big.CalculateSize()));
        using CancellationTokenSource cancel = new();
        Task<SendResult> cancelled = peer.SendAsync(Common, Small, Timeout.InfiniteTimeSpan, cancel.Token).AsTask();
        Task<SendResult> waiting = peer.SendAsync(Common, Small, Timeout.InfiniteTimeSpan, cancellationToken).AsTask();
        Assert.That(waiting.IsCompleted, Is.False);
        await cancel.CancelAsync();
        Assert.That(async () => await cancelled, Throws.InstanceOf<OperationCanceledException>());

        peer.Stop(new DisconnectReason(DisconnectKind.Stopped, "Enough."));
        Assert.That(await waiting.WaitAsync(cancellationToken), Is.EqualTo(SendResult.PeerStopped));
        Assert.That(peer.TrySend(Common, Small), Is.EqualTo(SendResult.PeerStopped));
        Assert.That(await peer.SendAsync(Common, Small, null, cancellationToken), Is.EqualTo(SendResult.PeerStopped));
        await peer.Completion.WaitAsync(cancellationToken);
        Assert.That(peer.TrySend(Common, Small), Is.EqualTo(SendResult.PeerStopped));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_broadcast_says_what_became_of_it_at_each_peer_and_a_slow_one_delays_nobody(CancellationToken cancellationToken)
    {
        await using TestNode node = await TestNode.StartAsync(null, new RecordingReactor("recording", Common, Lacking));
        await using TestNode fast = await TestNode.StartAsync(null, new RecordingReactor("recording", Common));
        await using TestNode other = await TestNode.StartAsync(null, new RecordingReactor("recording", Lacking));
        await using RawRemote slow = await RawRemote.ConnectAsync(node.Switch, NodeKey.Create(), null, cancellationToken);
        IPeer toSlow = await AnyPeerAsync(node, cancellationToken);
        IPeer toFast = await node.DialAsync(fast, cancellationToken);
        await node.DialAsync(other, cancellationToken);
        while (await toSlow.SendAsync(Common, Big, TimeSpan.FromMilliseconds(100), cancellationToken) == SendResult.Queued)
        {
        }

        IReadOnlyList<BroadcastResult> tried = node.Switch.TryBroadcast(Common, Small);
        Assert.That(tried, Is.EquivalentTo([new BroadcastResult(toSlow, SendResult.QueueFull), new BroadcastResult(toFast, SendResult.Queued)]));
        Task<IReadOnlyList<BroadcastResult>> waiting = node.Switch.BroadcastAsync(Common, Small, recipients: null, cancellationToken);
        await fast.UntilAsync(() => fast.Recording.Received.Count == 2, cancellationToken);
        Assert.That(waiting.IsCompleted, Is.False);
        Assert.That(fast.Recording.Received.Select(entry => BytesValue.Parser.ParseFrom(entry.Data)), Has.All.EqualTo(Small));

        toSlow.Stop(new DisconnectReason(DisconnectKind.Stopped, "Too slow."));
        Assert.That(
            await waiting.WaitAsync(cancellationToken),
            Is.EquivalentTo([new BroadcastResult(toSlow, SendResult.PeerStopped), new BroadcastResult(toFast, SendResult.Queued)]));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_peer_counts_what_was_sent_and_received(CancellationToken cancellationToken)
    {
        await using TestNode a = await TestNode.StartAsync(null, new RecordingReactor("recording", Common, Lacking));
        await using TestNode b = await TestNode.StartAsync(null, new RecordingReactor("recording", Common, Lacking));
        IPeer toB = await a.DialAsync(b, cancellationToken);
        IPeer toA = await b.PeerAsync(a.Switch.Id, cancellationToken);
        for (int i = 0; i < 10; i++)
        {
            Assert.That(await toB.SendAsync(Common, Small, null, cancellationToken), Is.EqualTo(SendResult.Queued));
        }

        await b.UntilAsync(() => b.Recording.Received.Count == 10, cancellationToken);
        long bytes = 10 * Small.CalculateSize();
        ConnectionStatus received = toA.GetStatus();
        ChannelStatus there = received.Channels.Single(channel => channel.Channel == Common);
        Assert.That((there.MessagesReceived, there.BytesReceived, there.InboxMessages, there.MessagesSent), Is.EqualTo((10, bytes, 0, 0)));
        Assert.That(received.BytesReceived, Is.GreaterThan(bytes));
        ChannelStatus here = toB.GetStatus().Channels.Single(channel => channel.Channel == Common);
        Assert.That((here.MessagesSent, here.BytesSent, here.SendQueueMessages, here.SendQueueBytes), Is.EqualTo((10, bytes, 0, 0)));
        ChannelStatus idle = toB.GetStatus().Channels.Single(channel => channel.Channel == Lacking);
        Assert.That((idle.MessagesSent, idle.BytesSent, idle.MessagesReceived), Is.EqualTo((0, 0, 0)));
        Assert.That((toB.IsOutbound, toA.IsOutbound), Is.EqualTo((true, false)));
        Assert.That(toB.DialledAddress, Is.EqualTo(b.Switch.ListenAddress));
        Assert.That(toA.DialledAddress, Is.Null);
        Assert.That(toB.RemoteEndPoint, Is.EqualTo(new IPEndPoint(IPAddress.Loopback, b.Switch.ListenAddress.Port)));
        Assert.That(toB.NodeInfo, Is.EqualTo(b.Switch.NodeInfo));
    }

    private static async Task<IPeer> AnyPeerAsync(TestNode node, CancellationToken cancellationToken)
    {
        await node.UntilAsync(() => node.Switch.Peers.Count > 0, cancellationToken);
        return node.Switch.Peers.First();
    }
}
