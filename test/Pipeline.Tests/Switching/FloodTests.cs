using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Switching;

/// <summary>
/// Thousands of connections that come to nothing beside honest peers. Figures of a larger flood are measured by the experiment
/// <c>flood</c>, see <c>docs/benchmarks.md</c>.
/// </summary>
[Platform("Linux", Reason = "All of 127.0.0.0/8 is the machine's own, and the kernel lists its sockets.")]
public sealed class FloodTests
{
    private const int Connections = 2_000;
    private const int AtOnce = 300;
    private const int MaxHandshakes = 64;
    private const int Newcomers = 8;
    private const long MaxMemoryRise = 64 << 20;

    private static readonly ChannelDescriptor Chat = new(0x70, "chat");

    public enum Kind
    {
        Silent,
        Garbage,
        HalfHandshake,
    }

    [Test]
    [CancelAfter(120_000)]
    public async Task A_flood_leaves_honest_peers_and_newcomers_alone([Values] Kind kind, [Values(1, Connections)] int addresses, CancellationToken cancellationToken)
    {
        // The limits are the defaults; what a flood leaves behind is ended by the time for a handshake, for which a test need not wait so long.
        RecordingReactor reactor = new("chat", Chat);
        await using TestNode node = await TestNode.StartAsync(
            options => options with
            {
                HandshakeTimeout = TimeSpan.FromSeconds(2),
                MaxInboundHandshakes = MaxHandshakes,
                MaxInboundHandshakesPerIp = 16,
                MaxInboundConnectionRatePerIp = 20,
            },
            reactor);
        await using TestNode first = await StartAsync(), second = await StartAsync();
        IPeer[] honest = [await first.DialAsync(node, cancellationToken), await second.DialAsync(node, cancellationToken)];
        IPeer[] seen = [await node.PeerAsync(first.Switch.Id, cancellationToken), await node.PeerAsync(second.Switch.Id, cancellationToken)];
        long memory = GC.GetTotalMemory(forceFullCollection: true);

        Flood flood = new(kind, addresses, node);
        using CancellationTokenSource over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<int>[] talking = [.. honest.Select(peer => Task.Run(() => TalkAsync(peer, over.Token), cancellationToken))];
        Task<int> coming = LetNewcomersInAsync(node, flood, cancellationToken);
        await flood.RunAsync(cancellationToken);
        int newcomersRefused = await coming;
        await over.CancelAsync();
        for (int i = 0; i < honest.Length; i++)
        {
            int sent = await talking[i];
            await node.UntilAsync(() => reactor.From(seen[i]).Count() == sent, cancellationToken);
            Assert.That(reactor.From(seen[i]).Select(data => BinaryPrimitives.ReadInt32LittleEndian(data)), Is.EqualTo(Enumerable.Range(0, sent)).AsCollection);
            Assert.That((sent > 0, honest[i].Completion.IsCompleted), Is.EqualTo((true, false)));
        }

        // Those in their handshake, those that are being given up, the peers, a newcomer, and one that is just being refused.
        Assert.That(flood.MostOpen, Is.LessThanOrEqualTo((2 * MaxHandshakes) + 2 + 1 + 1));

        // A newcomer may give up before its connection is accepted, and then is none that was refused.
        await node.UntilAsync(() => node.Switch.GetStatus().InboundRefusals.Values.Sum() >= Connections, cancellationToken);
        ImmutableSortedDictionary<string, long> refusals = node.Switch.GetStatus().InboundRefusals;
        Assert.That(refusals.Keys, Is.SubsetOf(["too_many_connections", "cancelled", "timeout", "connection_closed", .. kind == Kind.Garbage ? ["invalid_ephemeral_key"] : Array.Empty<string>()]));
        if (addresses == 1)
        {
            Assert.That(refusals["too_many_connections"], Is.GreaterThan(Connections / 2), "nearly all are closed before they cost anything");
        }

        Assert.That(GC.GetTotalMemory(forceFullCollection: true) - memory, Is.LessThan(MaxMemoryRise));
        await node.UntilAsync(() => node.Switch.Peers.Count == 2 && node.Transport.Open == 2, cancellationToken);
        Assert.That(node.Switch.GetStatus().InboundRefusals.Values.Sum(), Is.InRange(Connections, Connections + newcomersRefused));
        Assert.That(StatesOf(node.Switch.ListenAddress.Port), Has.None.EqualTo(TcpState.CloseWait));
        await node.Switch.StopAsync();
        Assert.That(node.Transport.Open, Is.Zero);
        Assert.That(reactor.Grammar.Violations, Is.Empty);
    }

    private static Task<TestNode> StartAsync() => TestNode.StartAsync(null, new RecordingReactor("chat", Chat));

    private static IEnumerable<TcpState> StatesOf(int port) =>
        IPGlobalProperties.GetIPGlobalProperties().GetActiveTcpConnections().Where(connection => connection.LocalEndPoint.Port == port).Select(connection => connection.State);

    /// <summary>Sends numbers, one after the other, and says how many.</summary>
    private static async Task<int> TalkAsync(IPeer peer, CancellationToken over)
    {
        byte[] message = new byte[500];
        int sent = 0;
        using PeriodicTimer pace = new(TimeSpan.FromMilliseconds(2));
        try
        {
            while (await pace.WaitForNextTickAsync(over))
            {
                BinaryPrimitives.WriteInt32LittleEndian(message, sent);
                using SerializedMessage serialized = SerializedMessage.Create(Chat, message);
                Assert.That(await peer.SendAsync(serialized, Timeout.InfiniteTimeSpan, CancellationToken.None), Is.EqualTo(SendResult.Queued));
                sent++;
            }
        }
        catch (OperationCanceledException)
        {
            // The flood is over.
        }

        return sent;
    }

    /// <summary>Lets a node become a peer, and leave, each time when another part of the flood has come; says how many tries failed.</summary>
    private static async Task<int> LetNewcomersInAsync(TestNode node, Flood flood, CancellationToken cancellationToken)
    {
        int refused = 0;
        for (int i = 1; i <= Newcomers; i++)
        {
            await flood.UntilMadeAsync(i * Connections / (Newcomers + 1), cancellationToken);
            NodeId id;
            await using (TestNode newcomer = await StartAsync())
            {
                id = newcomer.Switch.Id;
                while (!await TryEnterAsync(newcomer, node, cancellationToken))
                {
                    refused++;
                }
            }

            await node.UntilAsync(() => node.Switch.Peers.All(peer => peer.Id != id), cancellationToken);
        }

        return refused;
    }

    private static async Task<bool> TryEnterAsync(TestNode newcomer, TestNode node, CancellationToken cancellationToken)
    {
        try
        {
            // Its end of the handshake may be done when the node gives up the other.
            IPeer peer = await newcomer.DialAsync(node, cancellationToken);
            Task<IPeer> seen = node.PeerAsync(newcomer.Switch.Id, cancellationToken);
            if (await Task.WhenAny(seen, peer.Completion) == seen)
            {
                return true;
            }

            await newcomer.UntilAsync(() => newcomer.Switch.Peers.Count == 0, cancellationToken);
            return false;
        }
        catch (IOException)
        {
            return false;
        }
    }

    /// <summary>Connections that stay until the node closes them, every fourth of which closes its own direction first.</summary>
    private sealed class Flood(Kind kind, int addresses, TestNode node)
    {
        private readonly Pulse _pulse = new();
        private int _made;
        private int _mostOpen;

        /// <summary>The most sockets of connections that the node was seen to have, looked at whenever a connection came or went.</summary>
        public int MostOpen => _mostOpen;

        public Task UntilMadeAsync(int connections, CancellationToken cancellationToken) =>
            _pulse.UntilAsync(() => Volatile.Read(ref _made) >= connections, cancellationToken);

        public Task RunAsync(CancellationToken cancellationToken) =>
            Parallel.ForAsync(0, Connections, new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = cancellationToken }, ConnectAsync);

        private async ValueTask ConnectAsync(int number, CancellationToken cancellationToken)
        {
            int host = (number % addresses) + 1;
            using Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(new IPEndPoint(new IPAddress([127, 77, (byte)(host >> 8), (byte)host]), 0));
            await socket.ConnectAsync(IPAddress.Loopback, node.Switch.ListenAddress.Port, cancellationToken);
            Look();
            Interlocked.Increment(ref _made);
            _pulse.Beat();
            try
            {
                await socket.SendAsync(Opening(number), cancellationToken);
                if (number % 4 == 0)
                {
                    socket.Shutdown(SocketShutdown.Send);
                }

                byte[] waste = new byte[256];
                while (await socket.ReceiveAsync(waste, cancellationToken) > 0)
                {
                }
            }
            catch (SocketException)
            {
                // Closed with unread data, which resets the connection.
            }

            Look();
        }

        private byte[] Opening(int seed)
        {
            byte[] random = new byte[kind == Kind.Silent ? 0 : kind == Kind.Garbage ? 600 : 32];
            new Random(seed).NextBytes(random);
            return kind == Kind.HalfHandshake ? [0x22, 0x0A, 0x20, .. random] : random;
        }

        private void Look()
        {
            int open = node.Transport.Open;
            int most = Volatile.Read(ref _mostOpen);
            while (open > most)
            {
                int found = Interlocked.CompareExchange(ref _mostOpen, open, most);
                most = found == most ? open : found;
            }
        }
    }
}
