using Pipeline.Discovery;
using Pipeline.Testing;
using Pipeline.Transport;
using static Pipeline.Tests.Discovery.ExchangeNode;

namespace Pipeline.Tests.Discovery;

/// <summary>Who is dialled, and when.</summary>
[CancelAfter(30_000)]
public sealed class PeerExchangeDiallingTests
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan Gap = TimeSpan.FromSeconds(3);

    [Test]
    public async Task A_node_without_peers_dials_at_once_as_many_as_it_should_have()
    {
        await using ExchangeNode node = new();
        NetAddress[] addresses = [.. Enumerable.Range(1, 30).Select(number => Address(number))];
        node.Know(addresses);
        Array.ForEach(addresses, address => node.CanReach(address));
        await node.Switch.StartAsync();
        Assert.That(node.Dials, Has.Count.EqualTo(10));
        Assert.That(node.Dials.Select(dial => dial.Address), Is.Unique);
        Assert.That(node.Switch.Counts.Outbound, Is.EqualTo(10));
        node.Advance(TimeSpan.FromHours(1), Period);
        Assert.That(node.Dials, Has.Count.EqualTo(10));
    }

    [Test]
    public async Task A_node_that_has_a_peer_begins_after_a_random_part_of_the_period()
    {
        await using ExchangeNode node = new(options => options with { Random = new Always(0.5) });
        node.Know([Address(1)]);
        await node.Switch.ConnectAsync(Inbound(Address(2)));
        await node.Switch.StartAsync();
        node.Time.Advance((Period / 2) - TimeSpan.FromTicks(1));
        Assert.That(node.Dials, Is.Empty);
        node.Time.Advance(TimeSpan.FromTicks(1));
        Assert.That(node.Dials, Has.Count.EqualTo(1));
    }

    [Test]
    public async Task Nobody_is_dialled_who_is_connected_or_persistent_or_the_node_itself()
    {
        await using ExchangeNode node = new(persistent: [Id(3)]);
        node.Know([Address(1), Address(2), Address(3), Address(4) with { Id = node.Switch.NodeInfo.Id }]);
        await node.Switch.ConnectAsync(Inbound(Address(1)));
        await node.Switch.ConnectAsync(Outbound(Address(2)));
        await node.Switch.StartAsync();
        node.Advance(TimeSpan.FromHours(1), Period);
        Assert.That(node.Dials, Is.Empty);
    }

    [Test]
    public async Task Outbound_peers_that_others_have_dialled_count()
    {
        await using ExchangeNode node = new();
        node.Know(Enumerable.Range(1, 30).Select(number => Address(number)));
        for (int i = 100; i < 107; i++)
        {
            await node.Switch.ConnectAsync(Outbound(Address(i)));
        }

        await node.Switch.StartAsync();
        node.Time.Advance(Period);
        Assert.That(node.Dials, Has.Count.EqualTo(3));
    }

    [Test]
    public async Task The_one_node_of_a_small_network_that_is_no_peer_is_found_at_once()
    {
        for (int seed = 0; seed < 30; seed++)
        {
            await using ExchangeNode node = new(options => options with { MaxOutboundPeers = 1, Random = new Random(seed) });
            NetAddress[] addresses = [.. Enumerable.Range(1, 7).Select(InNetworkOfItsOwn)];
            node.Know(addresses);
            foreach (NetAddress address in addresses[1..])
            {
                await node.Switch.ConnectAsync(Inbound(address));
            }

            await node.Switch.StartAsync();
            node.Time.Advance(Period);
            Assert.That(node.Dials.Select(dial => dial.Address), Has.Member(addresses[0]), $"with the choices of {seed}");
        }
    }

    // Shares of 10 and of 90 percent weigh the square roots of equal numbers.
    [TestCase(0, 0.1)]
    [TestCase(3, 0.4)]
    [TestCase(8, 0.9)]
    [TestCase(20, 0.9)]
    public async Task The_more_outbound_peers_there_are_the_more_addresses_are_tried_that_were_only_heard_of(int outbound, double share)
    {
        int isNew = 0;
        const int Rounds = 400;
        Random random = new(11);
        NetAddress[] old = [.. Enumerable.Range(1, 40).Select(InNetworkOfItsOwn)], heardOf = [.. Enumerable.Range(501, 40).Select(InNetworkOfItsOwn)];
        await using ExchangeNode node = new(options => options with { MaxOutboundPeers = outbound + 1, Random = random });
        node.Know(old);
        Array.ForEach(old, node.Book.MarkGood);
        node.Know(heardOf);
        for (int i = 0; i < outbound; i++)
        {
            await node.Switch.ConnectAsync(Outbound(Address(100 + i)));
        }

        Array.ForEach([.. old, .. heardOf], address => node.CanReach(address, _ => throw new HandshakeException(HandshakeFailure.AlreadyConnected, "It came by itself.")));
        await node.Switch.StartAsync();
        node.Advance((Rounds - 1) * Period, Period);
        isNew = node.Dials.Count(dial => heardOf.Contains(dial.Address));
        Assert.That(node.Dials, Has.Count.InRange(Rounds - 1, Rounds + 1));
        Assert.That((double)isNew / node.Dials.Count, Is.EqualTo(share).Within(0.08));
    }

    [Test]
    public async Task A_dial_that_fails_is_repeated_after_twice_as_long_each_time_and_a_second_at_most()
    {
        await using ExchangeNode node = await StartAsync(options => options with { Random = new Always(0.999) }, [Address(1)]);
        node.Advance(TimeSpan.FromSeconds(20_000));
        TimeSpan[] gaps = Gaps(node);
        Assert.That(gaps, Has.Length.GreaterThanOrEqualTo(12));
        for (int i = 0; i < gaps.Length; i++)
        {
            // After the pause, but no sooner than rounds may follow each other; and time goes on in steps of a second.
            double pause = Math.Pow(2, i + 1) + 0.999;
            Assert.That(gaps[i].TotalSeconds, Is.InRange(pause, Math.Max(pause, Gap.TotalSeconds) + 1.01), $"after {i + 1} failures");
        }

        Assert.That(node.Book.Find(Id(1))!.Attempts, Is.EqualTo(gaps.Length + 1));
    }

    [Test]
    public async Task An_address_that_has_failed_seventeen_times_is_kept_out_for_a_day_and_nobody_is_banned()
    {
        await using ExchangeNode node = await StartAsync(known: [Address(1)]);
        while (node.Dials.Count < 17)
        {
            Assert.That(node.Book.Count, Is.EqualTo(1));
            node.Time.Advance(TimeSpan.FromSeconds(15));
        }

        Assert.That(node.Book.Count, Is.Zero);
        Assert.That(node.Reactor.Backoffs, Is.Zero);
        Assert.That(node.Dials.Last().At, Is.GreaterThan(TimeSpan.FromHours(36)));
        Assert.That(node.Switch.Bans, Is.Empty);
        Assert.That(node.Book.Add(Address(1), Address(1)), Is.EqualTo(AddressVerdict.Banned));
        Assert.That(node.Book.Add(Address(1, 100), Address(1)), Is.EqualTo(AddressVerdict.Added), "The node itself may live elsewhere.");
        node.Book.Remove(Id(1));
        node.Time.Advance(TimeSpan.FromHours(24) + Period);
        Assert.That(node.Dials, Has.Count.GreaterThan(17), "It is forgiven.");
    }

    [TestCase(HandshakeFailure.WrongNode)]
    [TestCase(HandshakeFailure.BadSignature)]
    [TestCase(HandshakeFailure.InvalidAuthentication)]
    [TestCase(HandshakeFailure.NodeInfoIdMismatch)]
    [TestCase(HandshakeFailure.Self)]
    [TestCase(HandshakeFailure.DifferentNetwork)]
    [TestCase(HandshakeFailure.DifferentBlockVersion)]
    [TestCase(HandshakeFailure.NoCommonChannel)]
    public async Task An_address_where_somebody_else_answers_is_kept_out_at_once_and_nobody_is_banned(HandshakeFailure failure)
    {
        await using ExchangeNode node = new();
        node.Know([Address(1)]);
        node.CanReach(Address(1), _ => throw new HandshakeException(failure, "No."));
        await node.Switch.StartAsync();
        Assert.That(node.Book.Add(Address(1), Address(2)), Is.EqualTo(AddressVerdict.Banned));
        Assert.That(node.Book.Add(Address(1, 100), Address(2)), Is.EqualTo(AddressVerdict.Added));
        Assert.That(node.Switch.Bans, Is.Empty);
    }

    [TestCase(HandshakeFailure.AlreadyConnected, 0, 0)]
    [TestCase(HandshakeFailure.SwitchStopped, 0, 0)]
    [TestCase(HandshakeFailure.Banned, 0, 1)]
    [TestCase(HandshakeFailure.Denied, 0, 1)]
    [TestCase(HandshakeFailure.Filtered, 0, 1)]
    [TestCase(HandshakeFailure.DuplicateIp, 0, 1)]
    [TestCase(HandshakeFailure.PeerStopped, 0, 1)]
    [TestCase(HandshakeFailure.Timeout, 1, 1)]
    [TestCase(HandshakeFailure.ConnectionClosed, 1, 1)]
    [TestCase(HandshakeFailure.InvalidNodeInfo, 1, 1)]
    public async Task A_failure_counts_for_what_the_address_can_help(HandshakeFailure failure, int attempts, int backoffs)
    {
        await using ExchangeNode node = new();
        node.Know([Address(1)]);
        node.CanReach(Address(1), _ => throw new HandshakeException(failure, "No."));
        await node.Switch.StartAsync();
        Assert.That(node.Dials, Has.Count.EqualTo(1));
        Assert.That(node.Book.Find(Id(1))!.Attempts, Is.EqualTo(attempts));
        Assert.That(node.Reactor.Backoffs, Is.EqualTo(backoffs));
    }

    [Test]
    public async Task What_a_transport_throws_is_a_failure_like_any_other()
    {
        await using ExchangeNode node = new();
        node.Know([Address(1)]);
        node.CanReach(Address(1), _ => throw new InvalidDataException("Something else."));
        await node.Switch.StartAsync();
        Assert.That(node.Book.Find(Id(1))!.Attempts, Is.EqualTo(1));
    }

    [Test]
    public async Task What_is_known_of_failures_goes_with_the_address()
    {
        await using ExchangeNode node = await StartAsync(known: Enumerable.Range(1, 50).Select(number => Address(number)));
        node.Advance(TimeSpan.FromMinutes(5));
        Assert.That(node.Reactor.Backoffs, Is.GreaterThan(20));
        for (int i = 1; i <= 50; i++)
        {
            node.Book.Remove(Id(i));
        }

        node.Time.Advance(Period);
        Assert.That(node.Reactor.Backoffs, Is.Zero);
    }

    [Test]
    public async Task After_a_dial_that_failed_the_next_round_comes_early()
    {
        await using ExchangeNode node = new(options => options with { MaxOutboundPeers = 1 });
        node.Know([Address(1), Address(2)]);
        await node.Switch.StartAsync();
        Assert.That(node.Dials, Has.Count.EqualTo(1));
        node.Time.Advance(Gap - TimeSpan.FromTicks(1));
        Assert.That(node.Dials, Has.Count.EqualTo(1));
        for (int i = 0; i < 4; i++)
        {
            node.Time.Advance(Gap);
        }

        Assert.That(node.Dials, Has.Count.GreaterThanOrEqualTo(2));
    }

    [Test]
    public async Task After_a_peer_has_left_the_next_round_comes_early(CancellationToken cancellationToken)
    {
        await using ExchangeNode node = new(options => options with { MaxOutboundPeers = 1 });
        node.Know([Address(1), Address(2)]);
        node.CanReach(Address(1));
        node.CanReach(Address(2));
        await node.Switch.StartAsync(cancellationToken);
        node.Time.Advance(TimeSpan.FromSeconds(20));
        await node.Switch.DisconnectAsync((TestPeer)node.Switch.Peers.Single());

        // The round before is longer ago than the gap between two.
        await UntilAsync(() => node.Dials.Count == 2, cancellationToken);
    }

    [Test]
    public async Task A_node_that_ends_the_connection_at_once_is_not_dialled_all_the_time(CancellationToken cancellationToken)
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 1 });
        node.Know([Address(1)]);
        node.CanReach(Address(1));
        for (int i = 0; i < 600; i++)
        {
            node.Time.Advance(TimeSpan.FromSeconds(1));
            if (node.Switch.Peers.FirstOrDefault() is TestPeer peer)
            {
                await node.Switch.DisconnectAsync(peer);
                await UntilAsync(() => node.Reactor.Backoffs == 1, cancellationToken);
            }
        }

        Assert.That(node.Dials, Has.Count.InRange(3, 20), "2, 4, 8 to 256 s after one another, as far as the clock waits for the threads; not 200 times, once a gap.");
        Assert.That(node.Book.Find(Id(1))!.Attempts, Is.Zero, "It was there each time.");
    }

    [Test]
    public async Task Who_stays_for_ten_seconds_has_a_good_address(CancellationToken cancellationToken)
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 1 });
        node.CanReach(Address(1));
        node.Know([Address(1)]);
        node.Time.Advance(Period);
        await UntilAsync(() => node.Switch.Counts.Outbound == 1, cancellationToken);
        Assert.That(node.Book.OldCount, Is.Zero);

        node.Time.Advance(TimeSpan.FromSeconds(9));
        Assert.That(node.Book.OldCount, Is.Zero);
        node.Time.Advance(TimeSpan.FromSeconds(1));
        await UntilAsync(() => node.Book.OldCount == 1, cancellationToken);
    }

    [Test]
    public async Task A_node_that_has_stayed_for_long_is_dialled_again_at_once(CancellationToken cancellationToken)
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 1 });
        node.Know([Address(1)]);
        node.Time.Advance(Period);
        Assert.That(node.Reactor.Backoffs, Is.EqualTo(1));
        node.CanReach(Address(1));
        node.Time.Advance(2 * Period);
        node.Time.Advance(Period);
        await node.Switch.DisconnectAsync((TestPeer)node.Switch.Peers.Single());
        await UntilAsync(() => node.Reactor.Backoffs == 0, cancellationToken);

        // Nothing holds it back; when the loop hears that the peer has left is up to the threads.
        await UntilAsync(
            () =>
            {
                node.Time.Advance(Gap);
                return node.Switch.Counts.Outbound == 1;
            },
            cancellationToken);
    }

    [Test]
    public async Task Each_round_asks_one_peer_while_the_book_needs_more_and_no_peer_twice_at_once()
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 20 });
        TestPeer[] peers = [.. await Task.WhenAll(Enumerable.Range(1, 3).Select(number => node.Switch.ConnectAsync(Inbound(Address(number), "tcp://0.0.0.0:0"))))];
        for (int i = 1; i <= 40; i++)
        {
            node.Time.Advance(Period);
            Assert.That(peers.Sum(Requests), Is.EqualTo(Math.Min(i, peers.Length)), "No round is lost to a peer that was asked before.");
        }

        Assert.That(peers.Select(Requests), Is.All.EqualTo(1), "None has answered.");
        await node.ReceiveAsync(peers[0], Addresses());
        for (int i = 1; i <= 40; i++)
        {
            node.Time.Advance(Period);
        }

        Assert.That(peers.Select(Requests), Is.EqualTo([2, 1, 1]));
    }

    [Test]
    public async Task A_peer_that_answers_at_once_is_not_asked_more_often_than_nodes_of_the_reference_allow()
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 20 });
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(1), "tcp://0.0.0.0:0"));
        List<DateTimeOffset> asked = [];
        int next = 1000;
        for (int i = 0; i < 600; i++)
        {
            node.Time.Advance(TimeSpan.FromSeconds(1));
            if (Requests(peer) > asked.Count)
            {
                asked.Add(node.Time.GetUtcNow());
                await node.ReceiveAsync(peer, Addresses(Address(next++)));
            }
        }

        Assert.That(asked, Has.Count.InRange(10, 20));
        Assert.That(asked.Zip(asked.Skip(1), (one, other) => other - one), Is.All.GreaterThanOrEqualTo(Period));
    }

    [Test]
    public async Task Seeds_are_dialled_in_random_order_until_one_is_reached_when_there_is_nobody_else_to_dial()
    {
        HashSet<int> first = [];
        for (int run = 0; run < 40; run++)
        {
            await using ExchangeNode node = new(options => options with { Seeds = [.. Enumerable.Range(1, 4).Select(number => Address(number))], Random = new Random(run) });
            node.CanReach(Address(2));
            await node.Switch.StartAsync();
            NetAddress[] dialled = [.. node.Dials.Select(dial => dial.Address)];
            Assert.That(dialled[^1], Is.EqualTo(Address(2)));
            Assert.That(dialled, Is.Unique);
            Assert.That(Requests((TestPeer)node.Switch.Peers.Single()), Is.EqualTo(1));
            first.Add(int.Parse(dialled[0].Id.ToString(), null));
        }

        Assert.That(first, Is.EquivalentTo([1, 2, 3, 4]));
    }

    [Test]
    public async Task The_host_of_a_seed_may_be_a_name()
    {
        NetAddress seed = NetAddress.Parse($"{Id(1)}@seed.example.org:26656");
        await using ExchangeNode node = new(options => options with { Seeds = [seed] });
        node.CanReach(seed);
        await node.Switch.StartAsync();
        Assert.That(node.Switch.Peers.Single().DialledAddress, Is.EqualTo(seed));
    }

    [Test]
    public async Task Seeds_are_left_alone_while_there_is_somebody_to_dial_or_the_book_has_enough()
    {
        await using ExchangeNode knowing = await StartAsync(options => options with { Seeds = [Address(9)] }, [Address(1)]);
        Assert.That(knowing.Dials.Select(dial => dial.Address), Is.EqualTo([Address(1)]));

        await using ExchangeNode full = await StartAsync(options => options with { Seeds = [Address(9000)] }, Enumerable.Range(1, 2000).Select(InNetworkOfItsOwn));
        full.Advance(TimeSpan.FromMinutes(10));
        Assert.That(full.Dials.Select(dial => dial.Address), Has.None.EqualTo(Address(9000)));
    }

    [Test]
    public async Task Seeds_that_cannot_be_reached_are_tried_once_a_period()
    {
        await using ExchangeNode node = await StartAsync(options => options with { Seeds = [Address(1), Address(2)] });
        node.Advance(TimeSpan.FromSeconds(300));
        Assert.That(node.Dials, Has.Count.EqualTo(22));
        Assert.That(node.Log.Entries.Select(entry => entry.Id), Is.SupersetOf([143, 144]));
    }

    [Test]
    public async Task What_a_seed_tells_is_dialled_at_once()
    {
        await using ExchangeNode node = new(options => options with { Seeds = [Address(1)] });
        node.CanReach(Address(1));
        node.CanReach(Address(2));
        await node.Switch.StartAsync();
        await node.ReceiveAsync((TestPeer)node.Switch.Peers.Single(), Addresses(Address(2)));
        Assert.That(node.Dials.Last(), Is.EqualTo((Address(2), TimeSpan.Zero)));
    }

    [Test]
    public async Task A_node_that_has_stopped_dials_no_more_and_one_that_never_starts_never()
    {
        ExchangeNode node = await StartAsync(known: Enumerable.Range(1, 50).Select(number => Address(number)));
        await node.DisposeAsync();
        int dials = node.Dials.Count;
        node.Advance(TimeSpan.FromHours(1), Period);
        Assert.That(node.Dials, Has.Count.EqualTo(dials));

        ExchangeNode other = new();
        other.Know([Address(1)]);
        other.Advance(TimeSpan.FromHours(1), Period);
        await other.DisposeAsync();
        Assert.That(other.Dials, Is.Empty);
    }

    [Test]
    public async Task A_log_that_throws_ends_neither_the_process_nor_the_rounds()
    {
        await using TestSwitch node = new();
        Microsoft.Extensions.Time.Testing.FakeTimeProvider time = new();
        AddressBook book = new(new AddressBookOptions { TimeProvider = time });
        node.AddReactor(new PeerExchangeReactor(book, new PeerExchangeOptions { TimeProvider = time, Seeds = [Address(1)] }, new ThrowingLog()));
        await node.StartAsync();
        for (int i = 0; i < 100; i++)
        {
            time.Advance(Period);
        }
    }

    private static TimeSpan[] Gaps(ExchangeNode node)
    {
        TimeSpan[] at = [.. node.Dials.Select(dial => dial.At)];
        return [.. at.Zip(at.Skip(1), (one, other) => other - one)];
    }

    private sealed class Always(double value) : Random(1)
    {
        public override double NextDouble() => value;
    }

    private sealed class ThrowingLog : Microsoft.Extensions.Logging.ILogger<PeerExchangeReactor>
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(Microsoft.Extensions.Logging.LogLevel logLevel) => true;

        public void Log<TState>(
            Microsoft.Extensions.Logging.LogLevel logLevel,
            Microsoft.Extensions.Logging.EventId eventId,
            TState state,
            Exception? exception,
            Func<TState, Exception?, string> formatter) => throw new InvalidOperationException("The disk is full.");
    }
}
