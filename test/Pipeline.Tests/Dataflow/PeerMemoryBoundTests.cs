using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Transport;
using Pipeline.Wire;

namespace Pipeline.Tests.Dataflow;

public sealed class PeerMemoryBoundTests
{
    private static readonly ChannelDescriptor Blocks = new(1, "blocks")
    {
        MaxMessageSize = 200_000,
        ReceiveQueueBytes = 300_000,
        SendQueueBytes = 100_000,
    };

    private static readonly ChannelDescriptor Votes = new(2, "votes")
    {
        MaxMessageSize = 1000,
        ReceiveQueueCapacity = 1000,
        ReceiveQueueBytes = 100_000,
        SendQueueBytes = 10_000,
    };

    [Test]
    public void The_bound_counts_what_the_options_allow()
    {
        ConnectionOptions options = new() { ReceiveAllowance = 50_000 };
        PeerMemoryBound bound = PeerMemoryBound.Compute(options, [Blocks, Votes]);
        Assert.That(bound.Lanes, Is.EqualTo(300_000 + 100_000));
        Assert.That(bound.Allowance, Is.EqualTo(50_000 + 192 + 262_144 + (64 * (192 + 4096))));
        Assert.That(bound.BeingHandled, Is.EqualTo(262_144 + 1024 + (2 * (192 + 65_536))));
        Assert.That(bound.Partial, Is.EqualTo(262_144 + 1024 + 131_072));
        Assert.That(bound.SendQueues, Is.EqualTo((2 * 200_000) + (2 * 10_000) + (2 * (144 + 65_536))));
        Assert.That(bound.Outboxes, Is.EqualTo(2 * ((2 << 20) + (64 * 144))));
        Assert.That(bound.Buffers, Is.EqualTo(4 * 65_536));
        Assert.That(bound.Total, Is.GreaterThan(bound.Lanes + bound.Allowance + bound.Partial + bound.SendQueues));
        Assert.That(PeerMemoryBound.Compute(options with { MaxPacketDataSize = 1 << 20 }, [Blocks]).Buffers, Is.GreaterThan(1 << 20));
    }

    [Test, CancelAfter(120_000)]
    public async Task A_hundred_hostile_peers_make_the_process_hold_no_more_than_the_bound([Values] Attack attack, CancellationToken cancellationToken)
    {
        const int peers = 100;
        SwitchOptions options = new()
        {
            ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0),
            AllowDuplicateIp = true,
            MaxInboundPeers = peers,
            MaxInboundConnectionRatePerIp = null,
            MaxInboundHandshakesPerIp = null,
            ReactorGracePeriod = TimeSpan.Zero,
            Connection = new ConnectionOptions { ReceiveAllowance = 100_000, ReceiveRate = null },
        };
        using NodeKey key = NodeKey.Create();
        await using Switch node = new(key, options);
        node.AddReactor(new StuckReactor(Blocks));
        node.AddReactor(new StuckReactor(Votes));
        await node.StartAsync(cancellationToken);
        long before = GC.GetTotalMemory(forceFullCollection: true);

        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task[] attackers = [.. Enumerable.Range(0, peers).Select(_ => Task.Run(() => AttackAsync(node.ListenAddress, attack, stop.Token), cancellationToken))];
        while (node.Peers.Count < peers || node.Peers.Any(peer => !peer.GetStatus().IsPaused))
        {
            await Task.Yield();
            cancellationToken.ThrowIfCancellationRequested();
        }

        long held = GC.GetTotalMemory(forceFullCollection: true) - before;
        await stop.CancelAsync();
        await Task.WhenAll(attackers);

        // The attackers live here too, each with the blocks that it is sending; the pools keep some arrays for the next.
        // The reactors send nothing here, so that part of the bound is left out.
        const long attackersOwn = peers * 3 * 65_536;
        const long pools = 16 << 20;
        PeerMemoryBound perPeer = PeerMemoryBound.Compute(options.Connection, [Blocks, Votes]);
        long bound = peers * (perPeer.Total - perPeer.SendQueues - perPeer.Outboxes);
        TestContext.Out.WriteLine($"{attack}: held {held / 1e6:0.0} MB, bound {bound / 1e6:0.0} MB");
        Assert.That(held, Is.LessThan(bound + attackersOwn + pools));
        Assert.That(held, Is.GreaterThan(peers * 120_000), "the attack filled what it could");
    }

    private static async Task AttackAsync(NetAddress address, Attack attack, CancellationToken cancellationToken)
    {
        using NodeKey key = NodeKey.Create();
        NodeInfo info = new() { Id = key.Id, Moniker = "attacker", Channels = [1, 2], ListenAddress = "tcp://127.0.0.1:1" };
        await using TransportConnection transport = await new TcpTransport { DialTimeout = TimeSpan.FromSeconds(30) }.ConnectAsync(address, cancellationToken);
        await using AuthenticatedConnection connection = await Handshake.PerformAsync(
            transport.Stream,
            key,
            info,
            address.Id,
            new HandshakeOptions { Timeout = TimeSpan.FromSeconds(60) },
            cancellationToken);
        byte[] batch = MakeBatch(attack);
        try
        {
            while (true)
            {
                await connection.Connection.WriteAsync(batch, cancellationToken);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or ObjectDisposedException)
        {
            // The node stops, or the test is over.
        }
    }

    private static byte[] MakeBatch(Attack attack)
    {
        // 190 packets of 1 KiB are a message that is nearly as large as may be.
        List<byte> batch = [];
        for (int i = 1; i <= 190; i++)
        {
            batch.AddRange(attack switch
            {
                Attack.EmptyMessages => Encode(Packet.Message(2, true, [])),
                Attack.SmallMessages => Encode(Packet.Message(2, true, new byte[20])),
                _ => Encode(Packet.Message(1, i == 190, new byte[1024])),
            });
            if (attack == Attack.Everything)
            {
                batch.AddRange(Encode(Packet.Message(2, true, new byte[1000])));
            }
        }

        return [.. batch];
    }

    private static byte[] Encode(in Packet packet)
    {
        byte[] bytes = new byte[PacketCodec.Size(packet)];
        PacketCodec.Write(bytes, packet);
        return bytes;
    }

    public enum Attack
    {
        EmptyMessages,
        SmallMessages,
        LargestMessages,
        Everything,
    }

    private sealed class StuckReactor(ChannelDescriptor channel) : Reactor(channel.Name, channel)
    {
        protected internal override ValueTask ReceiveAsync(Envelope envelope, CancellationToken cancellationToken) =>
            new(Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken));
    }
}
