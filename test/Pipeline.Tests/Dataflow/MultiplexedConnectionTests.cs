using Microsoft.Extensions.Time.Testing;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Dataflow;

public sealed class MultiplexedConnectionTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private static readonly ChannelDescriptor Slow = new(1, "slow") { ReceiveQueueCapacity = 2, SendQueueCapacity = 10_000, SendQueueBytes = 1 << 26 };
    private static readonly ChannelDescriptor Quick = new(2, "quick") { Priority = 5, SendQueueCapacity = 100 };

    [Test, CancelAfter(30_000)]
    public async Task A_ping_is_answered_and_the_connection_lives_on(CancellationToken cancellationToken)
    {
        await using Ends ends = await Ends.ConnectAsync();
        for (int i = 0; i < 20; i++)
        {
            await ends.AdvanceAsync(TimeSpan.FromSeconds(30), cancellationToken);
            await ends.ExchangeAsync(cancellationToken);
        }

        Assert.That(ends.A.Connection.Stopped.IsCancellationRequested || ends.B.Connection.Stopped.IsCancellationRequested, Is.False);
        Assert.That(ends.A.Connection.GetStatus().Duration, Is.EqualTo(TimeSpan.FromMinutes(10)));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_remote_that_does_not_answer_pings_is_left()
    {
        FakeTimeProvider time = new();
        await using ConnectionPair pair = await ConnectionPair.OverMemoryAsync();
        await using End end = new(pair.A, time, []);
        time.Advance(TimeSpan.FromSeconds(62));
        time.Advance(TimeSpan.FromSeconds(43));
        Assert.That(end.Connection.Completion.IsCompleted, Is.False);
        time.Advance(TimeSpan.FromSeconds(4));
        DisconnectReason reason = await end.Connection.Completion.WaitAsync(Limit);
        Assert.That(reason.Kind, Is.EqualTo(DisconnectKind.PongTimeout));
        Assert.That(reason.Message, Does.Contain("45 s"));
    }

    [Test, CancelAfter(60_000)]
    public async Task A_reactor_that_does_not_return_holds_up_nothing_but_its_channel_and_then_its_peer_who_stays(CancellationToken cancellationToken)
    {
        TaskCompletionSource resume = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using Ends ends = await Ends.ConnectAsync((envelope, _) => envelope.Channel == Slow ? new ValueTask(resume.Task) : ValueTask.CompletedTask);

        // Within the allowance the other channel goes on.
        ends.A.Send(Slow, 1000, count: 100);
        await ends.ExchangeAsync(cancellationToken);

        // When that is used up the peer is not read any more.
        ends.A.Send(Slow, 1000, count: 5000);
        while (!ends.B.Connection.GetStatus().IsPaused)
        {
            await Task.Yield();
        }

        long received = ends.B.Received(Slow);
        Assert.That(received, Is.LessThan(2500), "an allowance of 1 MiB, a block, and the lane");

        // Ten ping periods later both are still connected.
        for (int i = 0; i < 40; i++)
        {
            await ends.AdvanceAsync(TimeSpan.FromSeconds(15), cancellationToken);
        }

        Assert.That(ends.A.Connection.Stopped.IsCancellationRequested || ends.B.Connection.Stopped.IsCancellationRequested, Is.False);
        Assert.That(ends.B.Received(Slow), Is.EqualTo(received));

        // And nothing was lost.
        resume.SetResult();
        while (ends.B.Handled(Slow) < 5100)
        {
            await Task.Yield();
        }

        await ends.ExchangeAsync(cancellationToken);
        await ends.AdvanceAsync(TimeSpan.FromMinutes(2), cancellationToken);
        await ends.ExchangeAsync(cancellationToken);
        Assert.That(ends.A.Connection.Stopped.IsCancellationRequested || ends.B.Connection.Stopped.IsCancellationRequested, Is.False);
    }

    [Test, CancelAfter(30_000)]
    public async Task A_graceful_stop_sends_everything_first(CancellationToken cancellationToken)
    {
        await using Ends ends = await Ends.ConnectAsync();
        ends.A.Send(Slow, 10_000, count: 300);
        await ends.A.Connection.StopGracefullyAsync(new DisconnectReason(DisconnectKind.Stopped, "done")).WaitAsync(Limit, cancellationToken);
        Assert.That((await ends.A.Connection.Completion).Kind, Is.EqualTo(DisconnectKind.Stopped));
        Assert.That((await ends.B.Connection.Completion.WaitAsync(Limit, cancellationToken)).Kind, Is.EqualTo(DisconnectKind.RemoteClosed));
        Assert.That(ends.B.Received(Slow), Is.EqualTo(300));
    }

    [Test, CancelAfter(30_000), Repeat(20)]
    public async Task When_both_ends_stop_gracefully_both_get_everything(CancellationToken cancellationToken)
    {
        await using Ends ends = await Ends.ConnectAsync();
        ends.A.Send(Slow, 10_000, count: 100);
        ends.B.Send(Slow, 10_000, count: 300);
        DisconnectReason done = new(DisconnectKind.Stopped, "done");
        await Task.WhenAll(ends.A.Connection.StopGracefullyAsync(done), ends.B.Connection.StopGracefullyAsync(done)).WaitAsync(Limit, cancellationToken);
        Assert.That((await ends.A.Connection.Completion).Kind, Is.EqualTo(DisconnectKind.Stopped));
        Assert.That((ends.A.Received(Slow), ends.B.Received(Slow)), Is.EqualTo((300, 100)));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_sending_side_that_is_completed_from_outside_ends_the_connection_gracefully(CancellationToken cancellationToken)
    {
        await using Ends ends = await Ends.ConnectAsync();
        ends.A.Send(Slow, 10_000, count: 100);
        ends.A.Connection.Outgoing.Complete();
        DisconnectReason reason = await ends.A.Connection.Completion.WaitAsync(Limit, cancellationToken);
        Assert.That(reason.Message, Does.Contain("sending side was completed"));
        Assert.That(ends.B.Received(Slow), Is.EqualTo(100));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_sending_side_that_is_faulted_ends_the_connection_with_the_fault(CancellationToken cancellationToken)
    {
        await using Ends ends = await Ends.ConnectAsync();
        ends.A.Connection.Outgoing.Fault(new InvalidOperationException("the block before it broke"));
        DisconnectReason reason = await ends.A.Connection.Completion.WaitAsync(Limit, cancellationToken);
        Assert.That(reason.Message, Does.Contain("the block before it broke"));
        Assert.That(reason.Exception, Is.InstanceOf<InvalidOperationException>());
    }

    [Test, CancelAfter(30_000)]
    public async Task Callbacks_on_the_stop_that_block_or_throw_keep_nothing_open(CancellationToken cancellationToken)
    {
        await using Ends ends = await Ends.ConnectAsync();
        using ManualResetEventSlim forever = new();
        ends.A.Connection.Stopped.Register(() => forever.Wait(CancellationToken.None));
        ends.A.Connection.Stopped.Register(() => throw new InvalidOperationException());
        ends.A.Connection.Stop(new DisconnectReason(DisconnectKind.Misbehaved, "enough"));
        await ends.A.Connection.Completion.WaitAsync(Limit, cancellationToken);
        await ends.B.Connection.Completion.WaitAsync(Limit, cancellationToken);
        forever.Set();
    }

    [Test, CancelAfter(30_000)]
    public async Task The_first_reason_counts()
    {
        await using Ends ends = await Ends.ConnectAsync();
        ends.A.Connection.Stop(new DisconnectReason(DisconnectKind.Misbehaved, "first"));
        ends.A.Connection.Stop(new DisconnectReason(DisconnectKind.Stopped, "second"));
        Assert.That((await ends.A.Connection.Completion.WaitAsync(Limit)).Message, Is.EqualTo("first"));
        Assert.That(ends.A.Connection.Outgoing.TrySend(SerializedMessage.Create(Quick, [1])), Is.EqualTo(SendResult.PeerStopped));
    }

    [Test, CancelAfter(30_000)]
    public async Task The_status_says_how_fast_bytes_come_and_go_and_for_how_long_none_did(CancellationToken cancellationToken)
    {
        await using Ends ends = await Ends.ConnectAsync();
        for (int second = 0; second < 10; second++)
        {
            ends.A.Send(Quick, 10_000, count: 1);
            while (Math.Min(ends.A.Connection.GetStatus().BytesSent, ends.B.Connection.GetStatus().BytesReceived) < (second + 1) * 10_000)
            {
                await Task.Yield();
                cancellationToken.ThrowIfCancellationRequested();
            }

            ends.Time.Advance(TimeSpan.FromSeconds(1));
        }

        ConnectionStatus sending = ends.A.Connection.GetStatus();
        ConnectionStatus receiving = ends.B.Connection.GetStatus();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(sending.SendRate, Is.EqualTo(10_000).Within(10).Percent);
            Assert.That(receiving.ReceiveRate, Is.EqualTo(10_000).Within(10).Percent);
            Assert.That(sending.ReceiveRate, Is.Zero);
            Assert.That(sending.SendIdle, Is.LessThanOrEqualTo(TimeSpan.FromSeconds(1)));
            Assert.That(receiving.SendIdle, Is.EqualTo(TimeSpan.FromSeconds(10)));
        }

        ends.Time.Advance(TimeSpan.FromSeconds(30));
        sending = ends.A.Connection.GetStatus();
        Assert.That(sending.SendRate, Is.LessThan(10));
        Assert.That(sending.SendIdle, Is.EqualTo(TimeSpan.FromSeconds(30)).Within(TimeSpan.FromSeconds(1)));
    }

    [Test, CancelAfter(30_000)]
    public async Task The_status_says_how_often_and_how_long_reading_waited()
    {
        await using Ends ends = await Ends.ConnectAsync();
        IKeepAliveTarget target = ends.A.Connection;
        for (int pause = 0; pause < 3; pause++)
        {
            ends.Time.Advance(TimeSpan.FromSeconds(1));
            target.OnPause();
            ends.Time.Advance(TimeSpan.FromSeconds(2));
            target.OnResume();
        }

        target.OnPause();
        ends.Time.Advance(TimeSpan.FromSeconds(0.5));
        ConnectionStatus status = ends.A.Connection.GetStatus();
        Assert.That(status, Has.Property(nameof(status.Pauses)).EqualTo(4).And.Property(nameof(status.PausedTime)).EqualTo(TimeSpan.FromSeconds(6.5)));
    }

    [Test, CancelAfter(30_000)]
    public async Task The_status_says_how_much_has_come_of_a_message_that_is_under_way(CancellationToken cancellationToken)
    {
        await using Ends ends = await Ends.ConnectAsync(sendRate: 10_000);
        ChannelStatus Status() => ends.B.Connection.GetStatus().Channels.Single(status => status.Channel == Slow);
        ends.A.Send(Slow, 20_000, count: 1);

        // What may go at once comes without any time; the rest cannot.
        await UntilAsync(() => Status().PartialBytes > 0);
        Assert.That((Status().PartialBytes, Status().BytesReceived), Is.EqualTo((Math.Clamp(Status().PartialBytes, 1, 19_999), 0)));

        // What time brings about takes other threads a moment, and must not wait for longer than a pong may take.
        int looks = 0;
        await UntilAsync(() =>
        {
            if (++looks % 1_000 == 0)
            {
                ends.Time.Advance(TimeSpan.FromSeconds(0.1));
            }

            return Status().MessagesReceived > 0;
        });

        Assert.That((Status().PartialBytes, Status().BytesReceived), Is.EqualTo((0, 20_000)));

        async Task UntilAsync(Func<bool> condition)
        {
            while (!condition())
            {
                await Task.Yield();
                cancellationToken.ThrowIfCancellationRequested();
            }
        }
    }

    [Test, CancelAfter(30_000)]
    public async Task A_connection_that_ends_while_it_is_paused_is_not_paused_for_ever(CancellationToken cancellationToken)
    {
        TaskCompletionSource resume = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using Ends ends = await Ends.ConnectAsync((_, _) => new ValueTask(resume.Task));
        ends.A.Send(Slow, 10_000, count: 500);
        while (!ends.B.Connection.GetStatus().IsPaused)
        {
            await Task.Yield();
            cancellationToken.ThrowIfCancellationRequested();
        }

        ends.B.Connection.Stop(new DisconnectReason(DisconnectKind.Stopped, "enough"));
        await ends.B.Connection.Completion.WaitAsync(Limit, cancellationToken);
        ConnectionStatus status = ends.B.Connection.GetStatus();
        Assert.That(status, Has.Property(nameof(status.IsPaused)).False.And.Property(nameof(status.Pauses)).EqualTo(1));
        resume.SetResult();
    }

    private sealed class Ends(End a, End b, FakeTimeProvider time, ConnectionPair pair) : IAsyncDisposable
    {
        public End A => a;

        public End B => b;

        public FakeTimeProvider Time => time;

        public static async Task<Ends> ConnectAsync(Func<Envelope, CancellationToken, ValueTask>? handlerOfB = null, long? sendRate = null)
        {
            FakeTimeProvider time = new();
            ConnectionPair pair = await ConnectionPair.OverTcpAsync();
            return new Ends(new End(pair.A, time, [Slow, Quick], handler: null, sendRate), new End(pair.B, time, [Slow, Quick], handlerOfB), time, pair);
        }

        /// <summary>
        /// Lets time pass in steps. Pings and pongs go before messages, so when a message has come through after each step, they have too.
        /// </summary>
        public async Task AdvanceAsync(TimeSpan span, CancellationToken cancellationToken)
        {
            for (TimeSpan passed = TimeSpan.Zero; passed < span; passed += TimeSpan.FromSeconds(5))
            {
                time.Advance(TimeSpan.FromSeconds(5));
                await ExchangeAsync(cancellationToken);
            }
        }

        /// <summary>A message each way on the quick channel, as far as the other side reads.</summary>
        public Task ExchangeAsync(CancellationToken cancellationToken) =>
            Task.WhenAll(DeliverAsync(a, b, cancellationToken), DeliverAsync(b, a, cancellationToken));

        private static Task DeliverAsync(End from, End to, CancellationToken cancellationToken) =>
            to.Connection.GetStatus().IsPaused ? Task.CompletedTask : from.DeliverAsync(Quick, 100, to, cancellationToken);

        public async ValueTask DisposeAsync()
        {
            await a.DisposeAsync();
            await b.DisposeAsync();
            await pair.DisposeAsync();
        }
    }

    private sealed class End : IAsyncDisposable
    {
        private readonly StubPeer _peer = new();
        private readonly KeepAlive _keepAlive;
        private readonly ChannelTable _channels;
        private readonly long[] _handled = new long[256];

        public End(
            Pipeline.Transport.SecretConnection connection,
            TimeProvider time,
            ChannelDescriptor[] channels,
            Func<Envelope, CancellationToken, ValueTask>? handler = null,
            long? sendRate = null)
        {
            ConnectionOptions options = new() { TimeProvider = time, SendRate = sendRate, ReceiveRate = null };
            _keepAlive = new KeepAlive(options);
            _channels = new ChannelTable(channels);
            Connection = new MultiplexedConnection(options, connection, _channels, [.. channels.Select(channel => channel.Id)], _keepAlive);
            IEnumerable<PeerLanes> lanes = channels.Select(channel => new ReactorInbox([channel], HandleAsync).Open(Connection.Allowance, default));
            Connection.Start(_peer, [.. lanes]);

            async ValueTask HandleAsync(Envelope envelope, CancellationToken cancellationToken)
            {
                await (handler?.Invoke(envelope, cancellationToken) ?? ValueTask.CompletedTask);
                Interlocked.Increment(ref _handled[envelope.Channel.Id]);
                envelope.Release();
            }
        }

        public MultiplexedConnection Connection { get; }

        public long Received(ChannelDescriptor channel) =>
            Connection.GetStatus().Channels.Single(status => status.Channel == channel).MessagesReceived;

        public long Handled(ChannelDescriptor channel) => Interlocked.Read(ref _handled[channel.Id]);

        public void Send(ChannelDescriptor channel, int size, int count)
        {
            using SerializedMessage message = SerializedMessage.Create(channel, new byte[size]);
            for (int i = 0; i < count; i++)
            {
                Assert.That(Connection.Outgoing.TrySend(message), Is.EqualTo(SendResult.Queued));
            }
        }

        /// <summary>Sends a message and waits until the other side has dealt with it.</summary>
        public async Task DeliverAsync(ChannelDescriptor channel, int size, End to, CancellationToken cancellationToken)
        {
            long before = to.Handled(channel);
            Send(channel, size, 1);
            while (to.Handled(channel) == before)
            {
                await Task.Yield();
                cancellationToken.ThrowIfCancellationRequested();
            }
        }

        public async ValueTask DisposeAsync()
        {
            await Connection.DisposeAsync();
            _keepAlive.Dispose();
            _peer.Dispose();
        }
    }
}
