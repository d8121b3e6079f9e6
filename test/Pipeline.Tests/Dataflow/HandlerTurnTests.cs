using System.Collections.Concurrent;
using CsCheck;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Dataflow;

/// <summary>Turns of an inbox's handler, which take messages out of the lanes several at a time.</summary>
[NonParallelizable]
public sealed class HandlerTurnTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private static readonly ChannelDescriptor Bulk = new(1, "bulk") { ReceiveQueueCapacity = 10_000 };
    private static readonly ChannelDescriptor Urgent = new(2, "urgent") { ReceiveQueueCapacity = 10_000 };

    [Test, CancelAfter(30_000)]
    public async Task When_a_handler_has_to_wait_the_messages_behind_go_back_and_keep_their_place(CancellationToken cancellationToken)
    {
        TaskCompletionSource reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource blocked = new(TaskCreationOptions.RunContinuationsAsynchronously);
        ConcurrentQueue<(byte Channel, int Number)> handled = [];
        using Sender sender = new(async envelope =>
        {
            (byte, int) message = (envelope.Channel.Id, BitConverter.ToInt32(envelope.Data.Span));
            if (message == (Bulk.Id, 100))
            {
                reached.SetResult();
                await blocked.Task.WaitAsync(cancellationToken);
            }

            handled.Enqueue(message);
        });
        sender.Write([.. Enumerable.Range(0, 200).Select(i => (Bulk, i))]);
        await reached.Task.WaitAsync(Limit, cancellationToken);

        // As soon as no message but the one that waits is out of its lane.
        bool areBack = SpinWait.SpinUntil(() => sender.Lanes.GetStatus(sender.Lanes.Lanes[0]).Messages == 99, Limit);
        sender.Write([(Urgent, 0)]);
        blocked.SetResult();
        await sender.Lanes.WhenAtRestAsync().WaitAsync(Limit, cancellationToken);

        Assert.That(areBack, Is.True);
        Assert.That(handled.Where(message => message.Channel == Bulk.Id).Select(message => message.Number), Is.EqualTo(Enumerable.Range(0, 200)));
        Assert.That(handled.ToList().FindIndex(message => message.Channel == Urgent.Id), Is.EqualTo(101), "What came meanwhile on another lane is next.");
    }

    [Test, CancelAfter(30_000)]
    public async Task What_comes_while_a_batch_is_in_hand_goes_before_what_is_put_back(CancellationToken cancellationToken)
    {
        TaskCompletionSource blocked = new(TaskCreationOptions.RunContinuationsAsynchronously);
        ConcurrentQueue<(byte Channel, int Number)> handled = [];
        Sender? self = null;
        using Sender sender = new(async envelope =>
        {
            (byte, int) message = (envelope.Channel.Id, BitConverter.ToInt32(envelope.Data.Span));
            handled.Enqueue(message);
            if (message == (Bulk.Id, 100))
            {
                self!.Write([(Urgent, 0)]);
                blocked.SetResult();
                await Task.Yield();
            }
        });
        self = sender;
        sender.Write([.. Enumerable.Range(0, 200).Select(i => (Bulk, i))]);
        await blocked.Task.WaitAsync(Limit, cancellationToken);
        await sender.Lanes.WhenAtRestAsync().WaitAsync(Limit, cancellationToken);

        Assert.That(handled.Where(message => message.Channel == Bulk.Id).Select(message => message.Number), Is.EqualTo(Enumerable.Range(0, 200)));
        Assert.That(handled.ToList().FindIndex(message => message.Channel == Urgent.Id), Is.EqualTo(101));
    }

    [Test, CancelAfter(30_000)]
    public async Task When_a_peer_is_closed_in_the_middle_of_a_batch_the_rest_is_dropped_and_counted([Values(0, 1, 50, 150, 199)] int last, CancellationToken cancellationToken)
    {
        using ManualResetEventSlim goOn = new();
        TaskCompletionSource reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int handled = 0;
        using Sender sender = new(envelope =>
        {
            if (handled++ == last)
            {
                reached.SetResult();
                goOn.Wait(cancellationToken);
            }

            return ValueTask.CompletedTask;
        });
        sender.Write([.. Enumerable.Range(0, 200).Select(i => (Bulk, i))]);
        await reached.Task.WaitAsync(Limit, cancellationToken);
        int dropped = sender.Lanes.Close();
        Task atRest = sender.Lanes.WhenAtRestAsync();
        bool restedEarly = atRest.IsCompleted;
        goOn.Set();
        await atRest.WaitAsync(Limit, cancellationToken);

        Assert.That(restedEarly, Is.False);
        Assert.That(handled, Is.EqualTo(last + 1));
        Assert.That(dropped, Is.EqualTo(200 - handled));
        Assert.That(sender.Released, Is.EqualTo(dropped), "The handler releases the others.");
    }

    [Test]
    public void Whatever_the_handler_does_each_message_is_handled_once_in_its_lanes_order_or_dropped() =>
        Gen.Select(Gen.Int[0, 400], Gen.Int[0, 3].Array[1, 20], Gen.Int[0, 300]).Sample(
            (count, pattern, closeAt) =>
            {
                ConcurrentQueue<(byte Channel, int Number)> handled = [];
                int running = 0;
                bool overlapped = false;
                TaskCompletionSource closing = new(TaskCreationOptions.RunContinuationsAsynchronously);
                using Sender sender = new(async envelope =>
                {
                    overlapped |= Interlocked.Increment(ref running) != 1;
                    int number = BitConverter.ToInt32(envelope.Data.Span);
                    handled.Enqueue((envelope.Channel.Id, number));
                    if (handled.Count == closeAt)
                    {
                        closing.TrySetResult();
                    }

                    if (pattern[number % pattern.Length] == 0)
                    {
                        await Task.Yield();
                    }

                    Interlocked.Decrement(ref running);
                });
                (ChannelDescriptor, int)[] messages = [.. Enumerable.Range(0, count).Select(i => (pattern[i % pattern.Length] == 1 ? Urgent : Bulk, i))];
                Task<int> closed = Task.Run(async () =>
                {
                    await closing.Task;
                    return sender.Lanes.Close();
                });
                foreach ((ChannelDescriptor, int)[] batch in messages.Chunk(1 + (pattern.Length * pattern[0])))
                {
                    sender.Write(batch);
                }

                int written = count;
                if (closeAt <= 0 || closeAt > count)
                {
                    if (!sender.Lanes.WhenAtRestAsync().Wait(Limit))
                    {
                        return false;
                    }

                    closing.TrySetResult();
                }

                if (!closed.Wait(Limit) || !sender.Lanes.WhenAtRestAsync().Wait(Limit))
                {
                    return false;
                }

                // Some may have been written after it was closed: they are released, and nobody counts them.
                bool isComplete = handled.Count + sender.Released == written && closed.Result <= sender.Released;
                return isComplete
                    && !overlapped
                    && handled.GroupBy(message => message.Channel).All(lane => lane.Select(message => message.Number).SequenceEqual(
                        messages.Where(message => message.Item1.Id == lane.Key).Select(message => message.Item2).Take(lane.Count())));
            },
            iter: 500);

    /// <summary>Writes messages into the lanes of a peer, and counts those that come back without having been handled.</summary>
    private sealed class Sender : IDisposable
    {
        private readonly StubPeer _peer = new();
        private readonly CountingPool _pool = new();
        private int _handled;

        public Sender(Func<Envelope, ValueTask> handle)
        {
            ReactorInbox inbox = new([Bulk, Urgent], async (envelope, _) =>
            {
                await handle(envelope);
                Interlocked.Increment(ref _handled);
                envelope.Release();
            });
            Lanes = inbox.Open(new ReceiveAllowance(long.MaxValue), CancellationToken.None);
        }

        public PeerLanes Lanes { get; }

        public int Released => _pool.Rented - _pool.Outstanding - Volatile.Read(ref _handled);

        public void Write((ChannelDescriptor Channel, int Number)[] messages) => Lanes.Write(
        [
            .. messages.Select(message =>
            {
                byte[] data = _pool.Rent(sizeof(int));
                BitConverter.TryWriteBytes(data, message.Number);
                Envelope envelope = new(_peer, message.Channel, data.AsMemory(0, sizeof(int)), new PooledBuffer(_pool, data));
                return new Arrival(Lanes.Lanes[message.Channel == Bulk ? 0 : 1], envelope);
            }),
        ]);

        public void Dispose() => _peer.Dispose();
    }
}
