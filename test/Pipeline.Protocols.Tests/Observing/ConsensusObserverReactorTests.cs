using System.Diagnostics.Metrics;
using System.Net;
using System.Threading.Channels;
using Google.Protobuf;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols.Bits;
using Pipeline.Protocols.Consensus;
using Pipeline.Protocols.Types;
using Pipeline.Reactors;
using Pipeline.Switching;
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
        yield return new TestCaseData(0, new byte[(4 << 10) + 1]).SetArgDisplayNames("state of more than 4 KiB");
        yield return new TestCaseData(3, new byte[(4 << 10) + 1]).SetArgDisplayNames("vote set bits of more than 4 KiB");
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

    [Test]
    public async Task The_longest_bit_array_that_there_is_is_taken(CancellationToken cancellationToken)
    {
        (TestSwitch node, ConsensusObserverReactor reactor) = await StartAsync(null, cancellationToken);
        await using (node)
        {
            TestPeer peer = await node.ConnectAsync();
            Message message = new()
            {
                VoteSetBits = new VoteSetBits
                {
                    Height = 10,
                    Type = SignedMsgType.Prevote,
                    BlockId = Observed.MakeBlock(7, 1),
                    Votes = new BitArray { Bits = 10_000, Elems = { Enumerable.Repeat(ulong.MaxValue, 157) } },
                },
            };
            await node.ReceiveAsync(peer, StandardChannels.ConsensusVoteSetBits, message).WaitAsync(cancellationToken);

            Assert.That(reactor.Observer.View.Peers.Single().Facts, Is.EqualTo(10_000));
            Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
        }
    }

    [Test]
    public async Task A_peer_that_found_no_place_is_heard_from_its_first_message_after_another_has_left(CancellationToken cancellationToken)
    {
        (TestSwitch node, ConsensusObserverReactor reactor) = await StartAsync(null, cancellationToken);
        await using (node)
        {
            List<TestPeer> peers = [];
            for (int i = 0; i <= ConsensusObserver.MaxPeers; i++)
            {
                peers.Add(await node.ConnectAsync());
            }

            await node.ReceiveAsync(peers[^1], StandardChannels.ConsensusState, Step).WaitAsync(cancellationToken);
            Assert.That(reactor.Observer.View.Peers.Select(peer => peer.Id), Has.None.EqualTo(peers[^1].Id));

            await node.DisconnectAsync(peers[0]).WaitAsync(cancellationToken);
            await node.ReceiveAsync(peers[^1], StandardChannels.ConsensusState, Step).WaitAsync(cancellationToken);

            Assert.That(reactor.Observer.View.Peers[^1], Has.Property("Id").EqualTo(peers[^1].Id).And.Property("Height").EqualTo(10));
            await node.DisconnectAsync(peers[^1]).WaitAsync(cancellationToken);
            Assert.That(reactor.Observer.View.Peers[^1].IsConnected, Is.False);
        }
    }

    [Test]
    public async Task The_meter_tells_of_heights_rounds_peers_messages_and_faults(CancellationToken cancellationToken)
    {
        TestSwitch node = new();
        ConsensusObserverReactor reactor = new();
        node.AddReactor(reactor);
        SortedDictionary<string, long> measured = new(StringComparer.Ordinal);
        using MeterListener listener = new()
        {
            InstrumentPublished = (instrument, own) =>
            {
                if (instrument.Name.Contains("consensus", StringComparison.Ordinal) && instrument.Meter.Tags!.Contains(new("node_id", node.NodeInfo.Id.ToString())))
                {
                    own.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
            measured[instrument.Name + string.Concat(tags.ToArray().Where(tag => tag.Key != "chain_id").Select(tag => $" {tag.Value}"))] = value);
        listener.Start();
        await using (node)
        {
            await node.StartAsync(cancellationToken);
            TestPeer[] peers = [await node.ConnectAsync(), await node.ConnectAsync(), await node.ConnectAsync(), await node.ConnectAsync()];
            foreach (TestPeer peer in peers[..2])
            {
                await SayAsync(peer, new Message { NewRoundStep = new NewRoundStep { Height = 10, Step = 6 } });
                await SayAsync(peer, new Message { HasVote = new HasVote { Height = 10, Index = 3, Type = SignedMsgType.Precommit } });
                await SayAsync(peer, new Message { NewRoundStep = new NewRoundStep { Height = 11, Round = 2, Step = 1 } });
                await SayAsync(peer, new Message { NewRoundStep = new NewRoundStep { Height = 11, Round = 2, Step = 1 } });
            }

            await SayAsync(peers[2], new Message { HasVote = new HasVote { Height = 10, Index = 10_000, Type = SignedMsgType.Precommit } });
            await node.ReceiveAsync(peers[3], StandardChannels.ConsensusVoteSetBits, new byte[5_000]).WaitAsync(cancellationToken);
            await node.DisconnectAsync(peers[2]).WaitAsync(cancellationToken);
            await node.DisconnectAsync(peers[3]).WaitAsync(cancellationToken);
            listener.RecordObservableInstruments();
        }

        Assert.That(measured, Is.EqualTo(new SortedDictionary<string, long>(StringComparer.Ordinal)
        {
            ["cometbft_consensus_height"] = 11,
            ["cometbft_consensus_rounds"] = 2,
            ["cometbft_consensus_validators"] = 4,
            ["pipeline_consensus_committed_height"] = 10,
            ["pipeline_consensus_faults_total impossible"] = 1,
            ["pipeline_consensus_faults_total too_large"] = 1,
            ["pipeline_consensus_messages_total has_vote news"] = 2,
            ["pipeline_consensus_messages_total has_vote refused"] = 1,
            ["pipeline_consensus_messages_total new_round_step ignored"] = 2,
            ["pipeline_consensus_messages_total new_round_step news"] = 4,
            ["pipeline_consensus_peers connected"] = 2,
            ["pipeline_consensus_peers left"] = 2,
        }));

        Task SayAsync(TestPeer peer, Message message) => node.ReceiveAsync(peer, StandardChannels.ConsensusState, message).WaitAsync(cancellationToken);
    }

    /// <summary>The node's clock stands still, so its rate lets it send no more than a little: its queue for the peer is full soon.</summary>
    [Test]
    public async Task A_peer_that_does_not_read_its_own_steps_is_held_up_for_a_second_by_each(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new();
        Waits time = new();
        ConsensusObserverReactor observing = new(new ConsensusObserverOptions { WatchInterval = TimeSpan.Zero });
        using NodeKey key = NodeKey.Create();
        using NodeKey remoteKey = NodeKey.Create();
        await using Switch node = new(key, OptionsOf(1) with { TimeProvider = time, Connection = new ConnectionOptions { SendRate = 1 } });
        await using Switch remote = new(remoteKey, OptionsOf(2));
        node.AddReactor(observing);
        remote.AddReactor(new ConsensusObserverReactor(new ConsensusObserverOptions { MirrorsSteps = false }));
        await node.StartAsync(cancellationToken);
        await remote.StartAsync(cancellationToken);
        IPeer peer = await remote.DialAsync(node.ListenAddress, cancellationToken);
        Task sending = Task.Run(
            async () =>
            {
                for (int height = 1; height <= 100_000 && !cancellationToken.IsCancellationRequested; height++)
                {
                    await peer.SendAsync(StandardChannels.ConsensusState, new Message { NewRoundStep = new NewRoundStep { Height = height, Step = 1 } }, Timeout.InfiniteTimeSpan, peer.Stopped);
                }
            },
            cancellationToken);

        await time.WaitAsync(cancellationToken);
        long height = observing.Observer.View.Height;
        for (int i = 1; i <= 3; i++)
        {
            time.Advance(TimeSpan.FromMilliseconds(999));
            Assert.That(observing.Observer.View.Height, Is.EqualTo(height + i - 1));
            time.Advance(TimeSpan.FromMilliseconds(1));
            await time.WaitAsync(cancellationToken);
            Assert.That(observing.Observer.View.Height, Is.EqualTo(height + i));
        }

        await remote.StopAsync();
        await sending.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

        SwitchOptions OptionsOf(int host) => new()
        {
            Network = "steps",
            ListenEndPoint = new IPEndPoint(IPAddress.Parse($"10.0.0.{host}"), 26656),
            Transport = network.CreateTransport(IPAddress.Parse($"10.0.0.{host}")),
        };
    }

    /// <summary>A clock that tells when somebody begins to wait for a second.</summary>
    private sealed class Waits : FakeTimeProvider
    {
        private readonly Channel<bool> _begun = Channel.CreateUnbounded<bool>();

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            ITimer timer = base.CreateTimer(callback, state, dueTime, period);
            if (dueTime == TimeSpan.FromSeconds(1) && period == Timeout.InfiniteTimeSpan)
            {
                _begun.Writer.TryWrite(true);
            }

            return timer;
        }

        public ValueTask<bool> WaitAsync(CancellationToken cancellationToken) => _begun.Reader.ReadAsync(cancellationToken);
    }
}
