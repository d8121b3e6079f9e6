using System.Threading.Channels;
using System.Threading.Tasks.Dataflow;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;
using Pipeline.Wire;

namespace Pipeline.Tests.Conformance;

/// <summary>A target with room for <see cref="Capacity"/> numbers, that is done with one when the test lets it.</summary>
public abstract class TargetUnderTest<T> : IDisposable
{
    public const int Capacity = 3;

    private readonly Channel<int> _done = Channel.CreateUnbounded<int>();
    private readonly SemaphoreSlim _permits = new(0);

    public abstract ITargetBlock<T> Block { get; }

    public abstract T Make(int value);

    public abstract int ValueOf(T item);

    /// <summary>Lets the target be done with some of what it has, or will get.</summary>
    public void Release(int count = 1) => _permits.Release(count);

    /// <summary>The next number that the target is done with.</summary>
    public async Task<int> NextDoneAsync() => await _done.Reader.ReadAsync().AsTask().WaitAsync(TestLimit.Time);

    /// <summary>The numbers that the target is done with and that have not been looked at.</summary>
    public IEnumerable<int> Done()
    {
        while (_done.Reader.TryRead(out int value))
        {
            yield return value;
        }
    }

    public virtual void Dispose()
    {
        _permits.Dispose();
        GC.SuppressFinalize(this);
    }

    protected Task WaitForReleaseAsync() => _permits.WaitAsync();

    protected void Finish(int value) => _done.Writer.TryWrite(value);
}

/// <summary>The framework's own, which says what is right.</summary>
public sealed class ActionBlockTarget : TargetUnderTest<int>
{
    public ActionBlockTarget() => Block = new ActionBlock<int>(
        async value =>
        {
            await WaitForReleaseAsync();
            Finish(value);
        },
        new ExecutionDataflowBlockOptions { BoundedCapacity = Capacity });

    public override ITargetBlock<int> Block { get; }

    public override int Make(int value) => value;

    public override int ValueOf(int item) => item;
}

/// <summary>What waits to be sent to a peer; it is done with a message when the message has been sent.</summary>
public sealed class PrioritySendBlockTarget : TargetUnderTest<SerializedMessage>
{
    private static readonly ChannelDescriptor Channel = new(1, "numbers") { SendQueueCapacity = Capacity };

    private readonly PrioritySendBlock _block = new(new ChannelTable([Channel]), [Channel.Id], 1024, TimeProvider.System);

    public PrioritySendBlockTarget() => _ = SendAsync();

    public override ITargetBlock<SerializedMessage> Block => _block;

    public override SerializedMessage Make(int value) => SerializedMessage.Create(Channel, BitConverter.GetBytes(value));

    public override int ValueOf(SerializedMessage item) => BitConverter.ToInt32(item.Span);

    private async Task SendAsync()
    {
        byte[] one = new byte[PacketCodec.Size(Packet.Message(Channel.Id, true, new byte[sizeof(int)]))];
        while (await _block.WaitToTakeAsync())
        {
            await WaitForReleaseAsync();
            if (PacketCodec.TryRead(one.AsSpan(0, _block.Take(one)), 1024, out Packet packet, out _))
            {
                Finish(BitConverter.ToInt32(packet.Data));
            }
        }

        _block.Close();
    }
}

/// <summary>Where a reactor puts what it sends; it is done with a message when the peer has room for it.</summary>
public sealed class ReactorOutboxTarget : TargetUnderTest<OutboundEnvelope>
{
    private static readonly ChannelDescriptor Channel = new(1, "numbers");

    private readonly ReactorOutbox _outbox;

    // One waits for the peer, and the others in the outbox.
    public ReactorOutboxTarget()
    {
        IPeer[] peers = [new SlowPeer(this)];
        _outbox = new ReactorOutbox(() => peers, capacity: Capacity - 1, maxSendsInFlight: 1);
    }

    public override ITargetBlock<OutboundEnvelope> Block => _outbox;

    public override OutboundEnvelope Make(int value) => new(Channel, new Int32Value { Value = value });

    public override int ValueOf(OutboundEnvelope item) => ((Int32Value)item.Message).Value;

    private sealed class SlowPeer(ReactorOutboxTarget target) : StubPeer
    {
        private Task _last = Task.CompletedTask;

        public override ValueTask<SendResult> SendAsync(SerializedMessage message, TimeSpan? timeout, CancellationToken cancellationToken)
        {
            Task<SendResult> sending = SendAfterAsync(_last, Int32Value.Parser.ParseFrom(message.Span).Value);
            _last = sending;
            return new ValueTask<SendResult>(sending);
        }

        // A peer's queue keeps the order, a semaphore need not.
        private async Task<SendResult> SendAfterAsync(Task last, int value)
        {
            await last;
            await target.WaitForReleaseAsync();
            target.Finish(value);
            return SendResult.Queued;
        }
    }
}
