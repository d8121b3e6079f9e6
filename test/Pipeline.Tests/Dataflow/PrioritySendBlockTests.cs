using System.Threading.Tasks.Dataflow;
using CsCheck;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Dataflow;
using Pipeline.Wire;

namespace Pipeline.Tests.Dataflow;

public sealed class PrioritySendBlockTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    [Test]
    public void Messages_of_a_channel_leave_in_order_and_whole()
    {
        ChannelDescriptor channel = Channel(1);
        PrioritySendBlock block = Block(channel);
        byte[][] messages = [Bytes(0), Bytes(1), Bytes(1023), Bytes(1024), Bytes(1025), Bytes(5000)];
        foreach (byte[] message in messages)
        {
            Assert.That(Send(block, channel, message), Is.EqualTo(SendResult.Queued));
        }

        Assert.That(TakeMessages(block).Select(taken => taken.Data), Is.EqualTo(messages));
    }

    [Test]
    public void A_packet_that_does_not_fit_stays_for_the_next_batch()
    {
        ChannelDescriptor channel = Channel(1);
        PrioritySendBlock block = Block(channel);
        Send(block, channel, Bytes(2500));
        List<byte> sent = [];
        for (int count; (count = Take(block, 1100, sent)) > 0;)
        {
            Assert.That(count, Is.LessThanOrEqualTo(1100));
        }

        Assert.That(Messages(sent).Single().Data, Is.EqualTo(Bytes(2500)));
    }

    [Test]
    public void Channels_get_bytes_in_proportion_to_their_priorities() =>
        Gen.Select(Gen.Int[1, 100], Gen.Int[50, 1500]).Array[2, 10].Sample(
            loads =>
            {
                ChannelDescriptor[] channels = [.. loads.Select((load, i) => Channel((byte)i, priority: load.Item1, capacity: 100_000))];
                PrioritySendBlock block = Block(channels);
                long[] queued = new long[channels.Length];
                long[] taken = new long[channels.Length];
                byte[] buffer = new byte[62 * 1024];
                for (int batch = 0; batch < 100; batch++)
                {
                    for (int i = 0; i < channels.Length; i++)
                    {
                        for (; queued[i] < taken[i] + buffer.Length + 3000; queued[i] += loads[i].Item2)
                        {
                            Send(block, channels[i], new byte[loads[i].Item2]);
                        }
                    }

                    int at = 0;
                    int count = block.Take(buffer);
                    while (PacketCodec.TryRead(buffer.AsSpan(at, count - at), 2000, out Packet packet, out int consumed))
                    {
                        at += consumed;
                        taken[packet.ChannelId] += consumed;
                    }
                }

                // Within a hundredth, and no further than two packets at the beginning and the end.
                return channels.Select((channel, i) => (channel, i)).All(c =>
                {
                    double ideal = (double)c.channel.Priority / channels.Sum(channel => channel.Priority) * taken.Sum();
                    return Math.Abs(taken[c.i] - ideal) <= Math.Max(0.01 * ideal, 2200);
                });
            },
            iter: 60);

    [Test]
    public void An_idle_channel_saves_nothing_up_and_loses_nothing()
    {
        ChannelDescriptor busy = Channel(1, priority: 10);
        ChannelDescriptor late = Channel(2, priority: 1);
        PrioritySendBlock block = Block(busy, late);
        for (int i = 0; i < 200; i++)
        {
            Send(block, busy, Bytes(1000));
        }

        List<byte> sent = [];
        Take(block, 60 * 1024, sent);
        for (int i = 0; i < 20; i++)
        {
            Send(block, late, Bytes(1000));
        }

        sent.Clear();
        Take(block, 60 * 1024, sent);
        byte[] channels = [.. Messages(sent).Select(message => message.Channel)];
        Assert.That(channels.Take(2), Does.Contain(late.Id), "it goes at once");
        Assert.That(channels.Count(id => id == late.Id), Is.InRange(4, 7), "and then gets its eleventh");
    }

    [Test]
    public void A_full_queue_refuses_and_says_so()
    {
        ChannelDescriptor channel = Channel(1, capacity: 2);
        PrioritySendBlock block = Block(channel);
        Assert.That(Send(block, channel, Bytes(1)), Is.EqualTo(SendResult.Queued));
        Assert.That(Send(block, channel, Bytes(1)), Is.EqualTo(SendResult.Queued));
        Assert.That(Send(block, channel, Bytes(1)), Is.EqualTo(SendResult.QueueFull));
        TakeMessages(block);
        Assert.That(Send(block, channel, Bytes(1)), Is.EqualTo(SendResult.Queued));
    }

    [Test]
    public void Bytes_bound_a_queue_as_well_and_a_larger_message_waits_alone()
    {
        ChannelDescriptor channel = new(1, "c") { SendQueueCapacity = 10, SendQueueBytes = 100 };
        PrioritySendBlock block = Block(channel);
        Assert.That(Send(block, channel, Bytes(500)), Is.EqualTo(SendResult.Queued));
        Assert.That(Send(block, channel, Bytes(1)), Is.EqualTo(SendResult.QueueFull));
        TakeMessages(block);
        Assert.That(Send(block, channel, Bytes(60)), Is.EqualTo(SendResult.Queued));
        Assert.That(Send(block, channel, Bytes(41)), Is.EqualTo(SendResult.QueueFull));
        Assert.That(Send(block, channel, Bytes(40)), Is.EqualTo(SendResult.Queued));
    }

    [Test]
    public void What_cannot_be_sent_is_refused_with_its_reason()
    {
        ChannelDescriptor known = new(1, "known") { MaxMessageSize = 10 };
        ChannelDescriptor notRemote = Channel(2);
        PrioritySendBlock block = new(new ChannelTable([known, notRemote]), [1], 1024, TimeProvider.System);
        Assert.That(Send(block, notRemote, Bytes(1)), Is.EqualTo(SendResult.UnknownChannel));
        Assert.That(Send(block, Channel(3), Bytes(1)), Is.EqualTo(SendResult.UnknownChannel));
        Assert.That(Send(block, known, Bytes(11)), Is.EqualTo(SendResult.MessageTooLarge));
        block.Complete();
        Assert.That(Send(block, known, Bytes(1)), Is.EqualTo(SendResult.PeerStopped));
    }

    [Test]
    public void A_copy_of_bytes_is_queued_or_refused_as_a_message_is([Values(0, 1, 64, 2048, 2049, 50_000)] int size)
    {
        ChannelDescriptor channel = new(1, "c") { SendQueueCapacity = 3, MaxMessageSize = 100_000 };
        PrioritySendBlock block = new(new ChannelTable([channel, Channel(2)]), [1], 1024, TimeProvider.System);
        byte[] bytes = Bytes(size);
        Assert.That(block.TrySend(channel, bytes), Is.EqualTo(SendResult.Queued));
        Array.Clear(bytes);
        Assert.That(Send(block, channel, [1]), Is.EqualTo(SendResult.Queued));
        Assert.That(block.TrySend(channel, [2]), Is.EqualTo(SendResult.Queued));
        Assert.That(block.TrySend(channel, [3]), Is.EqualTo(SendResult.QueueFull));
        Assert.That(block.TrySend(channel, new byte[100_001]), Is.EqualTo(SendResult.MessageTooLarge));
        Assert.That(block.TrySend(Channel(2), bytes), Is.EqualTo(SendResult.UnknownChannel));
        Assert.That(block.TrySend(Channel(3), bytes), Is.EqualTo(SendResult.UnknownChannel));
        Assert.That(TakeMessages(block).Select(message => message.Data), Is.EqualTo(new[] { Bytes(size), [1], [2] }));
        block.Complete();
        Assert.That(block.TrySend(channel, bytes), Is.EqualTo(SendResult.PeerStopped));
    }

    [Test, CancelAfter(30_000)]
    public async Task Those_who_wait_for_room_get_it_in_their_order()
    {
        ChannelDescriptor channel = Channel(1, capacity: 1);
        PrioritySendBlock block = Block(channel);
        Send(block, channel, [0]);
        Task<SendResult>[] waiting = [.. Enumerable.Range(1, 5).Select(i => SendAsync(block, channel, [(byte)i]))];
        Assert.That(Send(block, channel, [9]), Is.EqualTo(SendResult.QueueFull), "nobody overtakes");
        for (int i = 0; i < 6; i++)
        {
            Assert.That(TakeMessages(block).Single().Data, Is.EqualTo(new[] { (byte)i }));
        }

        Assert.That(await Task.WhenAll(waiting).WaitAsync(Limit), Is.All.EqualTo(SendResult.Queued));
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_waits_too_long_is_told_so()
    {
        FakeTimeProvider time = new();
        ChannelDescriptor channel = Channel(1, capacity: 1);
        PrioritySendBlock block = new(new ChannelTable([channel]), [1], 1024, time);
        Send(block, channel, [0]);
        Task<SendResult> waiting = SendAsync(block, channel, [1], TimeSpan.FromSeconds(10));
        time.Advance(TimeSpan.FromSeconds(9));
        Assert.That(waiting.IsCompleted, Is.False);
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.That(await waiting.WaitAsync(Limit), Is.EqualTo(SendResult.QueueFull));
        Assert.That(TakeMessages(block).Select(message => message.Data[0]), Is.EqualTo(new byte[] { 0 }));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_cancelled_wait_leaves_nothing_behind(CancellationToken cancellationToken)
    {
        ChannelDescriptor channel = Channel(1, capacity: 1);
        PrioritySendBlock block = Block(channel);
        Send(block, channel, [0]);
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<SendResult> first = SendAsync(block, channel, [1], cancellationToken: cancel.Token);
        Task<SendResult> second = SendAsync(block, channel, [2], cancellationToken: cancellationToken);
        await cancel.CancelAsync();
        Assert.That(async () => await first.WaitAsync(Limit, cancellationToken), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(TakeMessages(block).Single().Data[0], Is.Zero);
        Assert.That(await second.WaitAsync(Limit, cancellationToken), Is.EqualTo(SendResult.Queued));
        Assert.That(TakeMessages(block).Single().Data[0], Is.EqualTo(2));
        Assert.That(async () => await SendAsync(block, channel, [3], cancellationToken: cancel.Token), Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public void A_wait_of_negative_length_is_refused()
    {
        ChannelDescriptor channel = Channel(1);
        Assert.That(() => SendAsync(Block(channel), channel, [1], TimeSpan.FromSeconds(-2)), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [Test, CancelAfter(30_000)]
    public async Task The_taker_is_woken_by_messages_pings_and_pongs_and_by_the_end()
    {
        ChannelDescriptor channel = Channel(1);
        PrioritySendBlock block = Block(channel);
        foreach ((Action act, int packets) in new (Action, int)[]
        {
            (() => Send(block, channel, [1]), 1),
            (block.RequestPing, 1),
            (block.RequestPong, 1),
            (() => { block.RequestPong(); block.RequestPong(); block.RequestPing(); }, 2),
        })
        {
            Task<bool> wait = block.WaitToTakeAsync().AsTask();
            Assert.That(wait.IsCompleted, Is.False);
            act();
            Assert.That(await wait.WaitAsync(Limit), Is.True);
            List<byte> sent = [];
            Take(block, 62 * 1024, sent);
            Assert.That(Packets(sent), Has.Count.EqualTo(packets));
        }

        Task<bool> last = block.WaitToTakeAsync().AsTask();
        block.Complete();
        Assert.That(await last.WaitAsync(Limit), Is.False);
    }

    [Test]
    public void Control_packets_go_before_messages()
    {
        ChannelDescriptor channel = Channel(1);
        PrioritySendBlock block = Block(channel);
        Send(block, channel, Bytes(5000));
        List<byte> sent = [];
        Take(block, 1100, sent);
        block.RequestPong();
        sent.Clear();
        Take(block, 1100, sent);
        Assert.That(Packets(sent)[0].Kind, Is.EqualTo(PacketKind.Pong), "even within a message");
    }

    [Test, CancelAfter(30_000)]
    public async Task Completing_sends_what_is_there_and_refuses_who_waits()
    {
        ChannelDescriptor channel = Channel(1, capacity: 1);
        PrioritySendBlock block = Block(channel);
        Send(block, channel, [1]);
        Task<SendResult> waiting = SendAsync(block, channel, [2]);
        block.Complete();
        Assert.That(await waiting.WaitAsync(Limit), Is.EqualTo(SendResult.PeerStopped));
        Assert.That(await block.WaitToTakeAsync(), Is.True);
        Assert.That(TakeMessages(block).Single().Data[0], Is.EqualTo(1));
        Assert.That(await block.WaitToTakeAsync(), Is.False);
        Assert.That(block.Completion.IsCompleted, Is.False);
        block.Close();
        await block.Completion.WaitAsync(Limit);
    }

    [Test, CancelAfter(30_000)]
    public async Task A_fault_drops_what_is_there_and_shows_in_the_completion()
    {
        ChannelDescriptor channel = Channel(1);
        PrioritySendBlock block = Block(channel);
        Send(block, channel, [1]);
        ((IDataflowBlock)block).Fault(new InvalidOperationException("broken"));
        Assert.That(await block.WaitToTakeAsync(), Is.False);
        block.Close();
        Assert.That(async () => await block.Completion.WaitAsync(Limit), Throws.InvalidOperationException.With.Message.EqualTo("broken"));
    }

    [Test, CancelAfter(30_000), Repeat(30)]
    public async Task A_linked_source_is_held_back_by_the_bound_and_loses_nothing()
    {
        ChannelDescriptor channel = Channel(1, capacity: 2);
        PrioritySendBlock block = Block(channel);
        BufferBlock<SerializedMessage> source = new();
        source.LinkTo(block, new DataflowLinkOptions { PropagateCompletion = true });
        for (int i = 0; i < 100; i++)
        {
            source.Post(SerializedMessage.Create(channel, [(byte)i]));
        }

        source.Complete();
        List<byte> received = [];
        while (await block.WaitToTakeAsync().AsTask().WaitAsync(Limit))
        {
            List<(byte Channel, byte[] Data)> batch = TakeMessages(block);
            Assert.That(batch, Has.Count.LessThanOrEqualTo(2));
            received.AddRange(batch.Select(message => message.Data[0]));
        }

        Assert.That(received, Is.EqualTo(Enumerable.Range(0, 100)));
    }

    [Test]
    public void Offers_are_accepted_postponed_or_declined_as_the_dataflow_protocol_says()
    {
        ChannelDescriptor channel = Channel(1, capacity: 1);
        PrioritySendBlock block = Block(channel);
        SerializedMessage message = SerializedMessage.Create(channel, [1]);
        BufferBlock<SerializedMessage> source = new();
        Assert.That(() => block.OfferMessage(default, message, source, false), Throws.ArgumentException);
        Assert.That(() => block.OfferMessage(new DataflowMessageHeader(1), message, null, true), Throws.ArgumentException);
        Assert.That(block.OfferMessage(new DataflowMessageHeader(1), message, source, true), Is.EqualTo(DataflowMessageStatus.NotAvailable));
        Assert.That(block.OfferMessage(new DataflowMessageHeader(1), message, null, false), Is.EqualTo(DataflowMessageStatus.Accepted));
        Assert.That(block.OfferMessage(new DataflowMessageHeader(2), message, source, false), Is.EqualTo(DataflowMessageStatus.Postponed));
        Assert.That(block.OfferMessage(new DataflowMessageHeader(3), message, null, false), Is.EqualTo(DataflowMessageStatus.Declined));
        SerializedMessage foreign = SerializedMessage.Create(Channel(7), [1]);
        Assert.That(block.OfferMessage(new DataflowMessageHeader(4), foreign, source, false), Is.EqualTo(DataflowMessageStatus.Declined));
        block.Complete();
        Assert.That(
            block.OfferMessage(new DataflowMessageHeader(5), message, source, false),
            Is.EqualTo(DataflowMessageStatus.DecliningPermanently));
    }

    [Test]
    public void An_empty_message_that_was_postponed_leaves_no_room_reserved()
    {
        ChannelDescriptor channel = Channel(1, capacity: 1);
        PrioritySendBlock block = Block(channel);
        Send(block, channel, [1]);
        BufferBlock<SerializedMessage> source = new();
        source.LinkTo(block);
        source.Post(SerializedMessage.Create(channel, []));
        Assert.That(() => TakeMessages(block).Count + source.Count, Is.Zero.After(5000, 1), "both have been taken");
        for (int i = 0; i < 3; i++)
        {
            Assert.That(Send(block, channel, [1]), Is.EqualTo(SendResult.Queued));
            Assert.That(TakeMessages(block), Has.Count.EqualTo(1));
        }
    }

    [Test, CancelAfter(30_000)]
    public async Task Room_that_a_source_did_not_use_goes_to_who_waits()
    {
        ChannelDescriptor channel = Channel(1, capacity: 1);
        PrioritySendBlock block = Block(channel);
        Task<SendResult>? waiting = null;
        BareSource source = new(() =>
        {
            waiting = SendAsync(block, channel, [2]);
            return null;
        });
        Assert.That(
            block.OfferMessage(new DataflowMessageHeader(1), SerializedMessage.Create(channel, [1]), source, consumeToAccept: true),
            Is.EqualTo(DataflowMessageStatus.NotAvailable));
        Assert.That(await waiting!.WaitAsync(Limit), Is.EqualTo(SendResult.Queued));
        Assert.That(TakeMessages(block).Single().Data[0], Is.EqualTo(2));
    }

    [Test]
    public void A_source_that_offers_the_next_message_while_it_hands_one_over_keeps_its_order()
    {
        ChannelDescriptor channel = Channel(1, capacity: 10);
        PrioritySendBlock block = Block(channel);
        SerializedMessage[] messages = [SerializedMessage.Create(channel, [1]), SerializedMessage.Create(channel, [2])];
        BareSource? source = null;
        int asked = 0;
        source = new BareSource(() =>
        {
            if (++asked == 1)
            {
                Assert.That(
                    block.OfferMessage(new DataflowMessageHeader(2), messages[1], source, consumeToAccept: false),
                    Is.EqualTo(DataflowMessageStatus.Postponed));
            }

            return messages[asked - 1];
        });
        Assert.That(block.OfferMessage(new DataflowMessageHeader(1), messages[0], source, consumeToAccept: true), Is.EqualTo(DataflowMessageStatus.Accepted));
        Assert.That(TakeMessages(block).Select(message => message.Data[0]), Is.EqualTo(new byte[] { 1, 2 }));
    }

    [Test, CancelAfter(30_000)]
    public async Task When_a_large_message_gives_up_the_small_ones_behind_it_go()
    {
        FakeTimeProvider time = new();
        ChannelDescriptor channel = new(1, "c") { SendQueueCapacity = 10, SendQueueBytes = 1000 };
        PrioritySendBlock block = new(new ChannelTable([channel]), [1], 1024, time);
        Send(block, channel, Bytes(500));
        Task<SendResult> large = SendAsync(block, channel, Bytes(900), TimeSpan.FromSeconds(1));
        Task<SendResult> small = SendAsync(block, channel, Bytes(100));
        Assert.That(small.IsCompleted, Is.False, "nobody overtakes");
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.That(await large.WaitAsync(Limit), Is.EqualTo(SendResult.QueueFull));
        Assert.That(await small.WaitAsync(Limit), Is.EqualTo(SendResult.Queued));
    }

    [Test]
    public void A_wait_that_no_timer_can_take_is_refused_before_anything_is_queued()
    {
        ChannelDescriptor channel = Channel(1, capacity: 1);
        PrioritySendBlock block = Block(channel);
        Assert.That(() => SendAsync(block, channel, [1], TimeSpan.FromDays(60)), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(TakeMessages(block), Is.Empty);
    }

    [Test, CancelAfter(60_000)]
    public async Task Many_senders_and_one_taker_lose_and_mix_nothing([Values(1, 7, 1000)] int capacity)
    {
        const int senders = 4;
        const int each = 5000;
        ChannelDescriptor[] channels = [.. Enumerable.Range(0, senders).Select(i => Channel((byte)i, priority: i + 1, capacity: capacity))];
        PrioritySendBlock block = Block(channels);
        Task[] sending = [.. channels.Select(channel => Task.Run(async () =>
        {
            for (int i = 0; i < each; i++)
            {
                byte[] data = new byte[4 + (i % 1500)];
                BitConverter.TryWriteBytes(data, i);
                SendResult result = i % 2 == 0 ? block.TrySend(channel, data) : SendResult.QueueFull;
                result = result == SendResult.QueueFull ? await SendAsync(block, channel, data) : result;
                Assert.That(result, Is.EqualTo(SendResult.Queued));
            }
        }))];
        Task completing = Task.Run(async () =>
        {
            await Task.WhenAll(sending);
            block.Complete();
        });
        List<byte> sent = [];
        while (await block.WaitToTakeAsync().AsTask().WaitAsync(Limit))
        {
            Take(block, 62 * 1024, sent);
        }

        await completing;
        List<(byte Channel, byte[] Data)> messages = Messages(sent);
        foreach (ChannelDescriptor channel in channels)
        {
            Assert.That(
                messages.Where(message => message.Channel == channel.Id).Select(message => (BitConverter.ToInt32(message.Data), message.Data.Length)),
                Is.EqualTo(Enumerable.Range(0, each).Select(i => (i, 4 + (i % 1500)))));
        }
    }

    private static ChannelDescriptor Channel(byte id, int priority = 1, int capacity = 1000) =>
        new(id, $"channel {id}") { Priority = priority, SendQueueCapacity = capacity };

    private static PrioritySendBlock Block(params ChannelDescriptor[] channels) =>
        new(new ChannelTable(channels), [.. channels.Select(channel => channel.Id)], 1024, TimeProvider.System);

    private static byte[] Bytes(int count) => [.. Enumerable.Range(0, count).Select(i => (byte)(i * 7))];

    private static SendResult Send(PrioritySendBlock block, ChannelDescriptor channel, byte[] data)
    {
        using SerializedMessage message = SerializedMessage.Create(channel, data);
        return block.TrySend(message);
    }

    private static async Task<SendResult> SendAsync(
        PrioritySendBlock block,
        ChannelDescriptor channel,
        byte[] data,
        TimeSpan? timeout = null,
        CancellationToken cancellationToken = default)
    {
        using SerializedMessage message = SerializedMessage.Create(channel, data);
        return await block.SendAsync(message, timeout ?? Timeout.InfiniteTimeSpan, cancellationToken);
    }

    private static int Take(PrioritySendBlock block, int size, List<byte> sent)
    {
        byte[] buffer = new byte[size];
        int count = block.Take(buffer);
        sent.AddRange(buffer.AsSpan(0, count));
        return count;
    }

    private static List<(byte Channel, byte[] Data)> TakeMessages(PrioritySendBlock block)
    {
        List<byte> sent = [];
        Take(block, 62 * 1024, sent);
        return Messages(sent);
    }

    private static List<(PacketKind Kind, byte Channel, bool EndOfMessage, byte[] Data)> Packets(List<byte> sent)
    {
        List<(PacketKind, byte, bool, byte[])> packets = [];
        byte[] bytes = [.. sent];
        int at = 0;
        while (PacketCodec.TryRead(bytes.AsSpan(at), PacketCodec.MaxPacketSize(1024), out Packet packet, out int consumed))
        {
            packets.Add((packet.Kind, packet.ChannelId, packet.EndOfMessage, packet.Data.ToArray()));
            at += consumed;
        }

        Assert.That(at, Is.EqualTo(bytes.Length));
        return packets;
    }

    private static List<(byte Channel, byte[] Data)> Messages(List<byte> sent)
    {
        List<(byte, byte[])> messages = [];
        Dictionary<byte, List<byte>> partial = [];
        foreach ((_, byte channel, bool endOfMessage, byte[] data) in Packets(sent).Where(packet => packet.Kind == PacketKind.Message))
        {
            partial.TryAdd(channel, []);
            partial[channel].AddRange(data);
            if (endOfMessage)
            {
                messages.Add((channel, [.. partial[channel]]));
                partial.Remove(channel);
            }
        }

        return messages;
    }

    /// <summary>A source that does as the test says when it is asked for its message.</summary>
    private sealed class BareSource(Func<SerializedMessage?> onAsked) : ISourceBlock<SerializedMessage>
    {
        public Task Completion => throw new NotSupportedException();

        public SerializedMessage? ConsumeMessage(DataflowMessageHeader messageHeader, ITargetBlock<SerializedMessage> target, out bool messageConsumed)
        {
            SerializedMessage? message = onAsked();
            messageConsumed = message is not null;
            return message;
        }

        public IDisposable LinkTo(ITargetBlock<SerializedMessage> target, DataflowLinkOptions linkOptions) => throw new NotSupportedException();

        public bool ReserveMessage(DataflowMessageHeader messageHeader, ITargetBlock<SerializedMessage> target) => throw new NotSupportedException();

        public void ReleaseReservation(DataflowMessageHeader messageHeader, ITargetBlock<SerializedMessage> target) => throw new NotSupportedException();

        public void Complete() => throw new NotSupportedException();

        public void Fault(Exception exception) => throw new NotSupportedException();
    }
}
