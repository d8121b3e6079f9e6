using System.Collections.Immutable;
using System.Diagnostics;
using System.Net;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Discovery;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Testing;
using Pipeline.Transport;
using Protos = Pipeline.Wire.Protos.P2P;
using Switch = Pipeline.Switching.Switch;

namespace Pipeline.Experiments.Eclipsing;

/// <summary>What a node's peers were at a moment of a live attack.</summary>
/// <param name="Round">How many rounds of peer exchange have passed.</param>
/// <param name="Honest">How many of the peers that the node dialled are honest.</param>
/// <param name="Attackers">How many of them are the attacker's.</param>
/// <param name="Inbound">How many of the peers that dialled the node are the attacker's.</param>
internal sealed record LiveLook(double Round, int Honest, int Attackers, int Inbound);

/// <summary>
/// The attack on whole nodes, with handshakes, switches and the peer exchange reactor, over a network in memory on which they have the addresses that the attack
/// needs. A round takes 200 ms in place of 30 s; nothing else is changed.
/// </summary>
internal sealed class LiveEclipse : IAsyncDisposable
{
    public const int HonestNodes = 150;

    /// <summary>How long a round is here.</summary>
    public static readonly TimeSpan Period = TimeSpan.FromMilliseconds(200);

    private const int Known = 10;
    private const int HonestOutbound = 4;
    private const ushort Port = 26656;
    private static readonly TimeSpan DialTimeout = TimeSpan.FromSeconds(3);

    private readonly MemoryNetwork _network = new(new MemoryNetworkOptions { DialTimeout = DialTimeout });
    private readonly List<NodeKey> _keys = [];
    private readonly List<Switch> _nodes = [];
    private readonly HashSet<NodeId> _attackers = [];

    /// <summary>Starts all nodes, watches one of them for a time, and says what its peers were.</summary>
    public async Task<IReadOnlyList<LiveLook>> RunAsync(Random random, TimeSpan duration, CancellationToken cancellationToken)
    {
        (NodeKey Key, NetAddress Address)[] honest = [.. Enumerable.Range(0, HonestNodes).Select(_ => Identity(Eclipse.AnyHost(random)))];
        (NodeKey Key, NetAddress Address)[] attackers =
            [.. Enumerable.Range(0, Eclipse.Attackers).Select(i => Identity(IPAddress.Parse($"198.18.{i}.{1 + random.Next(250)}")))];
        _attackers.UnionWith(attackers.Select(node => node.Key.Id));
        NetAddress[] addresses = [.. honest.Select(node => node.Address)];
        foreach ((NodeKey key, NetAddress address) in honest)
        {
            AddressBook book = BookOf(key, Some(addresses, Known, random));
            await StartAsync(key, address, book, Learning(book, HonestOutbound), [], cancellationToken);
        }

        (NodeKey victimKey, NetAddress victimAddress) = Identity(Eclipse.AnyHost(random));
        AddressBook attacked = BookOf(victimKey, Some(addresses, Known, random));
        Switch victim = await StartAsync(victimKey, victimAddress, attacked, Learning(attacked, Eclipse.MaxOutbound), [], cancellationToken);
        Protos.Message answer = new() { PexAddrs = new Protos.PexAddrs() };
        answer.PexAddrs.Addrs.AddRange(attackers.Select(node => new Protos.NetAddress { Id = $"{node.Address.Id}", Ip = node.Address.Host, Port = node.Address.Port }));
        foreach ((NodeKey key, NetAddress address) in attackers)
        {
            await StartAsync(key, address, book: null, new AttackingReactor(answer), [victimAddress], cancellationToken);
        }

        List<LiveLook> looks = [];
        long start = Stopwatch.GetTimestamp();
        using PeriodicTimer timer = new(Period);
        while (await timer.WaitForNextTickAsync(cancellationToken) && Stopwatch.GetElapsedTime(start) < duration)
        {
            IPeer[] outbound = [.. victim.Peers.Where(peer => peer.IsOutbound)];
            int bad = outbound.Count(peer => _attackers.Contains(peer.Id));
            looks.Add(new LiveLook(
                Stopwatch.GetElapsedTime(start) / Period,
                outbound.Length - bad,
                bad,
                victim.Peers.Count(peer => !peer.IsOutbound && _attackers.Contains(peer.Id))));

            // As the reactors of a protocol would, whoever it is that answers; and now and then a peer leaves.
            Array.ForEach(outbound, victim.MarkGood);
            foreach (IPeer peer in outbound.Where(_ => random.NextDouble() < Eclipse.Leaves))
            {
                peer.Stop(new DisconnectReason(DisconnectKind.RemoteClosed, "It leaves."));
            }
        }

        return looks;
    }

    public async ValueTask DisposeAsync()
    {
        await Task.WhenAll(_nodes.Select(node => node.StopAsync()));
        _keys.ForEach(key => key.Dispose());
    }

    private static ImmutableArray<NetAddress> Some(NetAddress[] all, int count, Random random) => [.. random.GetItems(all, count).Distinct()];

    private static AddressBook BookOf(NodeKey key, ImmutableArray<NetAddress> known)
    {
        AddressBook book = new(new AddressBookOptions { OwnIds = [key.Id] });
        foreach (NetAddress address in known)
        {
            book.Add(address, address);
        }

        return book;
    }

    private static PeerExchangeReactor Learning(AddressBook book, int outbound) => new(book, new PeerExchangeOptions { MaxOutboundPeers = outbound, Period = Period });

    private (NodeKey Key, NetAddress Address) Identity(IPAddress host)
    {
        NodeKey key = NodeKey.Create();
        _keys.Add(key);
        return (key, NetAddress.FromEndPoint(key.Id, new IPEndPoint(host, Port)));
    }

    private async Task<Switch> StartAsync(
        NodeKey key,
        NetAddress address,
        AddressBook? book,
        Reactor reactor,
        ImmutableArray<NetAddress> persistent,
        CancellationToken cancellationToken)
    {
        Switch node = new(key, new SwitchOptions
        {
            Network = "eclipse",
            ListenEndPoint = new IPEndPoint(address.Ip!, Port),
            Transport = _network.CreateTransport(address.Ip!),
            PersistentPeers = persistent,
            AddressBook = book,
        });
        _nodes.Add(node);
        node.AddReactor(reactor);
        await node.StartAsync(cancellationToken);
        return node;
    }

    /// <summary>Answers each request with the attacker's addresses.</summary>
    private sealed class AttackingReactor(Protos.Message answer) : Reactor<Protos.Message>("PEX", PeerExchange.Channel)
    {
        protected internal override ValueTask ReceiveAsync(Envelope<Protos.Message> envelope, CancellationToken cancellationToken)
        {
            if (envelope.Message.SumCase == Protos.Message.SumOneofCase.PexRequest)
            {
                envelope.Peer.TrySend(PeerExchange.Channel, answer.ToByteArray());
            }

            return ValueTask.CompletedTask;
        }
    }
}
