using System.Buffers;
using System.IO.Pipelines;
using System.Threading.Channels;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;
using Pipeline.Wire;

namespace Pipeline.Tests.Dataflow;

public sealed class RateLimitTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private static readonly ChannelDescriptor Bulk = new(1, "bulk")
    {
        SendQueueCapacity = 100_000,
        SendQueueBytes = int.MaxValue,
        ReceiveQueueCapacity = 100_000,
        ReceiveQueueBytes = int.MaxValue,
    };

    [TestCase(20_000)]
    [TestCase(500_000)]
    [TestCase(5_120_000)]
    public void A_bucket_holds_the_average_and_bounds_the_burst(long rate)
    {
        FakeTimeProvider time = new();
        TokenBucket bucket = TokenBucket.Create(rate, time)!;
        Random random = new(1);
        long used = 0;
        double inWindow = 0;
        Queue<(double At, double Bytes)> window = new();
        for (double now = 0; now < 20;)
        {
            int bytes = random.Next(1, bucket.BytesIn(TimeSpan.FromMilliseconds(50)));
            used += bytes;
            window.Enqueue((now, bytes));
            inWindow += bytes;
            while (window.Peek().At < now - 1)
            {
                inWindow -= window.Dequeue().Bytes;
            }

            Assert.That(inWindow, Is.LessThanOrEqualTo(rate * 1.1 + 1), "never more in a second than the rate and a burst of 100 ms");
            TimeSpan wait = bucket.Use(bytes);
            time.Advance(wait);
            now += wait.TotalSeconds;
        }

        Assert.That(used / 20.0, Is.EqualTo(rate).Within(2).Percent);
    }

    [Test]
    public void An_unlimited_bucket_is_none() => Assert.That(TokenBucket.Create(null, TimeProvider.System), Is.Null);

    [Test, CancelAfter(60_000)]
    public async Task Sending_keeps_to_its_rate_and_pings_do_not_wait_for_it(CancellationToken cancellationToken)
    {
        const long rate = 100_000;
        DelayTimeProvider time = new();
        PrioritySendBlock block = new(new ChannelTable([Bulk]), [Bulk.Id], 1024, time);
        Pipe pipe = new(new PipeOptions(pauseWriterThreshold: 0));
        FrameEncoder encoder = new(block, pipe.Writer, new ConnectionOptions { TimeProvider = time, SendRate = rate });
        for (int i = 0; i < 2000; i++)
        {
            using SerializedMessage message = SerializedMessage.Create(Bulk, new byte[1000]);
            Assert.That(block.TrySend(message), Is.EqualTo(SendResult.Queued));
        }

        Task running = encoder.RunAsync(cancellationToken);
        DateTimeOffset start = time.GetUtcNow();
        long sent = 0;
        while ((time.GetUtcNow() - start).TotalSeconds < 10)
        {
            // Messages are held back from now until the time has passed.
            TimeSpan wait = await time.NextDelayAsync(cancellationToken).WaitAsync(Limit, cancellationToken);
            block.RequestPing();
            long before = sent;
            bool pinged = false;
            while (!pinged)
            {
                ReadResult read = await pipe.Reader.ReadAsync(cancellationToken).AsTask().WaitAsync(Limit, cancellationToken);
                byte[] bytes = read.Buffer.ToArray();
                int at = 0;
                while (PacketCodec.TryRead(bytes.AsSpan(at), 1100, out Packet packet, out int consumed))
                {
                    at += consumed;
                    pinged |= packet.Kind == PacketKind.Ping;
                }

                pipe.Reader.AdvanceTo(read.Buffer.GetPosition(at), read.Buffer.End);
                sent += at;
            }

            Assert.That(sent - before, Is.LessThanOrEqualTo((rate / 20) + 1100), "no burst over 100 ms");
            time.Advance(wait);
        }

        Assert.That(sent / (time.GetUtcNow() - start).TotalSeconds, Is.EqualTo(rate).Within(2).Percent);
        block.Abort();
        await running.WaitAsync(Limit, cancellationToken);
    }

    [Test, CancelAfter(60_000)]
    public async Task Receiving_keeps_to_its_rate(CancellationToken cancellationToken)
    {
        const long rate = 100_000;
        DelayTimeProvider time = new();
        using StubPeer peer = new();
        ReceiveAllowance allowance = new(long.MaxValue);
        PeerLanes lanes = new ReactorInbox([Bulk]).Open(allowance, CancellationToken.None);
        Unlistened keepAlive = new();
        using ChannelDemultiplexer demultiplexer =
            new(new ChannelTable([Bulk]), peer, [.. lanes.Lanes], allowance, keepAlive, ArrayPool<byte>.Shared);
        Pipe pipe = new(new PipeOptions(pauseWriterThreshold: 0));
        byte[] packet = new byte[2000];
        int size = PacketCodec.Write(packet, Packet.Message(Bulk.Id, true, new byte[1000]));
        for (int i = 0; i < 2000; i++)
        {
            pipe.Writer.Write(packet.AsSpan(0, size));
        }

        await pipe.Writer.FlushAsync(cancellationToken);
        FrameDecoder decoder = new(pipe.Reader, demultiplexer, new ConnectionOptions { TimeProvider = time, ReceiveRate = rate });
        Task running = decoder.RunAsync(cancellationToken);
        DateTimeOffset start = time.GetUtcNow();
        long before = 0;
        while ((time.GetUtcNow() - start).TotalSeconds < 10)
        {
            TimeSpan wait = await time.NextDelayAsync(cancellationToken).WaitAsync(Limit, cancellationToken);
            Assert.That(decoder.BytesReceived - before, Is.LessThanOrEqualTo((rate / 20) + 1100), "a batch is at most 50 ms worth");
            before = decoder.BytesReceived;
            time.Advance(wait);
        }

        Assert.That(running.IsCompleted, Is.False);
        Assert.That(before / (time.GetUtcNow() - start).TotalSeconds, Is.EqualTo(rate).Within(2).Percent);
    }

    /// <summary>A clock that says when somebody begins to wait, and for how long.</summary>
    private sealed class DelayTimeProvider : FakeTimeProvider
    {
        private readonly Channel<TimeSpan> _delays = Channel.CreateUnbounded<TimeSpan>();

        public Task<TimeSpan> NextDelayAsync(CancellationToken cancellationToken) => _delays.Reader.ReadAsync(cancellationToken).AsTask();

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
            Watch(new WatchedTimer(this, base.CreateTimer(callback, state, dueTime, period)), dueTime);

        private WatchedTimer Watch(WatchedTimer timer, TimeSpan dueTime)
        {
            if (dueTime != Timeout.InfiniteTimeSpan)
            {
                _delays.Writer.TryWrite(dueTime);
            }

            return timer;
        }

        private sealed class WatchedTimer(DelayTimeProvider owner, ITimer timer) : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period)
            {
                bool changed = timer.Change(dueTime, period);
                owner.Watch(this, dueTime);
                return changed;
            }

            public void Dispose() => timer.Dispose();

            public ValueTask DisposeAsync() => timer.DisposeAsync();
        }
    }

    private sealed class Unlistened : IKeepAliveTarget
    {
        public void OnPing()
        {
        }

        public void OnPong()
        {
        }

        public void OnPause()
        {
        }

        public void OnResume()
        {
        }
    }
}
