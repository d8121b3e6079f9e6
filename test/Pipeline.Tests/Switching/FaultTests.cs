using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Testing;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

/// <summary>
/// Ten nodes, each of which keeps connections to others and sends numbered messages over all of them, for a minute in a network that holds
/// back, loses, changes and cuts.
/// </summary>
/// <remarks>
/// <para>A connection has failed when the network lost or changed bytes of it, or broke it: only it knows. All others have to last until the end.
/// There nodes fill their queues, send no more, and stop each connection gracefully on both sides at the same moment, in more than enough time, so
/// that what waits on one side is sent although the other stops as well. Then, of a connection that has not failed, each message that a send acknowledged
/// (<see cref="SendResult.Queued"/>) has been delivered exactly once and in the order of its channel, and no other has.</para>
/// <para>On a connection that has failed, what was delivered is the beginning of that: what was acknowledged later was on its way, or waited.</para>
/// <para>The seed, which is in the name of the test and in what it says of a failure, determines what happens to which bytes of a connection; which
/// nodes act first at the same moment is up to the threads.</para>
/// </remarks>
[NonParallelizable]
public sealed class FaultTests
{
    private const int Nodes = 10;
    private const int Degree = 3;
    private const int Port = 26656;
    private const int HeaderSize = 8;
    private const int SendQueueCapacity = 3;

    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan FlushTimeout = TimeSpan.FromMinutes(1);

    private static readonly ChannelDescriptor[] Kinds = [new(0x70, "votes") { Priority = 7, SendQueueCapacity = SendQueueCapacity }, new(0x71, "parts") { SendQueueCapacity = SendQueueCapacity }];

    private static readonly NodeKey[] Keys = [.. Enumerable.Range(1, Nodes).Select(i => NodeKey.FromSeed([.. Enumerable.Repeat((byte)i, 32)]))];

    [Test]
    public void What_was_acknowledged_arrives_once_and_in_order_unless_the_connection_fails_and_then_both_sides_say_why([Range(1, 3)] int seed)
    {
        FaultPlan faults = new()
        {
            Seed = seed,
            SplitWithin = 4000,
            DelayEvery = 30_000,
            StallEvery = 100_000,
            DropEvery = 2_500_000,
            CorruptEvery = 2_500_000,
            CutEvery = 2_500_000,
        };
        using Simulation time = new();
        MemoryNetwork network = new(new MemoryNetworkOptions { TimeProvider = time, Latency = TimeSpan.FromMilliseconds(20), Faults = faults });
        CountingPool pool = new();
        Node[] nodes = [.. Enumerable.Range(0, Nodes).Select(index => new Node(index, seed, network, time, pool))];
        Task[] starts = [.. nodes.Select(node => node.Switch.StartAsync())];
        time.Advance(Minute);
        Assert.That(starts, Has.All.Property(nameof(Task.IsCompletedSuccessfully)).True);

        // Nobody sends or dials any more, from a moment at which nobody dials, because a dial that is given up is no fault of the network's.
        Assert.That(time.AdvanceUntil(() => nodes.All(node => node.Switch.Counts.Dialling == 0), Minute), "Nodes dial without end.");
        Array.ForEach(nodes, node => node.Rest());
        Assert.That(time.AdvanceUntil(() => nodes.All(node => node.IsAtRest), Minute), "Nodes do not come to rest.");
        time.Advance(TimeSpan.FromSeconds(25));
        TimeSpan end = time.Elapsed;
        Task[] stops = [.. nodes.SelectMany(node => node.SendLastAndStop())];
        Assert.That(time.AdvanceUntil(() => Array.TrueForAll(stops, stop => stop.IsCompleted), FlushTimeout / 2), "Graceful stops take too long.");
        stops = [.. nodes.Select(node => node.Switch.StopAsync())];
        Assert.That(time.AdvanceUntil(() => Array.TrueForAll(stops, stop => stop.IsCompleted), Minute), "Switches do not stop.");
        Assert.That(nodes.SelectMany(node => node.Failures), Is.Empty);
        Assert.That((network.OpenStreams, network.OpenListeners, pool.Outstanding, time.Timers), Is.EqualTo((0, 0, 0, 0)));

        Dictionary<(IPEndPoint, IPEndPoint), End[]> ends = nodes.SelectMany(node => node.Ends).GroupBy(side => side.Connection).ToDictionary(group => group.Key, group => group.ToArray());
        int failed = 0, lasting = 0, delivered = 0;
        foreach (MemoryConnection connection in network.Connections)
        {
            End[] both = ends.GetValueOrDefault((connection.DiallerEndPoint, connection.ListenerEndPoint)) ?? [];
            string what = $"Seed {seed}: {connection}, {string.Join(", ", connection.FaultsToDialler.Concat(connection.FaultsToListener).Where(injected => injected.Fault.Kind >= FaultKind.Cut || injected.Fault.Kind is FaultKind.Drop or FaultKind.Corrupt))}: "
                + string.Join("; ", both.AsEnumerable());
            Assert.That(both, Has.All.Property(nameof(End.Reason)).Not.Null, what);
            Assert.That(both.Select(side => side.Reason!.Message), Has.All.Not.Empty, what);
            if (connection.HasFailed)
            {
                failed++;
                DisconnectKind[] causes = [DisconnectKind.ConnectionLost, DisconnectKind.ProtocolViolation, DisconnectKind.RemoteClosed, DisconnectKind.PongTimeout];
                Assert.That(both.Where(side => side.Ended < end).Select(side => side.Reason!.Kind), Has.All.AnyOf(causes), what);
            }
            else if (both.Length > 0)
            {
                lasting++;
                Assert.That(both, Has.Length.EqualTo(2).And.All.Property(nameof(End.Ended)).GreaterThanOrEqualTo(end), what);
                Assert.That(both.Select(side => side.Reason!.Kind), Has.All.EqualTo(DisconnectKind.Stopped), what);
            }

            foreach ((End from, End? to) in both.Select(side => (side, both.SingleOrDefault(other => other != side))))
            {
                for (int channel = 0; channel < Kinds.Length; channel++)
                {
                    int[] numbers = [.. to?.Received[channel] ?? []];
                    Assert.That(numbers, Is.EqualTo(Enumerable.Range(0, numbers.Length)), what);
                    Assert.That(numbers, Has.Length.LessThanOrEqualTo(from.Acknowledged[channel]), what);
                    Assert.That(connection.HasFailed || numbers.Length == from.Acknowledged[channel], what);
                    delivered += numbers.Length;
                }
            }
        }

        TestContext.Out.WriteLine($"Seed {seed}: {network.Connections.Length} connections, {failed} failed, {lasting} lasted; {delivered} messages delivered.");
        Assert.That(failed, Is.GreaterThan(Nodes));
        Assert.That(lasting, Is.GreaterThan(Nodes));
        Assert.That(delivered, Is.GreaterThan(10_000));
    }

    private static byte[] MakeMessage(int stream, int number)
    {
        Random random = new(unchecked((stream * 31) + number));
        byte[] message = new byte[HeaderSize + (number % 4 == 0 ? random.Next(6000) : random.Next(400))];
        random.NextBytes(message);
        BinaryPrimitives.WriteInt32LittleEndian(message, stream);
        BinaryPrimitives.WriteInt32LittleEndian(message.AsSpan(4), number);
        return message;
    }

    /// <summary>One side of a connection, as its node sees it.</summary>
    private sealed class End((IPEndPoint Dialler, IPEndPoint Listener) connection)
    {
        public (IPEndPoint Dialler, IPEndPoint Listener) Connection { get; } = connection;

        /// <summary>How many messages a send has acknowledged, on each channel.</summary>
        public int[] Acknowledged { get; } = new int[Kinds.Length];

        /// <summary>The numbers that came, on each channel.</summary>
        public ConcurrentQueue<int>[] Received { get; } = [.. Kinds.Select(_ => new ConcurrentQueue<int>())];

        public DisconnectReason? Reason { get; set; }

        public TimeSpan Ended { get; set; }

        /// <summary>A number of the messages that one node sends another on a channel of this connection, which no others have.</summary>
        public int StreamFrom(NodeId from, NodeId to, int channel)
        {
            int sender = Array.FindIndex(Keys, key => key.Id == from), receiver = Array.FindIndex(Keys, key => key.Id == to);
            return (((((sender * Nodes) + receiver) * Kinds.Length) + channel) << 16) | Connection.Dialler.Port;
        }

        public override string ToString() => $"acknowledged {string.Join(", ", Acknowledged)}, received {string.Join(", ", Received.Select(queue => queue.Count))}, ended at {Ended}: {Reason}";
    }

    /// <summary>A node that stays connected to some others, and the reactor that sends.</summary>
    private sealed class Node : Reactor, ITransport
    {
        private readonly int _seed;
        private readonly Simulation _time;
        private readonly CountingPool _pool;
        private readonly IPAddress _host;
        private readonly ITransport _transport;
        private readonly ConcurrentDictionary<NodeId, IPEndPoint> _lastDials = [];
        private readonly ConcurrentDictionary<IPeer, End> _ends = new();
        private readonly ConcurrentQueue<Task> _sending = [];
        private volatile bool _isResting;

        public Node(int index, int seed, MemoryNetwork network, Simulation time, CountingPool pool)
            : base("numbers", Kinds)
        {
            _seed = seed;
            _time = time;
            _pool = pool;
            _host = HostOf(index);
            _transport = network.CreateTransport(_host);
            Switch = new Switch(Keys[index], new SwitchOptions
            {
                Network = "faults",
                ListenEndPoint = new IPEndPoint(_host, Port),
                Transport = this,
                TimeProvider = time,
                PersistentPeers = [.. Enumerable.Range(1, Degree).Select(distance => (index + distance) % Nodes).Select(AddressOf)],
                Connection = new ConnectionOptions { Pool = pool, FlushTimeout = FlushTimeout, SendRate = 50_000 },
            });
            Switch.AddReactor(this);
        }

        public new Switch Switch { get; }

        public IEnumerable<End> Ends => _ends.Values;

        /// <summary>What should not have been received.</summary>
        public ConcurrentQueue<string> Failures { get; } = [];

        public bool IsAtRest => _sending.All(task => task.IsCompletedSuccessfully);

        /// <summary>Sends and dials no more.</summary>
        public void Rest()
        {
            _isResting = true;
            for (int i = 0; i < Nodes; i++)
            {
                Switch.RemovePersistentPeer(AddressOf(i).Id);
            }
        }

        /// <summary>Lets as much wait as can, for longer than the other side's end takes to come, and stops all connections.</summary>
        public List<Task> SendLastAndStop()
        {
            foreach ((IPeer peer, int i) in Switch.Peers.SelectMany(peer => Enumerable.Range(0, 2 * SendQueueCapacity * Kinds.Length).Select(i => (peer, i))))
            {
                int channel = i % Kinds.Length;
                End end = _ends[peer];
                using SerializedMessage message = MakeNext(end, peer, channel);
                end.Acknowledged[channel] += peer.TrySend(message) == SendResult.Queued ? 1 : 0;
            }

            return [.. Switch.Peers.Select(peer => peer.StopGracefullyAsync())];
        }

        // A node has one place for another, so the last connection that was made to it is that of the peer which comes next.
        public async ValueTask<TransportConnection> ConnectAsync(NetAddress address, CancellationToken cancellationToken = default)
        {
            TransportConnection connection = await _transport.ConnectAsync(address, cancellationToken);
            _lastDials[address.Id] = connection.LocalEndPoint;
            return connection;
        }

        public ITransportListener Listen(IPEndPoint endPoint) => _transport.Listen(endPoint);

        protected internal override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken)
        {
            _ends[peer] = new End(peer.IsOutbound ? (_lastDials[peer.Id], peer.RemoteEndPoint) : (peer.RemoteEndPoint, new IPEndPoint(_host, Port)));
            return ValueTask.CompletedTask;
        }

        protected internal override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken)
        {
            for (int channel = 0; channel < Kinds.Length; channel++)
            {
                _sending.Enqueue(SendAsync(peer, channel));
            }

            return ValueTask.CompletedTask;
        }

        protected internal override ValueTask ReceiveAsync(Envelope envelope, CancellationToken cancellationToken)
        {
            int channel = Array.FindIndex(Kinds, kind => kind.Id == envelope.Channel.Id);
            ReadOnlySpan<byte> data = envelope.Data.Span;
            int stream = BinaryPrimitives.ReadInt32LittleEndian(data), number = BinaryPrimitives.ReadInt32LittleEndian(data[4..]);
            if (stream != _ends[envelope.Peer].StreamFrom(envelope.Peer.Id, Switch.Id, channel) || !data.SequenceEqual(MakeMessage(stream, number)))
            {
                Failures.Enqueue($"{Switch.Id} received from {envelope.Peer} what that did not send.");
            }

            _ends[envelope.Peer].Received[channel].Enqueue(number);
            return ValueTask.CompletedTask;
        }

        protected internal override ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason)
        {
            End end = _ends[peer];
            if (end.Reason is not null)
            {
                Failures.Enqueue($"{peer} was removed twice.");
            }

            (end.Ended, end.Reason) = (_time.Elapsed, reason);
            return ValueTask.CompletedTask;
        }

        private async Task SendAsync(IPeer peer, int channel)
        {
            End end = _ends[peer];
            Random random = new(unchecked((end.StreamFrom(Switch.Id, peer.Id, channel) * 31) + _seed));
            while (!_isResting)
            {
                // More at once than there is room for, now and then.
                for (int left = random.Next(7); left > 0; left--)
                {
                    using SerializedMessage message = MakeNext(end, peer, channel);
                    SendResult result = await peer.SendAsync(message, Timeout.InfiniteTimeSpan);
                    if (result != SendResult.Queued)
                    {
                        return;
                    }

                    end.Acknowledged[channel]++;
                }

                await Task.Delay(TimeSpan.FromMilliseconds(50 * random.Next(1, 20)), _time);
            }
        }

        private SerializedMessage MakeNext(End end, IPeer peer, int channel) =>
            SerializedMessage.Create(Kinds[channel], MakeMessage(end.StreamFrom(Switch.Id, peer.Id, channel), end.Acknowledged[channel]), _pool);

        private static IPAddress HostOf(int index) => new([10, 0, 0, (byte)(index + 1)]);

        private static NetAddress AddressOf(int index) => NetAddress.FromEndPoint(Keys[index].Id, new IPEndPoint(HostOf(index), Port));
    }
}
