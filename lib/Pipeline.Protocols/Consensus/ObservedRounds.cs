using System.Collections.Immutable;
using Google.Protobuf;
using Pipeline.Cryptography;

namespace Pipeline.Protocols.Consensus;

/// <summary>A number that peers have an opinion of, and may lie about.</summary>
internal sealed class Opinions
{
    private readonly Dictionary<int, int> _bySlot = [];

    /// <summary>The largest number that more than half of those who said something said at least; 0 when nobody did.</summary>
    public int Agreed => _bySlot.Count == 0 ? 0 : _bySlot.Values.Order().ElementAt((_bySlot.Count - 1) / 2);

    public void AtLeast(int slot, int value) => _bySlot[slot] = Math.Max(value, _bySlot.GetValueOrDefault(slot));

    public void Forget(int slot) => _bySlot.Remove(slot);
}

/// <summary>What was heard of one vote, proposal or part: who said so, and for which blocks.</summary>
/// <remarks>Invariant: it exists as long as <see cref="Tellers"/> has a bit; a peer is a teller of at most one of <see cref="Claims"/>.</remarks>
internal sealed class Fact(DateTimeOffset firstSeen, int first)
{
    private int _first = first;

    public DateTimeOffset FirstSeen => firstSeen;

    /// <summary>The slots of the peers that told of it, as bits.</summary>
    public ulong Tellers { get; private set; }

    /// <summary>What it says, as different peers have it; in the order that it was heard.</summary>
    public List<Claim> Claims { get; } = [];

    /// <summary>The claim that most peers make; the earlier of two.</summary>
    public Claim? Best => Claims.MaxBy(claim => ulong.PopCount(claim.Tellers));

    public void Tell(int slot) => Tellers |= 1UL << slot;

    /// <returns>Whether it is news: a peer's first claim counts.</returns>
    public bool Tell(int slot, DateTimeOffset at, ByteString block, ByteString address, int parts = 0, int validRound = 0)
    {
        ulong bit = 1UL << slot;
        if (Claims.Exists(claim => (claim.Tellers & bit) != 0))
        {
            return false;
        }

        Claim? same = Claims.Find(claim => claim.Block == block && claim.Parts == parts && claim.ValidRound == validRound);
        if (same is null)
        {
            Claims.Add(same = new Claim(at, block, parts, validRound));
        }

        same.Tellers |= bit;
        same.Address = same.Address.IsEmpty ? address : same.Address;
        return true;
    }

    /// <returns>Whether nobody is left who told of it.</returns>
    public bool Forget(int slot)
    {
        ulong others = ~(1UL << slot);
        Tellers &= others;
        _first = _first == slot ? -1 : _first;
        foreach (Claim claim in Claims)
        {
            claim.Tellers &= others;
        }

        Claims.RemoveAll(claim => claim.Tellers == 0);
        return Tellers == 0;
    }

    public ImmutableArray<NodeId> From(ObservedPeer?[] slots, ulong tellers) =>
        [.. Enumerable.Range(0, slots.Length).Where(slot => (tellers >> slot & 1) != 0).OrderBy(slot => slot != _first).Select(slot => slots[slot]!.Id)];
}

/// <summary>What some peers say of a fact.</summary>
internal sealed class Claim(DateTimeOffset firstSeen, ByteString block, int parts, int validRound)
{
    public DateTimeOffset FirstSeen => firstSeen;

    public ByteString Block => block;

    public int Parts => parts;

    public int ValidRound => validRound;

    public ByteString Address { get; set; } = ByteString.Empty;

    public ulong Tellers { get; set; }
}

/// <summary>What kind of fact it is.</summary>
internal enum FactKind
{
    Proposal,
    Part,
    Prevote,
    Precommit,
}

/// <summary>What was heard of a round.</summary>
internal sealed class ObservedRound(DateTimeOffset firstSeen)
{
    private readonly SortedDictionary<(FactKind Kind, int Index), Fact> _facts = [];

    /// <summary>The slots of the peers of whom it is kept, as bits; it exists as long as there is one.</summary>
    public ulong Holders { get; set; }

    public Opinions Parts { get; } = new();

    public Fact? Find(FactKind kind, int index) => _facts.GetValueOrDefault((kind, index));

    public Fact Add(FactKind kind, int index, DateTimeOffset at, int slot) => _facts[(kind, index)] = new Fact(at, slot);

    public void Forget(int slot)
    {
        Holders &= ~(1UL << slot);
        Parts.Forget(slot);
        foreach ((FactKind, int) key in _facts.Where(fact => fact.Value.Forget(slot)).Select(fact => fact.Key).ToArray())
        {
            _facts.Remove(key);
        }
    }

    public ImmutableArray<int> ToldBy(int slot, FactKind kind) =>
        [.. _facts.Where(fact => fact.Key.Kind == kind && (fact.Value.Tellers >> slot & 1) != 0).Select(fact => fact.Key.Index)];

    public RoundView View(int round, ObservedPeer?[] slots)
    {
        Fact? proposal = Find(FactKind.Proposal, 0);
        return new RoundView
        {
            Round = round,
            FirstSeen = firstSeen,
            Proposal = proposal?.Best is { } best
                ? new ProposalView(Hex(best.Block), best.Parts, best.ValidRound, best.FirstSeen, proposal.From(slots, best.Tellers))
                : null,
            Proposals = proposal?.Claims.Count ?? 0,
            PartsTotal = proposal?.Best?.Parts ?? Parts.Agreed,
            Parts = [.. Of(FactKind.Part).Select(part => new PartView(part.Key.Index, part.Value.FirstSeen, part.Value.From(slots, part.Value.Tellers)))],
            Prevotes = [.. Of(FactKind.Prevote).Select(Vote)],
            Precommits = [.. Of(FactKind.Precommit).Select(Vote)],
        };

        IEnumerable<KeyValuePair<(FactKind Kind, int Index), Fact>> Of(FactKind kind) => _facts.Where(fact => fact.Key.Kind == kind);

        VoteView Vote(KeyValuePair<(FactKind Kind, int Index), Fact> vote)
        {
            Claim? claim = vote.Value.Best;
            return new VoteView(
                vote.Key.Index,
                claim is null || claim.Address.IsEmpty ? null : Hex(claim.Address),
                claim is null ? null : Hex(claim.Block),
                vote.Value.FirstSeen,
                vote.Value.From(slots, vote.Value.Tellers),
                vote.Value.Claims.Count);
        }
    }

    private static string Hex(ByteString bytes) => Convert.ToHexStringLower(bytes.Span);
}

/// <summary>What was heard of a height.</summary>
internal sealed class ObservedHeight(long height, DateTimeOffset firstSeen)
{
    private readonly Dictionary<int, (DateTimeOffset At, int? Round)> _commits = [];
    private HeightView? _view;

    /// <summary>The slots of the peers of whom it is kept, as bits; it exists as long as there is one.</summary>
    public ulong Holders { get; set; }

    public SortedDictionary<int, ObservedRound> Rounds { get; } = [];

    public Opinions Validators { get; } = new();

    public DateTimeOffset? CommittedAt { get; set => field ??= value; }

    public void Commit(int slot, DateTimeOffset at, int? round)
    {
        (DateTimeOffset firstAt, int? firstRound) = _commits.TryGetValue(slot, out (DateTimeOffset, int?) known) ? known : (at, null);
        _commits[slot] = (firstAt, firstRound ?? round);
    }

    public void Forget(int slot)
    {
        Holders &= ~(1UL << slot);
        Validators.Forget(slot);
        _commits.Remove(slot);
        Change();
    }

    public void Change() => _view = null;

    public HeightView View(ObservedPeer?[] slots) => _view ??= new HeightView
    {
        Height = height,
        FirstSeen = firstSeen,
        Validators = Validators.Agreed,
        Rounds = [.. Rounds.Select(round => round.Value.View(round.Key, slots))],
        Commits = [.. _commits.OrderBy(commit => commit.Value.At).Select(commit => new PeerCommit(slots[commit.Key]!.Id, commit.Value.At))],
        CommittedAt = CommittedAt,
        CommitRound = _commits.Values.Select(commit => commit.Round).OfType<int>().GroupBy(round => round).OrderByDescending(round => round.Count()).FirstOrDefault()?.Key,
    };
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

    /// <summary>Of the heights and rounds that are kept of what it says, how many facts.</summary>
    public SortedDictionary<long, SortedDictionary<int, int>> Held { get; } = [];

    /// <summary>The sum of them.</summary>
    public int Facts { get; set; }

    public void Restart()
    {
        (Height, Round, Step, StepAt) = (0, 0, ConsensusStep.Unknown, default);
    }
}
