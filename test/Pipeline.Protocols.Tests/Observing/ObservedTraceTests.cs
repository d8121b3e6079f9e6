using System.Globalization;
using Pipeline.Protocols.Consensus;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.Tests.Observing;

/// <summary>What the observer makes of the messages of nodes of the reference, held against the messages themselves.</summary>
public sealed class ObservedTraceTests
{
    private static readonly Lazy<ConsensusView> Trace = new(() => Observed.Replay(Recordings.Trace(), new ConsensusObserverOptions { Heights = 1_000 }).View);

    private static HeightView[] Committed => [.. Trace.Value.Heights.Where(height => height.CommittedAt is not null)];

    [Test]
    public void The_heights_of_the_trace_are_committed_one_after_the_other()
    {
        Assert.That(Committed.Select(height => height.Height), Is.EqualTo(Enumerable.Range(77, 23)));
        Assert.That(Committed.Select(height => height.CommittedAt), Is.Ordered);
        Assert.That(Trace.Value.Height, Is.EqualTo(100));
        Assert.That(Committed.Select(height => height.CommitRound), Is.All.Zero);
    }

    [Test]
    public void Each_committed_height_of_the_trace_has_precommits_of_more_than_two_thirds_of_its_four_validators()
    {
        foreach (HeightView height in Committed)
        {
            Assert.That(height.Validators, Is.EqualTo(4), $"height {height.Height}");
            Assert.That(height.CommittedIn!.Precommits.Count(vote => vote.Block is null || vote.Block == height.CommittedIn.Proposal!.Block), Is.GreaterThan(8 / 3));
            Assert.That(height.CommittedIn.Precommits.Count(vote => vote.FirstSeen <= height.CommittedAt), Is.GreaterThan(8 / 3));
        }
    }

    [Test]
    public void Each_height_of_the_trace_was_committed_within_half_a_second_of_its_proposal()
    {
        Assert.That(Committed.Select(height => height.ProposalToCommit), Is.All.InRange(TimeSpan.FromMilliseconds(100), TimeSpan.FromMilliseconds(500)));
        Assert.That(Committed.Select(height => height.Commits.Length), Is.All.EqualTo(4));
        Assert.That(Committed.Select(height => height.CommittedIn!.Parts.Length), Is.EqualTo(Committed.Select(height => height.CommittedIn!.PartsTotal)));
    }

    [Test]
    public void The_one_vote_of_the_trace_that_nobody_sent_is_known_from_who_has_it()
    {
        (long Height, VoteView Vote)[] unsent =
        [
            .. from height in Committed
               from round in height.Rounds
               from vote in round.Prevotes
               where vote.Block is null
               select (height.Height, vote),
        ];

        Assert.That(unsent.Select(vote => (vote.Height, vote.Vote.Validator, vote.Vote.From.Length)), Is.EqualTo(new[] { (86L, 2, 1) }));
    }

    [Test]
    public void Each_vote_of_the_trace_is_shown_with_everyone_who_sent_it_and_the_block_it_was_for()
    {
        var sent = Recordings.Trace()
            .Where(message => message.Channel == 0x22)
            .Select(message => (message.Peer, Vote: Message.Parser.ParseFrom(message.Bytes).Vote.Vote_))
            .GroupBy(message => (message.Vote.Height, message.Vote.Round, message.Vote.Type, message.Vote.ValidatorIndex));
        int votes = 0;
        foreach (var vote in sent)
        {
            RoundView round = Trace.Value.Find(vote.Key.Height)!.Rounds.Single(round => round.Round == vote.Key.Round);
            VoteView view = (vote.Key.Type == SignedMsgType.Prevote ? round.Prevotes : round.Precommits).Single(view => view.Validator == vote.Key.ValidatorIndex);
            Types.Vote any = vote.First().Vote;
            Assert.That(view.Block, Is.EqualTo(Convert.ToHexStringLower((any.BlockId?.Hash ?? Google.Protobuf.ByteString.Empty).Span)));
            Assert.That(view.Address, Is.EqualTo(Convert.ToHexStringLower(any.ValidatorAddress.Span)));
            Assert.That(view.Blocks, Is.EqualTo(1));
            Assert.That(view.From, Is.SupersetOf(vote.Select(message => Observed.Peer(message.Peer)).Distinct()));
            votes++;
        }

        Assert.That(votes, Is.GreaterThan(150));
    }

    [Test]
    public void An_observer_keeps_the_last_heights_only()
    {
        ConsensusView view = Observed.Replay(Recordings.Trace(), new ConsensusObserverOptions { Heights = 3 }).View;

        Assert.That(view.Heights.Select(height => height.Height), Is.EqualTo([98, 99, 100]));
        Assert.That(view.Peers.Select(peer => peer.Facts), Is.All.LessThan(70), "of the 230 that each peer told");
        Assert.That(view.Find(98)!.CommittedAt, Is.EqualTo(Trace.Value.Find(98)!.CommittedAt));
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    public void A_session_with_one_node_shows_its_commits(int session)
    {
        DescribedMessage[] messages = [.. Recordings.Session(session)];
        ConsensusView view = Observed.Replay(messages.Index().Select(message => new TracedMessage(
            TimeSpan.FromMilliseconds(message.Index),
            0,
            message.Item.Channel,
            message.Item.Bytes))).View;
        long[] heights = [.. messages.Where(message => message.Type == "new_round_step").Select(message => long.Parse((string)message.Json["new_round_step"]!["height"]!, CultureInfo.InvariantCulture)).Distinct().Order()];

        Assert.That(view.Height, Is.EqualTo(heights[^1]));
        Assert.That(view.Heights.Select(height => height.Height), Is.SupersetOf(heights.TakeLast(20)));
        Assert.That(
            view.Heights.Where(height => height.CommittedAt is not null && height.Height < heights[^1]).Select(height => height.Height),
            Is.EqualTo(heights[..^1].TakeLast(19)));
    }
}
