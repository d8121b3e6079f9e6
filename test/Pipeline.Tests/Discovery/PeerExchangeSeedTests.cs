using System.Collections.Concurrent;
using Pipeline.Dataflow;
using Pipeline.Testing;
using Pipeline.Transport;
using static Pipeline.Tests.Discovery.ExchangeNode;

namespace Pipeline.Tests.Discovery;

/// <summary>What a seed does.</summary>
[CancelAfter(30_000)]
public sealed class PeerExchangeSeedTests
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(30);

    [Test]
    public async Task Who_asks_a_seed_is_told_once_and_sent_away(CancellationToken cancellationToken)
    {
        await using ExchangeNode node = await StartSeedAsync(known: Enumerable.Range(1, 100).Select(InNetworkOfItsOwn));

        // One that says no address: nobody is told its own.
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(3000), "tcp://0.0.0.0:0"));
        await node.ReceiveAsync(peer, Request());
        Assert.That(Answers(peer).Single().Addrs, Has.Count.EqualTo(32));
        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.Stopped));
        Assert.That(node.Switch.Bans, Is.Empty);
    }

    [Test]
    public async Task Of_what_a_seed_tells_three_in_ten_were_only_heard_of()
    {
        await using ExchangeNode node = new(options => options with { IsSeed = true });
        NetAddress[] old = [.. Enumerable.Range(1, 200).Select(InNetworkOfItsOwn)];
        node.Know(old);
        Array.ForEach(old, node.Book.MarkGood);
        node.Know(Enumerable.Range(501, 200).Select(InNetworkOfItsOwn));
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(3000), "tcp://0.0.0.0:0"));
        await node.ReceiveAsync(peer, Request());
        int told = Answers(peer).Single().Addrs.Count;
        int heardOf = Answers(peer).Single().Addrs.Count(address => !node.Book.Find(Pipeline.Cryptography.NodeId.Parse(address.Id))!.IsOld);
        Assert.That(heardOf, Is.EqualTo(told * 0.3).Within(1));
    }

    [Test]
    public async Task A_persistent_peer_of_a_seed_may_ask_again_and_stays()
    {
        await using ExchangeNode node = await StartSeedAsync();
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(1), isPersistent: true));
        await node.ReceiveAsync(peer, Request());
        await node.ReceiveAsync(peer, Request());
        Assert.That(Answers(peer), Has.Count.EqualTo(2));
        node.Advance(TimeSpan.FromHours(40), TimeSpan.FromMinutes(1));
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
    }

    [Test]
    public async Task Who_asks_a_seed_nothing_is_sent_away_after_28_hours(CancellationToken cancellationToken)
    {
        await using ExchangeNode node = await StartSeedAsync();
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(1), "tcp://0.0.0.0:0"));
        node.Advance(TimeSpan.FromHours(28) - Period, Period);
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
        node.Advance(2 * Period, Period);
        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.Stopped));
    }

    [Test]
    public async Task A_visited_node_is_marked_as_good_asked_and_left_when_it_has_answered(CancellationToken cancellationToken)
    {
        await using ExchangeNode node = new(options => options with { IsSeed = true });
        node.Know([Address(1)]);
        node.CanReach(Address(1));
        await node.Switch.StartAsync(cancellationToken);
        TestPeer peer = (TestPeer)node.Switch.Peers.Single();
        Assert.That(Requests(peer), Is.EqualTo(1));
        await UntilAsync(() => node.Book.Find(Id(1))!.IsOld, cancellationToken);
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
        await node.ReceiveAsync(peer, Addresses(Address(2)));
        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.Stopped));
        Assert.That(node.Book.Find(Id(2))!.IsOld, Is.False);
    }

    [Test]
    public async Task A_visited_node_that_does_not_answer_is_left_after_a_while(CancellationToken cancellationToken)
    {
        await using ExchangeNode node = new(options => options with { IsSeed = true });
        node.Know([Address(1)]);
        node.CanReach(Address(1));
        await node.Switch.StartAsync(cancellationToken);
        TestPeer peer = (TestPeer)node.Switch.Peers.Single();
        await UntilAsync(() => node.Book.Find(Id(1))!.IsOld, cancellationToken);
        node.Advance(TimeSpan.FromSeconds(29));
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
        node.Advance(TimeSpan.FromSeconds(2));
        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.Stopped));
    }

    [TestCase(HandshakeFailure.PeerStopped, true)]
    [TestCase(HandshakeFailure.Timeout, false)]
    [TestCase(HandshakeFailure.WrongNode, false)]
    public async Task A_node_that_shook_hands_and_had_no_room_is_good_all_the_same(HandshakeFailure failure, bool isGood)
    {
        await using ExchangeNode node = new(options => options with { IsSeed = true });
        node.Know([Address(1)]);
        node.CanReach(Address(1), _ => throw new HandshakeException(failure, "No."));
        await node.Switch.StartAsync();
        Assert.That(node.Book.Find(Id(1))?.IsOld ?? false, Is.EqualTo(isGood));
    }

    [Test]
    public async Task No_address_is_visited_twice_in_two_minutes(CancellationToken cancellationToken)
    {
        await using ExchangeNode node = new(options => options with { IsSeed = true });
        NetAddress[] addresses = [.. Enumerable.Range(1, 20).Select(InNetworkOfItsOwn)];
        node.Know(addresses);
        ConcurrentQueue<TestPeer> visited = [];
        Array.ForEach(addresses, address => node.CanReach(address, dialled =>
        {
            TestPeer peer = Outbound(dialled);
            visited.Enqueue(peer);
            return peer;
        }));
        await node.Switch.StartAsync(cancellationToken);
        for (int i = 0; i < 60; i++)
        {
            while (visited.TryDequeue(out TestPeer? peer))
            {
                await UntilAsync(() => Requests(peer) == 1, cancellationToken);
                await node.ReceiveAsync(peer, Addresses());
                await UntilAsync(() => !node.Switch.IsConnectedOrDialling(peer.Id), cancellationToken);
            }

            node.Time.Advance(TimeSpan.FromSeconds(10));
        }

        foreach (IGrouping<NetAddress, TimeSpan> visits in node.Dials.GroupBy(dial => dial.Address, dial => dial.At))
        {
            Assert.That(visits.Zip(visits.Skip(1), (one, other) => other - one), Is.All.GreaterThanOrEqualTo(TimeSpan.FromMinutes(2)));
        }

        Assert.That(node.Dials.Select(dial => dial.Address).Distinct(), Is.EquivalentTo(addresses));
        Assert.That(node.Dials, Has.Count.InRange(100, 120));
    }

    [Test]
    public async Task No_more_nodes_are_visited_at_once_than_allowed_and_the_next_come_when_one_is_done(CancellationToken cancellationToken)
    {
        await using ExchangeNode node = new(options => options with { IsSeed = true, MaxVisits = 5 });
        NetAddress[] addresses = [.. Enumerable.Range(1, 30).Select(InNetworkOfItsOwn)];
        node.Know(addresses);
        Array.ForEach(addresses, address => node.CanReach(address));
        await node.Switch.StartAsync(cancellationToken);

        // One that has answered may not have left yet.
        HashSet<IPeer> answered = [];
        for (int visited = 5; visited <= 30; visited++)
        {
            await UntilAsync(() => node.Dials.Count == visited && node.Switch.Peers.Except(answered).Count() == 5, cancellationToken);
            TestPeer peer = (TestPeer)node.Switch.Peers.Except(answered).First();
            answered.Add(peer);
            await node.ReceiveAsync(peer, Addresses());
        }

        await UntilAsync(() => node.Switch.Peers.Count < 5, cancellationToken);
        Assert.That(node.Dials, Has.Count.EqualTo(30));
    }

    [Test]
    public async Task A_seed_that_knows_nobody_asks_other_seeds_and_visits_what_they_tell(CancellationToken cancellationToken)
    {
        await using ExchangeNode node = new(options => options with { IsSeed = true, Seeds = [Address(1)] });
        node.CanReach(Address(1));
        await node.Switch.StartAsync(cancellationToken);
        TestPeer seed = (TestPeer)node.Switch.Peers.Single();
        await node.ReceiveAsync(seed, Addresses(Address(2)));
        await seed.Completion.WaitAsync(cancellationToken);
        node.Time.Advance(Period);
        Assert.That(node.Dials.Select(dial => dial.Address), Is.EqualTo([Address(1), Address(2)]));
    }

    [Test]
    public async Task A_seed_stops_while_it_visits(CancellationToken cancellationToken)
    {
        ExchangeNode node = new(options => options with { IsSeed = true, MaxVisits = 5 });
        NetAddress[] addresses = [.. Enumerable.Range(1, 30).Select(InNetworkOfItsOwn)];
        node.Know(addresses);
        Array.ForEach(addresses, address => node.CanReach(address));
        await node.Switch.StartAsync(cancellationToken);
        await node.DisposeAsync().AsTask().WaitAsync(cancellationToken);
        int dials = node.Dials.Count;
        node.Advance(TimeSpan.FromHours(1), Period);
        Assert.That(node.Dials, Has.Count.EqualTo(dials));
    }

    private static Task<ExchangeNode> StartSeedAsync(IEnumerable<NetAddress>? known = null) => StartAsync(options => options with { IsSeed = true }, known);
}
