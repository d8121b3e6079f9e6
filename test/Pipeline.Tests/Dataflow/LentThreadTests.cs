using System.IO.Pipelines;
using System.Threading.Tasks.Dataflow;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Dataflow;

namespace Pipeline.Tests.Dataflow;

/// <summary>A sender that finds the sending loop idle runs it for one batch.</summary>
[CancelAfter(30_000)]
public sealed class LentThreadTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private static readonly ChannelDescriptor Channel = new(1, "c") { SendQueueCapacity = 100 };

    [Test]
    public void A_message_on_an_idle_connection_is_flushed_by_its_sender() => UntilLent(() =>
    {
        using Loop loop = new(Channel);
        loop.WaitUntilIdle();
        loop.Time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.That(loop.Block.TrySend(Channel, [1]), Is.EqualTo(SendResult.Queued));
        return loop.Output.FlushedBy.SequenceEqual([Environment.CurrentManagedThreadId]);
    });

    [Test]
    public void A_message_that_comes_sooner_is_left_to_the_loop()
    {
        using Loop loop = new(Channel);
        loop.WaitUntilIdle();
        loop.Time.Advance(TimeSpan.FromMilliseconds(0.9));
        Assert.That(loop.Block.TrySend(Channel, [1]), Is.EqualTo(SendResult.Queued));
        Assert.That(SpinWait.SpinUntil(() => loop.Output.FlushedBy.Length == 1, Limit), Is.True);
        Assert.That(loop.Output.FlushedBy, Has.None.EqualTo(Environment.CurrentManagedThreadId));
    }

    [Test]
    public void So_are_large_messages_and_those_that_others_hold()
    {
        using Loop loop = new(Channel);
        loop.WaitUntilIdle();
        loop.Time.Advance(TimeSpan.FromSeconds(1));
        using SerializedMessage message = SerializedMessage.Create(Channel, new byte[10]);
        Assert.That(loop.Block.TrySend(message), Is.EqualTo(SendResult.Queued));
        Assert.That(SpinWait.SpinUntil(() => loop.Output.FlushedBy.Length == 1, Limit), Is.True);
        loop.WaitUntilIdle();
        loop.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.That(loop.Block.TrySend(Channel, new byte[2049]), Is.EqualTo(SendResult.Queued));
        Assert.That(SpinWait.SpinUntil(() => loop.Output.FlushedBy.Length == 2, Limit), Is.True);
        Assert.That(loop.Output.FlushedBy, Has.None.EqualTo(Environment.CurrentManagedThreadId));
    }

    // A thread of a user interface, for instance, that does nothing more until it is done here.
    [Test]
    public void A_sender_gets_its_thread_back_and_nothing_waits_for_its_context() => UntilLent(() =>
    {
        SynchronizationContext? before = SynchronizationContext.Current;
        using Loop loop = new(Channel);
        loop.WaitUntilIdle();
        loop.Time.Advance(TimeSpan.FromMilliseconds(1));
        loop.Output.OnFlush = () =>
        {
            loop.Output.OnFlush = null;
            Assert.That(loop.Block.TrySend(Channel, [2]), Is.EqualTo(SendResult.Queued));
        };
        SynchronizationContext.SetSynchronizationContext(new StuckContext());
        try
        {
            Assert.That(loop.Block.TrySend(Channel, [1]), Is.EqualTo(SendResult.Queued));
            Assert.That(SpinWait.SpinUntil(() => loop.Output.FlushedBy.Length == 2, Limit), Is.True);
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(before);
        }

        Assert.That(loop.Output.FlushedBy[1], Is.Not.EqualTo(Environment.CurrentManagedThreadId));
        return loop.Output.FlushedBy[0] == Environment.CurrentManagedThreadId;
    });

    // The sender may hold a lock that the source wants.
    [Test]
    public void Sources_that_get_room_are_not_asked_on_the_senders_thread() => UntilLent(() =>
    {
        ChannelDescriptor channel = new(1, "c") { SendQueueCapacity = 1 };
        using Loop loop = new(channel);
        int consumedBy = 0;
        TransformBlock<int, SerializedMessage> source = new(_ => SerializedMessage.Create(channel, [2]));
        WatchedSource watched = new(source, () => consumedBy = Environment.CurrentManagedThreadId);
        loop.Counter.OnSent = () =>
        {
            loop.Counter.OnSent = null;
            DataflowMessageStatus status = ((ITargetBlock<SerializedMessage>)loop.Block).OfferMessage(
                new DataflowMessageHeader(1),
                SerializedMessage.Create(channel, [2]),
                watched,
                consumeToAccept: false);
            Assert.That(status, Is.EqualTo(DataflowMessageStatus.Postponed));
        };
        loop.WaitUntilIdle();
        loop.Time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.That(loop.Block.TrySend(channel, [1]), Is.EqualTo(SendResult.Queued));
        Assert.That(SpinWait.SpinUntil(() => loop.Output.FlushedBy.Length == 2, Limit), Is.True);
        Assert.That(consumedBy, Is.Not.Zero.And.Not.EqualTo(Environment.CurrentManagedThreadId));
        return loop.Output.FlushedBy[0] == Environment.CurrentManagedThreadId;
    });

    // The loop says that it waits a moment before it does; who wakes it in that moment finds nothing to run, and it goes on by itself. Nothing outside of it can
    // tell the moments apart, so what happens on a lent thread is looked at again until there was one.
    private static void UntilLent(Func<bool> attempt)
    {
        for (int i = 0; i < 1000; i++)
        {
            if (attempt())
            {
                return;
            }
        }

        Assert.Fail("The thread of a sender was never used.");
    }

    /// <summary>A send block with its loop, and time that stands still.</summary>
    private sealed class Loop : IDisposable
    {
        private readonly Task _running;

        public Loop(ChannelDescriptor channel)
        {
            Block = new PrioritySendBlock(new ChannelTable([channel]), [channel.Id], 1024, Time, Counter);
            FrameEncoder encoder = new(Block, Output, new ConnectionOptions { SendRate = null, TimeProvider = Time });
            _running = Task.Run(() => encoder.RunAsync(CancellationToken.None));
        }

        public FakeTimeProvider Time { get; } = new();

        public WatchedCounter Counter { get; } = new();

        public PrioritySendBlock Block { get; }

        public WatchedOutput Output { get; } = new();

        public void WaitUntilIdle() => Assert.That(SpinWait.SpinUntil(() => Block.IsTakerWaiting, Limit), Is.True);

        public void Dispose()
        {
            Block.Complete();
            Assert.That(_running.Wait(Limit), Is.True);
        }
    }

    private sealed class WatchedCounter : IMessageCounter
    {
        public Action? OnSent { get; set; }

        public void Sent(ChannelDescriptor channel, ReadOnlySpan<byte> message) => OnSent?.Invoke();

        public void Received(ChannelDescriptor channel, ReadOnlySpan<byte> message) => Assert.Fail("Nothing is received.");
    }

    private sealed class WatchedOutput : PipeWriter
    {
        private readonly byte[] _buffer = new byte[128 * 1024];
        private readonly List<int> _flushedBy = [];

        public Action? OnFlush { get; set; }

        public int[] FlushedBy
        {
            get
            {
                lock (_flushedBy)
                {
                    return [.. _flushedBy];
                }
            }
        }

        public override Memory<byte> GetMemory(int sizeHint = 0) => _buffer;

        public override Span<byte> GetSpan(int sizeHint = 0) => _buffer;

        public override void Advance(int bytes)
        {
        }

        public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
        {
            lock (_flushedBy)
            {
                _flushedBy.Add(Environment.CurrentManagedThreadId);
            }

            OnFlush?.Invoke();
            return default;
        }

        public override void CancelPendingFlush() => throw new NotSupportedException("No flush is pending.");

        public override void Complete(Exception? exception = null)
        {
        }
    }

    private sealed class StuckContext : SynchronizationContext
    {
        public override void Post(SendOrPostCallback d, object? state)
        {
        }
    }

    private sealed class WatchedSource(ISourceBlock<SerializedMessage> source, Action onConsume) : ISourceBlock<SerializedMessage>
    {
        public Task Completion => source.Completion;

        public SerializedMessage ConsumeMessage(DataflowMessageHeader messageHeader, ITargetBlock<SerializedMessage> target, out bool messageConsumed)
        {
            onConsume();
            messageConsumed = true;
            return SerializedMessage.Create(new ChannelDescriptor(1, "c"), [2]);
        }

        public IDisposable LinkTo(ITargetBlock<SerializedMessage> target, DataflowLinkOptions linkOptions) => throw new NotSupportedException("It is not linked.");

        public bool ReserveMessage(DataflowMessageHeader messageHeader, ITargetBlock<SerializedMessage> target) => false;

        public void ReleaseReservation(DataflowMessageHeader messageHeader, ITargetBlock<SerializedMessage> target)
        {
        }

        public void Complete() => source.Complete();

        public void Fault(Exception exception) => source.Fault(exception);
    }
}
