using Pipeline.Dataflow;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Dataflow;

public sealed class ConcurrencyLimitTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private static readonly ChannelDescriptor Channel = new(1, "c") { ReceiveQueueCapacity = 10_000 };

    [Test, CancelAfter(60_000)]
    public async Task No_more_messages_are_dealt_with_at_once_than_the_limit_and_order_is_kept([Values(1, 2, 3)] int limit, CancellationToken cancellationToken)
    {
        const int peers = 6;
        const int each = 300;
        int running = 0;
        int most = 0;
        Dictionary<IPeer, List<int>> got = [];
        ReactorInbox inbox = new([Channel], async (envelope, _) =>
        {
            int now = Interlocked.Increment(ref running);
            InterlockedMax(ref most, now);
            if (envelope.Data.Span[0] % 3 == 0)
            {
                await Task.Yield();
            }

            got[envelope.Peer].Add(BitConverter.ToInt32(envelope.Data.Span));
            Interlocked.Decrement(ref running);
        })
        {
            MaxConcurrency = limit,
        };
        StubPeer[] senders = [.. Enumerable.Range(0, peers).Select(_ => new StubPeer())];
        PeerLanes[] lanes = [.. senders.Select(_ => inbox.Open(new ReceiveAllowance(long.MaxValue), CancellationToken.None))];
        Array.ForEach(senders, sender => got[sender] = []);
        await Task.WhenAll(senders.Select((sender, i) => Task.Run(
            () =>
            {
                for (int n = 0; n < each; n++)
                {
                    lanes[i].Lanes[0].Write(new Envelope(sender, Channel, BitConverter.GetBytes(n)));
                }
            },
            cancellationToken)));
        await Task.WhenAll(lanes.Select(lane => lane.WhenAtRestAsync())).WaitAsync(Limit, cancellationToken);
        Assert.That(most, Is.LessThanOrEqualTo(limit));
        Assert.That(got.Values, Is.All.EqualTo(Enumerable.Range(0, each)));
        Array.ForEach(senders, sender => sender.Dispose());
    }

    [Test, CancelAfter(60_000)]
    public async Task With_a_limit_of_one_a_sparse_peer_waits_for_one_message_of_each_busy_one([Values(0, 1000)] int size, CancellationToken cancellationToken)
    {
        SemaphoreSlim step = new(0);
        List<IPeer> order = [];
        ReactorInbox inbox = new([Channel], async (envelope, _) =>
        {
            await step.WaitAsync(cancellationToken);
            order.Add(envelope.Peer);
        })
        {
            MaxConcurrency = 1,
        };
        StubPeer[] busy = [new(), new(), new()];
        using StubPeer sparse = new();
        foreach (StubPeer peer in busy)
        {
            PeerLanes lanes = inbox.Open(new ReceiveAllowance(long.MaxValue), CancellationToken.None);
            for (int i = 0; i < 100; i++)
            {
                lanes.Lanes[0].Write(new Envelope(peer, Channel, new byte[size]));
            }
        }

        step.Release(30);
        while (Volatile.Read(ref order).Count < 30)
        {
            await Task.Yield();
            cancellationToken.ThrowIfCancellationRequested();
        }

        PeerLanes late = inbox.Open(new ReceiveAllowance(long.MaxValue), CancellationToken.None);
        late.Lanes[0].Write(new Envelope(sparse, Channel, new byte[1000]));
        step.Release(200);
        await late.WhenAtRestAsync().WaitAsync(Limit, cancellationToken);
        int at = order.IndexOf(sparse);
        Assert.That(at - 30, Is.LessThanOrEqualTo(busy.Length), "one message of each busy peer at most goes before");
        Array.ForEach(busy, peer => peer.Dispose());
    }

    [Test, CancelAfter(60_000)]
    public async Task Closing_does_not_wait_for_a_turn_that_another_peer_keeps_from_coming(CancellationToken cancellationToken)
    {
        using StubPeer stuck = new();
        using StubPeer leaving = new();
        TaskCompletionSource handled = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource never = new();
        ReactorInbox inbox = new([Channel], (envelope, _) =>
        {
            handled.TrySetResult();
            return ReferenceEquals(envelope.Peer, stuck) ? new ValueTask(never.Task) : ValueTask.CompletedTask;
        })
        {
            MaxConcurrency = 1,
        };
        PeerLanes first = inbox.Open(new ReceiveAllowance(long.MaxValue), CancellationToken.None);
        PeerLanes second = inbox.Open(new ReceiveAllowance(long.MaxValue), CancellationToken.None);
        second.Lanes[0].Write(new Envelope(leaving, Channel, new byte[1]));
        await handled.Task.WaitAsync(Limit, cancellationToken);
        await second.WhenAtRestAsync().WaitAsync(Limit, cancellationToken);
        first.Lanes[0].Write(new Envelope(stuck, Channel, new byte[1]));
        second.Lanes[0].Write(new Envelope(leaving, Channel, new byte[1]));
        second.Close();
        await second.WhenAtRestAsync().WaitAsync(Limit, cancellationToken);
        Assert.That(first.WhenAtRestAsync().IsCompleted, Is.False);
    }

    private static void InterlockedMax(ref int location, int value)
    {
        for (int seen = Volatile.Read(ref location); value > seen;)
        {
            int was = Interlocked.CompareExchange(ref location, value, seen);
            seen = was == seen ? value : was;
        }
    }
}
