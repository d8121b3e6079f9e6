using System.Collections.Immutable;
using Pipeline.Cryptography;

namespace Pipeline.Protocols.Consensus;

/// <summary>The steps of a round, numbered as on the wire.</summary>
public enum ConsensusStep
{
    /// <summary>Nothing is known.</summary>
    Unknown = 0,

    /// <summary>Waits before the next height, for late precommits.</summary>
    NewHeight = 1,

    /// <summary>A round begins.</summary>
    NewRound = 2,

    /// <summary>Waits for the proposal and its parts.</summary>
    Propose = 3,

    /// <summary>Has prevoted.</summary>
    Prevote = 4,

    /// <summary>Has two thirds of any prevotes, and waits for more.</summary>
    PrevoteWait = 5,

    /// <summary>Has precommitted.</summary>
    Precommit = 6,

    /// <summary>Has two thirds of any precommits, and waits for more.</summary>
    PrecommitWait = 7,

    /// <summary>Has two thirds of the precommits for one block.</summary>
    Commit = 8,
}

/// <summary>What the consensus of a network looks like from its nodes' messages. It does not change.</summary>
/// <remarks>Signatures are not checked: everything here is what peers say, and each fact names the peers that say it.</remarks>
/// <param name="At">When the latest message came that is in it.</param>
/// <param name="Height">
/// The height that more than half of the connected peers are at or beyond, so that a minority that lies can neither raise nor lower it; 0
/// when nothing is known.
/// </param>
/// <param name="Peers">The peers, connected and gone, in the order that they came.</param>
/// <param name="Heights">The last <see cref="ConsensusObserverOptions.Heights"/> up to <paramref name="Height"/>, and the one after it, as far as something is known of them; lowest first.</param>
public sealed record ConsensusView(DateTimeOffset At, long Height, ImmutableArray<PeerConsensusView> Peers, ImmutableArray<HeightView> Heights)
{
    /// <summary>What is known of a height; null when nothing is shown.</summary>
    public HeightView? Find(long height) => Heights.FirstOrDefault(view => view.Height == height);
}

/// <summary>What one peer said of itself.</summary>
public sealed record PeerConsensusView
{
    /// <summary>The peer.</summary>
    public required NodeId Id { get; init; }

    /// <summary>What it calls itself; may be any text.</summary>
    public required string Moniker { get; init; }

    /// <summary>Whether it is connected.</summary>
    public required bool IsConnected { get; init; }

    /// <summary>The height that it works on; 0 when it has not said.</summary>
    public required long Height { get; init; }

    /// <summary>The round that it is in.</summary>
    public required int Round { get; init; }

    /// <summary>The step that it is at.</summary>
    public required ConsensusStep Step { get; init; }

    /// <summary>When it said so.</summary>
    public required DateTimeOffset StepAt { get; init; }

    /// <summary>Whether it has sent the proposal of its round.</summary>
    public required bool HasProposal { get; init; }

    /// <summary>The parts of its round's block that it is known to have.</summary>
    public required ImmutableArray<int> Parts { get; init; }

    /// <summary>The validators whose prevotes of its round it is known to have.</summary>
    public required ImmutableArray<int> Prevotes { get; init; }

    /// <summary>The validators whose precommits of its round it is known to have.</summary>
    public required ImmutableArray<int> Precommits { get; init; }

    /// <summary>How many facts are kept of what it said, at most <see cref="ConsensusObserverOptions.FactsPerPeer"/>.</summary>
    public required int Facts { get; init; }

    /// <summary>Messages that were of no use: repeated, out of order, for heights long gone, on a wrong channel or beyond a limit.</summary>
    public required long Ignored { get; init; }
}

/// <summary>What is known of a height.</summary>
public sealed record HeightView
{
    /// <summary>The height.</summary>
    public required long Height { get; init; }

    /// <summary>When something of it was first heard.</summary>
    public required DateTimeOffset FirstSeen { get; init; }

    /// <summary>
    /// How many validators there are, as far as it shows: more than half of those that said something of votes said so. It never is more than
    /// there are unless half of the peers lie.
    /// </summary>
    public required int Validators { get; init; }

    /// <summary>Its rounds that something is known of, lowest first, up to the last that more than half of the peers that told of the height told of.</summary>
    public required ImmutableArray<RoundView> Rounds { get; init; }

    /// <summary>The peers that were seen to commit it, first to last.</summary>
    public required ImmutableArray<PeerCommit> Commits { get; init; }

    /// <summary>When more than half of the connected peers had committed it; null when that was not seen.</summary>
    public required DateTimeOffset? CommittedAt { get; init; }

    /// <summary>The round that it was committed in, as most peers say; null when none does.</summary>
    public required int? CommitRound { get; init; }

    /// <summary>The round that it was committed in.</summary>
    public RoundView? CommittedIn => Rounds.FirstOrDefault(round => round.Round == CommitRound);

    /// <summary>From the first sight of the proposal to the commit; null when either was not seen.</summary>
    public TimeSpan? ProposalToCommit => CommittedAt - CommittedIn?.Proposal?.FirstSeen;
}

/// <summary>A peer has committed a height.</summary>
/// <param name="Peer">The peer.</param>
/// <param name="At">When it was heard of.</param>
public readonly record struct PeerCommit(NodeId Peer, DateTimeOffset At);

/// <summary>What is known of a round.</summary>
public sealed record RoundView
{
    /// <summary>The round, from 0.</summary>
    public required int Round { get; init; }

    /// <summary>When something of it was first heard.</summary>
    public required DateTimeOffset FirstSeen { get; init; }

    /// <summary>The proposal that most peers sent; null when none did.</summary>
    public required ProposalView? Proposal { get; init; }

    /// <summary>How many different proposals were heard: more than one says that the proposer or a peer lies.</summary>
    public required int Proposals { get; init; }

    /// <summary>How many parts the block has, as far as it shows; 0 when nothing does.</summary>
    public required int PartsTotal { get; init; }

    /// <summary>The parts that were heard of, by index; none from <see cref="PartsTotal"/> on.</summary>
    public required ImmutableArray<PartView> Parts { get; init; }

    /// <summary>The prevotes that were heard of, by validator; none from <see cref="HeightView.Validators"/> on.</summary>
    public required ImmutableArray<VoteView> Prevotes { get; init; }

    /// <summary>The precommits that were heard of, by validator; none from <see cref="HeightView.Validators"/> on.</summary>
    public required ImmutableArray<VoteView> Precommits { get; init; }
}

/// <summary>A proposal.</summary>
/// <param name="Block">The hash of the block, 64 lower-case hexadecimal digits.</param>
/// <param name="Parts">How many parts the block has.</param>
/// <param name="ValidRound">The earlier round in which the block had two thirds of the prevotes; -1 for none.</param>
/// <param name="FirstSeen">When it was first heard.</param>
/// <param name="From">The peers that sent it; the first is who sent it first, as long as that one is remembered.</param>
public sealed record ProposalView(string Block, int Parts, int ValidRound, DateTimeOffset FirstSeen, ImmutableArray<NodeId> From);

/// <summary>A part of a block.</summary>
/// <param name="Index">Which, from 0.</param>
/// <param name="FirstSeen">When it was first heard of.</param>
/// <param name="From">The peers that sent it or said that they have it.</param>
public sealed record PartView(int Index, DateTimeOffset FirstSeen, ImmutableArray<NodeId> From);

/// <summary>A validator's vote.</summary>
/// <param name="Validator">The validator's index.</param>
/// <param name="Address">Its address, 40 lower-case hexadecimal digits; null when nobody has sent the vote itself.</param>
/// <param name="Block">
/// The hash of the block as most peers have it, 64 lower-case hexadecimal digits; empty for a vote for no block; null when nobody has sent the
/// vote itself.
/// </param>
/// <param name="FirstSeen">When it was first heard of.</param>
/// <param name="From">The peers that sent it, for any block, or said that they have it; the first is who was first, as long as that one is remembered.</param>
/// <param name="Blocks">For how many different blocks it was heard: more than one says that the validator or a peer lies.</param>
public sealed record VoteView(int Validator, string? Address, string? Block, DateTimeOffset FirstSeen, ImmutableArray<NodeId> From, int Blocks);
