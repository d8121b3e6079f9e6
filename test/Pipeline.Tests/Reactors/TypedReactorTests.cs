using System.Collections.Concurrent;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Reactors;

/// <summary>Messages as objects, over real connections.</summary>
public sealed class TypedReactorTests
{
    private static readonly ChannelDescriptor<BytesValue> Blobs = new(0x70, "blobs", BytesValue.Parser) { SendQueueCapacity = 64 };
    private static readonly ChannelDescriptor<Int64Value> Numbers = new(0x71, "numbers", Int64Value.Parser) { SendQueueCapacity = 1000, Priority = 5 };
    private static readonly ChannelDescriptor<Int64Value> Others = new(0x80, "others", Int64Value.Parser) { SendQueueCapacity = 10 };

    [Test]
    [CancelAfter(30_000)]
    public async Task Messages_of_every_size_arrive_whole_and_in_order_both_ways(CancellationToken cancellationToken)
    {
        Collector<BytesValue> left = new("left", Blobs), right = new("right", Blobs);
        await using TestNode a = await TestNode.StartAsync(null, left), b = await TestNode.StartAsync(null, right);
        IPeer toB = await a.DialAsync(b, cancellationToken);
        IPeer toA = await b.PeerAsync(a.Switch.Id, cancellationToken);

        // Around the borders of packets, frames and blocks, and steps between.
        int[] sizes = [.. Enumerable.Range(0, 40), .. Enumerable.Range(1000, 80), .. Enumerable.Range(2030, 40), .. Enumerable.Range(0, 50).Select(i => i * 2_111)];
        await Task.WhenAll(SendAllAsync(toB, 1), SendAllAsync(toA, 2));
        await left.UntilAsync(sizes.Length, cancellationToken);
        await right.UntilAsync(sizes.Length, cancellationToken);

        Assert.That(right.Messages.Select(m => m.Message.Value), Is.EqualTo(sizes.Select(size => Blob(size, 1))));
        Assert.That(left.Messages.Select(m => m.Message.Value), Is.EqualTo(sizes.Select(size => Blob(size, 2))));
        Assert.That(right.Messages.Select(m => m.Peer), Has.All.SameAs(toA));

        async Task SendAllAsync(IPeer peer, int seed)
        {
            foreach (int size in sizes)
            {
                Assert.That(await peer.SendAsync(Blobs, new BytesValue { Value = Blob(size, seed) }, null, cancellationToken), Is.EqualTo(SendResult.Queued));
            }
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task Many_peers_at_once_keep_their_order_on_each_channel_of_each_reactor(CancellationToken cancellationToken)
    {
        const int count = 400;
        const int senders = 6;
        Collector<Int64Value> numbers = new("numbers", Numbers), others = new("others", Others);
        await using TestNode hub = await TestNode.StartAsync(null, numbers, others);
        TestNode[] nodes = [.. await Task.WhenAll(Enumerable.Range(0, senders).Select(_ =>
            TestNode.StartAsync(null, new Collector<Int64Value>("numbers", Numbers), new Collector<Int64Value>("others", Others))))];
        try
        {
            await Task.WhenAll(nodes.Select(async node =>
            {
                IPeer peer = await node.DialAsync(hub, cancellationToken);
                await Task.WhenAll(new[] { Numbers, Others }.Select(async channel =>
                {
                    for (int i = 0; i < count; i++)
                    {
                        Assert.That(await peer.SendAsync(channel, new Int64Value { Value = i }, null, cancellationToken), Is.EqualTo(SendResult.Queued));
                    }
                }));
            }));
            await numbers.UntilAsync(count * senders, cancellationToken);
            await others.UntilAsync(count * senders, cancellationToken);

            foreach (TestNode node in nodes)
            {
                foreach (Collector<Int64Value> collector in new[] { numbers, others })
                {
                    Assert.That(
                        collector.Messages.Where(m => m.Peer.Id == node.Switch.Id).Select(m => m.Message.Value),
                        Is.EqualTo(Enumerable.Range(0, count).Select(i => (long)i)));
                }
            }
        }
        finally
        {
            await Task.WhenAll(nodes.Select(node => node.DisposeAsync().AsTask()));
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task An_answer_can_be_sent_from_where_the_question_is_received(CancellationToken cancellationToken)
    {
        Collector<Int64Value> asking = new("numbers", Numbers);
        Collector<Int64Value> answering = new("numbers", Numbers)
        {
            Then = async envelope => await envelope.Peer.SendAsync(Numbers, new Int64Value { Value = -envelope.Message.Value }),
        };
        await using TestNode a = await TestNode.StartAsync(null, asking), b = await TestNode.StartAsync(null, answering);
        IPeer peer = await a.DialAsync(b, cancellationToken);
        for (int i = 0; i < 100; i++)
        {
            await peer.SendAsync(Numbers, new Int64Value { Value = i }, null, cancellationToken);
        }

        await asking.UntilAsync(100, cancellationToken);
        Assert.That(asking.Messages.Select(m => m.Message.Value), Is.EqualTo(Enumerable.Range(0, 100).Select(i => (long)-i)));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_does_not_parse_as_the_type_of_its_channel_stops_its_peer(CancellationToken cancellationToken)
    {
        Collector<Int64Value> collector = new("numbers", Numbers);
        await using TestNode raw = await TestNode.StartAsync(null, new RecordingReactor("raw", Numbers)), node = await TestNode.StartAsync(null, collector);
        IPeer toNode = await raw.DialAsync(node, cancellationToken);
        IPeer fromRaw = await node.PeerAsync(raw.Switch.Id, cancellationToken);

        using SerializedMessage wrong = SerializedMessage.Create(Numbers, [0x08, 0xff]);
        Assert.That(toNode.TrySend(wrong), Is.EqualTo(SendResult.Queued));

        DisconnectReason reason = await fromRaw.Completion.WaitAsync(cancellationToken);
        Assert.That(reason.Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
        Assert.That(reason.Message, Does.StartWith("A message of 2 bytes on channel 0x71 numbers is not a Int64Value:"));
        Assert.That(collector.Messages, Is.Empty);
    }

    private static ByteString Blob(int size, int seed)
    {
        byte[] bytes = new byte[size];
        new Random((size * 31) + seed).NextBytes(bytes);
        return UnsafeByteOperations.UnsafeWrap(bytes);
    }

    private sealed class Collector<TMessage>(string name, params ChannelDescriptor<TMessage>[] channels) : Reactor<TMessage>(name, channels)
        where TMessage : class, IMessage<TMessage>
    {
        private readonly Pulse _pulse = new();

        public ConcurrentQueue<(IPeer Peer, TMessage Message)> Messages { get; } = [];

        public Func<Envelope<TMessage>, ValueTask>? Then { get; init; }

        public Task UntilAsync(int count, CancellationToken cancellationToken) => _pulse.UntilAsync(() => Messages.Count >= count, cancellationToken);

        protected internal override async ValueTask ReceiveAsync(Envelope<TMessage> envelope, CancellationToken cancellationToken)
        {
            Messages.Enqueue((envelope.Peer, envelope.Message));
            await (Then?.Invoke(envelope) ?? ValueTask.CompletedTask);
            _pulse.Beat();
        }
    }
}
