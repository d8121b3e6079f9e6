using System.Threading.Tasks.Dataflow;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Dataflow;

public sealed class ReactorOutboxTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private static readonly ChannelDescriptor Channel = new(1, "c");

    [Test, CancelAfter(30_000)]
    public async Task A_peer_that_does_not_read_holds_up_nobody_and_little_waits_for_it()
    {
        QueuePeer stuck = new(hasRoom: false);
        QueuePeer quick = new(hasRoom: true);
        ConnectionOptions options = new() { OutboxMessagesPerPeer = 10 };
        ReactorOutbox outbox = new(() => [stuck, quick]) { Options = options };
        for (int i = 0; i < 5000; i++)
        {
            Assert.That(await outbox.SendAsync(new OutboundEnvelope(Channel, new BytesValue { Value = ByteString.CopyFrom(new byte[100]) })), Is.True);
        }

        outbox.Complete();
        Assert.That(() => quick.Sent, Is.EqualTo(5000).After((int)Limit.TotalMilliseconds, 10));
        Assert.That(stuck.Sent, Is.EqualTo(options.OutboxMessagesPerPeer));
        stuck.Release();
        await outbox.Completion.WaitAsync(Limit);
        Assert.That(outbox.Undelivered, Is.EqualTo(5000 - options.OutboxMessagesPerPeer));
    }

    [Test, CancelAfter(30_000)]
    public async Task Bytes_bound_what_waits_for_a_peer_as_well()
    {
        QueuePeer stuck = new(hasRoom: false);
        ReactorOutbox outbox = new(() => [stuck]);
        for (int i = 0; i < 10; i++)
        {
            await outbox.SendAsync(new OutboundEnvelope(Channel, new BytesValue { Value = ByteString.CopyFrom(new byte[300_000]) }));
        }

        outbox.Complete();
        stuck.Release();
        await outbox.Completion.WaitAsync(Limit);
        Assert.That(stuck.Sent, Is.InRange(3, 10));
        Assert.That(outbox.Undelivered + stuck.Sent, Is.EqualTo(10));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_message_that_cannot_be_serialised_is_reported_and_the_next_one_is_sent()
    {
        QueuePeer peer = new(hasRoom: true);
        List<Exception> errors = [];
        ReactorOutbox outbox = new(() => [peer]) { OnError = errors.Add };
        await outbox.SendAsync(new OutboundEnvelope(Channel, new BrokenMessage()));
        await outbox.SendAsync(new OutboundEnvelope(Channel, new StringValue { Value = "next" }));
        outbox.Complete();
        await outbox.Completion.WaitAsync(Limit);
        Assert.That(errors.Single().Message, Is.EqualTo("broken"));
        Assert.That((peer.Sent, outbox.Undelivered), Is.EqualTo((1, 1L)));
    }

    [Test, CancelAfter(30_000)]
    public async Task No_recipients_are_nobody_and_not_everybody()
    {
        QueuePeer peer = new(hasRoom: true);
        ReactorOutbox outbox = new(() => [peer]);
        await outbox.SendAsync(new OutboundEnvelope(Channel, new StringValue(), recipients: []));
        await outbox.SendAsync(new OutboundEnvelope(Channel, new StringValue()) { Except = peer });
        outbox.Complete();
        await outbox.Completion.WaitAsync(Limit);
        Assert.That(peer.Sent, Is.Zero);
    }

    private sealed class BrokenMessage : IMessage
    {
        public MessageDescriptor Descriptor => throw new NotSupportedException();

        public int CalculateSize() => throw new InvalidOperationException("broken");

        public void MergeFrom(CodedInputStream input) => throw new NotSupportedException();

        public void WriteTo(CodedOutputStream output) => throw new NotSupportedException();
    }

    private sealed class QueuePeer(bool hasRoom) : StubPeer
    {
        private readonly TaskCompletionSource _room = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _sent;

        public int Sent => Volatile.Read(ref _sent);

        public override async ValueTask<SendResult> SendAsync(SerializedMessage message, TimeSpan? timeout, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref _sent);
            if (!hasRoom)
            {
                await _room.Task;
            }

            return SendResult.Queued;
        }

        public void Release() => _room.SetResult();
    }
}
