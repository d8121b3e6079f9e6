using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols.Bits;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.Consensus;

/// <summary>
/// Puts together what nodes say of the consensus: rounds, proposals, parts, votes and commits, when each was first heard and from whom. It has no
/// connections, so recorded messages can be replayed into it; <see cref="ConsensusObserverReactor"/> feeds it from a switch.
/// </summary>
/// <remarks>
/// What one peer says takes no room from what another says: each has its own share of heights, rounds and facts, and what it pushes out is its
/// own. A fact lives as long as somebody who told it is remembered. See <c>docs/concepts/consensus-observer.md</c>. All members may be called
/// from any thread.
/// </remarks>
public sealed class ConsensusObserver
{
    /// <summary>How many peers are remembered. When another comes, the one that left first is forgotten.</summary>
    public const int MaxPeers = 64;

    // Peers are not at the same height, and one that is ahead must not forget what the others are still at.
    private const int HeightsAhead = 2;

    private readonly ConsensusObserverOptions _options;

    // Guarded by _gate. Invariant: a bit of a slot in a round's or fact's set says that the slot's peer holds the round (Held), and the sum of
    // its facts is at most FactsPerPeer.
    private readonly Lock _gate = new();
    private readonly ObservedPeer?[] _slots = new ObservedPeer?[MaxPeers];
    private readonly SortedDictionary<long, ObservedHeight> _heights = [];
    private long _joined;
    private DateTimeOffset _at;
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ConsensusView? _view;

    /// <summary>Makes an observer that knows nothing.</summary>
    /// <param name="options">Settings; null for the defaults.</param>
    public ConsensusObserver(ConsensusObserverOptions? options = null) => _options = options ?? new ConsensusObserverOptions();

    /// <summary>What is known at this moment.</summary>
    public ConsensusView View
    {
        get
        {
            lock (_gate)
            {
                return _view ??= MakeView();
            }
        }
    }

    /// <summary>
    /// What is known, then what is known after each change, without end. A reader that takes its time gets the latest, so nothing piles up.
    /// </summary>
    public async IAsyncEnumerable<ConsensusView> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (true)
        {
            Task changed;
            lock (_gate)
            {
                changed = _changed.Task;
            }

            yield return View;
            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>A peer is there; what it said in an earlier connection still counts.</summary>
    /// <param name="id">The peer.</param>
    /// <param name="moniker">What it calls itself.</param>
    /// <returns>False when there are <see cref="MaxPeers"/> connected ones already: what it says is not heard.</returns>
    public bool Join(NodeId id, string moniker = "")
    {
        ArgumentNullException.ThrowIfNull(moniker);
        lock (_gate)
        {
            int slot = SlotOf(id);
            if (slot >= 0)
            {
                _slots[slot]!.Moniker = moniker;
                _slots[slot]!.IsConnected = true;
                _slots[slot]!.Restart();
            }
            else if ((slot = FreeSlot()) >= 0)
            {
                _slots[slot] = new ObservedPeer(id, moniker, _joined++);
            }
            else
            {
                return false;
            }

            Change();
            return true;
        }
    }

    /// <summary>A peer has left.</summary>
    public void Leave(NodeId id)
    {
        lock (_gate)
        {
            if (SlotOf(id) is >= 0 and int slot)
            {
                _slots[slot]!.IsConnected = false;
                Change();
            }
        }
    }

    /// <summary>A peer that has joined sent a message.</summary>
    /// <param name="peer">The peer; others are not heard.</param>
    /// <param name="channel">The channel that it came on; a message on a channel that is not its own does not count.</param>
    /// <param name="message">The message.</param>
    /// <param name="at">When. Not before the time of the message before.</param>
    /// <returns>What is wrong with a message that no honest node sends, as in "it has …"; null when nothing is.</returns>
    public string? Observe(NodeId peer, ChannelDescriptor channel, Message message, DateTimeOffset at)
    {
        ArgumentNullException.ThrowIfNull(channel);
        ArgumentNullException.ThrowIfNull(message);
        string? fault = ConsensusMessageCheck.FindFault(message);
        lock (_gate)
        {
            int slot = SlotOf(peer);
            if (slot < 0)
            {
                return fault;
            }

            if (fault is null && channel.Id == ChannelOf(message) && Tell(slot, message, at))
            {
                _at = at;
                Change();
            }
            else
            {
                _slots[slot]!.Ignored++;
                _view = null;
            }
        }

        return fault;
    }

    private static byte? ChannelOf(Message message) => message.SumCase switch
    {
        Message.SumOneofCase.NewRoundStep or Message.SumOneofCase.NewValidBlock or Message.SumOneofCase.HasVote or Message.SumOneofCase.VoteSetMaj23 =>
            StandardChannels.ConsensusState.Id,
        Message.SumOneofCase.Proposal or Message.SumOneofCase.ProposalPol or Message.SumOneofCase.BlockPart => StandardChannels.ConsensusData.Id,
        Message.SumOneofCase.Vote => StandardChannels.ConsensusVote.Id,
        Message.SumOneofCase.VoteSetBits => StandardChannels.ConsensusVoteSetBits.Id,
        _ => null,
    };

    private static FactKind KindOf(SignedMsgType type) => type == SignedMsgType.Prevote ? FactKind.Prevote : FactKind.Precommit;

    private int SlotOf(NodeId id) => Array.FindIndex(_slots, peer => peer?.Id == id);

    private int FreeSlot()
    {
        int free = Array.IndexOf(_slots, null);
        if (free >= 0)
        {
            return free;
        }

        ObservedPeer? gone = _slots.Where(peer => !peer!.IsConnected).MinBy(peer => peer!.Number);
        free = gone is null ? -1 : Array.IndexOf(_slots, gone);
        if (free >= 0)
        {
            foreach (long height in gone!.Held.Keys.ToArray())
            {
                Forget(free, height);
            }
        }

        return free;
    }

    /// <returns>Whether it is news.</returns>
    private bool Tell(int slot, Message message, DateTimeOffset at)
    {
        switch (message.SumCase)
        {
            case Message.SumOneofCase.NewRoundStep:
                return Step(slot, message.NewRoundStep, at);
            case Message.SumOneofCase.NewValidBlock:
                NewValidBlock valid = message.NewValidBlock;
                return Hold(slot, valid.Height, valid.Round, at) is { } held && TellParts(held, slot, valid, at);
            case Message.SumOneofCase.Proposal:
                Types.Proposal proposal = message.Proposal.Proposal_;
                return Hold(slot, proposal.Height, proposal.Round, at) is { } proposed
                    && Tell(proposed, FactKind.Proposal, 0, slot, at) is { } fact
                    && fact.Tell(slot, at, proposal.BlockId.Hash, ByteString.Empty, (int)proposal.BlockId.PartSetHeader.Total, proposal.PolRound);
            case Message.SumOneofCase.ProposalPol:
                ProposalPOL pol = message.ProposalPol;
                return Hold(slot, pol.Height, pol.ProposalPolRound, at) is { } earlier && TellVotes(earlier, FactKind.Prevote, pol.ProposalPol, slot, block: null, at);
            case Message.SumOneofCase.BlockPart:
                BlockPart part = message.BlockPart;
                if (Hold(slot, part.Height, part.Round, at) is not { } whole)
                {
                    return false;
                }

                whole.Round.Parts.AtLeast(slot, (int)part.Part.Proof.Total);
                return Tell(whole, FactKind.Part, (int)part.Part.Index, slot, at) is not null;
            case Message.SumOneofCase.Vote:
                Types.Vote vote = message.Vote.Vote_;
                return Hold(slot, vote.Height, vote.Round, at) is { } round
                    && Tell(round, KindOf(vote.Type), vote.ValidatorIndex, slot, at) is { } voted
                    && voted.Tell(slot, at, vote.BlockId?.Hash ?? ByteString.Empty, vote.ValidatorAddress);
            case Message.SumOneofCase.HasVote:
                HasVote has = message.HasVote;
                return Hold(slot, has.Height, has.Round, at) is { } of && Tell(of, KindOf(has.Type), has.Index, slot, at) is not null;
            case Message.SumOneofCase.VoteSetBits:
                VoteSetBits bits = message.VoteSetBits;
                return Hold(slot, bits.Height, bits.Round, at) is { } set
                    && TellVotes(set, KindOf(bits.Type), bits.Votes, slot, bits.BlockId?.Hash ?? ByteString.Empty, at);
            default:
                return false;
        }
    }

    private bool Step(int slot, NewRoundStep step, DateTimeOffset at)
    {
        ObservedPeer peer = _slots[slot]!;
        if ((step.Height, step.Round, (ConsensusStep)step.Step).CompareTo((peer.Height, peer.Round, peer.Step)) <= 0)
        {
            return false;
        }

        long before = peer.Height;
        (peer.Height, peer.Round, peer.Step, peer.StepAt) = (step.Height, step.Round, (ConsensusStep)step.Step, at);
        _ = Hold(slot, step.Height, step.Round, at);
        if (before > 0 && step.Height > before)
        {
            Commit(slot, before, step.Height == before + 1 && step.LastCommitRound >= 0 ? step.LastCommitRound : null, at);
        }

        if (peer.Step == ConsensusStep.Commit)
        {
            Commit(slot, step.Height, round: null, at);
        }

        return true;
    }

    private void Commit(int slot, long height, int? round, DateTimeOffset at)
    {
        if (!_slots[slot]!.Held.ContainsKey(height))
        {
            return;
        }

        ObservedHeight committed = _heights[height];
        committed.Commit(slot, at, round);
        committed.Change();
        ObservedPeer[] peers = [.. _slots.OfType<ObservedPeer>().Where(peer => peer.IsConnected && peer.Height > 0)];
        if (2 * peers.Count(peer => peer.Height > height || (peer.Height == height && peer.Step == ConsensusStep.Commit)) > peers.Length)
        {
            committed.CommittedAt = at;
        }
    }

    /// <summary>
    /// Makes a round one of those that are kept of what a peer says, which may push out its earliest ones.
    /// </summary>
    /// <returns>Null when it is before all of them.</returns>
    private HeldRound? Hold(int slot, long height, int round, DateTimeOffset at)
    {
        ObservedPeer peer = _slots[slot]!;
        ulong bit = 1UL << slot;
        if (height == 0)
        {
            return null;
        }

        if (!peer.Held.TryGetValue(height, out SortedDictionary<int, int>? rounds))
        {
            if (peer.Held.Count >= _options.Heights + HeightsAhead)
            {
                long first = peer.Held.First().Key;
                if (height < first)
                {
                    return null;
                }

                Forget(slot, first);
            }

            peer.Held.Add(height, rounds = []);
        }

        if (!rounds.ContainsKey(round))
        {
            if (rounds.Count >= _options.RoundsPerHeight)
            {
                int first = rounds.First().Key;
                if (round < first)
                {
                    return null;
                }

                Forget(slot, height, first);
            }

            rounds.Add(round, 0);
        }

        if (!_heights.TryGetValue(height, out ObservedHeight? observed))
        {
            _heights.Add(height, observed = new ObservedHeight(height, at));
        }

        if (!observed.Rounds.TryGetValue(round, out ObservedRound? heard))
        {
            observed.Rounds.Add(round, heard = new ObservedRound(at));
        }

        observed.Holders |= bit;
        heard.Holders |= bit;
        observed.Change();
        return new HeldRound(observed, heard, height, round);
    }

    /// <returns>The fact; null when the peer has told too many.</returns>
    private Fact? Tell(HeldRound held, FactKind kind, int index, int slot, DateTimeOffset at)
    {
        ObservedPeer peer = _slots[slot]!;
        Fact? fact = held.Round.Find(kind, index);
        if (fact is null || (fact.Tellers >> slot & 1) == 0)
        {
            if (peer.Facts >= _options.FactsPerPeer)
            {
                return null;
            }

            peer.Facts++;
            peer.Held[held.HeightNumber][held.RoundNumber]++;
            fact ??= held.Round.Add(kind, index, at, slot);
            fact.Tell(slot);
        }

        if (kind is FactKind.Prevote or FactKind.Precommit)
        {
            held.Height.Validators.AtLeast(slot, index + 1);
        }

        return fact;
    }

    private bool TellParts(HeldRound held, int slot, NewValidBlock valid, DateTimeOffset at)
    {
        held.Round.Parts.AtLeast(slot, (int)valid.BlockPartSetHeader.Total);
        foreach (int index in Indices(valid.BlockParts))
        {
            _ = Tell(held, FactKind.Part, index, slot, at);
        }

        return true;
    }

    private bool TellVotes(HeldRound held, FactKind kind, BitArray? bits, int slot, ByteString? block, DateTimeOffset at)
    {
        if (bits is null)
        {
            return false;
        }

        held.Height.Validators.AtLeast(slot, (int)bits.Bits);
        foreach (int index in Indices(bits))
        {
            if (Tell(held, kind, index, slot, at) is { } fact && block is not null)
            {
                fact.Tell(slot, at, block, ByteString.Empty);
            }
        }

        return true;
    }

    private static IEnumerable<int> Indices(BitArray bits)
    {
        for (int i = 0; i < bits.Bits; i++)
        {
            if ((bits.Elems[i / 64] >> (i % 64) & 1) != 0)
            {
                yield return i;
            }
        }
    }

    private void Forget(int slot, long height)
    {
        foreach (int round in _slots[slot]!.Held[height].Keys.ToArray())
        {
            Forget(slot, height, round);
        }

        _slots[slot]!.Held.Remove(height);
        ObservedHeight observed = _heights[height];
        observed.Forget(slot);
        if (observed.Holders == 0)
        {
            _heights.Remove(height);
        }
    }

    private void Forget(int slot, long height, int round)
    {
        _slots[slot]!.Held[height].Remove(round, out int facts);
        _slots[slot]!.Facts -= facts;
        ObservedHeight observed = _heights[height];
        observed.Rounds[round].Forget(slot);
        observed.Change();
        if (observed.Rounds[round].Holders == 0)
        {
            observed.Rounds.Remove(round);
        }
    }

    private void Change()
    {
        _view = null;
        _changed.SetResult();
        _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    private ConsensusView MakeView()
    {
        ObservedPeer[] peers = [.. _slots.OfType<ObservedPeer>().OrderBy(peer => peer.Number)];
        long[] heights = [.. peers.Where(peer => peer.IsConnected && peer.Height > 0).Select(peer => peer.Height).Order()];

        // When all have left, the last of what they said stands.
        long height = heights.Length > 0 ? heights[(heights.Length - 1) / 2]
            : peers.Where(peer => peer.Height > 0).Select(peer => peer.Height).Order().ToArray() is { Length: > 0 } gone ? gone[(gone.Length - 1) / 2]
            : 0;
        return new ConsensusView(
            _at,
            height,
            [.. peers.Select(View)],
            [.. _heights.Where(known => known.Key > height - _options.Heights && known.Key - 1 <= height).Select(known => known.Value.View(_slots))]);

        PeerConsensusView View(ObservedPeer peer)
        {
            int slot = Array.IndexOf(_slots, peer);
            ObservedRound? round = _heights.GetValueOrDefault(peer.Height)?.Rounds.GetValueOrDefault(peer.Round);
            return new PeerConsensusView
            {
                Id = peer.Id,
                Moniker = peer.Moniker,
                IsConnected = peer.IsConnected,
                Height = peer.Height,
                Round = peer.Round,
                Step = peer.Step,
                StepAt = peer.StepAt,
                HasProposal = round is not null && !round.ToldBy(slot, FactKind.Proposal).IsEmpty,
                Parts = round?.ToldBy(slot, FactKind.Part) ?? [],
                Prevotes = round?.ToldBy(slot, FactKind.Prevote) ?? [],
                Precommits = round?.ToldBy(slot, FactKind.Precommit) ?? [],
                Facts = peer.Facts,
                Ignored = peer.Ignored,
            };
        }
    }

    private readonly record struct HeldRound(ObservedHeight Height, ObservedRound Round, long HeightNumber, int RoundNumber);
}
