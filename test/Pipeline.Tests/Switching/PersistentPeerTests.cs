using System.Net;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Switching;
using Pipeline.Testing;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

/// <summary>Nodes to be connected to at all times, over a network in memory and with a clock that the tests move.</summary>
public sealed class PersistentPeerTests
{
    private static readonly ChannelDescriptor Chat = new(0x70, "chat");

    private FakeTimeProvider _time = null!;
    private MemoryNetwork _network = null!;

    [SetUp]
    public void SetUp()
    {
        _time = new FakeTimeProvider(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        _network = new MemoryNetwork(new MemoryNetworkOptions { TimeProvider = _time });
    }

    [Test]
    public void The_schedule_is_twenty_even_tries_and_then_powers_of_three()
    {
        RedialSchedule schedule = new(maxPeriod: null, () => 0);
        Assert.That(Enumerable.Range(1, 20).Select(schedule.After), Has.All.EqualTo(TimeSpan.FromSeconds(5)));
        Assert.That(
            Enumerable.Range(21, 10).Select(failures => schedule.After(failures).TotalSeconds),
            Is.EqualTo([3, 9, 27, 81, 243, 729, 2187, 6561, 19683, 59049]));
        Assert.That(schedule.After(1000), Is.EqualTo(TimeSpan.FromSeconds(59049)));
        Assert.That(schedule.After(int.MaxValue), Is.EqualTo(TimeSpan.FromSeconds(59049)));
    }

    [Test]
    public void The_schedule_is_capped_and_has_a_random_part_of_up_to_three_seconds()
    {
        double next = 0;
        RedialSchedule schedule = new(TimeSpan.FromSeconds(60), () => next);
        Assert.That(schedule.After(30), Is.EqualTo(TimeSpan.FromSeconds(60)));
        next = 0.5;
        Assert.That(schedule.After(30), Is.EqualTo(TimeSpan.FromSeconds(61.5)));
        Assert.That(schedule.After(1), Is.EqualTo(TimeSpan.FromSeconds(6.5)));
        Assert.That(schedule.Jitter(), Is.EqualTo(TimeSpan.FromSeconds(1.5)));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task It_is_dialled_from_the_start_again_and_again_by_the_schedule(CancellationToken cancellationToken)
    {
        using NodeKey key = NodeKey.Create();
        NetAddress address = AddressOf(key, 2);
        await using TestNode node = await StartAsync(1, options => options with { PersistentPeers = [address] });
        for (int failures = 1; failures <= 23; failures++)
        {
            await FailedAsync(node, failures, cancellationToken);
            TimeSpan wait = TimeSpan.FromSeconds(failures <= 20 ? 5 : Math.Pow(3, failures - 20));
            await NextDialAsync(node, _time.GetUtcNow() + wait, cancellationToken);
            _time.Advance(wait - TimeSpan.FromTicks(1));
            Assert.That(node.Switch.GetStatus().PersistentPeers.Single().Tries, Is.EqualTo(failures));
            _time.Advance(TimeSpan.FromTicks(1));
        }

        await FailedAsync(node, 24, cancellationToken);
        await using TestNode there = await StartAsync(key, 2, null);
        await NextDialAsync(node, _time.GetUtcNow() + TimeSpan.FromSeconds(81), cancellationToken);
        _time.Advance(TimeSpan.FromSeconds(81));
        IPeer peer = await node.PeerAsync(key.Id, cancellationToken);
        Assert.That(peer.IsPersistent, Is.True);
        Assert.That((await there.PeerAsync(node.Switch.Id, cancellationToken)).IsPersistent, Is.False);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task One_that_has_left_is_dialled_again(CancellationToken cancellationToken)
    {
        using NodeKey key = NodeKey.Create();
        await using TestNode node = await StartAsync(1, options => options with { PersistentPeers = [AddressOf(key, 2)] });
        for (int round = 0; round < 5; round++)
        {
            TestNode there = await StartAsync(key, 2, null);
            await AdvanceUntilAsync(() => node.Switch.Peers.Count == 1, node, cancellationToken);
            await there.Switch.StopAsync().WaitAsync(cancellationToken);
            await node.UntilAsync(() => node.Switch.Peers.Count == 0, cancellationToken);
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task One_that_ends_every_connection_at_once_is_dialled_by_the_schedule(CancellationToken cancellationToken)
    {
        await using TestNode there = await StartAsync(2, null);
        there.Recording.During = (callback, peer, _) =>
        {
            if (callback == Callback.AddPeer)
            {
                peer!.Stop(new DisconnectReason(DisconnectKind.Stopped, "Go away."));
            }

            return ValueTask.CompletedTask;
        };
        await using TestNode node = await StartAsync(1, options => options with { PersistentPeers = [there.Switch.ListenAddress] });
        for (int failures = 1; failures <= 4; failures++)
        {
            await FailedAsync(node, failures, cancellationToken);
            await NextDialAsync(node, _time.GetUtcNow() + TimeSpan.FromSeconds(5), cancellationToken);
            _time.Advance(TimeSpan.FromSeconds(5));
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task One_that_dialled_by_itself_is_not_dialled_until_it_has_left(CancellationToken cancellationToken)
    {
        await using TestNode there = await StartAsync(2, null);
        await using TestNode node = await StartAsync(1, options => options with { NextDouble = () => 0.9 });
        node.Switch.AddPersistentPeer(there.Switch.ListenAddress);
        IPeer toNode = await there.DialAsync(node, cancellationToken);
        IPeer inbound = await node.PeerAsync(there.Switch.Id, cancellationToken);
        Assert.That(inbound.IsPersistent, Is.True);
        _time.Advance(TimeSpan.FromMinutes(1));
        Assert.That(node.Switch.Peers.Single(), Is.SameAs(inbound));
        Assert.That(_network.Connections, Has.Length.EqualTo(1));

        toNode.Stop(new DisconnectReason(DisconnectKind.Stopped, "Done."));
        await inbound.Completion.WaitAsync(cancellationToken);
        await AdvanceUntilAsync(() => node.Switch.Peers.SingleOrDefault() is { IsOutbound: true }, node, cancellationToken);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task One_that_this_node_is_done_with_is_not_dialled_again_until_it_is_added_again(CancellationToken cancellationToken)
    {
        await using TestNode there = await StartAsync(2, null);
        await using TestNode node = await StartAsync(1, options => options with { PersistentPeers = [there.Switch.ListenAddress] });
        await AdvanceUntilAsync(() => node.Switch.Peers.Count == 1, node, cancellationToken);
        IPeer peer = node.Switch.Peers.Single();
        await peer.StopGracefullyAsync().WaitAsync(cancellationToken);
        await node.UntilAsync(() => node.Switch.Peers.Count == 0, cancellationToken);
        await AdvanceUntilAsync(() => node.Switch.GetStatus().PersistentPeers.IsEmpty, node, cancellationToken);
        _time.Advance(TimeSpan.FromDays(1));
        Assert.That(_network.Connections, Has.Length.EqualTo(1));

        node.Switch.AddPersistentPeer(there.Switch.ListenAddress);
        await AdvanceUntilAsync(() => node.Switch.Peers.Count == 1, node, cancellationToken);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task One_that_a_reactor_stopped_for_misbehaviour_is_dialled_again_when_the_ban_is_over([Values] bool isMarked, CancellationToken cancellationToken)
    {
        await using TestNode there = await StartAsync(2, null);
        await using TestNode node = await StartAsync(1, options => options with { PersistentPeers = [there.Switch.ListenAddress], BanTime = TimeSpan.FromHours(2) });
        await AdvanceUntilAsync(() => node.Switch.Peers.Count == 1, node, cancellationToken);
        IPeer peer = node.Switch.Peers.Single();
        if (isMarked)
        {
            node.Switch.MarkBad(peer, "It lied.", TimeSpan.FromHours(1));
        }
        else
        {
            peer.Stop(new DisconnectReason(DisconnectKind.Misbehaved, "It lied."));
        }

        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.Misbehaved));
        await node.UntilAsync(() => node.Switch.Peers.Count == 0, cancellationToken);
        DateTimeOffset end = node.Switch.Bans.Bans.Single().Until!.Value;
        Assert.That(end - _time.GetUtcNow(), Is.EqualTo(TimeSpan.FromHours(isMarked ? 1 : 2)));
        int connections = _network.Connections.Length;
        while (_time.GetUtcNow() < end - TimeSpan.FromSeconds(30))
        {
            _time.Advance(TimeSpan.FromSeconds(29));
        }

        Assert.That(_network.Connections, Has.Length.EqualTo(connections));
        await AdvanceUntilAsync(() => node.Switch.Peers.Count == 1, node, cancellationToken);
        Assert.That(_time.GetUtcNow(), Is.GreaterThanOrEqualTo(end));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task One_that_is_removed_is_not_dialled_any_more(CancellationToken cancellationToken)
    {
        using NodeKey key = NodeKey.Create();
        await using TestNode node = await StartAsync(1, options => options with { PersistentPeers = [AddressOf(key, 2)] });
        await FailedAsync(node, 1, cancellationToken);
        Assert.That(node.Switch.RemovePersistentPeer(key.Id), Is.True);
        Assert.That(node.Switch.RemovePersistentPeer(key.Id), Is.False);
        await using TestNode there = await StartAsync(key, 2, null);
        _time.Advance(TimeSpan.FromDays(1));
        Assert.That(_network.Connections, Is.Empty);
        Assert.That(node.Switch.GetStatus().PersistentPeers, Is.Empty);
    }

    [Test]
    public async Task This_node_itself_is_refused()
    {
        using NodeKey key = NodeKey.Create();
        Assert.That(
            () => new Switch(key, new SwitchOptions { PersistentPeers = [AddressOf(key, 1)] }),
            Throws.ArgumentException.With.Message.Contains("cannot be a persistent peer of its own"));
        await using Switch node = new(key);
        Assert.That(() => node.AddPersistentPeer(AddressOf(key, 1)), Throws.ArgumentException);
    }

    private static NetAddress AddressOf(NodeKey key, byte host) => new(key.Id, $"10.0.0.{host}", 26656);

    private Task<TestNode> StartAsync(byte host, Func<SwitchOptions, SwitchOptions>? configure) => StartAsync(NodeKey.Create(), host, configure);

    private async Task<TestNode> StartAsync(NodeKey key, byte host, Func<SwitchOptions, SwitchOptions>? configure)
    {
        IPAddress address = new([10, 0, 0, host]);
        TestNode node = new(
            key,
            options =>
            {
                options = options with
                {
                    Transport = _network.CreateTransport(address),
                    ListenEndPoint = new IPEndPoint(address, 26656),
                    TimeProvider = _time,
                    NextDouble = () => 0,

                    // The clock jumps while handshakes run.
                    HandshakeTimeout = TimeSpan.FromDays(30),
                    Connection = new ConnectionOptions { PingInterval = TimeSpan.FromDays(30), PongTimeout = TimeSpan.FromDays(30) },
                };
                return configure?.Invoke(options) ?? options;
            },
            new RecordingReactor("chat", Chat));
        await node.Switch.StartAsync();
        return node;
    }

    private static Task FailedAsync(TestNode node, int failures, CancellationToken cancellationToken) =>
        node.UntilAsync(() => node.Switch.GetStatus().PersistentPeers.Single().Tries == failures, cancellationToken);

    // The loop sets it right after it has said in the log that the last dial failed.
    private static async Task NextDialAsync(TestNode node, DateTimeOffset expected, CancellationToken cancellationToken)
    {
        while (node.Switch.GetStatus().PersistentPeers.Single().NextDial is null)
        {
            cancellationToken.ThrowIfCancellationRequested();
            await Task.Yield();
        }

        Assert.That(node.Switch.GetStatus().PersistentPeers.Single().NextDial, Is.EqualTo(expected));
    }

    private async Task AdvanceUntilAsync(Func<bool> condition, TestNode node, CancellationToken cancellationToken)
    {
        while (!condition())
        {
            cancellationToken.ThrowIfCancellationRequested();
            _time.Advance(TimeSpan.FromSeconds(1));
            await Task.Yield();
        }

        Assert.That(node.Switch.Peers.Count, Is.LessThanOrEqualTo(1));
    }
}
