using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

/// <summary>The end of a switch, whatever it is doing, and the graceful end of a connection.</summary>
public sealed class StopTests
{
    private static readonly ChannelDescriptor Chat = new(0x70, "chat") { SendQueueCapacity = 50, SendQueueBytes = 4 << 20 };

    [Test]
    [CancelAfter(30_000)]
    public async Task A_switch_that_was_never_started_stops_and_does_not_dial(CancellationToken cancellationToken)
    {
        await using TestNode other = await TestNode.StartAsync(null, Recording());
        await using TestNode node = new(null, Recording());
        Assert.That(() => node.DialAsync(other, cancellationToken), Throws.InvalidOperationException.With.Message.Contains("not been started"));
        await node.Switch.StopAsync();
        await node.Switch.StopAsync();
        await ExpectStoppedAsync(node, other.Switch.ListenAddress);
        Assert.That(node.Recording.Grammar.Violations, Is.Empty);
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_stop_under_full_traffic_ends_everything([Values] bool bothAtOnce, CancellationToken cancellationToken)
    {
        for (int round = 0; round < 30; round++)
        {
            TestNode hub = await TestNode.StartAsync(null, Recording());
            hub.Recording.During = async (callback, _, _) => await (callback == Callback.Receive ? Yielding() : Task.CompletedTask);
            TestNode[] others = [.. await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => TestNode.StartAsync(null, Recording())))];
            IPeer[] peers = [.. await Task.WhenAll(others.Select(other => other.DialAsync(hub, cancellationToken)))];
            foreach (TestNode other in others)
            {
                await hub.PeerAsync(other.Switch.Id, cancellationToken);
            }

            NetAddress address = hub.Switch.ListenAddress;
            Task[] hammering = [.. peers.Concat(hub.Switch.Peers).Select(HammerAsync)];
            await hub.UntilAsync(() => hub.Recording.Received.Count > 20 * round, cancellationToken);
            Task[] stops = bothAtOnce ? [hub.Switch.StopAsync(), .. others.Select(other => other.Switch.StopAsync()), hub.Switch.StopAsync()] : [hub.Switch.StopAsync()];
            await Task.WhenAll(stops).WaitAsync(cancellationToken);
            await ExpectStoppedAsync(hub, others[0].Switch.ListenAddress);
            Assert.That(hub.Recording.Reasons, Has.Count.EqualTo(3));
            await Task.WhenAll(hammering).WaitAsync(cancellationToken);
            await Task.WhenAll(others.Select(other => other.Switch.StopAsync()));
            await ExpectStoppedAsync(others[0], address);
        }

        static async Task Yielding() => await Task.Yield();

        async Task HammerAsync(IPeer peer)
        {
            using SerializedMessage message = SerializedMessage.Create(Chat, new byte[3000]);
            while (await peer.SendAsync(message, Timeout.InfiniteTimeSpan, cancellationToken) == SendResult.Queued)
            {
            }
        }
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_stop_while_nodes_dial_and_shake_hands_ends_everything(CancellationToken cancellationToken)
    {
        using TcpListener silent = new(IPAddress.Loopback, 0);
        silent.Start();
        using NodeKey key = NodeKey.Create();
        await using TestNode other = await TestNode.StartAsync(null, Recording());
        for (int round = 0; round < 50; round++)
        {
            TestNode node = await TestNode.StartAsync(null, Recording());
            using TcpClient hanging = new();
            await hanging.ConnectAsync(IPAddress.Loopback, node.Switch.ListenAddress.Port, cancellationToken);
            Task<IPeer> hangingDial = node.Switch.DialAsync(NetAddress.FromEndPoint(key.Id, (IPEndPoint)silent.LocalEndpoint), cancellationToken);
            using TcpClient dialled = await silent.AcceptTcpClientAsync(cancellationToken);
            Task dial = Task.Run(() => node.DialAsync(other, cancellationToken), cancellationToken);
            Task inbound = Task.Run(() => other.DialAsync(node, cancellationToken), cancellationToken);
            for (int i = 0; i < round % 10; i++)
            {
                await Task.Yield();
            }

            await node.Switch.StopAsync().WaitAsync(cancellationToken);
            await ExpectStoppedAsync(node, other.Switch.ListenAddress);
            Assert.That((await Assert.ThrowsAsync<HandshakeException>(() => hangingDial))!.Failure, Is.EqualTo(HandshakeFailure.SwitchStopped));
            await dial.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await inbound.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await other.UntilAsync(() => other.Switch.Peers.Count == 0, cancellationToken);
        }

        await other.Switch.StopAsync();
        Assert.That(other.Recording.Grammar.Violations, Is.Empty);
        Assert.That(other.Transport.Open, Is.Zero);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_stop_during_the_start_cancels_it([Values] bool heedsToken, CancellationToken cancellationToken)
    {
        await using TestNode other = await TestNode.StartAsync(null, Recording());
        TaskCompletionSource starting = new(TaskCreationOptions.RunContinuationsAsynchronously);
        RecordingReactor first = Recording(), second = new("second");
        await using TestNode node = new(null, first, second);
        first.During = async (callback, _, token) =>
        {
            if (callback == Callback.OnStart)
            {
                starting.SetResult();
                TaskCompletionSource cancelled = new(TaskCreationOptions.RunContinuationsAsynchronously);
                using CancellationTokenRegistration registration = token.UnsafeRegister(_ => cancelled.SetResult(), null);
                await (heedsToken ? cancelled.Task.WaitAsync(token) : cancelled.Task);
            }
        };
        Task start = node.Switch.StartAsync(cancellationToken);
        await starting.Task.WaitAsync(cancellationToken);
        Task stop = node.Switch.StopAsync();
        await stop.WaitAsync(cancellationToken);
        Assert.That(async () => await start, Throws.InstanceOf<OperationCanceledException>());
        Assert.That(first.Grammar.Violations, Is.Empty);
        Assert.That(second.Grammar.Violations, Is.Empty);
        await ExpectStoppedAsync(node, other.Switch.ListenAddress);
    }

    [TestCase(Callback.InitPeer)]
    [TestCase(Callback.AddPeer)]
    [TestCase(Callback.Receive)]
    [TestCase(Callback.RemovePeer)]
    [TestCase(Callback.OnStart)]
    [TestCase(Callback.OnStop)]
    [CancelAfter(30_000)]
    public async Task A_callback_that_never_returns_does_not_keep_the_switch_from_stopping(Callback stuck, CancellationToken cancellationToken)
    {
        foreach (bool isBlocking in new[] { false, true })
        {
            using ManualResetEventSlim block = new();
            TaskCompletionSource entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
            TaskCompletionSource never = new();
            RecordingReactor hanging = new("hanging", Chat) { Grammar = new Grammar { AllowsStuckCalls = true } }, healthy = new("healthy");
            hanging.During = (callback, _, _) =>
            {
                if (callback != stuck)
                {
                    return ValueTask.CompletedTask;
                }

                entered.TrySetResult();
                if (isBlocking)
                {
                    block.Wait(cancellationToken);
                }

                return new ValueTask(never.Task);
            };
            FakeTimeProvider time = new();
            await using TestNode node = new(options => options with { TimeProvider = time }, healthy, hanging);
            Task start = node.Switch.StartAsync(cancellationToken);
            RawRemote? remote = null;
            if (stuck != Callback.OnStart)
            {
                await start;
                remote = await RawRemote.ConnectAsync(node.Switch, NodeKey.Create(), null, cancellationToken);
                await remote.SendMessageAsync(Chat.Id, [1], cancellationToken);
                await node.UntilAsync(() => healthy.Grammar.Initialised == 1, cancellationToken);
            }

            Task? stop = null;
            if (stuck is Callback.RemovePeer or Callback.OnStop)
            {
                stop = node.Switch.StopAsync();
            }

            await entered.Task.WaitAsync(cancellationToken);
            stop ??= node.Switch.StopAsync();

            // Grace periods follow one another, and each begins when the one before is over.
            while (!stop.IsCompleted)
            {
                cancellationToken.ThrowIfCancellationRequested();
                time.Advance(TimeSpan.FromSeconds(1));

                // The clock must not run away from callbacks that only wait for a thread.
                for (int i = 0; i < 20; i++)
                {
                    await Task.Run(static () => { }, cancellationToken);
                }
            }

            await stop;
            await start.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            Assert.That(node.Switch.Peers, Is.Empty);
            Assert.That(node.Transport.Open, Is.Zero);
            Assert.That(hanging.Grammar.Violations, Is.Empty);
            Assert.That(healthy.Grammar.Violations, Is.Empty);
            Assert.That(healthy.Grammar.Removed, Is.EqualTo(healthy.Grammar.Initialised));
            if (stuck is not Callback.Receive)
            {
                await node.UntilLoggedAsync($"Reactor hanging has not returned from {stuck}Async", cancellationToken);
            }

            block.Set();
            if (remote is not null)
            {
                await remote.DisposeAsync();
            }
        }
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_graceful_stop_delivers_everything_that_was_queued(CancellationToken cancellationToken)
    {
        const int messages = 50;
        await using TestNode a = await TestNode.StartAsync(null, Recording()), b = await TestNode.StartAsync(null, Recording());
        for (int round = 1; round <= 5; round++)
        {
            IPeer toB = await a.DialAsync(b, cancellationToken);
            IPeer toA = await b.PeerAsync(a.Switch.Id, cancellationToken);
            for (int i = 0; i < messages; i++)
            {
                using SerializedMessage message = SerializedMessage.Create(Chat, [(byte)i, .. new byte[64 * 1024]]);
                Assert.That(toB.TrySend(message), Is.EqualTo(SendResult.Queued));
            }

            Task stopping = toB.StopGracefullyAsync();
            using SerializedMessage late = SerializedMessage.Create(Chat, [0]);
            Assert.That(toB.TrySend(late), Is.EqualTo(SendResult.PeerStopped));
            await stopping.WaitAsync(cancellationToken);
            Assert.That((await toB.Completion).Kind, Is.EqualTo(DisconnectKind.Stopped));
            Assert.That((await toA.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.RemoteClosed));
            await b.UntilAsync(() => b.Switch.Peers.Count == 0, cancellationToken);
            await a.UntilAsync(() => a.Switch.Peers.Count == 0, cancellationToken);
            Assert.That(b.Recording.From(toA).Select(data => (int)data[0]), Is.EqualTo(Enumerable.Range(0, messages)).AsCollection);
            Assert.That(b.Recording.Received.Select(entry => entry.Data.Length), Has.All.EqualTo((64 * 1024) + 1));
            b.Recording.Received.Clear();
        }

        await Task.WhenAll(a.Switch.StopAsync(), b.Switch.StopAsync());
        Assert.That(a.Recording.Grammar.Violations.Concat(b.Recording.Grammar.Violations), Is.Empty);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_a_remote_sent_before_it_closed_is_dealt_with_also_when_this_node_stops_gracefully(CancellationToken cancellationToken)
    {
        TaskCompletionSource isFirstDone = new(TaskCreationOptions.RunContinuationsAsynchronously);
        RecordingReactor reactor = new("chat", Chat) { During = (callback, _, _) => callback == Callback.Receive ? new ValueTask(isFirstDone.Task) : default };
        await using TestNode node = await TestNode.StartAsync(null, reactor);
        using NodeKey key = NodeKey.Create();
        RawRemote remote = await RawRemote.ConnectAsync(node.Switch, key, null, cancellationToken);
        for (byte i = 0; i < 3; i++)
        {
            await remote.SendMessageAsync(Chat.Id, [i], cancellationToken);
        }

        IPeer peer = await node.PeerAsync(key.Id, cancellationToken);
        Task stopping = peer.StopGracefullyAsync();
        await remote.DisposeAsync();
        await stopping.WaitAsync(cancellationToken);
        isFirstDone.SetResult();
        await node.UntilAsync(() => reactor.Grammar.Removed == 1, cancellationToken);

        Assert.That(peer.Completion.Result.Kind, Is.EqualTo(DisconnectKind.Stopped));
        Assert.That(reactor.From(peer), Is.EqualTo(new byte[][] { [0], [1], [2] }));
        Assert.That(reactor.Grammar.Violations, Is.Empty);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_graceful_stop_of_a_remote_that_does_not_read_ends_in_time(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using TestNode node = await TestNode.StartAsync(options => options with { TimeProvider = time }, Recording());
        using NodeKey key = NodeKey.Create();
        await using RawRemote remote = await RawRemote.ConnectAsync(node.Switch, key, null, cancellationToken);
        IPeer peer = await node.PeerAsync(key.Id, cancellationToken);
        Task stopping = peer.StopGracefullyAsync();
        Assert.That(stopping.IsCompleted, Is.False);
        time.Advance(TimeSpan.FromSeconds(5));
        await stopping.WaitAsync(cancellationToken);
        Assert.That((await peer.Completion).Kind, Is.EqualTo(DisconnectKind.Stopped));
        await node.UntilAsync(() => node.Switch.Peers.Count == 0, cancellationToken);
        Assert.That(node.Transport.Open, Is.Zero);
        await peer.StopGracefullyAsync().WaitAsync(cancellationToken);
    }

    private static RecordingReactor Recording() => new("recording", Chat);

    /// <summary>Nothing is left of a switch, and it says so when it is asked to go on.</summary>
    private static async Task ExpectStoppedAsync(TestNode node, NetAddress somewhere)
    {
        Assert.That(node.Switch.Peers, Is.Empty);
        Assert.That(node.Transport.Open, Is.Zero);
        Assert.That(node.Switch.RunningTasks, Is.Zero);
        Assert.That(node.Recording.Grammar.Violations, Is.Empty);
        Assert.That(node.Recording.Grammar.Removed, Is.EqualTo(node.Recording.Grammar.Initialised));
        HandshakeException e = (await Assert.ThrowsAsync<HandshakeException>(() => node.Switch.DialAsync(somewhere)))!;
        Assert.That(e.Failure, Is.EqualTo(HandshakeFailure.SwitchStopped));
        if (node.Transport.Listened is { } endPoint)
        {
            using Socket again = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            Assert.That(() => again.Bind(endPoint), Throws.Nothing);
        }
    }
}
