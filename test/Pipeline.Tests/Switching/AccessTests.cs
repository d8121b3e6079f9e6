using System.Net;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Switching;
using Pipeline.Testing;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

/// <summary>Lists, bans and filters as a switch applies them: to dials, to what comes in, and to peers that are there.</summary>
public sealed class AccessTests
{
    private static readonly ChannelDescriptor Chat = new(0x70, "chat");

    private MemoryNetwork _network = null!;

    [SetUp]
    public void SetUp() => _network = new MemoryNetwork();

    [Test]
    [CancelAfter(30_000)]
    public async Task Whoever_is_denied_or_banned_by_address_is_closed_before_a_byte_is_exchanged([Values] bool isBan, CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(1, options => isBan ? options : options with { AccessRules = new() { Deny = [Subnet] } });
        await using TestNode other = await StartAsync(7, null);
        if (isBan)
        {
            node.Switch.Ban(Subnet, "They flood.");
        }

        await Assert.ThrowsAsync<HandshakeException>(() => other.DialAsync(node, cancellationToken));
        await node.UntilLoggedAsync(isBan ? "They flood." : "10.0.0.0/29, which is on the deny list", cancellationToken);
        Assert.That(node.Switch.GetStatus().InboundRefusals, Is.EqualTo(new Dictionary<string, long> { [isBan ? "banned" : "denied"] = 1 }));
        Assert.That(node.Recording.Grammar.Initialised, Is.Zero);

        HandshakeException e = (await Assert.ThrowsAsync<HandshakeException>(() => node.DialAsync(other, cancellationToken)))!;
        Assert.That(e.Failure, Is.EqualTo(isBan ? HandshakeFailure.Banned : HandshakeFailure.Denied));
        Assert.That(_network.Connections, Has.Length.EqualTo(1), "Who may not be a peer is not dialled.");
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task Whoever_is_denied_or_banned_by_id_is_refused_after_it_has_proved_who_it_is([Values] bool isBan, CancellationToken cancellationToken)
    {
        using NodeKey key = NodeKey.Create();
        await using TestNode other = await StartAsync(2, null, key);
        AccessTarget target = AccessTarget.Of(key.Id);
        await using TestNode node = await StartAsync(1, options => isBan ? options : options with { AccessRules = new() { Deny = [target] } });
        if (isBan)
        {
            node.Switch.Ban(target, "It lied.");
        }

        await RefusedAsync(other, node, cancellationToken);
        await node.UntilLoggedAsync(isBan ? "It lied." : "is on the deny list", cancellationToken);
        HandshakeException e = (await Assert.ThrowsAsync<HandshakeException>(() => node.DialAsync(other, cancellationToken)))!;
        Assert.That((e.Failure, e.RemoteId), Is.EqualTo((isBan ? HandshakeFailure.Banned : HandshakeFailure.Denied, key.Id)));
        Assert.That(node.Recording.Grammar.Initialised, Is.Zero);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task An_allow_list_keeps_out_everybody_else(CancellationToken cancellationToken)
    {
        using NodeKey known = NodeKey.Create();
        await using TestNode node = await StartAsync(1, options => options with { AccessRules = new() { Allow = [AccessTarget.Of(known.Id)] } });
        await using TestNode friend = await StartAsync(2, null, known), stranger = await StartAsync(3, null);
        await RefusedAsync(stranger, node, cancellationToken);
        await friend.DialAsync(node, cancellationToken);
        await node.PeerAsync(known.Id, cancellationToken);
        Assert.That(node.Switch.Counts.Inbound, Is.EqualTo(1));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task New_rules_and_bans_stop_the_peers_that_they_are_about_and_no_others(CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(1, null);
        TestNode[] others = [await StartAsync(2, null), await StartAsync(3, null), await StartAsync(4, null), await StartAsync(200, null)];
        IPeer[] peers = [.. await Task.WhenAll(others.Select(other => node.DialAsync(other, cancellationToken)))];

        node.Switch.Ban(AccessTarget.Of(peers[0].Id), "By id.");
        node.Switch.Ban(AccessTarget.Of(peers[1].RemoteEndPoint.Address), "By address.");
        node.Switch.SetAccessRules(new AccessRules { Deny = [Subnet] });
        for (int i = 0; i < 3; i++)
        {
            DisconnectReason reason = await peers[i].Completion.WaitAsync(cancellationToken);
            Assert.That(reason.Kind, Is.EqualTo(DisconnectKind.Banned));
            Assert.That(reason.Message, Does.Contain(i switch { 0 => "By id.", 1 => "By address.", _ => "deny list" }));
        }

        await node.UntilAsync(() => node.Switch.Peers.Count == 1, cancellationToken);
        Assert.That(node.Switch.Peers.Single(), Is.SameAs(peers[3]));
        Assert.That(node.Switch.AccessRules.Deny, Is.EqualTo([Subnet]));
        foreach (TestNode other in others)
        {
            await other.DisposeAsync();
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_ban_ends_by_itself_and_can_be_lifted(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using TestNode node = await StartAsync(1, options => options with { TimeProvider = time }), other = await StartAsync(2, null);
        node.Switch.Ban(AccessTarget.Of(other.Switch.Id), "For a minute.", TimeSpan.FromMinutes(1));
        await RefusedAsync(other, node, cancellationToken);
        time.Advance(TimeSpan.FromMinutes(1));
        IPeer peer = await other.DialAsync(node, cancellationToken);

        IPeer inbound = await node.PeerAsync(other.Switch.Id, cancellationToken);
        node.Switch.MarkBad(inbound, "For ever.", TimeSpan.MaxValue);
        await peer.Completion.WaitAsync(cancellationToken);
        Assert.That((await inbound.Completion.WaitAsync(cancellationToken)), Is.EqualTo(new DisconnectReason(DisconnectKind.Misbehaved, "For ever.")));
        Assert.That(node.Switch.Bans.Bans.Single().Until, Is.Null);
        await other.UntilAsync(() => other.Switch.Peers.Count == 0, cancellationToken);
        await RefusedAsync(other, node, cancellationToken);
        Assert.That(node.Switch.Bans.Remove(AccessTarget.Of(other.Switch.Id)), Is.True);
        await other.DialAsync(node, cancellationToken);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_peer_that_is_stopped_for_misbehaviour_is_banned_before_it_can_come_back([Values("It lied.", "")] string why, CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(1, null), other = await StartAsync(2, null);
        await other.DialAsync(node, cancellationToken);
        IPeer peer = await node.PeerAsync(other.Switch.Id, cancellationToken);
        peer.Stop(new DisconnectReason(DisconnectKind.Misbehaved, why));
        await node.UntilAsync(() => node.Switch.Peers.Count == 0, cancellationToken);
        Ban ban = node.Switch.Bans.Bans.Single();
        Assert.That(ban.Target, Is.EqualTo(AccessTarget.Of(other.Switch.Id)));
        Assert.That(ban.Until - ban.Since, Is.EqualTo(TimeSpan.FromHours(24)));
        Assert.That(ban.Reason, Is.EqualTo(why.Length > 0 ? why : "It misbehaved."));
        await other.UntilAsync(() => other.Switch.Peers.Count == 0, cancellationToken);
        await RefusedAsync(other, node, cancellationToken);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task Bans_of_a_file_hold_after_a_restart(CancellationToken cancellationToken)
    {
        string path = Path.Combine(TestContext.CurrentContext.WorkDirectory, $"bans-{Guid.NewGuid():n}.json");
        await using TestNode other = await StartAsync(2, null);
        using NodeKey key = NodeKey.Create();
        try
        {
            for (int run = 0; run < 2; run++)
            {
                await using BanList bans = BanList.Open(path);
                TestNode node = await StartAsync(1, options => options with { Bans = bans }, key);
                if (run == 0)
                {
                    node.Switch.MarkBad(await node.DialAsync(other, cancellationToken), "It lied.");
                }
                else
                {
                    Assert.That(node.Switch.GetStatus().Bans.Single().Reason, Is.EqualTo("It lied."));
                }

                await other.UntilAsync(() => other.Switch.Peers.Count == 0, cancellationToken);
                await RefusedAsync(other, node, cancellationToken);
                await node.Switch.StopAsync();
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_ban_that_comes_while_reactors_learn_of_the_peer_stops_it(CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(1, null), other = await StartAsync(2, null);
        node.Recording.During = (callback, peer, _) =>
        {
            if (callback == Callback.InitPeer)
            {
                node.Switch.Ban(AccessTarget.Of(peer!.Id), "Too late to be refused.");
            }

            return ValueTask.CompletedTask;
        };
        HandshakeException e = (await Assert.ThrowsAsync<HandshakeException>(() => node.DialAsync(other, cancellationToken)))!;
        Assert.That(e.Failure, Is.EqualTo(HandshakeFailure.PeerStopped));
        Assert.That(e.Message, Does.Contain("Too late to be refused."));
    }

    [TestCase(true)]
    [TestCase(false)]
    [CancelAfter(30_000)]
    public async Task Filters_are_asked_in_order_until_one_says_no(bool isConnectionFilter, CancellationToken cancellationToken)
    {
        List<string> asked = [];
        string? refusal = "not on a Tuesday";
        await using TestNode other = await StartAsync(2, null);
        await using TestNode node = await StartAsync(1, options => isConnectionFilter
            ? options with
            {
                ConnectionFilters =
                [
                    (candidate, _) => Say($"{candidate.RemoteEndPoint.Address} {candidate.IsOutbound}", null),
                    (_, _) => Say("second", refusal),
                    (_, _) => Say("third", null),
                ],
            }
            : options with
            {
                PeerFilters =
                [
                    (candidate, _) => Say($"{candidate.NodeInfo.Id} {candidate.IsOutbound}", null),
                    (_, _) => Say("second", refusal),
                    (_, _) => Say("third", null),
                ],
            });
        string who = isConnectionFilter ? "10.0.0.2" : other.Switch.Id.ToString();
        await RefusedAsync(other, node, cancellationToken);
        await node.UntilLoggedAsync(refusal, cancellationToken);
        Assert.That(asked, Is.EqualTo([$"{who} False", "second"]));

        asked.Clear();
        HandshakeException e = (await Assert.ThrowsAsync<HandshakeException>(() => node.DialAsync(other, cancellationToken)))!;
        Assert.That((e.Failure, e.Message), Is.EqualTo((HandshakeFailure.Filtered, "A filter of this node keeps the remote out. not on a Tuesday")));
        Assert.That(asked, Is.EqualTo([$"{who} True", "second"]));

        asked.Clear();
        refusal = null;
        await node.DialAsync(other, cancellationToken);
        Assert.That(asked, Is.EqualTo([$"{who} True", "second", "third"]));

        ValueTask<string?> Say(string what, string? answer)
        {
            asked.Add(what);
            return new ValueTask<string?>(answer);
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_filter_that_fails_or_never_answers_says_no([Values] bool isConnectionFilter, [Values] Sickness sickness, CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        TaskCompletionSource<string?> never = new();
        TaskCompletionSource asked = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using ManualResetEventSlim block = new();
        await using TestNode other = await StartAsync(2, null);
        await using TestNode node = await StartAsync(1, options => isConnectionFilter
            ? options with { TimeProvider = time, ConnectionFilters = [(_, token) => Answer(token)] }
            : options with { TimeProvider = time, PeerFilters = [(_, token) => Answer(token)] });
        Task<IPeer> dial = node.DialAsync(other, cancellationToken);
        await asked.Task.WaitAsync(cancellationToken);
        bool waits = sickness is Sickness.NeverAnswers or Sickness.Blocks;
        if (waits)
        {
            time.Advance(TimeSpan.FromSeconds(5) - TimeSpan.FromTicks(1));
            Assert.That(dial.IsCompleted, Is.False);
            time.Advance(TimeSpan.FromTicks(1));
        }

        HandshakeException e = (await Assert.ThrowsAsync<HandshakeException>(() => dial.WaitAsync(cancellationToken)))!;
        Assert.That(e.Failure, Is.EqualTo(HandshakeFailure.Filtered));
        Assert.That(e.Message, Does.EndWith(waits ? "It did not answer within 5 s." : "It failed: It is ill."));
        block.Set();
        await node.Switch.StopAsync().WaitAsync(cancellationToken);

        ValueTask<string?> Answer(CancellationToken token)
        {
            asked.TrySetResult();
            switch (sickness)
            {
                case Sickness.Throws:
                    throw new InvalidOperationException("It is ill.");
                case Sickness.ThrowsLater:
                    return FailAsync();
                case Sickness.Blocks:
                    block.Wait(CancellationToken.None);
                    return new ValueTask<string?>((string?)null);
                default:
                    return new ValueTask<string?>(never.Task);
            }
        }

        static async ValueTask<string?> FailAsync()
        {
            await Task.Yield();
            throw new InvalidOperationException("It is ill.");
        }
    }

    public enum Sickness
    {
        Throws,
        ThrowsLater,
        NeverAnswers,
        Blocks,
    }

    private static AccessTarget Subnet => AccessTarget.Parse("10.0.0.0/29");

    private static async Task RefusedAsync(TestNode from, TestNode to, CancellationToken cancellationToken)
    {
        // The remote finds out in its handshake, or right after it.
        try
        {
            IPeer peer = await from.DialAsync(to, cancellationToken);
            await peer.Completion.WaitAsync(cancellationToken);
            await from.UntilAsync(() => from.Switch.Peers.Count == 0, cancellationToken);
        }
        catch (HandshakeException e)
        {
            Assert.That(e.Failure, Is.AnyOf(HandshakeFailure.ConnectionClosed, HandshakeFailure.PeerStopped), e.Message);
        }
    }

    private async Task<TestNode> StartAsync(byte host, Func<SwitchOptions, SwitchOptions>? configure, NodeKey? key = null)
    {
        IPAddress address = new([10, 0, 0, host]);
        TestNode node = new(
            key ?? NodeKey.Create(),
            options =>
            {
                options = options with { Transport = _network.CreateTransport(address), ListenEndPoint = new IPEndPoint(address, 26656) };
                return configure?.Invoke(options) ?? options;
            },
            new RecordingReactor("chat", Chat));
        await node.Switch.StartAsync();
        return node;
    }
}
