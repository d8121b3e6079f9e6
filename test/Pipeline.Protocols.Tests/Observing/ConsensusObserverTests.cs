using CsCheck;
using Google.Protobuf;
using Microsoft.Extensions.Time.Testing;
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

        Assert.That(observed.View.Find(10)!.Rounds.Select(round => round.Round), Is.EqualTo([0]), "of rounds that only one of two tells of nothing is shown");
        observed.Step(0, 10, 999, ConsensusStep.Propose);
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

        for (int validator = 5; validator < 12; validator++)
        {
            observed.HasVote(0, 10, 0, validator);
        }

        observed.Step(0, 10, 0, ConsensusStep.Precommit);
        observed.Step(1, 10, 0, ConsensusStep.Precommit);

        ConsensusView view = observed.View;
        Assert.That(view.Find(10)!.Rounds[0].Precommits.Select(vote => vote.From.Length), Is.EqualTo([1, 1, 1, 1, 1, 2, 2, 2, 2, 2]));
        Assert.That(view.Peers.Select(peer => peer.Precommits.Length), Is.EqualTo([7, 10]));
        Assert.That(view.Peers[1].Ignored, Is.EqualTo(990));
        Assert.That(view.Peers[0].Ignored, Is.Zero);
    }

    [Test]
    public void A_peer_that_tells_more_than_its_facts_pushes_out_its_own_lowest_height_and_round()
    {
        Observed observed = WithPeers(2, new ConsensusObserverOptions { FactsPerPeer = 10 });
        foreach ((int peer, long height, int round, int votes) in ((int, long, int, int)[])[(0, 10, 0, 3), (1, 10, 0, 4), (0, 11, 0, 3), (1, 11, 0, 4), (0, 11, 1, 3), (1, 11, 1, 5)])
        {
            observed.Step(peer, height, round, ConsensusStep.Propose);
            for (int validator = 0; validator < votes; validator++)
            {
                observed.HasVote(peer, height, round, validator);
            }
        }

        ConsensusView view = observed.View;
        Assert.That(view.Peers.Select(peer => (peer.Facts, peer.Ignored)), Is.EqualTo([(9, 0L), (9, 0L)]));
        Assert.That(view.Find(10)!.Rounds[0].Precommits.Select(vote => vote.From.Single()), Is.EqualTo(Enumerable.Repeat(Observed.Peer(0), 3)));
        Assert.That(view.Find(11)!.Rounds[1].Precommits, Has.Length.EqualTo(3));

        for (int validator = 5; validator < 10; validator++)
        {
            observed.HasVote(1, 11, 1, validator);
        }

        Assert.That(observed.View.Peers[1].Precommits, Is.EqualTo(Enumerable.Range(0, 10)));
        Assert.That(observed.View.Find(11)!.Rounds[0].Precommits.Select(vote => vote.From.Single()), Is.All.EqualTo(Observed.Peer(0)), "its first round of the height is gone");
    }

    [Test]
    public void Of_a_network_with_a_thousand_validators_the_last_heights_are_known_whole()
    {
        Observed observed = WithPeers(1);
        for (int height = 1; height <= 30; height++)
        {
            observed.Step(0, height, 0, ConsensusStep.Precommit);
            for (int validator = 0; validator < 1_000; validator++)
            {
                observed.HasVote(0, height, 0, validator, SignedMsgType.Prevote);
                observed.HasVote(0, height, 0, validator);
            }
        }

        Assert.That(observed.View.Heights.TakeLast(10).Select(height => (height.Height, height.Rounds[0].Prevotes.Length, height.Rounds[0].Precommits.Length)), Is.EqualTo(Enumerable.Range(21, 10).Select(height => ((long)height, 1_000, 1_000))));
        Assert.That(observed.View.Peers[0].Ignored, Is.Zero);
    }

    [Test]
    public void What_is_told_again_is_no_news_and_changes_no_height()
    {
        Observed observed = WithPeers(1);
        observed.Step(0, 10, 0, ConsensusStep.Prevote);
        Message[] messages =
        [
            new() { VoteSetBits = new VoteSetBits { Height = 10, Type = SignedMsgType.Prevote, Votes = Bits(10_000, ulong.MaxValue) } },
            new() { ProposalPol = new ProposalPOL { Height = 10, ProposalPol = Bits(70, 0b1001) } },
            new() { NewValidBlock = new NewValidBlock { Height = 10, BlockPartSetHeader = new PartSetHeader { Total = 3 }, BlockParts = Bits(3, 0b101) } },
            new() { HasProposalBlockPart = new HasProposalBlockPart { Height = 10, Index = 1 } },
            new() { HasVote = new HasVote { Height = 10, Index = 5, Type = SignedMsgType.Precommit } },
            new() { Vote = new Pipeline.Protocols.Consensus.Vote { Vote_ = Observed.MakeVote(10, 0, 6, block: 7) } },
            new() { Proposal = new Pipeline.Protocols.Consensus.Proposal { Proposal_ = Observed.MakeProposal(10, 0, block: 7, parts: 3) } },
        ];
        foreach (Message message in messages)
        {
            observed.Tell(0, message);
        }

        ConsensusView before = observed.View;
        foreach (Message message in messages)
        {
            observed.Tell(0, message);
        }

        Assert.That(observed.View.Find(10), Is.SameAs(before.Find(10)));
        Assert.That(observed.View.At, Is.EqualTo(before.At));
        Assert.That(observed.View.Peers[0].Ignored, Is.EqualTo(before.Peers[0].Ignored + messages.Length));
        Assert.That(observed.View.Peers[0], Has.Property("Facts").EqualTo(before.Peers[0].Facts).And.Property("Parts").EqualTo(new[] { 0, 1, 2 }));
    }

    [Test]
    public void Bits_beyond_the_length_of_their_array_do_not_count()
    {
        Observed observed = WithPeers(1);
        observed.Step(0, 10, 0, ConsensusStep.Prevote);
        observed.Tell(0, new Message { ProposalPol = new ProposalPOL { Height = 10, ProposalPol = new BitArray { Bits = 66, Elems = { 1UL << 63, ulong.MaxValue } } } });

        Assert.That(observed.View.Peers[0].Prevotes, Is.EqualTo([63, 64, 65]));
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
        observed.Tell(0, new Message { HasProposalBlockPart = new HasProposalBlockPart { Height = 10, Index = 1 } });
        Assert.That(observed.View.Peers[0].Parts, Is.EqualTo([0, 1, 2]));
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
            observed.HasVote(i, 10, 0, validator: 1_000 - i);
            observed.HasVote(i, 10, 0, validator: 1_000);
            observed.Observer.Leave(Observed.Peer(i));
        }

        ConsensusView view = observed.View;
        Assert.That(view.Peers, Has.Length.EqualTo(ConsensusObserver.MaxPeers));
        Assert.That(view.Peers[0].Id, Is.EqualTo(Observed.Peer(0)), "who is connected stays");
        Assert.That(view.Find(10)!.Rounds[0].Precommits.Select(vote => vote.Validator), Is.EqualTo([.. Enumerable.Range(500, 63), 1_000]));
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
        yield return Lie("part 1,601", new Message { HasProposalBlockPart = new HasProposalBlockPart { Height = 1, Index = 1_601 } });
        yield return Lie("part -1", new Message { HasProposalBlockPart = new HasProposalBlockPart { Height = 1, Index = -1 } });
        yield return Vote("address of 19 bytes", vote => vote.ValidatorAddress = Observed.Bytes(19, 1));
        yield return Vote("address of 21 bytes", vote => vote.ValidatorAddress = Observed.Bytes(21, 1));
        yield return Vote("no address", vote => vote.ValidatorAddress = ByteString.Empty);
        yield return Vote("no signature", vote => vote.Signature = ByteString.Empty);
        yield return Vote("signature of 4,097 bytes", vote => vote.Signature = Observed.Bytes(4_097, 1));
        yield return Vote("block hash of 31 bytes", vote => vote.BlockId.Hash = Observed.Bytes(31, 1));
        yield return Vote("block hash of 33 bytes", vote => vote.BlockId.Hash = Observed.Bytes(33, 1));
        yield return Vote("parts hash of 31 bytes", vote => vote.BlockId.PartSetHeader.Hash = Observed.Bytes(31, 1));
        yield return Proposal("proposal without a signature", proposal => proposal.Signature = ByteString.Empty);
        yield return Proposal("proposal with a signature of 4,097 bytes", proposal => proposal.Signature = Observed.Bytes(4_097, 1));
        yield return Proposal("proposal of a block hash of 31 bytes", proposal => proposal.BlockId.Hash = Observed.Bytes(31, 1));
        yield return Proposal("proposal for none", proposal => proposal.BlockId.Hash = ByteString.Empty);
        yield return Lie("majority for a hash of 31 bytes", new Message
        {
            VoteSetMaj23 = new VoteSetMaj23 { Height = 1, Type = SignedMsgType.Prevote, BlockId = new BlockID { Hash = Observed.Bytes(31, 1) } },
        });
        yield return Lie("bits for a hash of 33 bytes", new Message
        {
            VoteSetBits = new VoteSetBits { Height = 1, Type = SignedMsgType.Prevote, BlockId = new BlockID { Hash = Observed.Bytes(33, 1) }, Votes = Bits(4) },
        });
        yield return Lie("no vote", new Message { Vote = new Pipeline.Protocols.Consensus.Vote() });
        yield return Lie("no proposal", new Message { Proposal = new Pipeline.Protocols.Consensus.Proposal() });
        yield return Lie("no part", new Message { BlockPart = new BlockPart { Height = 1 } });
        yield return Lie("parts beyond a block", new Message { NewValidBlock = new NewValidBlock { Height = 1, BlockPartSetHeader = new PartSetHeader { Total = 1_602 }, BlockParts = Bits(1_602) } });
        yield return Lie("parts of another block", new Message { NewValidBlock = new NewValidBlock { Height = 1, BlockPartSetHeader = new PartSetHeader { Total = 2 }, BlockParts = Bits(3) } });
        yield return Lie("bits without elements", new Message { ProposalPol = new ProposalPOL { Height = 1, ProposalPol = new BitArray { Bits = 100 } } });
        yield return Lie("bits beyond validators", new Message { ProposalPol = new ProposalPOL { Height = 1, ProposalPol = Bits(10_001) } });
        yield return Lie("elements without end", new Message { ProposalPol = new ProposalPOL { Height = 1, ProposalPol = new BitArray { Bits = 1, Elems = { new ulong[1_000] } } } });

        static TestCaseData Lie(string name, Message message) => new TestCaseData(message).SetArgDisplayNames(name);

        static TestCaseData Vote(string name, Action<Types.Vote> change)
        {
            Types.Vote vote = Observed.MakeVote(1, 0, 0, block: 7);
            change(vote);
            return Lie(name, new Message { Vote = new Pipeline.Protocols.Consensus.Vote { Vote_ = vote } });
        }

        static TestCaseData Proposal(string name, Action<Types.Proposal> change)
        {
            Types.Proposal proposal = Observed.MakeProposal(1, 0, block: 7, parts: 1);
            change(proposal);
            return Lie(name, new Message { Proposal = new Pipeline.Protocols.Consensus.Proposal { Proposal_ = proposal } });
        }
    }

    [TestCaseSource(nameof(Lies))]
    public void What_no_honest_node_sends_is_refused(Message message)
    {
        Observed observed = WithPeers(1);

        Assert.That(observed.Tell(0, message), Does.StartWith("it "));
        Assert.That(observed.View.Heights, Is.Empty);
        Assert.That(observed.View.Peers[0].Ignored, Is.EqualTo(1));
    }

    /// <summary>Ed25519, secp256k1 with a recovery byte, BLS, ML-DSA-65.</summary>
    [TestCase(64)]
    [TestCase(65)]
    [TestCase(96)]
    [TestCase(3_309)]
    public void Signatures_of_all_kinds_of_keys_are_taken(int length)
    {
        Observed observed = WithPeers(1);
        observed.Step(0, 10, 0, ConsensusStep.Propose);
        Types.Vote vote = Observed.MakeVote(10, 0, 0, block: 7);
        Types.Proposal proposal = Observed.MakeProposal(10, 0, block: 7, parts: 1);
        (vote.Signature, proposal.Signature) = (Observed.Bytes(length, 1), Observed.Bytes(length, 1));

        Assert.That(observed.Tell(0, new Message { Vote = new Pipeline.Protocols.Consensus.Vote { Vote_ = vote } }), Is.Null);
        Assert.That(observed.Tell(0, new Message { Proposal = new Pipeline.Protocols.Consensus.Proposal { Proposal_ = proposal } }), Is.Null);
        Assert.That(observed.View.Peers[0].Facts, Is.EqualTo(2));
    }

    [Test]
    public void A_message_on_a_channel_that_is_not_its_own_does_not_count()
    {
        Observed observed = WithPeers(1);

        Assert.That(observed.Tell(0, new Message { HasVote = new HasVote { Height = 1, Type = SignedMsgType.Prevote } }, channel: 0x22), Is.Null);
        Assert.That(observed.Tell(0, new Message { HasProposalBlockPart = new HasProposalBlockPart { Height = 1 } }, channel: 0x21), Is.Null);
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
    public async Task A_watcher_gets_the_latest_and_no_more_often_than_the_interval_says(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        Observed observed = WithPeers(1, new ConsensusObserverOptions { TimeProvider = time, WatchInterval = TimeSpan.FromSeconds(1) });
        await using IAsyncEnumerator<ConsensusView> views = observed.Observer.WatchAsync(cancellationToken).GetAsyncEnumerator(cancellationToken);
        await views.MoveNextAsync();
        Assert.That(views.Current.Height, Is.Zero);

        time.Advance(TimeSpan.FromSeconds(1));
        Task<bool> next = views.MoveNextAsync().AsTask();
        Assert.That(next.IsCompleted, Is.False, "nothing has changed");
        observed.Step(0, 10, 0, ConsensusStep.Propose);
        await next;
        Assert.That(views.Current.Height, Is.EqualTo(10), "the interval had passed");

        for (int height = 11; height < 100; height++)
        {
            observed.Step(0, height, 0, ConsensusStep.Propose);
        }

        next = views.MoveNextAsync().AsTask();
        time.Advance(TimeSpan.FromMilliseconds(999));
        Assert.That(next.IsCompleted, Is.False, "it has not");
        observed.Step(0, 100, 0, ConsensusStep.Propose);
        time.Advance(TimeSpan.FromMilliseconds(1));
        await next;
        Assert.That(views.Current.Height, Is.EqualTo(100));
    }

    private static Gen<(int Peer, Message Message)> Lie { get; } = Gen.Select(
        Gen.Select(Gen.Int[4, 6], Gen.Int[0, 8]),
        Gen.Long[1, 30],
        Gen.Int[0, 8],
        Gen.Int[0, 9_999],
        Gen.Bool,
        (kind, height, round, index, isSmall) =>
        {
            int validator = isSmall ? index % 6 : index;
            SignedMsgType type = index % 2 == 0 ? SignedMsgType.Prevote : SignedMsgType.Precommit;
            return (kind.Item1, kind.Item2 switch
            {
                0 => new Message { NewRoundStep = new NewRoundStep { Height = height, Round = round, Step = (uint)(1 + (index % 8)), LastCommitRound = index % 4 } },
                1 => new Message { HasVote = new HasVote { Height = height, Round = round, Index = validator, Type = type } },
                2 => new Message { Vote = new Pipeline.Protocols.Consensus.Vote { Vote_ = Observed.MakeVote(height, round, validator, (byte)(index % 13), type) } },
                3 => new Message { VoteSetBits = new VoteSetBits { Height = height, Round = round, Type = type, BlockId = Observed.MakeBlock(9, 1), Votes = Bits(index + 1, 0b101101) } },
                4 => new Message { ProposalPol = new ProposalPOL { Height = height, ProposalPolRound = round, ProposalPol = Bits(index + 1, 0b11) } },
                5 => new Message
                {
                    NewValidBlock = new NewValidBlock
                    {
                        Height = height,
                        Round = round,
                        BlockPartSetHeader = new PartSetHeader { Total = (uint)(1 + (index % 1_600)) },
                        BlockParts = Bits(1 + (index % 1_600)),
                    },
                },
                6 => new Message { HasProposalBlockPart = new HasProposalBlockPart { Height = height, Round = round, Index = index % 1_601 } },
                7 => new Message
                {
                    BlockPart = new BlockPart
                    {
                        Height = height,
                        Round = round,
                        Part = new Part { Index = (uint)(index % 7), Proof = new Pipeline.Protocols.Crypto.Proof { Index = index % 7, Total = 7 } },
                    },
                },
                _ => new Message { Proposal = new Pipeline.Protocols.Consensus.Proposal { Proposal_ = Observed.MakeProposal(height, round, (byte)((index % 13) + 1), 3) } },
            });
        });

    /// <summary>
    /// Whatever three of seven peers say, the rounds, votes, parts and proposals of the others are what they are without them, and nothing is beside them;
    /// a commit is shown between the first and the last of the others.
    /// </summary>
    [Test]
    public void A_minority_of_liars_takes_nothing_from_what_the_others_say()
    {
        ConsensusObserverOptions options = new() { Heights = 4, RoundsPerHeight = 3, FactsPerPeer = 60 };
        Lie.Array[0, 300].Sample(lies =>
        {
            Observed alone = WithPeers(4, options);
            Observed together = WithPeers(7, options);
            IEnumerator<(int Peer, Message Message)> lie = lies.AsEnumerable().GetEnumerator();
            for (long height = 10; height < 20; height++)
            {
                for (int peer = 0; peer < 4; peer++)
                {
                    TellBoth(observed => observed.Step(peer, height, 0, ConsensusStep.Propose));
                    TellBoth(observed => observed.Proposal(peer, height, 0, 200, parts: 2));
                    TellBoth(observed => observed.Tell(peer, new Message { HasProposalBlockPart = new HasProposalBlockPart { Height = height, Index = peer % 2 } }));
                }

                for (int validator = 0; validator < 4; validator++)
                {
                    for (int peer = 0; peer < 4; peer++)
                    {
                        TellBoth(observed => observed.Vote(peer, height, 0, validator, 200, SignedMsgType.Prevote));
                        TellBoth(observed => observed.Vote(peer, height, 0, validator, 200));
                    }
                }
            }

            Assert.That(together.Now, Is.EqualTo(alone.Now));
            ConsensusView view = together.View;
            Assert.That(view.Height, Is.EqualTo(alone.View.Height));
            Assert.That(view.Peers.Select(peer => peer.Facts), Is.All.LessThanOrEqualTo(60));
            foreach (HeightView expected in alone.View.Heights)
            {
                HeightView height = view.Find(expected.Height)!;
                Assert.That(height.Validators, Is.EqualTo(4));
                RoundView round = height.Rounds.Single();
                Assert.That(round.Round, Is.Zero);
                Assert.That((round.Proposal!.Block, round.Proposal.FirstSeen, round.PartsTotal), Is.EqualTo((expected.Rounds[0].Proposal!.Block, expected.Rounds[0].Proposal!.FirstSeen, 2)));
                Assert.That(round.Parts.Select(part => part.Index), Is.EqualTo([0, 1]));
                Assert.That(round.Prevotes.Select(vote => (vote.Validator, vote.Block)), Is.EqualTo(expected.Rounds[0].Prevotes.Select(vote => (vote.Validator, vote.Block))));
                Assert.That(round.Precommits.Select(vote => (vote.Validator, vote.Block)), Is.EqualTo(expected.Rounds[0].Precommits.Select(vote => (vote.Validator, vote.Block))));
                Assert.That(height.CommitRound, expected.CommitRound is null ? Is.Null.Or.Not.Null : Is.Zero);
                Assert.That(height.CommittedAt is null, Is.EqualTo(expected.CommittedAt is null));
                if (expected.CommittedAt is not null)
                {
                    Assert.That(height.CommittedAt, Is.InRange(expected.Commits[0].At, expected.Commits[^1].At));
                }
            }

            void TellBoth(Action<Observed> tell)
            {
                tell(alone);
                tell(together);
                if (lie.MoveNext())
                {
                    // Who has not joined is not heard, and it is as late then.
                    alone.Tell(100, lie.Current.Message);
                    Assert.That(together.Tell(lie.Current.Peer, lie.Current.Message), Is.Null);
                }
            }
        });
    }

    private static BitArray Bits(long bits, ulong first = 1) => new() { Bits = bits, Elems = { (ulong[])[first, .. new ulong[((bits + 63) / 64) - 1]] } };
}
