using Pipeline.Cryptography;

namespace Pipeline.Protocols.Consensus;

/// <summary>What was heard of a round.</summary>
internal sealed class ObservedRound(int number, DateTimeOffset firstSeen)
{
    private RoundView? _view;
    private int _validators;

    public int Number => number;

    /// <summary>The slots of the peers of whom it is kept, as bits; it exists as long as there is one.</summary>
    public ulong Holders { get; set; }

    public Claims Proposals { get; } = new();

    public Opinions PartsTotal { get; } = new();

    public Sightings<PartView> Parts { get; } = new();

    public Sightings<VoteView> Prevotes { get; } = new();

    public Sightings<VoteView> Precommits { get; } = new();

    public void Forget(int slot)
    {
        Holders &= ~Slots.Bit(slot);
        Proposals.Forget(slot);
        PartsTotal.Forget(slot);
        Parts.Forget(slot);
        Prevotes.Forget(slot);
        Precommits.Forget(slot);
        Change();
    }

    public void Change() => _view = null;

    /// <param name="validators">How many there are: of others, no votes are shown.</param>
    /// <param name="peers">The peers by slot.</param>
    public RoundView View(int validators, ObservedPeer?[] peers)
    {
        if (_view is not null && _validators == validators)
        {
            return _view;
        }

        Claim? proposal = Proposals.Best;
        int parts = proposal?.Parts ?? PartsTotal.Agreed;
        _validators = validators;
        return _view = new RoundView
        {
            Round = number,
            FirstSeen = firstSeen,
            Proposal = proposal is null
                ? null
                : new ProposalView(proposal.BlockText, proposal.Parts, proposal.ValidRound, proposal.FirstSeen, Slots.Ids(peers, proposal.Tellers, proposal.First)),
            Proposals = Proposals.Count,
            PartsTotal = parts,
            Parts = Parts.View(
                parts == 0 ? ConsensusMessageCheck.MaxParts : parts,
                (int index, in Sighting<PartView> part) => new PartView(index, part.FirstSeen, Slots.Ids(peers, part.Tellers, part.First))),
            Prevotes = Prevotes.View(validators, Vote),
            Precommits = Precommits.View(validators, Vote),
        };

        VoteView Vote(int index, in Sighting<VoteView> vote)
        {
            Claim? claim = vote.Claims?.Best;
            return new VoteView(index, claim?.AddressText, claim?.BlockText, vote.FirstSeen, Slots.Ids(peers, vote.Tellers, vote.First), vote.Claims?.Count ?? 0);
        }
    }
}

/// <summary>What was heard of a height.</summary>
internal sealed class ObservedHeight(long number, DateTimeOffset firstSeen)
{
    private readonly Dictionary<int, (DateTimeOffset At, int? Round)> _commits = [];
    private HeightView? _view;

    public long Number => number;

    /// <summary>The slots of the peers of whom it is kept, as bits; it exists as long as there is one.</summary>
    public ulong Holders { get; set; }

    public SortedDictionary<int, ObservedRound> Rounds { get; } = [];

    /// <summary>How many validators there are.</summary>
    public Opinions Validators { get; } = new();

    /// <summary>How many rounds there were.</summary>
    public Opinions RoundsTotal { get; } = new();

    public DateTimeOffset? CommittedAt { get; set => field ??= value; }

    public void Commit(int slot, DateTimeOffset at, int? round)
    {
        (DateTimeOffset firstAt, int? firstRound) = _commits.TryGetValue(slot, out (DateTimeOffset, int?) known) ? known : (at, null);
        _commits[slot] = (firstAt, firstRound ?? round);
        Change();
    }

    public void Forget(int slot)
    {
        Holders &= ~Slots.Bit(slot);
        Validators.Forget(slot);
        RoundsTotal.Forget(slot);
        _commits.Remove(slot);
        Change();
    }

    public void Change() => _view = null;

    public HeightView View(ObservedPeer?[] peers) => _view ??= new HeightView
    {
        Height = number,
        FirstSeen = firstSeen,
        Validators = Validators.Agreed,
        Rounds = [.. Rounds.Values.TakeWhile(round => round.Number < RoundsTotal.Agreed).Select(round => round.View(Validators.Agreed, peers))],
        Commits = [.. _commits.OrderBy(commit => commit.Value.At).Select(commit => new PeerCommit(peers[commit.Key]!.Id, commit.Value.At))],
        CommittedAt = CommittedAt,
        CommitRound = _commits.Values.Select(commit => commit.Round).OfType<int>().GroupBy(round => round).OrderByDescending(round => round.Count()).FirstOrDefault()?.Key,
    };
}

/// <summary>A round that is kept of what one peer says.</summary>
/// <param name="height">Its height.</param>
/// <param name="round">The round.</param>
internal sealed class HeldRound(ObservedHeight height, ObservedRound round)
{
    public ObservedHeight Height => height;

    public ObservedRound Round => round;

    /// <summary>How many facts the peer told of it.</summary>
    public int Facts { get; set; }

    public void Change()
    {
        height.Change();
        round.Change();
    }
}

/// <summary>A peer that is or was observed.</summary>
internal sealed class ObservedPeer(NodeId id, string moniker, long number)
{
    public NodeId Id => id;

    public string Moniker { get; set; } = moniker;

    /// <summary>In which order it came.</summary>
    public long Number => number;

    public bool IsConnected { get; set; } = true;

    public long Height { get; set; }

    public int Round { get; set; }

    public ConsensusStep Step { get; set; }

    public DateTimeOffset StepAt { get; set; }

    public long Ignored { get; set; }

    /// <summary>The heights and rounds that are kept of what it says.</summary>
    public SortedDictionary<long, SortedDictionary<int, HeldRound>> Held { get; } = [];

    /// <summary>The sum of their facts.</summary>
    public int Facts { get; set; }

    public void Restart()
    {
        (Height, Round, Step, StepAt) = (0, 0, ConsensusStep.Unknown, default);
    }
}
