using System.Net;
using Pipeline.Cryptography;
using Pipeline.Discovery;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Testing;
using static Pipeline.Tests.Discovery.ExchangeNode;
using NetAddress = Pipeline.Transport.NetAddress;

namespace Pipeline.Tests.Discovery;

/// <summary>Whole nodes that find each other.</summary>
[CancelAfter(60_000)]
public sealed class PeerExchangeNetworkTests
{
    private const int Wanted = 4;

    [Test]
    public async Task Twenty_nodes_that_know_one_seed_all_get_their_outbound_peers(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new();
        await using NetworkNode seed = new(network, 1, options => options with { IsSeed = true });
        await seed.Switch.StartAsync(cancellationToken);
        NetworkNode[] nodes = [.. Enumerable.Range(2, 20).Select(number => new NetworkNode(network, number, options => options with { Seeds = [seed.Switch.ListenAddress] }))];
        await Task.WhenAll(nodes.Select(node => node.Switch.StartAsync(cancellationToken)));
        await Task.WhenAll(nodes.Select(node => node.UntilOutboundAsync(Wanted, cancellationToken)));
        Assert.That(nodes.Select(node => node.Switch.Counts.Outbound), Is.All.LessThanOrEqualTo(Wanted), "Each has had them; of two crossing dials one ends.");
        Assert.That(nodes.Append(seed).Select(node => node.Switch.Bans.Count), Is.All.Zero, "Nobody is banned for what this library does.");
        await Task.WhenAll(nodes.Select(node => node.DisposeAsync().AsTask()));
        Assert.That(nodes.Select(node => node.Switch.RunningTasks), Is.All.Zero);
    }

    [Test]
    public async Task A_node_that_was_cut_off_finds_its_peers_when_the_network_heals(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new(new MemoryNetworkOptions { DialTimeout = TimeSpan.FromMilliseconds(50) });
        NetworkNode[] nodes = [.. Enumerable.Range(1, 6).Select(number => new NetworkNode(network, number, options => options))];
        await Task.WhenAll(nodes.Select(node => node.Switch.StartAsync(cancellationToken)));
        NetAddress[] seeds = [.. nodes.Select(node => node.Switch.ListenAddress)];
        Array.ForEach(nodes, node => Array.ForEach(seeds, address => node.Book.Add(address, address)));
        network.Partition([IPAddress.Parse("11.0.99.1")]);
        await using NetworkNode alone = new(network, 99, options => options with { Seeds = [.. seeds] });
        await alone.Switch.StartAsync(cancellationToken);
        await alone.UntilLoggedAsync(144, cancellationToken);
        Assert.That(alone.Switch.Peers, Is.Empty);
        network.Heal();
        await alone.UntilOutboundAsync(Wanted, cancellationToken);
        await Task.WhenAll(nodes.Select(node => node.DisposeAsync().AsTask()));
    }

    [Test]
    public async Task Peers_that_come_go_ask_answer_and_lie_in_any_order_break_no_rule()
    {
        for (int seed = 0; seed < 40; seed++)
        {
            await RunAsync(new Random(seed), seed);
        }
    }

    private static async Task RunAsync(Random random, int seed)
    {
        await using ExchangeNode node = new(options => options with { MaxOutboundPeers = Wanted, Random = new Random(seed) });
        Dictionary<TestPeer, int> answers = [];
        HashSet<NodeId> liars = [];
        int next = 1;
        for (int i = 1; i <= 20; i++)
        {
            NetAddress address = InNetworkOfItsOwn(i);
            node.Know([address]);
            node.CanReach(address, dialled => liars.Contains(dialled.Id) || random.Next(3) == 0 ? null : Outbound(dialled));
        }

        await node.Switch.StartAsync();
        for (int step = 0; step < 120; step++)
        {
            TestPeer[] peers = [.. node.Switch.Peers.Cast<TestPeer>()];
            TestPeer? peer = peers.Length > 0 ? peers[random.Next(peers.Length)] : null;
            switch (random.Next(7))
            {
                case 0:
                    await node.Switch.ConnectAsync(Inbound(InNetworkOfItsOwn(100 + next++)));
                    break;
                case 1 when peer is not null:
                    await node.Switch.DisconnectAsync(peer);
                    break;
                case 2 when peer is not null && Requests(peer) > answers.GetValueOrDefault(peer):
                    answers[peer] = answers.GetValueOrDefault(peer) + 1;
                    await node.ReceiveAsync(peer, Addresses(InNetworkOfItsOwn(500 + random.Next(300))));
                    Assert.That(peer.Stopped.IsCancellationRequested, Is.False, $"seed {seed}, step {step}: an answer is legal");
                    break;
                case 3 when peer is not null && random.Next(4) == 0:
                    bool isUnasked = Requests(peer) == answers.GetValueOrDefault(peer);
                    answers[peer] = answers.GetValueOrDefault(peer) + 1;
                    await node.ReceiveAsync(peer, isUnasked ? Addresses(Address(1)) : Addresses(Enumerable.Range(1, 251).Select(number => Address(number))));
                    if (!node.Switch.Bans.Any(ban => ban.Target.Id == peer.Id))
                    {
                        Assert.That(isUnasked && Requests(peer) >= answers[peer], Is.True, $"seed {seed}, step {step}: a lie is a ban, unless the peer was asked at that very moment");
                        break;
                    }

                    liars.Add(peer.Id);
                    await node.Switch.DisconnectAsync(peer);
                    break;
                case 4 when peer is not null:
                    int told = Answers(peer).Count;
                    int bans = node.Switch.Bans.Length;
                    await node.ReceiveAsync(peer, Request());

                    // Anew: one that was being dialled while it was banned is there all the same.
                    bool isBanned = node.Switch.Bans.Skip(bans).Any(ban => ban.Target.Id == peer.Id);
                    Assert.That(Answers(peer), Has.Count.EqualTo(isBanned ? told : told + 1));
                    if (isBanned)
                    {
                        liars.Add(peer.Id);
                        await node.Switch.DisconnectAsync(peer);
                    }

                    break;
                default:
                    node.Advance(TimeSpan.FromSeconds(random.Next(1, 20)));
                    break;
            }

            foreach (TestPeer other in node.Switch.Peers.Cast<TestPeer>())
            {
                Assert.That(Requests(other) - answers.GetValueOrDefault(other), Is.InRange(0, 1), $"seed {seed}, step {step}: open requests");
            }

            Assert.That(node.Switch.Counts.Outbound + node.Switch.Counts.Dialling, Is.LessThanOrEqualTo(Wanted), $"seed {seed}, step {step}");
        }

        Assert.That(node.Switch.Bans.Select(ban => ban.Target.Id).Distinct(), Is.SubsetOf(liars.Select(id => (NodeId?)id)), "Only who has lied, or asked too often.");
        Assert.That(node.Log.Entries.Where(entry => entry.Id == 147), Is.Empty);
    }
}

/// <summary>A whole node with peer exchange on a host of a network in memory.</summary>
internal sealed class NetworkNode : IAsyncDisposable
{
    private readonly Tests.Support.RecordedLog<PeerExchangeReactor> _log = new();

    public NetworkNode(MemoryNetwork network, int number, Func<PeerExchangeOptions, PeerExchangeOptions> configure, string chain = "test", Reactor? instead = null)
    {
        IPAddress ip = IPAddress.Parse($"11.{number / 250}.{number % 250}.1");
        Book = new AddressBook(new AddressBookOptions { OwnIds = [Key.Id] });
        Switch = new Switch(Key, new SwitchOptions
        {
            Network = chain,
            Moniker = $"node {number}",
            ListenEndPoint = new IPEndPoint(ip, 26656),
            Transport = network.CreateTransport(ip),
        });
        PeerExchangeOptions options = new() { MaxOutboundPeers = 4, Period = TimeSpan.FromMilliseconds(100), CrawlPeriod = TimeSpan.FromMilliseconds(100) };
        Switch.AddReactor(instead ?? new PeerExchangeReactor(Book, configure(options), _log));
    }

    public NodeKey Key { get; } = NodeKey.Create();

    public AddressBook Book { get; }

    public Switch Switch { get; }

    public async Task UntilOutboundAsync(int count, CancellationToken cancellationToken)
    {
        await foreach (PeerChange _ in Switch.WatchPeersAsync(cancellationToken))
        {
            if (Switch.Peers.Count(peer => peer.IsOutbound) >= count)
            {
                return;
            }
        }
    }

    public Task UntilLoggedAsync(int id, CancellationToken cancellationToken) => UntilAsync(() => _log.Entries.Any(entry => entry.Id == id), cancellationToken);

    public async ValueTask DisposeAsync()
    {
        await Switch.DisposeAsync();
        Key.Dispose();
    }
}
