using System.Collections.Concurrent;
using System.Threading.Tasks.Dataflow;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Dataflow;

/// <summary>A reactor made of the framework's blocks, whose slow end holds back the sender on the other side of a socket.</summary>
public sealed class ComposedBackpressureTests
{
    private const int Messages = 6000;
    private const int MessageSize = 1024;
    private const int Batch = 4;
    private const int Allowance = 32 * 1024;

    private static readonly ChannelDescriptor<BytesValue> Channel = new(1, "numbers", BytesValue.Parser)
    {
        SendQueueCapacity = 16,
        ReceiveQueueCapacity = 8,
        ReceiveQueueBytes = 16 * 1024,
    };

    // All that may be between the sender's call and the last block, in messages: the send queue and the call that waits; batches of frames at
    // both ends; the system's buffers, of which Linux makes twice what it is asked for; the lane, and what is beyond it at the cost of the
    // allowance; the head of the source; and the blocks.
    private const int Bound = 16 + 1 + (128 * 1024 / MessageSize) + (4 * 64 * 1024 / MessageSize) + 8 + (Allowance / MessageSize) + 1 + 8 + 8 + (2 * Batch);

    [Test, CancelAfter(60_000)]
    public async Task A_slow_last_block_slows_the_sender_and_nothing_in_between_exceeds_its_bound(CancellationToken cancellationToken)
    {
        // The receiver: parse and unwrap, batch, and a last block that is done with a batch when the test lets it.
        using SemaphoreSlim gate = new(0);
        ConcurrentQueue<int> handled = new();
        DataflowReactor<BytesValue> receiving = new("receiving", Channel);
        TransformBlock<Envelope<BytesValue>, int> unwrap = new(
            envelope =>
            {
                envelope.Release();
                return BitConverter.ToInt32(envelope.Message.Value.Span);
            },
            new ExecutionDataflowBlockOptions { BoundedCapacity = 8 });
        BatchBlock<int> batch = new(Batch, new GroupingDataflowBlockOptions { BoundedCapacity = 8 });
        ActionBlock<int[]> handle = new(
            async numbers =>
            {
                await gate.WaitAsync(cancellationToken);
                Array.ForEach(numbers, handled.Enqueue);
            },
            new ExecutionDataflowBlockOptions { BoundedCapacity = 2 });
        DataflowLinkOptions propagate = new() { PropagateCompletion = true };
        receiving.Source.LinkTo(unwrap, propagate);
        unwrap.LinkTo(batch, propagate);
        batch.LinkTo(handle, propagate);

        await using TestNode receiver = await TestNode.StartAsync(Configure, receiving);
        await using TestNode sender = await TestNode.StartAsync(Configure, new DataflowReactor("sending", Channel));
        IPeer outgoing = await sender.DialAsync(receiver, cancellationToken);
        Pulse pulse = new();
        IPeer incoming = await receiver.PeerAsync(sender.Switch.Id, cancellationToken);

        // The sender sends as fast as it may.
        int sent = 0;
        bool waits = false;
        Task sending = Task.Run(
            async () =>
            {
                while (sent < Messages)
                {
                    byte[] data = new byte[MessageSize];
                    BitConverter.TryWriteBytes(data, sent);
                    ValueTask<SendResult> send = outgoing.SendAsync(
                        Channel,
                        new BytesValue { Value = ByteString.CopyFrom(data) },
                        Timeout.InfiniteTimeSpan,
                        cancellationToken);
                    Volatile.Write(ref waits, !send.IsCompleted);
                    Assert.That(await send, Is.EqualTo(SendResult.Queued));
                    Volatile.Write(ref waits, false);
                    Volatile.Write(ref sent, sent + 1);
                }
            },
            cancellationToken);

        // All the while, everything is looked at.
        List<string> excesses = [];
        using PeriodicTimer everyMillisecond = new(TimeSpan.FromMilliseconds(1));
        Task watching = WatchAsync();

        // With the gate closed all comes to rest; each time it opens a little, as much is sent as was handled.
        for (int batches = 0; batches <= 600; batches += 200)
        {
            gate.Release(batches == 0 ? 1 : 200);
            int done = Batch * (batches + 1);
            await pulse.UntilAsync(() => handled.Count == done && IsAtRest(), cancellationToken);
            Assert.That(Volatile.Read(ref sent), Is.InRange(done, done + Bound), $"after {batches} batches");
            Assert.That(sending.IsCompleted, Is.False);
        }

        gate.Release(Messages);
        await sending.WaitAsync(cancellationToken);
        await pulse.UntilAsync(() => handled.Count == Messages, cancellationToken);
        everyMillisecond.Dispose();
        await watching.WaitAsync(cancellationToken);
        Assert.That(excesses, Is.Empty);
        Assert.That(handled, Is.EqualTo(Enumerable.Range(0, Messages)));

        bool IsAtRest() =>
            Volatile.Read(ref waits)
            && incoming.GetStatus().IsPaused
            && outgoing.GetStatus().Channels.Single().SendQueueMessages == Channel.SendQueueCapacity;

        async Task WatchAsync()
        {
            while (await everyMillisecond.WaitForNextTickAsync(cancellationToken))
            {
                ChannelStatus send = outgoing.GetStatus().Channels.Single();
                ChannelStatus inbox = incoming.GetStatus().Channels.Single();
                Check("send queue", send.SendQueueMessages, Channel.SendQueueCapacity);
                Check("lane, bytes", inbox.InboxBytes, Channel.ReceiveQueueBytes + Allowance + (3 * MessageSize));
                Check("unwrap, input", unwrap.InputCount, 8);
                Check("unwrap, output", unwrap.OutputCount, 8);
                Check("batch", batch.OutputCount * Batch, 8);
                Check("handle", handle.InputCount, 2);
                Check("sent and not handled", -handled.Count + Volatile.Read(ref sent), Bound);
                pulse.Beat();
            }
        }

        void Check(string what, long value, long bound)
        {
            if (value > bound)
            {
                excesses.Add($"{what}: {value} of {bound}");
            }
        }
    }

    private static SwitchOptions Configure(SwitchOptions options) => options with
    {
        Connection = new ConnectionOptions { ReceiveAllowance = Allowance, SendRate = null, ReceiveRate = null },
        Transport = new TcpTransport { SendBufferSize = 64 * 1024, ReceiveBufferSize = 64 * 1024 },
    };
}
