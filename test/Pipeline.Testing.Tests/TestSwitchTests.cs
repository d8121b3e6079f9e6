using Google.Protobuf.WellKnownTypes;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Transport;

namespace Pipeline.Testing.Tests;

/// <summary>Reactors under test, and that they are called as a switch calls them.</summary>
public sealed class TestSwitchTests
{
    private static readonly ChannelDescriptor<StringValue> Chat = new(0x70, "chat", StringValue.Parser);

    [Test]
    [CancelAfter(10_000)]
    public async Task A_reactor_is_called_in_the_order_of_the_grammar_and_answers(CancellationToken cancellationToken)
    {
        Echo echo = new();
        await using (TestSwitch node = new())
        {
            node.AddReactor(echo);
            await node.StartAsync(cancellationToken);
            TestPeer peer = await node.ConnectAsync();
            Assert.That(node.Peers, Is.EqualTo([peer]));
            await node.ReceiveAsync(peer, Chat, new StringValue { Value = "hello" }).WaitAsync(cancellationToken);
            Assert.That(peer.SentOn(Chat).Select(message => message.Value), Is.EqualTo(["hello"]));
            Assert.That(peer.Usefulness, Is.EqualTo(1));

            peer.NextResult = SendResult.QueueFull;
            await node.ReceiveAsync(peer, Chat, new StringValue { Value = "again" }).WaitAsync(cancellationToken);
            Assert.That(peer.Sent, Has.Length.EqualTo(1));
            await node.DisconnectAsync(peer).WaitAsync(cancellationToken);
            Assert.That(node.Peers, Is.Empty);
            Assert.That(() => node.ReceiveAsync(peer, Chat, new StringValue()), Throws.InvalidOperationException);
        }

        Assert.That(
            echo.Calls,
            Is.EqualTo(["start", "init", "add", "receive hello Queued", "receive again QueueFull", "remove RemoteClosed", "stop"]));
    }

    [Test]
    [CancelAfter(10_000)]
    public async Task Bytes_can_be_refused_before_they_are_parsed(CancellationToken cancellationToken)
    {
        Echo echo = new();
        await using TestSwitch node = new();
        node.AddReactor(echo);
        TestPeer ignored = await node.ConnectAsync(), rejected = await node.ConnectAsync(), accepted = await node.ConnectAsync();
        await node.ReceiveAsync(ignored, Chat, new byte[1000]).WaitAsync(cancellationToken);
        await node.ReceiveAsync(rejected, Chat, new byte[2000]).WaitAsync(cancellationToken);
        await node.ReceiveAsync(accepted, Chat, new byte[] { 0xff }).WaitAsync(cancellationToken);
        Assert.That(ignored.Stopped.IsCancellationRequested, Is.False);
        DisconnectReason reason = await rejected.Completion.WaitAsync(cancellationToken);
        Assert.That(reason, Is.EqualTo(new DisconnectReason(DisconnectKind.ProtocolViolation, "A message on channel 0x70 chat was rejected: It has 2000 bytes.")));
        Assert.That((await accepted.Completion.WaitAsync(cancellationToken)).Message, Does.Contain("is not a StringValue"));
        Assert.That(echo.Calls.Where(call => call.StartsWith("receive", StringComparison.Ordinal)), Is.Empty);
    }

    [TestCase(false)]
    [TestCase(true)]
    [CancelAfter(10_000)]
    public async Task A_reactor_of_blocks_can_refuse_bytes_as_well(bool throws, CancellationToken cancellationToken)
    {
        DataflowReactor<StringValue> reactor = new("chat", Chat)
        {
            Inspect = raw => throws ? throw new InvalidOperationException("It is ill.") : raw.Data.Length > 100 ? RawVerdict.Reject("It is long.") : RawVerdict.Accept,
        };
        await using TestSwitch node = new();
        node.AddReactor(reactor);
        TestPeer peer = await node.ConnectAsync();
        System.Threading.Tasks.Dataflow.BufferBlock<Envelope<StringValue>> received = new();
        reactor.Source.LinkTo(received, new());
        _ = node.ReceiveAsync(peer, Chat, new byte[1000]);
        DisconnectReason reason = await peer.Completion.WaitAsync(cancellationToken);
        Assert.That(reason.Kind, Is.EqualTo(throws ? DisconnectKind.ReactorFailed : DisconnectKind.ProtocolViolation));
        Assert.That(reason.Message, Is.EqualTo(throws ? "Reactor 'chat' failed in Inspect: It is ill." : "A message on channel 0x70 chat was rejected: It is long."));
        Assert.That(received.Count, Is.Zero);
    }

    [Test]
    [CancelAfter(10_000)]
    public async Task A_reactor_that_throws_stops_the_peer_and_removes_it(CancellationToken cancellationToken)
    {
        Echo echo = new() { Ill = true };
        await using TestSwitch node = new();
        node.AddReactor(echo);
        TestPeer peer = await node.ConnectAsync();
        Assert.That((await peer.Completion).Message, Is.EqualTo("Reactor 'echo' failed in AddPeerAsync: It is ill."));
        await node.DisconnectAsync(peer).WaitAsync(cancellationToken);
        Assert.That(echo.Calls, Is.EqualTo(["init", "remove ReactorFailed"]));
    }

    [Test]
    [CancelAfter(10_000)]
    public async Task What_a_reactor_asks_of_its_switch_can_be_looked_at(CancellationToken cancellationToken)
    {
        TestPeer there = new();
        await using TestSwitch node = new() { Reachable = address => address.Port == 1 ? there : null, PrivatePeers = [there.Id] };
        Echo echo = new();
        node.AddReactor(echo);
        Assert.That(echo.Switch, Is.SameAs(node));
        Assert.That(node.GetReactor("echo"), Is.SameAs(echo));
        Assert.That((node.IsPrivate(there.Id), node.IsPrivate(node.NodeInfo.Id)), Is.EqualTo((true, false)));
        NetAddress address = new(there.Id, "192.0.2.1", 1);
        IReadOnlyList<DialResult> dials = await node.DialAllAsync([address, address with { Port = 2 }], cancellationToken);
        Assert.That((dials[0].Peer, dials[1].Peer), Is.EqualTo(((IPeer)there, (IPeer?)null)));
        await using IAsyncEnumerator<PeerChange> changes = node.WatchPeersAsync(cancellationToken).GetAsyncEnumerator(cancellationToken);
        Assert.That(await changes.MoveNextAsync(), Is.True);
        Assert.That(changes.Current, Is.EqualTo(new PeerChange(there, IsConnected: true)));
        Assert.That(node.TryBroadcast(Chat, new StringValue()), Is.EqualTo([new BroadcastResult(there, SendResult.Queued)]));

        node.MarkGood(there);
        node.MarkBad(there, "It lied.", TimeSpan.FromHours(1));
        Assert.That(node.Good, Is.EqualTo([there]));
        Assert.That(node.Bans, Is.EqualTo([(AccessTarget.Of(there.Id), "It lied.", (TimeSpan?)TimeSpan.FromHours(1))]));
        Assert.That((await there.Completion).Kind, Is.EqualTo(DisconnectKind.Misbehaved));
        Assert.That(await changes.MoveNextAsync(), Is.True);
        Assert.That(changes.Current, Is.EqualTo(new PeerChange(there, IsConnected: false)));
        await node.StopAsync();
        Assert.That(await changes.MoveNextAsync(), Is.False);
    }

    private sealed class Echo() : Reactor<StringValue>("echo", Chat)
    {
        private readonly List<string> _calls = [];

        public bool Ill { get; init; }

        public IReadOnlyList<string> Calls
        {
            get
            {
                lock (_calls)
                {
                    return [.. _calls];
                }
            }
        }

        protected override ValueTask OnStartAsync(CancellationToken cancellationToken) => Say("start");

        protected override ValueTask OnStopAsync() => Say("stop");

        protected override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken) => Say("init");

        protected override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken) =>
            Ill ? throw new InvalidOperationException("It is ill.") : Say("add");

        protected override ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason) => Say($"remove {reason.Kind}");

        protected override RawVerdict Inspect(Envelope raw) => raw.Data.Length switch
        {
            >= 2000 => RawVerdict.Reject($"It has {raw.Data.Length} bytes."),
            >= 1000 => RawVerdict.Ignore,
            _ => RawVerdict.Accept,
        };

        protected override async ValueTask ReceiveAsync(Envelope<StringValue> envelope, CancellationToken cancellationToken)
        {
            envelope.Peer.MarkUseful();
            SendResult result = await envelope.Peer.SendAsync(Chat, envelope.Message, cancellationToken: cancellationToken);
            await Say($"receive {envelope.Message.Value} {result}");
        }

        private ValueTask Say(string call)
        {
            lock (_calls)
            {
                _calls.Add(call);
            }

            return ValueTask.CompletedTask;
        }
    }
}
