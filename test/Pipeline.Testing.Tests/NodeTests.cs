using System.Net;
using System.Threading.Channels;
using Google.Protobuf.WellKnownTypes;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Switching;

namespace Pipeline.Testing.Tests;

/// <summary>Whole nodes over a network in memory.</summary>
[CancelAfter(60_000)]
public sealed class NodeTests
{
    private static readonly ChannelDescriptor<Int32Value> Numbers = new(0x70, "numbers", Int32Value.Parser);
    private static readonly TimeSpan Latency = TimeSpan.FromMilliseconds(40);

    [Test]
    public async Task Nodes_exchange_messages_in_order_by_the_clock_of_the_test(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        MemoryNetwork network = new(new MemoryNetworkOptions { Latency = Latency, TimeProvider = time });
        await using (Node alice = await Node.StartAsync(network, 1, time))
        await using (Node bob = await Node.StartAsync(network, 2, time))
        {
            DateTimeOffset dialled = time.GetUtcNow();
            IPeer peer = await WithTimeAsync(alice.Switch.DialAsync(bob.Switch.ListenAddress, cancellationToken), time);
            Assert.That(time.GetUtcNow() - dialled, Is.GreaterThanOrEqualTo(4 * Latency), "two for the dial, and one for each of the handshake's two answers");

            DateTimeOffset sent = time.GetUtcNow();
            await WithTimeAsync(SendAsync(peer, 100, cancellationToken), time);
            List<int> received = await WithTimeAsync(bob.ReceiveAsync(100, cancellationToken), time);
            Assert.That(received, Is.EqualTo(Enumerable.Range(0, 100)));
            Assert.That(time.GetUtcNow() - sent, Is.GreaterThanOrEqualTo(Latency));
            await WithTimeAsync(alice.Switch.StopAsync(), time);
            await WithTimeAsync(bob.Switch.StopAsync(), time);
        }

        Assert.That((network.OpenListeners, network.OpenStreams), Is.EqualTo((0, 0)));
    }

    [Test]
    public async Task A_cut_is_what_both_nodes_report(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new();
        await using Node alice = await Node.StartAsync(network, 1, TimeProvider.System);
        await using Node bob = await Node.StartAsync(network, 2, TimeProvider.System);
        IPeer peer = await alice.Switch.DialAsync(bob.Switch.ListenAddress, cancellationToken);

        network.Connections.Single().Cut();

        DisconnectReason reason = await peer.Completion.WaitAsync(cancellationToken);
        Assert.That((reason.Kind, reason.Message), Is.EqualTo((DisconnectKind.ConnectionLost, "The connection broke: The connection was cut.")));
    }

    // Whatever goes wrong beneath a connection, what is received is the start of what was sent.
    [Test]
    public async Task Nodes_survive_every_fault_and_never_receive_what_was_not_sent([Range(1, 12)] int seed, CancellationToken cancellationToken)
    {
        const int Messages = 1000;
        FaultPlan plan = new()
        {
            Seed = seed,
            SplitWithin = 3000,
            DropEvery = 2_000_000,
            CorruptEvery = 2_000_000,
            DelayEvery = 20_000,
            StallEvery = 40_000,
            CutEvery = 2_000_000,
        };
        MemoryNetwork network = new(new MemoryNetworkOptions { Faults = plan, TimeProvider = new InstantTime() });
        await using (Node alice = await Node.StartAsync(network, 1, TimeProvider.System))
        await using (Node bob = await Node.StartAsync(network, 2, TimeProvider.System))
        {
            IPeer peer = await alice.Switch.DialAsync(bob.Switch.ListenAddress, cancellationToken);
            int queued = await SendAsync(peer, Messages, cancellationToken);

            await peer.StopGracefullyAsync();
            DisconnectReason reason = await peer.Completion.WaitAsync(cancellationToken);
            await bob.LeftAsync(cancellationToken);

            List<int> received = bob.TakeReceived();
            Assert.That(received, Is.EqualTo(Enumerable.Range(0, received.Count)));
            if (network.Connections.Single().HasFailed)
            {
                DisconnectKind[] possible = [DisconnectKind.ConnectionLost, DisconnectKind.ProtocolViolation, DisconnectKind.RemoteClosed, DisconnectKind.Stopped];
                Assert.That(reason.Kind, Is.AnyOf(possible));
            }
            else
            {
                Assert.That((received.Count, queued), Is.EqualTo((Messages, Messages)));
            }
        }

        Assert.That(network.OpenStreams, Is.Zero);
    }

    /// <summary>Sends 0, 1, 2… until there are enough or the peer takes no more, and says how many it took.</summary>
    private static async Task<int> SendAsync(IPeer peer, int count, CancellationToken cancellationToken)
    {
        int sent = 0;
        while (sent < count
            && await peer.SendAsync(Numbers, new Int32Value { Value = sent }, Timeout.InfiniteTimeSpan, cancellationToken) == SendResult.Queued)
        {
            sent++;
        }

        return sent;
    }

    // A clock that is moved by hand stands still while nodes compute. Limits are long enough here that it may run ahead meanwhile.
    private static async Task WithTimeAsync(Task task, FakeTimeProvider time)
    {
        while (!task.IsCompleted)
        {
            time.Advance(TimeSpan.FromMilliseconds(1));
            await Task.Yield();
        }

        await task;
    }

    private static async Task<T> WithTimeAsync<T>(Task<T> task, FakeTimeProvider time)
    {
        await WithTimeAsync((Task)task, time);
        return await task;
    }

    /// <summary>A switch with one reactor that keeps the numbers that come.</summary>
    private sealed class Node : IAsyncDisposable
    {
        private readonly NodeKey _key = NodeKey.Create();
        private readonly ReactorOfNumbers _reactor = new();

        private Node(MemoryNetwork network, byte host, TimeProvider time)
        {
            IPAddress address = new([10, 0, 0, host]);
            Switch = new Switch(_key, new SwitchOptions
            {
                Network = "test",
                ListenEndPoint = new IPEndPoint(address, 26656),
                Transport = network.CreateTransport(address),
                TimeProvider = time,
                HandshakeTimeout = TimeSpan.FromHours(1),
                Connection = new ConnectionOptions { PingInterval = TimeSpan.FromHours(1) },
            });
            Switch.AddReactor(_reactor);
        }

        public Switch Switch { get; }

        public static async Task<Node> StartAsync(MemoryNetwork network, byte host, TimeProvider time)
        {
            Node node = new(network, host, time);
            await node.Switch.StartAsync();
            return node;
        }

        public async Task<List<int>> ReceiveAsync(int count, CancellationToken cancellationToken)
        {
            List<int> received = [];
            while (received.Count < count)
            {
                received.Add(await _reactor.Coming.ReadAsync(cancellationToken));
            }

            return received;
        }

        /// <summary>What was received and not taken before.</summary>
        public List<int> TakeReceived()
        {
            List<int> received = [];
            while (_reactor.Coming.TryRead(out int number))
            {
                received.Add(number);
            }

            return received;
        }

        public Task LeftAsync(CancellationToken cancellationToken) => _reactor.Left.WaitAsync(cancellationToken);

        public async ValueTask DisposeAsync()
        {
            await Switch.DisposeAsync();
            _key.Dispose();
        }
    }

    private sealed class ReactorOfNumbers() : Reactor<Int32Value>("numbers", Numbers)
    {
        private readonly Channel<int> _coming = Channel.CreateUnbounded<int>();
        private readonly TaskCompletionSource _left = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public ChannelReader<int> Coming => _coming.Reader;

        public Task Left => _left.Task;

        protected override ValueTask ReceiveAsync(Envelope<Int32Value> envelope, CancellationToken cancellationToken) =>
            _coming.Writer.WriteAsync(envelope.Message.Value, cancellationToken);

        protected override ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason)
        {
            _left.TrySetResult();
            return ValueTask.CompletedTask;
        }
    }
}
