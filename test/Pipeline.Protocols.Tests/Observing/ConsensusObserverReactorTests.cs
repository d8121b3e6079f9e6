using Google.Protobuf;
using Pipeline.Dataflow;
using Pipeline.Protocols.Bits;
using Pipeline.Protocols.Consensus;
using Pipeline.Protocols.Types;
using Pipeline.Reactors;
using Pipeline.Testing;

namespace Pipeline.Protocols.Tests.Observing;

[CancelAfter(30_000)]
public sealed class ConsensusObserverReactorTests
{
    private static readonly ChannelDescriptor<Message>[] Channels =
        [StandardChannels.ConsensusState, StandardChannels.ConsensusData, StandardChannels.ConsensusVote, StandardChannels.ConsensusVoteSetBits];

    private static readonly Message Step = new() { NewRoundStep = new NewRoundStep { Height = 10, Step = 3, SecondsSinceStartTime = 1 } };

    private static async Task<(TestSwitch Node, ConsensusObserverReactor Reactor)> StartAsync(ConsensusObserverOptions? options, CancellationToken cancellationToken)
    {
        TestSwitch node = new();
        ConsensusObserverReactor reactor = new(options);
        node.AddReactor(reactor);
        await node.StartAsync(cancellationToken);
        return (node, reactor);
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task A_step_is_answered_with_itself_unless_that_is_turned_off(bool mirrors, CancellationToken cancellationToken)
    {
        (TestSwitch node, ConsensusObserverReactor reactor) = await StartAsync(new ConsensusObserverOptions { MirrorsSteps = mirrors }, cancellationToken);
        await using (node)
        {
            TestPeer peer = await node.ConnectAsync();
            await node.ReceiveAsync(peer, StandardChannels.ConsensusState, Step).WaitAsync(cancellationToken);

            Assert.That(peer.SentOn(StandardChannels.ConsensusState), Is.EqualTo(mirrors ? [Step] : Array.Empty<Message>()));
            Assert.That(reactor.Observer.View.Height, Is.EqualTo(10));
        }
    }

    [Test]
    public async Task An_observer_of_the_trace_says_nothing_but_the_steps_of_its_peers(CancellationToken cancellationToken)
    {
        (TestSwitch node, ConsensusObserverReactor reactor) = await StartAsync(null, cancellationToken);
        await using (node)
        {
            TestPeer[] peers = [await node.ConnectAsync(), await node.ConnectAsync(), await node.ConnectAsync(), await node.ConnectAsync()];
            foreach (TracedMessage message in Recordings.Trace().Where(message => message.Channel is >= 0x20 and <= 0x23))
            {
                await node.ReceiveAsync(peers[message.Peer], Channels[message.Channel - 0x20], message.Bytes).WaitAsync(cancellationToken);
            }

            Assert.That(peers.SelectMany(peer => peer.Sent).Select(sent => Message.Parser.ParseFrom(sent.Data.Span).SumCase), Is.All.EqualTo(Message.SumOneofCase.NewRoundStep));
            Assert.That(peers.Select(peer => peer.Stopped.IsCancellationRequested), Is.All.False);
            Assert.That(reactor.Observer.View.Heights.Count(height => height.CommittedAt is not null), Is.EqualTo(19));
        }
    }

    [Test]
    public async Task A_step_with_more_in_it_than_there_is_is_not_passed_back(CancellationToken cancellationToken)
    {
        (TestSwitch node, _) = await StartAsync(null, cancellationToken);
        await using (node)
        {
            TestPeer peer = await node.ConnectAsync();

            // A field that no version has.
            byte[] tooLong = [.. Step.ToByteArray(), 0xfa, 0x3f, 100, .. new byte[100]];
            await node.ReceiveAsync(peer, StandardChannels.ConsensusState, tooLong).WaitAsync(cancellationToken);

            Assert.That(peer.Sent, Is.Empty);
        }
    }

    private static IEnumerable<TestCaseData> Violations()
    {
        yield return new TestCaseData(0, new Message { HasVote = new HasVote { Height = 1, Index = 10_000, Type = SignedMsgType.Prevote } }.ToByteArray()).SetArgDisplayNames("validator 10,000");
        yield return new TestCaseData(0, new byte[(16 << 10) + 1]).SetArgDisplayNames("state of more than 16 KiB");
        yield return new TestCaseData(1, new byte[(128 << 10) + 1]).SetArgDisplayNames("data of more than 128 KiB");
        yield return new TestCaseData(3, new Message
        {
            VoteSetBits = new VoteSetBits { Height = 1, Type = SignedMsgType.Prevote, Votes = new BitArray { Bits = 10_001, Elems = { new ulong[157] } } },
        }.ToByteArray()).SetArgDisplayNames("10,001 validators");
    }

    [TestCaseSource(nameof(Violations))]
    public async Task A_peer_that_breaks_a_limit_is_stopped(int channel, byte[] message, CancellationToken cancellationToken)
    {
        (TestSwitch node, ConsensusObserverReactor reactor) = await StartAsync(null, cancellationToken);
        await using (node)
        {
            TestPeer peer = await node.ConnectAsync();
            await node.ReceiveAsync(peer, Channels[channel], message).WaitAsync(cancellationToken);

            Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
            await node.DisconnectAsync(peer).WaitAsync(cancellationToken);
            Assert.That(reactor.Observer.View.Peers.Single().IsConnected, Is.False);
        }
    }
}
