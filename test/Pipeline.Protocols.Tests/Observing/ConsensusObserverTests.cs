using CsCheck;
using Pipeline.Protocols.Bits;
using Pipeline.Protocols.Consensus;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.Tests.Observing;

/// <summary>Holds the observer's limits, and that a liar takes nothing from what others say.</summary>
public sealed class ConsensusObserverTests
{
    private static Observed WithPeers(int peers, ConsensusObserverOptions? options = null)
    {
        Observed observed = new(options);
        for (int i = 0; i < peers; i++)
        {
            observed.Observer.Join(Observed.Peer(i), $"peer {i}");
        }

        return observed;
    }

    private static (long, int, string?, int)[] Votes(HeightView height) =>
        [.. height.Rounds.SelectMany(round => round.Precommits.Select(vote => (height.Height, vote.Validator, vote.Block, vote.From.Length)))];

    [Test]
    public void A_peer_that_claims_absurd_heights_moves_neither_the_height_nor_what_others_said()
    {
        Observed observed = WithPeers(4, new ConsensusObserverOptions { Heights = 3 });
        for (int peer = 0; peer < 3; peer++)
        {
            observed.Step(peer, 10, 0, ConsensusStep.Propose);
            observed.Vote(peer, 10, 0, validator: 1, block: 7);
        }

        for (long height = long.MaxValue - 100; height < long.MaxValue; height++)
        {
            Assert.That(observed.Step(3, height, int.MaxValue, ConsensusStep.Commit), Is.Null);
            observed.HasVote(3, height, int.MaxValue - 1, 9_999);
        }

        Assert.That(observed.View.Height, Is.EqualTo(10));
        Assert.That(observed.View.Heights.Select(height => height.Height), Is.EqualTo([10]));
        Assert.That(Votes(observed.View.Heights[0]), Is.EqualTo([(10L, 1, (string?)Convert.ToHexStringLower(Observed.Bytes(32, 7).Span), 3)]));
        Assert.That(observed.View.Find(10)!.CommittedAt, Is.Null);
        Assert.That(observed.View.Peers[3].Facts, Is.LessThanOrEqualTo(5), "of the five heights that are kept of it");
    }

    [Test]
    public void A_peer_keeps_its_latest_rounds_only()
    {
        Observed observed = WithPeers(2, new ConsensusObserverOptions { RoundsPerHeight = 4 });
        observed.Step(0, 10, 0, ConsensusStep.Propose);
        observed.HasVote(0, 10, 0, validator: 1);
        observed.Step(1, 10, 0, ConsensusStep.Propose);
        for (int round = 0; round < 1_000; round++)
        {
            observed.HasVote(1, 10, round, validator: 1);
        }

        HeightView height = observed.View.Find(10)!;
        Assert.That(height.Rounds.Select(round => round.Round), Is.EqualTo([0, 996, 997, 998, 999]));
        Assert.That(height.Rounds[0].Precommits[0].From, Is.EqualTo([Observed.Peer(0)]), "what the other said is gone with what it pushed out");
        Assert.That(observed.View.Peers[1].Facts, Is.EqualTo(4));
    }

    [Test]
    public void What_a_peer_says_beyond_its_facts_does_not_count_and_that_of_others_does()
    {
        Observed observed = WithPeers(2, new ConsensusObserverOptions { FactsPerPeer = 10 });
        for (int validator = 0; validator < 1_000; validator++)
        {
            observed.HasVote(1, 10, 0, validator);
        }

        observed.HasVote(0, 10, 0, validator: 999);
        observed.Step(0, 10, 0, ConsensusStep.Precommit);
        observed.Step(1, 10, 0, ConsensusStep.Precommit);

        Assert.That(observed.View.Find(10)!.Rounds[0].Precommits.Select(vote => vote.Validator), Is.EqualTo([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 999]));
        Assert.That(observed.View.Peers[1].Ignored, Is.EqualTo(990));
        Assert.That(observed.View.Peers[0].Ignored, Is.Zero);
    }

    [Test]
    public void A_vote_has_the_block_that_most_say_and_how_many_there_are()
    {
        Observed observed = WithPeers(3);
        observed.Step(0, 10, 0, ConsensusStep.Precommit);
        observed.Step(1, 10, 0, ConsensusStep.Precommit);
        observed.Vote(2, 10, 0, validator: 1, block: 9);
        observed.Vote(2, 10, 0, validator: 1, block: 8);
        observed.Vote(0, 10, 0, validator: 1, block: 7);
        observed.Vote(1, 10, 0, validator: 1, block: 7);

        VoteView vote = observed.View.Find(10)!.Rounds[0].Precommits.Single();
        Assert.That(vote.Block, Is.EqualTo(Convert.ToHexStringLower(Observed.Bytes(32, 7).Span)));
        Assert.That(vote.Blocks, Is.EqualTo(2), "a peer has one say");
        Assert.That(vote.From, Is.EqualTo([Observed.Peer(2), Observed.Peer(0), Observed.Peer(1)]), "the first is who was first");
    }

    [Test]
    public void A_false_proposal_that_comes_first_is_not_taken_for_the_one_that_most_send()
    {
        Observed observed = WithPeers(3);
        observed.Step(0, 10, 0, ConsensusStep.Propose);
        observed.Step(1, 10, 0, ConsensusStep.Propose);
        observed.Proposal(2, 10, 0, block: 9, parts: 1_601);
        observed.Proposal(0, 10, 0, block: 7, parts: 2);
        DateTimeOffset first = observed.Now;
        observed.Proposal(1, 10, 0, block: 7, parts: 2);

        RoundView round = observed.View.Find(10)!.Rounds[0];
        Assert.That((round.Proposal!.Parts, round.Proposal.FirstSeen, round.Proposals, round.PartsTotal), Is.EqualTo((2, first, 2, 2)));
    }

    [Test]
    public void One_of_three_that_invents_validators_does_not_change_their_number()
    {
        Observed observed = WithPeers(3);
        observed.HasVote(2, 10, 0, 9_999);
        for (int peer = 0; peer < 2; peer++)
        {
            observed.Step(peer, 10, 0, ConsensusStep.Precommit);
            observed.HasVote(peer, 10, 0, 3);
        }

        Assert.That(observed.View.Find(10)!.Validators, Is.EqualTo(4));
    }

    [Test]
    public void A_height_is_committed_when_more_than_half_of_the_peers_say_so()
    {
        Observed observed = WithPeers(4);
        for (int peer = 0; peer < 4; peer++)
        {
            observed.Step(peer, 10, 0, ConsensusStep.Precommit);
        }

        observed.Proposal(0, 10, 1, block: 7);
        DateTimeOffset proposed = observed.Now;
        observed.Step(0, 10, 1, ConsensusStep.Commit);
        observed.Step(1, 11, 0, ConsensusStep.NewHeight, lastCommitRound: 1);
        Assert.That(observed.View.Find(10)!.CommittedAt, Is.Null);

        observed.Step(2, 11, 0, ConsensusStep.NewHeight, lastCommitRound: 1);

        HeightView height = observed.View.Find(10)!;
        Assert.That(height.CommittedAt, Is.EqualTo(observed.Now));
        Assert.That(height.CommitRound, Is.EqualTo(1));
        Assert.That(height.ProposalToCommit, Is.EqualTo(observed.Now - proposed));
        Assert.That(height.Commits.Select(commit => commit.Peer), Is.EqualTo([Observed.Peer(0), Observed.Peer(1), Observed.Peer(2)]));
    }

    [Test]
    public void A_peer_has_what_it_sent_and_what_it_says_it_has()
    {
        Observed observed = WithPeers(1);
        observed.Step(0, 10, 0, ConsensusStep.Prevote);
        observed.Proposal(0, 10, 0, block: 7, parts: 3);
        observed.Tell(0, new Message
        {
            NewValidBlock = new NewValidBlock { Height = 10, BlockPartSetHeader = new PartSetHeader { Total = 3 }, BlockParts = Bits(3, 0b101) },
        });
        observed.HasVote(0, 10, 0, 3, SignedMsgType.Prevote);
        observed.Tell(0, new Message
        {
            VoteSetBits = new VoteSetBits { Height = 10, Type = SignedMsgType.Precommit, BlockId = Observed.MakeBlock(7, 3), Votes = Bits(4, 0b0110) },
        });

        PeerConsensusView peer = observed.View.Peers[0];
        Assert.That(peer.HasProposal, Is.True);
        Assert.That(peer.Parts, Is.EqualTo([0, 2]));
        Assert.That(peer.Prevotes, Is.EqualTo([3]));
        Assert.That(peer.Precommits, Is.EqualTo([1, 2]));
    }

    [Test]
    public void Of_peers_that_have_left_the_last_that_there_is_room_for_are_remembered()
    {
        Observed observed = WithPeers(1);
        observed.Step(0, 10, 0, ConsensusStep.Propose);
        for (int i = 1; i <= 500; i++)
        {
            Assert.That(observed.Observer.Join(Observed.Peer(i)), Is.True);
            observed.HasVote(i, 10, 0, validator: i);
            observed.Observer.Leave(Observed.Peer(i));
        }

        ConsensusView view = observed.View;
        Assert.That(view.Peers, Has.Length.EqualTo(ConsensusObserver.MaxPeers));
        Assert.That(view.Peers[0].Id, Is.EqualTo(Observed.Peer(0)), "who is connected stays");
        Assert.That(view.Find(10)!.Rounds[0].Precommits.Select(vote => vote.Validator), Is.EqualTo(Enumerable.Range(438, 63)));
    }

    [Test]
    public void When_all_places_are_taken_another_peer_is_not_heard()
    {
        Observed observed = WithPeers(ConsensusObserver.MaxPeers);

        Assert.That(observed.Observer.Join(Observed.Peer(100)), Is.False);
        observed.Step(100, 10, 0, ConsensusStep.Propose);

        Assert.That(observed.View.Heights, Is.Empty);
    }

    private static IEnumerable<TestCaseData> Lies()
    {
        yield return Lie("step 0", new Message { NewRoundStep = new NewRoundStep { Height = 1 } });
        yield return Lie("step 9", new Message { NewRoundStep = new NewRoundStep { Height = 1, Step = 9 } });
        yield return Lie("negative height", new Message { NewRoundStep = new NewRoundStep { Height = -1, Step = 1 } });
        yield return Lie("negative round", new Message { NewRoundStep = new NewRoundStep { Height = 1, Round = -1, Step = 1 } });
        yield return Lie("validator 10,000", new Message { HasVote = new HasVote { Height = 1, Index = 10_000, Type = SignedMsgType.Prevote } });
        yield return Lie("validator -1", new Message { HasVote = new HasVote { Height = 1, Index = -1, Type = SignedMsgType.Prevote } });
        yield return Lie("vote of no type", new Message { HasVote = new HasVote { Height = 1 } });
        yield return Lie("no vote", new Message { Vote = new Pipeline.Protocols.Consensus.Vote() });
        yield return Lie("no proposal", new Message { Proposal = new Pipeline.Protocols.Consensus.Proposal() });
        yield return Lie("no part", new Message { BlockPart = new BlockPart { Height = 1 } });
        yield return Lie("parts beyond a block", new Message { NewValidBlock = new NewValidBlock { Height = 1, BlockPartSetHeader = new PartSetHeader { Total = 1_602 }, BlockParts = Bits(1_602) } });
        yield return Lie("parts of another block", new Message { NewValidBlock = new NewValidBlock { Height = 1, BlockPartSetHeader = new PartSetHeader { Total = 2 }, BlockParts = Bits(3) } });
        yield return Lie("bits without elements", new Message { ProposalPol = new ProposalPOL { Height = 1, ProposalPol = new BitArray { Bits = 100 } } });
        yield return Lie("bits beyond validators", new Message { ProposalPol = new ProposalPOL { Height = 1, ProposalPol = Bits(10_001) } });
        yield return Lie("elements without end", new Message { ProposalPol = new ProposalPOL { Height = 1, ProposalPol = new BitArray { Bits = 1, Elems = { new ulong[1_000] } } } });

        static TestCaseData Lie(string name, Message message) => new TestCaseData(message).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(Lies))]
    public void What_no_honest_node_sends_is_refused(Message message)
    {
        Observed observed = WithPeers(1);

        Assert.That(observed.Tell(0, message), Does.StartWith("it "));
        Assert.That(observed.View.Heights, Is.Empty);
        Assert.That(observed.View.Peers[0].Ignored, Is.EqualTo(1));
    }

    [Test]
    public void A_message_on_a_channel_that_is_not_its_own_does_not_count()
    {
        Observed observed = WithPeers(1);

        Assert.That(observed.Tell(0, new Message { HasVote = new HasVote { Height = 1, Type = SignedMsgType.Prevote } }, channel: 0x22), Is.Null);
        Assert.That(observed.View.Heights, Is.Empty);
    }

    [Test]
    public void A_step_that_goes_back_does_not_count_before_the_peer_comes_again()
    {
        Observed observed = WithPeers(1);
        observed.Step(0, 10, 1, ConsensusStep.Prevote);
        observed.Step(0, 10, 0, ConsensusStep.Precommit);
        Assert.That((observed.View.Peers[0].Round, observed.View.Peers[0].Ignored), Is.EqualTo((1, 1)));

        observed.Observer.Leave(Observed.Peer(0));
        observed.Observer.Join(Observed.Peer(0));
        observed.Step(0, 9, 0, ConsensusStep.Propose);

        Assert.That(observed.View.Height, Is.EqualTo(9));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_watcher_that_takes_its_time_gets_the_latest(CancellationToken cancellationToken)
    {
        Observed observed = WithPeers(1);
        await using IAsyncEnumerator<ConsensusView> views = observed.Observer.WatchAsync(cancellationToken).GetAsyncEnumerator(cancellationToken);
        await views.MoveNextAsync();
        Assert.That(views.Current.Height, Is.Zero);

        ValueTask<bool> next = views.MoveNextAsync();
        Assert.That(next.IsCompleted, Is.False);
        observed.Step(0, 10, 0, ConsensusStep.Propose);
        await next;
        for (int height = 11; height < 100; height++)
        {
            observed.Step(0, height, 0, ConsensusStep.Propose);
        }

        await views.MoveNextAsync();
        Assert.That(views.Current.Height, Is.EqualTo(99));
    }

    /// <summary>Whatever three of seven peers say, the height and the votes of the others are what they are without them.</summary>
    [Test]
    public void A_minority_of_liars_takes_nothing_from_what_the_others_say()
    {
        ConsensusObserverOptions options = new() { Heights = 4, RoundsPerHeight = 3, FactsPerPeer = 50 };
        Gen<(int Peer, Message Message)> lie = Gen.Select(
            Gen.Int[4, 6], Gen.Long[1, 30], Gen.Int[0, 8], Gen.Int[0, 12], Gen.Int[0, 3],
            (peer, height, round, index, kind) => (peer, kind switch
            {
                0 => new Message { NewRoundStep = new NewRoundStep { Height = height, Round = round, Step = (uint)(1 + (index % 8)) } },
                1 => new Message { HasVote = new HasVote { Height = height, Round = round, Index = index, Type = SignedMsgType.Precommit } },
                2 => new Message { Vote = new Pipeline.Protocols.Consensus.Vote { Vote_ = Observed.MakeVote(height, round, index, (byte)(index + 1)) } },
                _ => new Message { Proposal = new Pipeline.Protocols.Consensus.Proposal { Proposal_ = Observed.MakeProposal(height, round, (byte)(index + 1), 3) } },
            }));
        lie.Array[0, 300].Sample(lies =>
        {
            Observed alone = WithPeers(7, options);
            Observed together = WithPeers(7, options);
            for (int i = 0, step = 0; step < 40; step++)
            {
                foreach (Observed observed in (Observed[])[alone, together])
                {
                    for (int peer = 0; peer < 4; peer++)
                    {
                        observed.Step(peer, 10 + (step / 4), 0, (ConsensusStep)(3 + (step % 4)));
                        observed.Vote(peer, 10 + (step / 4), 0, step % 4, 200);
                        observed.Proposal(peer, 10 + (step / 4), 0, 200);
                    }
                }

                for (int end = lies.Length * (step + 1) / 40; i < end; i++)
                {
                    together.Tell(lies[i].Peer, lies[i].Message);
                }
            }

            Assert.That(together.View.Height, Is.EqualTo(alone.View.Height));
            Assert.That(together.View.Peers.Select(peer => peer.Facts), Is.All.LessThanOrEqualTo(50));
            foreach (HeightView height in alone.View.Heights)
            {
                RoundView round = together.View.Find(height.Height)!.Rounds[0];
                Assert.That(round.Proposal!.Block, Is.EqualTo(height.Rounds[0].Proposal!.Block));
                Assert.That(round.Precommits.Where(vote => vote.Block == height.Rounds[0].Proposal!.Block).Select(vote => vote.Validator), Is.EqualTo([0, 1, 2, 3]));
            }
        });
    }

    private static BitArray Bits(long bits, ulong first = 1) => new() { Bits = bits, Elems = { (ulong[])[first, .. new ulong[((bits + 63) / 64) - 1]] } };
}
