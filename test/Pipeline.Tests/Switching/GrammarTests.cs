using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

/// <summary>What reactors are told, and in which order, when peers come, send, fail and go.</summary>
public sealed class GrammarTests
{
    private static readonly ChannelDescriptor Chat = new(0x70, "chat") { SendQueueCapacity = 100 };
    private static readonly ChannelDescriptor Feed = new(0x71, "feed") { SendQueueCapacity = 100 };

    public static IEnumerable<TestCaseData> Failures =>
        from callback in new[] { Callback.InitPeer, Callback.AddPeer, Callback.Receive, Callback.RemovePeer }
        from isAsync in new[] { false, true }
        select new TestCaseData(callback, isAsync);

    [Test]
    [CancelAfter(30_000)]
    public async Task Either_side_can_end_a_connection_and_both_hear_of_it(CancellationToken cancellationToken)
    {
        await using TestNode a = await TestNode.StartAsync(null, Recording()), b = await TestNode.StartAsync(null, Recording());
        foreach (TestNode ending in new[] { a, b })
        {
            TestNode other = ending == a ? b : a;
            IPeer toB = await a.DialAsync(b, cancellationToken);
            IPeer toA = await b.PeerAsync(a.Switch.Id, cancellationToken);
            IPeer ended = ending == a ? toB : toA;
            IPeer left = ending == a ? toA : toB;
            ended.Stop(new DisconnectReason(DisconnectKind.Misbehaved, "It lied."));

            Assert.That(await ended.Completion.WaitAsync(cancellationToken), Is.EqualTo(new DisconnectReason(DisconnectKind.Misbehaved, "It lied.")));
            Assert.That((await left.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.RemoteClosed).Or.EqualTo(DisconnectKind.ConnectionLost));
            await GoneAsync(cancellationToken, a, b);
            Assert.That(ending.Recording.Reasons[ended].Message, Is.EqualTo("It lied."));
            Assert.That(other.Recording.Reasons[left], Is.EqualTo(await left.Completion));
            Assert.That(ending.Switch.Bans.Remove(AccessTarget.Of(other.Switch.Id)), Is.True);
        }

        await ExpectWordsAsync(a, b);
        Assert.That(a.Recording.Grammar.Removed, Is.EqualTo(2));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_node_that_comes_back_is_a_new_peer_after_its_former_self_was_removed(CancellationToken cancellationToken)
    {
        await using TestNode node = await TestNode.StartAsync(null, Recording());

        // Removing takes until the next one knocks at the door, at least.
        TaskCompletionSource? knocked = null;
        node.Recording.During = async (callback, _, _) => await (callback == Callback.RemovePeer ? knocked!.Task : Task.CompletedTask);
        using NodeKey key = NodeKey.Create();
        HashSet<IPeer> peers = new(ReferenceEqualityComparer.Instance);
        RawRemote? former = null;
        for (int i = 0; i < 20; i++)
        {
            RawRemote remote;
            if (former is null)
            {
                remote = await RawRemote.ConnectAsync(node.Switch, key, null, cancellationToken);
            }
            else
            {
                knocked = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                IPeer leaving = peers.Last();
                await former.DisposeAsync();
                await leaving.Completion.WaitAsync(cancellationToken);
                remote = await RawRemote.ConnectAsync(node.Switch, key, null, cancellationToken);
                knocked.SetResult();
            }

            int expected = i + 1;
            await remote.SendMessageAsync(Chat.Id, [(byte)i], cancellationToken);
            await node.UntilAsync(() => node.Recording.Received.Count == expected, cancellationToken);
            Assert.That(peers.Add(node.Recording.Received.Last().Peer), Is.True);
            former = remote;
        }

        knocked = new TaskCompletionSource();
        knocked.SetResult();
        await former!.DisposeAsync();
        await ExpectWordsAsync(node);
        Assert.That(node.Recording.Grammar.Removed, Is.EqualTo(20));
    }

    [TestCaseSource(nameof(Failures))]
    [CancelAfter(30_000)]
    public async Task A_reactor_that_throws_stops_the_peer_and_nothing_else(Callback failing, bool isAsync, CancellationToken cancellationToken)
    {
        RecordingReactor healthy = Recording(), sick = new("sick", Feed);
        NodeId? victim = null;
        sick.During = (callback, peer, _) => callback == failing && peer?.Id == victim ? Fail(isAsync) : ValueTask.CompletedTask;
        await using TestNode node = await TestNode.StartAsync(null, healthy, sick);
        await using TestNode good = await TestNode.StartAsync(null, Recording(), new RecordingReactor("sick", Feed));
        await using TestNode bad = await TestNode.StartAsync(null, Recording(), new RecordingReactor("sick", Feed));
        victim = bad.Switch.Id;
        IPeer fromGood = await good.DialAsync(node, cancellationToken);
        IPeer fromBad = await bad.DialAsync(node, cancellationToken);
        if (failing is Callback.Receive)
        {
            Assert.That(Send(fromBad, Feed, 1), Is.EqualTo(SendResult.Queued));
        }
        else if (failing is Callback.RemovePeer)
        {
            IPeer toBad = await node.PeerAsync(bad.Switch.Id, cancellationToken);
            toBad.Stop(new DisconnectReason(DisconnectKind.Stopped, "Enough."));
        }

        await node.UntilAsync(() => sick.Reasons.Keys.Any(peer => peer.Id == victim), cancellationToken);
        await fromBad.Completion.WaitAsync(cancellationToken);
        await node.UntilAsync(() => node.Switch.Peers.All(peer => peer.Id != victim), cancellationToken);
        DisconnectReason reason = sick.Reasons.Single().Value;
        if (failing is not Callback.RemovePeer)
        {
            Assert.That(reason.Kind, Is.EqualTo(DisconnectKind.ReactorFailed));
            Assert.That(reason.Message, Is.EqualTo($"Reactor 'sick' failed in {failing}Async: It is ill."));
            Assert.That(reason.Exception, Is.TypeOf<InvalidOperationException>());
        }

        // The other peer goes on, and the failed one may come back.
        Assert.That(Send(fromGood, Chat, 7), Is.EqualTo(SendResult.Queued));
        await node.UntilAsync(() => healthy.Received.Any(entry => entry.Data is [7]), cancellationToken);
        victim = null;
        IPeer again = await bad.DialAsync(node, cancellationToken);
        Assert.That(Send(again, Feed, 8), Is.EqualTo(SendResult.Queued));
        await node.UntilAsync(() => sick.Received.Any(entry => entry.Data is [8]), cancellationToken);

        await ExpectWordsAsync(node, good, bad);
        Assert.That(healthy.Grammar.Violations, Is.Empty);
        Assert.That(sick.Grammar.Removed, Is.EqualTo(3));
        Assert.That(healthy.Grammar.Initialised, Is.EqualTo(3));
        Assert.That(healthy.Grammar.Removed, Is.EqualTo(3));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_came_with_the_handshake_is_not_received_when_a_reactor_failed_to_know_the_peer(CancellationToken cancellationToken)
    {
        RecordingReactor sick = new("sick", Feed), never = Recording();
        TaskCompletionSource? sent = null;
        sick.During = async (callback, _, _) =>
        {
            if (callback == Callback.InitPeer)
            {
                await sent!.Task;
                throw new InvalidOperationException("It is ill.");
            }
        };
        await using TestNode node = await TestNode.StartAsync(null, sick, never);
        for (int round = 1; round <= 50; round++)
        {
            sent = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            await using RawRemote remote = await RawRemote.ConnectAsync(node.Switch, NodeKey.Create(), null, cancellationToken);
            await remote.SendMessageAsync(Feed.Id, [1], cancellationToken);
            await remote.SendMessageAsync(Chat.Id, [1], cancellationToken);
            sent.SetResult();
            await remote.ReadToEndAsync(cancellationToken);
            int expected = round;
            await node.UntilAsync(() => sick.Grammar.Removed == expected, cancellationToken);
        }

        await ExpectWordsAsync(node);
        Assert.That(never.Grammar.Initialised, Is.Zero);
        Assert.That(never.Received.Concat(sick.Received), Is.Empty);
        Assert.That(sick.Grammar.Violations, Is.Empty);
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task A_reactor_that_does_not_start_stops_the_start(bool isAsync)
    {
        RecordingReactor first = Recording(), sick = new("sick", Feed), never = new("never");
        sick.During = (callback, _, _) => callback == Callback.OnStart ? Fail(isAsync) : ValueTask.CompletedTask;
        await using TestNode node = new(null, first, sick, never);
        List<Callback> calls = [];
        first.During = never.During = (callback, _, _) =>
        {
            calls.Add(callback);
            return ValueTask.CompletedTask;
        };

        Assert.That(() => node.Switch.StartAsync(), Throws.InvalidOperationException.With.Message.EqualTo("It is ill."));
        Assert.That(calls, Is.EqualTo([Callback.OnStart, Callback.OnStop]));
        Assert.That(first.Grammar.Violations, Is.Empty);
        Assert.That(sick.Grammar.Violations, Is.Empty);
    }

    [TestCase(false)]
    [TestCase(true)]
    [CancelAfter(30_000)]
    public async Task A_reactor_that_throws_when_it_stops_does_not_keep_the_others_from_stopping(bool isAsync, CancellationToken cancellationToken)
    {
        RecordingReactor first = Recording(), sick = new("sick", Feed);
        sick.During = (callback, _, _) => callback == Callback.OnStop ? Fail(isAsync) : ValueTask.CompletedTask;
        bool isStopped = false;
        first.During = (callback, _, _) =>
        {
            isStopped |= callback == Callback.OnStop;
            return ValueTask.CompletedTask;
        };
        TestNode node = await TestNode.StartAsync(null, first, sick);
        await node.DisposeAsync();
        Assert.That(isStopped, Is.True);
        await node.UntilLoggedAsync("Reactor sick failed in OnStopAsync.", cancellationToken);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_reactor_cannot_dial_before_all_reactors_have_started(CancellationToken cancellationToken)
    {
        await using TestNode other = await TestNode.StartAsync(null, Recording());
        RecordingReactor eager = new("eager", Feed), late = Recording();
        Exception? refusal = null;
        await using TestNode node = new(null, eager, late);
        eager.During = async (callback, _, token) =>
        {
            if (callback == Callback.OnStart)
            {
                refusal = await Assert.CatchAsync(() => eager.Switch.DialAsync(other.Switch.ListenAddress, token));
            }
        };
        await node.Switch.StartAsync(cancellationToken);
        Assert.That(refusal, Is.TypeOf<InvalidOperationException>());
        await node.DialAsync(other, cancellationToken);
        await ExpectWordsAsync(node, other);
        Assert.That(eager.Grammar.Violations, Is.Empty);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_reactor_that_takes_its_time_to_add_a_peer_does_not_keep_its_messages_back(CancellationToken cancellationToken)
    {
        await using TestNode node = await TestNode.StartAsync(null, Recording());
        TaskCompletionSource added = new(TaskCreationOptions.RunContinuationsAsynchronously);
        node.Recording.During = async (callback, _, _) => await (callback == Callback.AddPeer ? added.Task : Task.CompletedTask);
        await using RawRemote remote = await RawRemote.ConnectAsync(node.Switch, NodeKey.Create(), null, cancellationToken);
        await remote.SendMessageAsync(Chat.Id, [1], cancellationToken);
        await node.UntilAsync(() => node.Recording.Received.Count == 1, cancellationToken);
        Assert.That(node.Recording.Grammar.Added, Is.Zero);
        added.SetResult();
        await node.UntilAsync(() => node.Recording.Grammar.Added == 1, cancellationToken);
        await ExpectWordsAsync(node);
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task No_message_is_received_after_its_peer_is_being_removed([Values] bool remoteEnds, CancellationToken cancellationToken)
    {
        const int rounds = 100;
        await using TestNode sender = await TestNode.StartAsync(null, Recording(), new RecordingReactor("feed", Feed));
        RecordingReactor chat = Recording(), feed = new("feed", Feed);
        chat.During = feed.During = async (callback, _, _) =>
        {
            if (callback is Callback.Receive or Callback.RemovePeer)
            {
                await Task.Yield();
            }
        };
        await using TestNode node = await TestNode.StartAsync(null, chat, feed);
        for (int round = 0; round < rounds; round++)
        {
            IPeer outgoing = await sender.DialAsync(node, cancellationToken);
            IPeer incoming = await node.PeerAsync(sender.Switch.Id, cancellationToken);
            Task hammering = Task.WhenAll(HammerAsync(outgoing, Chat), HammerAsync(outgoing, Feed));
            int seen = chat.Received.Count + (round % 20);
            await node.UntilAsync(() => chat.Received.Count > seen, cancellationToken);
            (remoteEnds ? outgoing : incoming).Stop(new DisconnectReason(DisconnectKind.Stopped, "Enough."));
            await hammering.WaitAsync(cancellationToken);
            await GoneAsync(cancellationToken, sender, node);
        }

        await ExpectWordsAsync(node, sender);
        Assert.That(chat.Grammar.Violations, Is.Empty);
        Assert.That(chat.Grammar.Removed, Is.EqualTo(rounds));

        async Task HammerAsync(IPeer peer, ChannelDescriptor channel)
        {
            using SerializedMessage message = SerializedMessage.Create(channel, new byte[100]);
            while (await peer.SendAsync(message, cancellationToken: cancellationToken) == SendResult.Queued)
            {
            }
        }
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task What_a_peer_sent_before_it_closed_is_received_before_it_is_removed([Values] bool weSend, CancellationToken cancellationToken)
    {
        const int rounds = 50, messages = 250;
        await using TestNode node = await TestNode.StartAsync(null, Recording());
        node.Recording.During = async (callback, peer, token) =>
        {
            if (callback == Callback.Receive)
            {
                await Task.Yield();
                if (weSend)
                {
                    Send(peer!, Chat, 1);
                }
            }
        };
        using NodeKey key = NodeKey.Create();
        for (int round = 0; round < rounds; round++)
        {
            RawRemote remote = await RawRemote.ConnectAsync(node.Switch, key, null, cancellationToken);
            byte[] all = [.. Enumerable.Range(0, messages).SelectMany(i => RawRemote.PacketBytes(Chat.Id, true, [(byte)i, .. new byte[500]]))];
            await remote.SendAsync(all, cancellationToken);
            await remote.DisposeAsync();
            int expected = round + 1;
            await node.UntilAsync(() => node.Recording.Grammar.Removed == expected && node.Switch.Peers.Count == 0, cancellationToken);
        }

        await ExpectWordsAsync(node);
        foreach (IGrouping<IPeer, byte[]> received in node.Recording.Received.GroupBy(entry => entry.Peer, entry => entry.Data))
        {
            Assert.That(received.Select(data => (int)data[0]), Is.EqualTo(Enumerable.Range(0, messages)));
        }

        Assert.That(
            node.Recording.Reasons.Values.Select(reason => reason.Kind),
            Has.All.Matches<DisconnectKind>(kind => kind is DisconnectKind.RemoteClosed or DisconnectKind.ConnectionLost));
        Assert.That(node.Recording.Received, Has.Count.EqualTo(rounds * messages));
    }

    private static RecordingReactor Recording() => new("recording", Chat);

    private static SendResult Send(IPeer peer, ChannelDescriptor channel, byte content)
    {
        using SerializedMessage message = SerializedMessage.Create(channel, [content]);
        return peer.TrySend(message);
    }

    private static ValueTask Fail(bool isAsync)
    {
        return isAsync ? LaterAsync() : throw new InvalidOperationException("It is ill.");

        static async ValueTask LaterAsync()
        {
            await Task.Yield();
            throw new InvalidOperationException("It is ill.");
        }
    }

    private static Task GoneAsync(CancellationToken cancellationToken, params TestNode[] nodes) =>
        Task.WhenAll(nodes.Select(node => node.UntilAsync(() => node.Switch.Peers.Count == 0, cancellationToken)));

    /// <summary>Stops the nodes, and checks what their reactors were told from beginning to end.</summary>
    private static async Task ExpectWordsAsync(params TestNode[] nodes)
    {
        await Task.WhenAll(nodes.Select(node => node.Switch.StopAsync()));
        foreach (TestNode node in nodes)
        {
            Assert.That(node.Recording.Grammar.Violations, Is.Empty);
            Assert.That(node.Recording.Grammar.Removed, Is.EqualTo(node.Recording.Grammar.Initialised));
            Assert.That(node.Switch.Peers, Is.Empty);
            Assert.That(node.Transport.Open, Is.Zero);
        }
    }
}
