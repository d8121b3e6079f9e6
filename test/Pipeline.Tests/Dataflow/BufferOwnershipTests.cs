using System.Runtime.InteropServices;
using System.Threading.Tasks.Dataflow;
using CsCheck;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;
using Pipeline.Wire;

namespace Pipeline.Tests.Dataflow;

/// <summary>Every pooled buffer goes back to its pool, once, in every ending.</summary>
public sealed class BufferOwnershipTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    [Test]
    public void Sent_messages_give_their_buffers_back_in_every_ending() =>
        Gen.Select(Gen.Int[0, 7].Array[1, 60], Gen.Int[0, 3]).Sample(
            (steps, ending) =>
            {
                CountingPool pool = new();
                FakeTimeProvider time = new();
                ChannelDescriptor channel = new(1, "c") { SendQueueCapacity = 3 };
                PrioritySendBlock block = new(new ChannelTable([channel]), [1], 1024, time, pool: pool);
                using CancellationTokenSource cancel = new();
                BufferBlock<SerializedMessage> source = new();
                using IDisposable link = source.LinkTo(block);
                List<Task<SendResult>> waits = [];
                byte[] batch = new byte[3000];
                foreach (int step in steps)
                {
                    switch (step)
                    {
                        case 0:
                            using (SerializedMessage message = SerializedMessage.Create(channel, new byte[500], pool))
                            {
                                block.TrySend(message);
                            }

                            break;
                        case 1:
                            using (SerializedMessage message = SerializedMessage.Create(channel, new byte[2500], pool))
                            {
                                waits.Add(block.SendAsync(message, TimeSpan.FromSeconds(5)).AsTask());
                            }

                            break;
                        case 2:
                            using (SerializedMessage message = SerializedMessage.Create(channel, new byte[100], pool))
                            {
                                waits.Add(cancel.IsCancellationRequested
                                    ? Task.FromResult(SendResult.QueueFull)
                                    : block.SendAsync(message, Timeout.InfiniteTimeSpan, cancel.Token).AsTask());
                            }

                            break;
                        case 3:
                            block.Take(batch);
                            break;
                        case 4:
                            time.Advance(TimeSpan.FromSeconds(3));
                            break;
                        case 5:
                            cancel.Cancel();
                            break;
                        case 6:
                            block.TrySend(channel, new byte[1200]);
                            break;
                        case 7:
                            source.Post(SerializedMessage.Create(channel, new byte[10], pool));
                            break;
                    }
                }

                switch (ending)
                {
                    case 0:
                        block.Complete();
                        while (block.Take(batch) > 0)
                        {
                        }

                        break;
                    case 1:
                        ((IDataflowBlock)block).Fault(new InvalidOperationException("broken"));
                        break;
                    case 2:
                        block.Abort();
                        break;
                }

                block.Close();
                if (!Task.WhenAll(waits.Select(wait => wait.ContinueWith(_ => { }, TaskScheduler.Default))).Wait(Limit))
                {
                    return false;
                }

                // What the block never took is the source's to give back, as soon as the block has given up its reservation.
                link.Dispose();
                return SpinWait.SpinUntil(
                    () =>
                    {
                        if (source.TryReceive(out SerializedMessage? left))
                        {
                            left.Dispose();
                        }

                        return pool.Outstanding == 0;
                    },
                    Limit);
            },
            iter: 2000);

    [Test, CancelAfter(60_000), Repeat(20)]
    public async Task Senders_takers_and_an_end_at_any_moment_leave_no_buffer_behind(CancellationToken cancellationToken)
    {
        CountingPool pool = new();
        ChannelDescriptor channel = new(1, "c") { SendQueueCapacity = 10 };
        PrioritySendBlock block = new(new ChannelTable([channel]), [1], 1024, TimeProvider.System);
        Task[] senders = [.. Enumerable.Range(0, 3).Select(i => Task.Run(
            async () =>
            {
                while (true)
                {
                    using SerializedMessage message = SerializedMessage.Create(channel, new byte[1500], pool);
                    if (await block.SendAsync(message, Timeout.InfiniteTimeSpan, cancellationToken) == SendResult.PeerStopped)
                    {
                        return;
                    }
                }
            },
            cancellationToken))];
        Task taking = Task.Run(
            async () =>
            {
                byte[] batch = new byte[10_000];
                while (await block.WaitToTakeAsync())
                {
                    block.Take(batch);
                }

                block.Close();
            },
            cancellationToken);
        while (pool.Rented < 2000)
        {
            await Task.Yield();
        }

        block.Abort();
        await Task.WhenAll([.. senders, taking]).WaitAsync(Limit, cancellationToken);
        Assert.That(pool.Outstanding, Is.Zero);
    }

    [TestCase(FullLanePolicy.Wait)]
    [TestCase(FullLanePolicy.DropNewest)]
    [TestCase(FullLanePolicy.DropOldest)]
    [TestCase(FullLanePolicy.Disconnect)]
    public void Received_messages_give_their_buffers_back_when_they_are_read_dropped_or_left_behind(FullLanePolicy policy)
    {
        CountingPool pool = new();
        ChannelDescriptor channel = new(1, "c") { ReceiveQueueCapacity = 3, WhenFull = policy };
        using StubPeer peer = new();
        ReceiveAllowance allowance = new(long.MaxValue);
        ReactorInbox inbox = new([channel]);
        PeerLanes lanes = inbox.Open(allowance, CancellationToken.None);
        ChannelDemultiplexer demultiplexer = new(new ChannelTable([channel]), peer, [.. lanes.Lanes], allowance, new NoKeepAlive(), pool);
        for (int i = 0; i < 8; i++)
        {
            Accept(Packet.Message(1, false, new byte[1000]));
            Accept(Packet.Message(1, true, new byte[10 * i]));
            if (i == 5 && inbox.TryRead(out Envelope read))
            {
                read.Release();
                read.Release();
            }
        }

        Accept(Packet.Message(1, false, new byte[1000]));
        Assert.That(pool.Outstanding, Is.GreaterThan(1));
        demultiplexer.Dispose();
        lanes.Close();
        Accept(Packet.Message(1, false, new byte[1000]));
        Accept(Packet.Message(1, true, new byte[1000]));
        Assert.That(pool.Outstanding, Is.Zero);

        void Accept(in Packet packet)
        {
            demultiplexer.Accept(packet, 0);
            demultiplexer.Deliver();
        }
    }

    [Test]
    public void Small_messages_that_came_together_give_their_buffer_back_when_each_has_been_released_once()
    {
        CountingPool pool = new();
        ChannelDescriptor channel = new(1, "c") { ReceiveQueueCapacity = 1000 };
        using StubPeer peer = new();
        ReceiveAllowance allowance = new(long.MaxValue);
        ReactorInbox inbox = new([channel]);
        PeerLanes lanes = inbox.Open(allowance, CancellationToken.None);
        using ChannelDemultiplexer demultiplexer = new(new ChannelTable([channel]), peer, [.. lanes.Lanes], allowance, new NoKeepAlive(), pool);
        const int count = 150;
        for (int i = 0; i < count; i++)
        {
            demultiplexer.Accept(Packet.Message(1, true, Enumerable.Repeat((byte)i, 100).ToArray()), (count - 1 - i) * 100);
        }

        demultiplexer.Deliver();
        List<Envelope> read = [];
        while (inbox.TryRead(out Envelope envelope))
        {
            read.Add(envelope);
        }

        Assert.That(read.Select(envelope => envelope.Data.ToArray()), Is.EqualTo(Enumerable.Range(0, count).Select(i => Enumerable.Repeat((byte)i, 100))));
        Assert.That(pool.Outstanding, Is.EqualTo(3).And.EqualTo(pool.Rented), "64 share an array, and the last 22 have one of their own.");
        foreach (Envelope envelope in read.Skip(1))
        {
            envelope.Release();
            envelope.Release();
        }

        Assert.That(pool.Outstanding, Is.EqualTo(1));
        Assert.That(read[0].Data.Span[0], Is.Zero);
        read[0].Release();
        Assert.That(pool.Outstanding, Is.Zero);
    }

    [Test]
    public void A_small_message_among_many_of_another_channel_does_not_keep_their_memory()
    {
        CountingPool pool = new();
        ChannelDescriptor few = new(1, "few");
        ChannelDescriptor many = new(2, "many") { ReceiveQueueCapacity = 1000 };
        using StubPeer peer = new();
        ReceiveAllowance allowance = new(long.MaxValue);
        ReactorInbox inbox = new([few, many]);
        PeerLanes lanes = inbox.Open(allowance, CancellationToken.None);
        using ChannelDemultiplexer demultiplexer = new(new ChannelTable([few, many]), peer, [.. lanes.Lanes], allowance, new NoKeepAlive(), pool);
        for (int i = 0; i < 60; i++)
        {
            demultiplexer.Accept(Packet.Message(2, true, new byte[200]), 200 * (60 - i));
            if (i == 10)
            {
                demultiplexer.Accept(Packet.Message(1, true, new byte[50]), 200 * (59 - i));
            }
        }

        demultiplexer.Deliver();
        Assert.That(lanes.GetStatus(lanes.Lanes[0]).Bytes, Is.EqualTo(Lane.EnvelopeCost + 50));
        while (inbox.TryRead(out Envelope envelope))
        {
            if (envelope.Channel == many)
            {
                envelope.Release();
            }
        }

        Assert.That(pool.Outstanding, Is.Zero);
    }

    // A remote that mixes channels must not make a message keep more than its lane is charged for.
    [TestCase(FullLanePolicy.Wait, 8)]
    [TestCase(FullLanePolicy.DropNewest, 600)]
    public void A_message_that_is_left_alone_keeps_no_more_memory_than_its_own(FullLanePolicy policy, int size)
    {
        CountingPool pool = new();
        ChannelDescriptor channel = new(1, "c") { ReceiveQueueCapacity = 1, WhenFull = policy };
        ChannelDescriptor other = new(2, "other");
        using StubPeer peer = new();
        ReceiveAllowance allowance = new(long.MaxValue);
        ReactorInbox inbox = new([channel, other]);
        PeerLanes lanes = inbox.Open(allowance, CancellationToken.None);
        using ChannelDemultiplexer demultiplexer = new(new ChannelTable([channel, other]), peer, [.. lanes.Lanes], allowance, new NoKeepAlive(), pool);
        for (int i = 0; i < 10; i++)
        {
            demultiplexer.Accept(Packet.Message(1, true, new byte[size]), 20_000);
            if (policy == FullLanePolicy.Wait)
            {
                demultiplexer.Accept(Packet.Message(2, false, new byte[3000]), 10_000);
                demultiplexer.Accept(Packet.Message(2, true, []), 0);
            }
        }

        demultiplexer.Deliver();
        while (inbox.TryRead(out Envelope envelope))
        {
            if (envelope.Channel == channel)
            {
                Assert.That(MemoryMarshal.TryGetArray(envelope.Data, out ArraySegment<byte> segment), Is.True);
                Assert.That(segment.Array, Has.Length.EqualTo(size));
            }

            envelope.Release();
        }

        Assert.That(pool.Outstanding, Is.Zero);
    }

    private sealed class NoKeepAlive : IKeepAliveTarget
    {
        public void OnPing() => Assert.Fail("No ping was sent.");

        public void OnPong() => Assert.Fail("No pong was sent.");

        public void OnPause() => Assert.Fail("There is room.");

        public void OnResume() => Assert.Fail("Reading never paused.");
    }
}
