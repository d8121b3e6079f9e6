using System.Net;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Testing;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

/// <summary>What a program and its reactors can ask of a switch and of a peer.</summary>
public sealed class SwitchApiTests
{
    private static readonly ChannelDescriptor Chat = new(0x70, "chat") { SendQueueCapacity = 10 };
    private static readonly ChannelDescriptor Other = new(0x71, "other");

    private MemoryNetwork _network = null!;

    [SetUp]
    public void SetUp() => _network = new MemoryNetwork();

    [Test]
    [CancelAfter(30_000)]
    public async Task Counts_tell_inbound_outbound_dialling_and_unconditional_peers_apart(CancellationToken cancellationToken)
    {
        using NodeKey friend = NodeKey.Create(), unknown = NodeKey.Create();
        await using TestNode node = await StartAsync(1, options => options with { UnconditionalPeers = [friend.Id], MaxInboundPeers = 1 });
        await using TestNode one = await StartAsync(2, null), two = await StartAsync(3, null), more = await StartAsync(4, null), always = await StartAsync(5, null, friend);
        Assert.That(node.Switch.Counts, Is.EqualTo(default(PeerCounts)));
        await node.DialAsync(one, cancellationToken);
        await two.DialAsync(node, cancellationToken);
        await node.PeerAsync(two.Switch.Id, cancellationToken);
        Assert.That(node.Switch.Counts, Is.EqualTo(new PeerCounts(Inbound: 1, Outbound: 1, Dialling: 0, Unconditional: 0)));

        // There are enough inbound peers for everybody but one.
        await Assert.CatchAsync<IOException>(async () =>
        {
            IPeer peer = await more.DialAsync(node, cancellationToken);
            throw new IOException((await peer.Completion.WaitAsync(cancellationToken)).Message);
        });
        await always.DialAsync(node, cancellationToken);
        await node.PeerAsync(friend.Id, cancellationToken);
        Assert.That(node.Switch.Counts, Is.EqualTo(new PeerCounts(Inbound: 1, Outbound: 1, Dialling: 0, Unconditional: 1)));

        // A partition: nobody answers, and the dial hangs.
        _network.Partition([[new IPAddress([10, 0, 0, 1])]]);
        using CancellationTokenSource giveUp = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<IPeer> dial = node.Switch.DialAsync(new NetAddress(unknown.Id, "10.0.0.4", 26656), giveUp.Token);
        Assert.That(node.Switch.Counts.Dialling, Is.EqualTo(1));
        await giveUp.CancelAsync();
        Assert.That(async () => await dial, Throws.InstanceOf<OperationCanceledException>());
        Assert.That(node.Switch.Counts.Dialling, Is.Zero);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task Whoever_watches_the_peers_is_told_who_is_there_who_comes_and_who_goes_until_the_end(CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(1, null), one = await StartAsync(2, null), two = await StartAsync(3, null);
        IPeer first = await node.DialAsync(one, cancellationToken);
        await using IAsyncEnumerator<PeerChange> changes = node.Switch.WatchPeersAsync(cancellationToken).GetAsyncEnumerator(cancellationToken);
        Assert.That(await NextAsync(), Is.EqualTo(new PeerChange(first, IsConnected: true)));

        ValueTask<bool> waiting = changes.MoveNextAsync();
        Assert.That(waiting.IsCompleted, Is.False);
        IPeer second = await node.DialAsync(two, cancellationToken);
        Assert.That(await waiting, Is.True);
        Assert.That(changes.Current, Is.EqualTo(new PeerChange(second, IsConnected: true)));

        // One goes and comes again before anybody looks: another peer, both are told.
        first.Stop(new DisconnectReason(DisconnectKind.Stopped, "Done."));
        await node.UntilAsync(() => node.Switch.Peers.Count == 1, cancellationToken);
        await one.UntilAsync(() => one.Switch.Peers.Count == 0, cancellationToken);
        IPeer again = await node.DialAsync(one, cancellationToken);
        Assert.That(await NextAsync(), Is.EqualTo(new PeerChange(first, IsConnected: false)));
        Assert.That((await first.Completion).Message, Is.EqualTo("Done."));
        Assert.That(await NextAsync(), Is.EqualTo(new PeerChange(again, IsConnected: true)));

        await node.Switch.StopAsync();
        Assert.That(
            new[] { await NextAsync(), await NextAsync() },
            Is.EquivalentTo([new PeerChange(again, IsConnected: false), new PeerChange(second, IsConnected: false)]));
        Assert.That(await changes.MoveNextAsync(), Is.False);

        async Task<PeerChange> NextAsync() => await changes.MoveNextAsync() ? changes.Current : throw new InvalidOperationException("It ended.");
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_watch_that_is_cancelled_ends(CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(1, null);
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await using IAsyncEnumerator<PeerChange> changes = node.Switch.WatchPeersAsync(cancel.Token).GetAsyncEnumerator(cancellationToken);
        ValueTask<bool> waiting = changes.MoveNextAsync();
        await cancel.CancelAsync();
        Assert.That(async () => await waiting, Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_broadcast_goes_to_those_that_were_selected_and_says_what_became_of_it_at_each(CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(1, null, null, new RecordingReactor("chat", Chat), new RecordingReactor("other", Other));
        await using TestNode one = await StartAsync(2, null), two = await StartAsync(3, null), lacks = await StartAsync(4, null, null, new RecordingReactor("other", Other));
        IPeer toOne = await node.DialAsync(one, cancellationToken), toTwo = await node.DialAsync(two, cancellationToken), toLacks = await node.DialAsync(lacks, cancellationToken);
        using SerializedMessage message = SerializedMessage.Create(Chat, [1]);
        Assert.That(
            await node.Switch.BroadcastAsync(message, [toOne, toLacks], cancellationToken),
            Is.EqualTo([new BroadcastResult(toOne, SendResult.Queued), new BroadcastResult(toLacks, SendResult.UnknownChannel)]));
        Assert.That(node.Switch.TryBroadcast(message, [toOne]), Is.EqualTo([new BroadcastResult(toOne, SendResult.Queued)]));
        Assert.That(node.Switch.TryBroadcast(message, []), Is.Empty);
        Assert.That(node.Switch.TryBroadcast(message).Select(result => result.Peer), Is.EquivalentTo([toOne, toTwo]));
        await one.UntilAsync(() => one.Recording.Received.Count == 3, cancellationToken);
        await two.UntilAsync(() => two.Recording.Received.Count == 1, cancellationToken);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_list_is_dialled_after_random_delays_and_each_dial_says_what_became_of_it(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        Queue<double> delays = new([0.1, 0.9, 0.5]);
        await using TestNode node = await StartAsync(1, options => options with { TimeProvider = time, NextDouble = delays.Dequeue });
        await using TestNode one = await StartAsync(2, null);
        using NodeKey gone = NodeKey.Create();
        NetAddress[] list = [one.Switch.ListenAddress, new(gone.Id, "10.0.0.9", 26656), node.Switch.ListenAddress];
        Task<IReadOnlyList<DialResult>> dials = node.Switch.DialAllAsync(list, cancellationToken);
        time.Advance(TimeSpan.FromSeconds(0.3) - TimeSpan.FromTicks(1));
        Assert.That(_network.Connections, Is.Empty);
        time.Advance(TimeSpan.FromTicks(1));
        IPeer peer = await node.PeerAsync(one.Switch.Id, cancellationToken);
        Assert.That(dials.IsCompleted, Is.False);
        time.Advance(TimeSpan.FromSeconds(2.4));
        IReadOnlyList<DialResult> results = await dials.WaitAsync(cancellationToken);
        Assert.That(results.Select(result => result.Address), Is.EqualTo(list));
        Assert.That(results[0], Is.EqualTo(new DialResult(list[0], peer, Failure: null)));
        Assert.That((results[1].Peer, results[1].Failure!.Message), Is.EqualTo(((IPeer?)null, results[1].Failure!.Message)));
        Assert.That(results[1].Failure!.Message, Does.Contain("10.0.0.9:26656"));
        Assert.That((results[2].Failure as HandshakeException)?.Failure, Is.EqualTo(HandshakeFailure.Self));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_peer_that_is_marked_good_is_remembered_where_it_can_be_dialled(CancellationToken cancellationToken)
    {
        Book book = new();
        await using TestNode node = await StartAsync(1, options => options with { AddressBook = book });
        await using TestNode outbound = await StartAsync(2, null), inbound = await StartAsync(3, null), everywhere = await StartAsync(4, options => options with { ExternalAddress = "0.0.0.0:4444" });
        node.Switch.MarkGood(await node.DialAsync(outbound, cancellationToken));
        foreach (TestNode other in new[] { inbound, everywhere })
        {
            await other.DialAsync(node, cancellationToken);
            node.Switch.MarkGood(await node.PeerAsync(other.Switch.Id, cancellationToken));
        }

        Assert.That(book.Good, Is.EqualTo(
        [
            outbound.Switch.ListenAddress,
            inbound.Switch.ListenAddress,
            new NetAddress(everywhere.Switch.Id, "10.0.0.4", 4444),
        ]));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_reactors_keep_about_a_peer_is_shared_and_ends_with_it(CancellationToken cancellationToken)
    {
        PeerItemKey<string> name = new("name"), same = new("name");
        PeerItemKey<List<int>> list = new("list");
        await using TestNode node = await StartAsync(1, null), other = await StartAsync(2, null);
        IPeer peer = await node.DialAsync(other, cancellationToken);
        Assert.That(peer.Items.TryGet(name, out string? value), Is.False);
        Assert.That(peer.Items.Remove(name, out _), Is.False);
        peer.Items.Set(name, "a");
        peer.Items.Set(name, "b");
        Assert.That((peer.Items.TryGet(name, out value), value), Is.EqualTo((true, "b")));
        Assert.That(peer.Items.TryGet(same, out _), Is.False);
        List<int>[] lists = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => Task.Run(() => peer.Items.GetOrAdd(list, () => [i]), cancellationToken)));
        Assert.That(lists, Has.All.SameAs(lists[0]));
        Assert.That((peer.Items.Remove(name, out value), value, peer.Items.TryGet(name, out _)), Is.EqualTo((true, "b", false)));
        Assert.That(() => new PeerItemKey<string>(" "), Throws.ArgumentException);

        await peer.StopGracefullyAsync();
        await node.UntilAsync(() => node.Switch.Peers.Count == 0, cancellationToken);
        await other.UntilAsync(() => other.Switch.Peers.Count == 0, cancellationToken);
        IPeer again = await node.DialAsync(other, cancellationToken);
        Assert.That(again.Items.TryGet(list, out _), Is.False);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_lazy_peer_is_reported_or_disconnected_and_a_useful_one_is_not([Values] LazyPeerPolicy policy, CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        using NodeKey friend = NodeKey.Create();
        await using TestNode node = await StartAsync(1, options => options with
        {
            TimeProvider = time,
            LazyPeerTime = TimeSpan.FromMinutes(10),
            WhenLazy = policy,
            UnconditionalPeers = [friend.Id],
            Connection = new ConnectionOptions { PingInterval = TimeSpan.FromDays(1), PongTimeout = TimeSpan.FromDays(1) },
        });
        await using TestNode lazy = await StartAsync(2, null), busy = await StartAsync(3, null), always = await StartAsync(4, null, friend);
        IPeer toLazy = await node.DialAsync(lazy, cancellationToken), toBusy = await node.DialAsync(busy, cancellationToken), toAlways = await node.DialAsync(always, cancellationToken);
        for (int minute = 0; minute < 10; minute++)
        {
            toBusy.MarkUseful();
            time.Advance(TimeSpan.FromMinutes(1));
        }

        await node.UntilLoggedAsync($"Peer {toLazy.Id} at 10.0.0.2:26656 has done nothing useful for 600 s.", cancellationToken);
        await node.UntilLoggedAsync($"Peer {toAlways.Id} at 10.0.0.4:26656 has done nothing useful", cancellationToken);
        Assert.That(node.Log, Has.None.Contains($"Peer {toBusy.Id} at 10.0.0.3:26656 has done nothing"));
        if (policy == LazyPeerPolicy.Disconnect)
        {
            Assert.That((await toLazy.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.Lazy));
        }
        else
        {
            Assert.That(node.Switch.GetStatus().Peers.Where(peer => peer.IsLazy).Select(peer => peer.Id), Is.EquivalentTo([toLazy.Id, toAlways.Id]));
            toLazy.MarkUseful();
        }

        Assert.That(toBusy.Stopped.IsCancellationRequested || toAlways.Stopped.IsCancellationRequested, Is.False);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_peer_that_ends_while_reactors_add_it_is_none_and_the_dial_says_why(CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(1, null), other = await StartAsync(2, null);
        node.Recording.During = (callback, _, _) => callback == Callback.AddPeer ? throw new InvalidOperationException("It is ill.") : ValueTask.CompletedTask;
        HandshakeException e = (await Assert.ThrowsAsync<HandshakeException>(() => node.DialAsync(other, cancellationToken)))!;
        Assert.That(e.Failure, Is.EqualTo(HandshakeFailure.PeerStopped));
        Assert.That(e.Message, Does.Contain("Reactor 'chat' failed in AddPeerAsync: It is ill."));
        Assert.That(e.RemoteId, Is.EqualTo(other.Switch.Id));
    }

    [Test]
    public async Task Private_ids_are_known_as_such()
    {
        using NodeKey key = NodeKey.Create(), secret = NodeKey.Create();
        await using Switch node = new(key, new SwitchOptions { PrivatePeers = [secret.Id] });
        Assert.That((node.IsPrivate(secret.Id), node.IsPrivate(key.Id)), Is.EqualTo((true, false)));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task The_status_of_a_whole_node_is_shown_and_written_as_json(CancellationToken cancellationToken)
    {
        using NodeKey persistent = NodeKey.Create();
        await using TestNode node = await StartAsync(1, options => options with { PersistentPeers = [new NetAddress(persistent.Id, "10.0.0.9", 1)] });
        await using TestNode other = await StartAsync(2, null);
        Assert.That(() => new Switch(node.Key).GetStatus(), Throws.InvalidOperationException);
        IPeer peer = await node.DialAsync(other, cancellationToken);
        using SerializedMessage message = SerializedMessage.Create(Chat, [1, 2, 3]);
        Assert.That(await peer.SendAsync(message, cancellationToken: cancellationToken), Is.EqualTo(SendResult.Queued));
        await other.UntilAsync(() => other.Recording.Received.Count == 1, cancellationToken);
        node.Switch.Ban(AccessTarget.Parse("192.0.2.0/24"), "They flood.", TimeSpan.FromHours(1));

        SwitchStatus status = node.Switch.GetStatus();
        Assert.That(status.NodeInfo, Is.EqualTo(node.Switch.NodeInfo));
        Assert.That(status.ListenAddress, Is.EqualTo(node.Switch.ListenAddress));
        Assert.That((status.InboundPeers, status.OutboundPeers, status.UnconditionalPeers), Is.EqualTo((0, 1, 0)));
        Assert.That(status.Peers.Single().Connection.Channels.Single().MessagesSent, Is.EqualTo(1));
        Assert.That(status.Reactors.Single().Name, Is.EqualTo("chat"));
        Assert.That(status.PersistentPeers.Single().Address.Id, Is.EqualTo(persistent.Id));
        Assert.That(status.Bans.Single().Target, Is.EqualTo("192.0.2.0/24"));
        Assert.That(SwitchStatus.FromJson(status.ToJson()).ToJson(), Is.EqualTo(status.ToJson()));
    }

    private async Task<TestNode> StartAsync(byte host, Func<SwitchOptions, SwitchOptions>? configure, NodeKey? key = null, params Reactor[] reactors)
    {
        IPAddress address = new([10, 0, 0, host]);
        TestNode node = new(
            key ?? NodeKey.Create(),
            options =>
            {
                options = options with { Transport = _network.CreateTransport(address), ListenEndPoint = new IPEndPoint(address, 26656) };
                return configure?.Invoke(options) ?? options;
            },
            reactors.Length > 0 ? reactors : [new RecordingReactor("chat", Chat)]);
        await node.Switch.StartAsync();
        return node;
    }

    private sealed class Book : IAddressBook
    {
        public List<NetAddress> Good { get; } = [];

        public void MarkGood(NetAddress address) => Good.Add(address);
    }
}
