using System.Collections.Concurrent;
using System.Threading.Tasks.Dataflow;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Tests.Support;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Tests.Reactors;

/// <summary>Reactors that are made of linked blocks.</summary>
public sealed class DataflowReactorTests
{
    private static readonly DataflowLinkOptions Propagate = new() { PropagateCompletion = true };
    private static readonly ChannelDescriptor<Int64Value> Numbers = new(0x70, "numbers", Int64Value.Parser) { SendQueueCapacity = 8, ReceiveQueueCapacity = 8 };
    private static readonly ChannelDescriptor<Int64Value> Sums = new(0x71, "sums", Int64Value.Parser) { SendQueueCapacity = 100 };
    private static readonly ChannelDescriptor<Message> Texts = new(0x72, "texts", Message.Parser);

    [Test]
    [CancelAfter(30_000)]
    public async Task Linked_blocks_receive_batch_and_answer(CancellationToken cancellationToken)
    {
        const int count = 1000;
        DataflowReactor<Int64Value> summing = new("summing", Numbers, Sums);
        TransformBlock<Envelope<Int64Value>, (IPeer Peer, long Value)> take = new(
            envelope => (envelope.Peer, envelope.Message.Value),
            new ExecutionDataflowBlockOptions { BoundedCapacity = 4 });
        BatchBlock<(IPeer Peer, long Value)> batch = new(10, new GroupingDataflowBlockOptions { BoundedCapacity = 20 });
        TransformBlock<(IPeer Peer, long Value)[], OutboundEnvelope> sum = new(
            all => new OutboundEnvelope<Int64Value>(Sums, new Int64Value { Value = all.Sum(entry => entry.Value) }, [all[0].Peer]),
            new ExecutionDataflowBlockOptions { BoundedCapacity = 4 });
        summing.Source.LinkTo(take, Propagate);
        take.LinkTo(batch, Propagate);
        batch.LinkTo(sum, Propagate);
        sum.LinkTo(summing.Outbox);

        RecordingReactor asking = new("asking", Numbers, Sums);
        await using TestNode node = await TestNode.StartAsync(null, summing), other = await TestNode.StartAsync(null, asking);
        IPeer peer = await other.DialAsync(node, cancellationToken);
        for (int i = 0; i < count; i++)
        {
            Assert.That(await peer.SendAsync(Numbers, new Int64Value { Value = i }, null, cancellationToken), Is.EqualTo(SendResult.Queued));
        }

        await other.UntilAsync(() => asking.Received.Count == count / 10, cancellationToken);
        Assert.That(
            asking.Received.Select(entry => Int64Value.Parser.ParseFrom(entry.Data).Value),
            Is.EqualTo(Enumerable.Range(0, count / 10).Select(i => (100L * i) + 45)));

        await node.Switch.StopAsync();
        await sum.Completion.WaitAsync(cancellationToken);
        await summing.Outbox.Completion.WaitAsync(cancellationToken);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task Blocks_that_are_behind_hold_back_the_peers_and_lose_nothing(CancellationToken cancellationToken)
    {
        const int count = 2000;
        using SemaphoreSlim go = new(0);
        ConcurrentQueue<long> seen = [];
        DataflowReactor<Int64Value> slow = new("slow", Numbers);
        Pulse pulse = new();
        ActionBlock<Envelope<Int64Value>> action = new(
            async envelope =>
            {
                await go.WaitAsync(cancellationToken);
                seen.Enqueue(envelope.Message.Value);
                pulse.Beat();
            },
            new ExecutionDataflowBlockOptions { BoundedCapacity = 2 });
        slow.Source.LinkTo(action, Propagate);
        await using TestNode node = await TestNode.StartAsync(options => options with { Connection = new ConnectionOptions { ReceiveAllowance = 1000 } }, slow);
        await using TestNode other = await TestNode.StartAsync(null, new RecordingReactor("numbers", Numbers));
        IPeer peer = await other.DialAsync(node, cancellationToken);
        Task sending = SendAsync();

        IPeer from = await node.PeerAsync(other.Switch.Id, cancellationToken);
        while (!from.GetStatus().IsPaused)
        {
            cancellationToken.ThrowIfCancellationRequested();
            await Task.Yield();
        }

        // The lane, what may wait beyond it, and what the blocks took.
        Assert.That(from.GetStatus().Channels[0].MessagesReceived, Is.LessThan(200));
        go.Release(count);
        await sending.WaitAsync(cancellationToken);
        await pulse.UntilAsync(() => seen.Count == count, cancellationToken);
        Assert.That(seen, Is.EqualTo(Enumerable.Range(0, count).Select(i => (long)i)));

        async Task SendAsync()
        {
            for (int i = 0; i < count; i++)
            {
                Assert.That(await peer.SendAsync(Numbers, new Int64Value { Value = i }, Timeout.InfiniteTimeSpan, cancellationToken), Is.EqualTo(SendResult.Queued));
            }
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_is_put_to_the_outbox_reaches_one_some_all_or_all_but_one(CancellationToken cancellationToken)
    {
        DataflowReactor<Int64Value> hub = new("hub", Sums);
        hub.Source.LinkTo(DataflowBlock.NullTarget<Envelope<Int64Value>>());
        await using TestNode node = await TestNode.StartAsync(null, hub);
        TestNode[] others = [.. await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => TestNode.StartAsync(null, new RecordingReactor("sums", Sums))))];
        await using TestNode stranger = await TestNode.StartAsync(null, new RecordingReactor("numbers", Numbers));
        try
        {
            IPeer[] peers = [.. await Task.WhenAll(others.Select(other => node.DialAsync(other, cancellationToken)))];
            BufferBlock<OutboundEnvelope> source = new();
            source.LinkTo(hub.Outbox);
            source.Post(To(1, peers[0]));
            source.Post(To(2, peers[1], peers[2]));
            source.Post(To(3));
            source.Post(new OutboundEnvelope<Int64Value>(Sums, new Int64Value { Value = 4 }) { Except = peers[1] });
            source.Post(new OutboundEnvelope(Sums, new Int64Value { Value = 5 }, []));
            source.Post(To(6));

            long[][] expected = [[1, 3, 4, 6], [2, 3, 6], [2, 3, 4, 6]];
            foreach ((TestNode other, long[] values) in others.Zip(expected))
            {
                await other.UntilAsync(() => other.Recording.Received.Count >= values.Length, cancellationToken);
                Assert.That(other.Recording.Received.Select(entry => Int64Value.Parser.ParseFrom(entry.Data).Value), Is.EqualTo(values));
            }

            Assert.That(hub.Outbox.Undelivered, Is.Zero);
            peers[0].Stop(new DisconnectReason(DisconnectKind.Stopped, "Enough."));
            source.Post(To(7, peers[0]));
            source.Complete();
            await source.Completion.WaitAsync(cancellationToken);
            hub.Outbox.Complete();
            await hub.Outbox.Completion.WaitAsync(cancellationToken);
            Assert.That(hub.Outbox.Undelivered, Is.EqualTo(1));
        }
        finally
        {
            await Task.WhenAll(others.Select(other => other.DisposeAsync().AsTask()));
        }

        static OutboundEnvelope To(long value, params IPeer[] peers) => new OutboundEnvelope<Int64Value>(Sums, new Int64Value { Value = value }, peers.Length == 0 ? null : peers);
    }

    [TestCase("ff", TestName = "A_message_that_ends_early_stops_its_peer_and_the_blocks_go_on", ExpectedResult = null)]
    [TestCase("1a00", TestName = "A_field_that_nobody_knows_is_let_through", ExpectedResult = 2)]
    [TestCase("12060a040a02c328", TestName = "A_text_that_is_not_UTF8_does_not_stop_the_blocks", ExpectedResult = null)]
    [CancelAfter(30_000)]
    public async Task<int?> Whatever_a_peer_sends_the_blocks_go_on_for_the_others(string hex, CancellationToken cancellationToken)
    {
        ConcurrentQueue<Envelope<Message>> seen = [];
        Pulse pulse = new();
        DataflowReactor<Message> reactor = new("texts", Texts);
        ActionBlock<Envelope<Message>> action = new(envelope =>
        {
            seen.Enqueue(envelope);
            pulse.Beat();
        });
        reactor.Source.LinkTo(action, Propagate);
        await using TestNode node = await TestNode.StartAsync(null, reactor);
        await using TestNode bad = await TestNode.StartAsync(null, new RecordingReactor("texts", Texts)), good = await TestNode.StartAsync(null, new RecordingReactor("texts", Texts));
        using SerializedMessage message = SerializedMessage.Create(Texts, Convert.FromHexString(hex));
        IPeer fromBad = await bad.DialAsync(node, cancellationToken);
        Assert.That(fromBad.TrySend(message), Is.EqualTo(SendResult.Queued));
        IPeer toBad = await node.PeerAsync(bad.Switch.Id, cancellationToken);
        bool isRefused = hex != "1a00";
        if (isRefused)
        {
            DisconnectReason reason = await toBad.Completion.WaitAsync(cancellationToken);
            Assert.That(reason.Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
            Assert.That(reason.Message, Does.Contain("0x72 texts is not a Message"));
        }
        else
        {
            await pulse.UntilAsync(() => seen.Count == 1, cancellationToken);
        }

        IPeer fromGood = await good.DialAsync(node, cancellationToken);
        Assert.That(fromGood.TrySend(Texts, new Message { PexRequest = new PexRequest() }), Is.EqualTo(SendResult.Queued));
        await pulse.UntilAsync(() => seen.Any(envelope => envelope.Peer.Id == good.Switch.Id), cancellationToken);
        return isRefused ? null : seen.Count;
    }
}
