using System.Collections.Concurrent;
using System.Threading.Tasks.Dataflow;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Dataflow;

public sealed class ReactorInboxTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private static readonly ChannelDescriptor One = new(1, "one") { ReceiveQueueCapacity = 4, ReceiveQueueBytes = 10_000 };
    private static readonly ChannelDescriptor Two = new(2, "two") { ReceiveQueueCapacity = 4, ReceiveQueueBytes = 10_000 };

    [Test]
    public void A_reader_gets_each_lane_in_order()
    {
        ReactorInbox inbox = new([One, Two]);
        using Sender sender = new(inbox);
        for (byte i = 0; i < 10; i++)
        {
            sender.Write(i % 3 == 0 ? One : Two, i);
        }

        List<Envelope> read = ReadAll(inbox);
        Assert.That(Values(read.Where(e => e.Channel == One)), Is.EqualTo(new[] { 0, 3, 6, 9 }));
        Assert.That(Values(read.Where(e => e.Channel == Two)), Is.EqualTo(new[] { 1, 2, 4, 5, 7, 8 }));
        Assert.That(read.Select(e => e.Peer), Is.All.SameAs(sender.Peer));
    }

    [Test]
    public void Peers_are_served_by_bytes_and_a_flood_does_not_hold_up_a_sparse_one()
    {
        ReactorInbox inbox = new([One]);
        using Sender flood = new(inbox);
        using Sender sparse = new(inbox);
        for (byte i = 0; i < 100; i++)
        {
            flood.Write(One, i, size: 1000);
        }

        for (int i = 0; i < 20; i++)
        {
            Assert.That(inbox.TryRead(out _), Is.True);
        }

        sparse.Write(One, 200, size: 1000);
        List<Envelope> read = ReadAll(inbox);
        Assert.That(read.FindIndex(e => ReferenceEquals(e.Peer, sparse.Peer)), Is.LessThanOrEqualTo(1));
    }

    [Test]
    public void Lanes_of_a_peer_are_served_by_bytes()
    {
        ReactorInbox inbox = new([One, Two]);
        using Sender sender = new(inbox);
        for (byte i = 0; i < 50; i++)
        {
            sender.Write(One, i, size: 9000);
        }

        for (int i = 0; i < 10; i++)
        {
            Assert.That(inbox.TryRead(out _), Is.True);
        }

        for (byte i = 0; i < 50; i++)
        {
            sender.Write(Two, i, size: 10);
        }

        List<Envelope> read = ReadAll(inbox);
        Assert.That(read.FindLastIndex(e => e.Channel == Two), Is.LessThanOrEqualTo(52), "small messages go before most of the large ones");
    }

    [Test, CancelAfter(30_000)]
    public async Task A_reader_is_woken_when_something_comes(CancellationToken cancellationToken)
    {
        ReactorInbox inbox = new([One]);
        using Sender sender = new(inbox);
        Task<bool> waiting = inbox.WaitToReadAsync(cancellationToken).AsTask();
        Assert.That(waiting.IsCompleted, Is.False);
        sender.Write(One, 1);
        Assert.That(await waiting.WaitAsync(Limit, cancellationToken), Is.True);
        Assert.That(inbox.TryRead(out Envelope envelope), Is.True);
        Assert.That(envelope.Data.Span[0], Is.EqualTo(1));
        Assert.That(inbox.TryRead(out _), Is.False);
    }

    [Test, CancelAfter(30_000)]
    public async Task A_completed_inbox_is_read_to_the_end(CancellationToken cancellationToken)
    {
        ReactorInbox inbox = new([One]);
        using Sender sender = new(inbox);
        sender.Write(One, 1);
        sender.Write(One, 2);
        inbox.Complete();
        Assert.That(inbox.Completion.IsCompleted, Is.False);
        List<int> read = [];
        await foreach (Envelope envelope in inbox.ReadAllAsync(cancellationToken))
        {
            read.Add(envelope.Data.Span[0]);
        }

        Assert.That(read, Is.EqualTo(new[] { 1, 2 }));
        await inbox.Completion.WaitAsync(Limit, cancellationToken);
    }

    [Test, CancelAfter(30_000)]
    public async Task Linked_blocks_get_everything_in_order_and_the_completion(CancellationToken cancellationToken)
    {
        ReactorInbox inbox = new([One]);
        using Sender sender = new(inbox);
        ConcurrentQueue<int> got = new();
        ActionBlock<Envelope> action = new(e => got.Enqueue(e.Data.Span[0]), new ExecutionDataflowBlockOptions { BoundedCapacity = 1 });
        inbox.LinkTo(action, new DataflowLinkOptions { PropagateCompletion = true });
        for (byte i = 0; i < 100; i++)
        {
            sender.Write(One, i);
        }

        await sender.Lanes.WhenAtRestAsync().WaitAsync(Limit, cancellationToken);
        inbox.Complete();
        await action.Completion.WaitAsync(Limit, cancellationToken);
        Assert.That(got, Is.EqualTo(Enumerable.Range(0, 100)));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_handler_runs_for_one_message_of_a_peer_at_a_time_and_for_peers_at_once(CancellationToken cancellationToken)
    {
        ConcurrentDictionary<IPeer, int> running = new();
        ConcurrentDictionary<IPeer, List<int>> got = new();
        TaskCompletionSource bothRun = new(TaskCreationOptions.RunContinuationsAsynchronously);
        ReactorInbox inbox = new([One], async (envelope, token) =>
        {
            Assert.That(running.AddOrUpdate(envelope.Peer, 1, (_, n) => n + 1), Is.EqualTo(1));
            if (running.Count(entry => entry.Value > 0) == 2)
            {
                bothRun.TrySetResult();
            }

            await bothRun.Task.WaitAsync(Limit, token);
            got.GetOrAdd(envelope.Peer, _ => []).Add(envelope.Data.Span[0]);
            running[envelope.Peer] = 0;
        });
        using Sender a = new(inbox);
        using Sender b = new(inbox);
        for (byte i = 0; i < 50; i++)
        {
            a.Write(One, i);
            b.Write(One, i);
        }

        await Task.WhenAll(a.Lanes.WhenAtRestAsync(), b.Lanes.WhenAtRestAsync()).WaitAsync(Limit, cancellationToken);
        Assert.That(got[a.Peer], Is.EqualTo(Enumerable.Range(0, 50)));
        Assert.That(got[b.Peer], Is.EqualTo(Enumerable.Range(0, 50)));
    }

    [Test, CancelAfter(30_000), Repeat(50)]
    public async Task After_closing_no_message_is_handed_out_any_more(CancellationToken cancellationToken)
    {
        bool closed = false;
        int late = 0;
        ReactorInbox inbox = new([One], async (_, _) =>
        {
            late += Volatile.Read(ref closed) ? 1 : 0;
            await Task.Yield();
        });
        using Sender sender = new(inbox);
        Task writing = Task.Run(
            () =>
            {
                for (int i = 0; i < 2000; i++)
                {
                    sender.Write(One, (byte)i);
                }
            },
            cancellationToken);
        while (sender.Lanes.GetStatus(sender.Lanes.Lanes[0]).MessagesReceived < 500)
        {
            await Task.Yield();
        }

        sender.Lanes.Close();
        await sender.Lanes.WhenAtRestAsync().WaitAsync(Limit, cancellationToken);
        Volatile.Write(ref closed, true);
        await writing.WaitAsync(Limit, cancellationToken);
        Assert.That(late, Is.Zero);
        Assert.That(sender.Lanes.GetStatus(sender.Lanes.Lanes[0]).Messages, Is.Zero);
        Assert.That(sender.Allowance.IsUsedUp, Is.False, "all that was charged has been given back");
    }

    [Test, CancelAfter(30_000)]
    public async Task What_exceeds_the_bounds_of_a_lane_uses_up_the_allowance_until_it_is_taken(CancellationToken cancellationToken)
    {
        ReactorInbox inbox = new([One]);
        using Sender sender = new(inbox, allowance: 1000);
        for (byte i = 0; i < 4; i++)
        {
            sender.Write(One, i);
        }

        await sender.Allowance.WaitForRoomAsync(cancellationToken);
        sender.Write(One, 4, size: 2000);
        Assert.That(sender.Allowance.IsUsedUp, Is.True);
        Task room = sender.Allowance.WaitForRoomAsync(cancellationToken).AsTask();
        for (int i = 0; i < 4; i++)
        {
            Assert.That(inbox.TryRead(out _), Is.True);
            Assert.That(room.IsCompleted, Is.False);
        }

        Assert.That(inbox.TryRead(out _), Is.True);
        await room.WaitAsync(Limit, cancellationToken);
    }

    [Test, CancelAfter(30_000)]
    public async Task A_wait_for_the_allowance_can_be_cancelled(CancellationToken cancellationToken)
    {
        ReceiveAllowance allowance = new(10);
        allowance.Charge(100);
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task waiting = allowance.WaitForRoomAsync(cancel.Token).AsTask();
        await cancel.CancelAsync();
        Assert.That(async () => await waiting.WaitAsync(Limit, cancellationToken), Throws.InstanceOf<OperationCanceledException>());
        Task again = allowance.WaitForRoomAsync(cancellationToken).AsTask();
        allowance.Release(100);
        await again.WaitAsync(Limit, cancellationToken);
    }

    private static List<Envelope> ReadAll(ReactorInbox inbox)
    {
        List<Envelope> read = [];
        while (inbox.TryRead(out Envelope envelope))
        {
            read.Add(envelope);
        }

        return read;
    }

    private static IEnumerable<int> Values(IEnumerable<Envelope> envelopes) => envelopes.Select(e => (int)e.Data.Span[0]);

    private sealed class Sender : IDisposable
    {
        public Sender(ReactorInbox inbox, long allowance = 1_000_000)
        {
            Allowance = new ReceiveAllowance(allowance);
            Lanes = inbox.Open(Allowance, CancellationToken.None);
        }

        public StubPeer Peer { get; } = new();

        public ReceiveAllowance Allowance { get; }

        public PeerLanes Lanes { get; }

        public void Write(ChannelDescriptor channel, byte value, int size = 1)
        {
            byte[] data = new byte[size];
            data[0] = value;
            Lanes.Lanes.Single(lane => lane.Channel == channel).Write(new Envelope(Peer, channel, data));
        }

        public void Dispose() => Peer.Dispose();
    }
}
