using System.Collections.Concurrent;
using System.Net;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Discovery;
using Pipeline.Testing;
using Pipeline.Tests.Support;
using Pipeline.Transport;
using Pipeline.Wire.Protos.P2P;
using NetAddress = Pipeline.Transport.NetAddress;

namespace Pipeline.Tests.Discovery;

/// <summary>A peer exchange reactor on a switch without a network, and a clock that a test moves.</summary>
internal sealed class ExchangeNode : IAsyncDisposable
{
    private readonly ConcurrentDictionary<NodeId, Func<NetAddress, TestPeer?>> _reachable = new();

    public ExchangeNode(
        Func<PeerExchangeOptions, PeerExchangeOptions>? configure = null,
        Func<AddressBookOptions, AddressBookOptions>? configureBook = null,
        params NodeId[] persistent)
    {
        Book = MakeBook(configureBook);
        PeerExchangeOptions options = new() { TimeProvider = Time, Random = new Random(7) };
        Reactor = new PeerExchangeReactor(Book, configure?.Invoke(options) ?? options, Log);
        Switch = new TestSwitch
        {
            PrivatePeers = [Id(9001)],
            PersistentPeers = [.. persistent],
            Reachable = address =>
            {
                Dials.Enqueue((address, Time.GetUtcNow() - Start));
                return _reachable.TryGetValue(address.Id, out Func<NetAddress, TestPeer?>? reach) ? reach(address) : null;
            },
        };
        Switch.AddReactor(Reactor);
    }

    public FakeTimeProvider Time { get; } = new(Start);

    public AddressBook Book { get; }

    public PeerExchangeReactor Reactor { get; }

    public TestSwitch Switch { get; }

    public RecordedLog<PeerExchangeReactor> Log { get; } = new();

    /// <summary>What was dialled, and when.</summary>
    public ConcurrentQueue<(NetAddress Address, TimeSpan At)> Dials { get; } = [];

    private static DateTimeOffset Start { get; } = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public static NodeId Id(int number) => NodeId.Parse(number.ToString("x40", null));

    /// <summary>The address of a node, of a network of its own.</summary>
    public static NetAddress Address(int number, ushort port = 26656) => new(Id(number), $"11.{number / 250}.{number % 250}.1", port);

    public static NetAddress InNetworkOfItsOwn(int number) => new(Id(number), $"{20 + (number / 200)}.{number % 200}.1.1", 26656);

    public static async Task<ExchangeNode> StartAsync(
        Func<PeerExchangeOptions, PeerExchangeOptions>? configure = null,
        IEnumerable<NetAddress>? known = null,
        params NodeId[] persistent)
    {
        ExchangeNode node = new(configure, persistent: persistent);
        node.Know(known ?? []);
        await node.Switch.StartAsync();
        return node;
    }

    public static TestPeer Outbound(NetAddress address, bool isPersistent = false, params byte[] channels) => new(Info(address, channels))
    {
        DialledAddress = address,
        IsPersistent = isPersistent,
        RemoteEndPoint = new IPEndPoint(address.Ip ?? IPAddress.Parse("203.0.113.1"), address.Port),
    };

    public static TestPeer Inbound(NetAddress address, string? listen = null, bool isPersistent = false) => new(Info(address, []) with { ListenAddress = listen ?? $"tcp://{address.DialString}" })
    {
        IsPersistent = isPersistent,
        RemoteEndPoint = new IPEndPoint(address.Ip!, 50_000),
    };

    public static Message Addresses(params IEnumerable<NetAddress> addresses)
    {
        Message message = new() { PexAddrs = new PexAddrs() };
        message.PexAddrs.Addrs.AddRange(addresses.Select(address =>
            new Pipeline.Wire.Protos.P2P.NetAddress { Id = address.Id.ToString(), Ip = address.Host, Port = address.Port }));
        return message;
    }

    public static Message Request() => new() { PexRequest = new PexRequest() };

    public void Know(IEnumerable<NetAddress> addresses)
    {
        foreach (NetAddress address in addresses)
        {
            Assert.That(Book.Add(address, address), Is.EqualTo(AddressVerdict.Added));
        }
    }

    public void CanReach(NetAddress address, Func<NetAddress, TestPeer?>? reach = null) => _reachable[address.Id] = reach ?? (dialled => Outbound(dialled));

    public Task ReceiveAsync(TestPeer peer, Message message) => Switch.ReceiveAsync(peer, PeerExchange.Channel, message);

    public static int Requests(TestPeer peer) => peer.SentOn(PeerExchange.Channel).Count(message => message.SumCase == Message.SumOneofCase.PexRequest);

    public static IReadOnlyList<PexAddrs> Answers(TestPeer peer) =>
        [.. peer.SentOn(PeerExchange.Channel).Where(message => message.SumCase == Message.SumOneofCase.PexAddrs).Select(message => message.PexAddrs)];

    /// <summary>Lets what the reactor has begun go on until a condition holds; the clock stands still.</summary>
    public static async Task UntilAsync(Func<bool> condition, CancellationToken cancellationToken)
    {
        while (!condition())
        {
            cancellationToken.ThrowIfCancellationRequested();
            await Task.Yield();
        }
    }

    /// <summary>Moves the clock in steps, each of which sees what has come of the one before.</summary>
    public void Advance(TimeSpan time, TimeSpan? step = null)
    {
        for (TimeSpan left = time; left > TimeSpan.Zero; left -= step ?? TimeSpan.FromSeconds(1))
        {
            Time.Advance(step ?? TimeSpan.FromSeconds(1));
        }
    }

    public ValueTask DisposeAsync() => Switch.DisposeAsync();

    private AddressBook MakeBook(Func<AddressBookOptions, AddressBookOptions>? configure)
    {
        AddressBookOptions options = new() { TimeProvider = Time, Random = new Random(3) };
        return new AddressBook(configure?.Invoke(options) ?? options);
    }

    private static NodeInfo Info(NetAddress address, byte[] channels) =>
        new() { Id = address.Id, Moniker = "test peer", ListenAddress = $"tcp://{address.DialString}", Channels = [.. channels] };
}
