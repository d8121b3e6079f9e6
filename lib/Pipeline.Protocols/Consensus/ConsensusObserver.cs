using System.Numerics;
using System.Runtime.CompilerServices;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols.Bits;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.Consensus;

/// <summary>What became of a message.</summary>
internal enum MessageOutcome
{
    /// <summary>It said what the peer had not said.</summary>
    News,

    /// <summary>It was of no use.</summary>
    Ignored,

    /// <summary>No honest node sends it.</summary>
    Refused,

    /// <summary>Who sent it has not joined.</summary>
    Unheard,
}

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
    /// What is known, then what is known after changes, without end, no more often than <see cref="ConsensusObserverOptions.WatchInterval"/>. A
    /// reader that takes its time gets the latest, so nothing piles up.
    /// </summary>
    public async IAsyncEnumerable<ConsensusView> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (true)
        {
            long shown = _options.TimeProvider.GetTimestamp();
            Task changed;
            ConsensusView view;
            lock (_gate)
            {
                changed = _changed.Task;
                view = View;
            }

            yield return view;
            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
            TimeSpan left = _options.WatchInterval - _options.TimeProvider.GetElapsedTime(shown);
            if (left > TimeSpan.Zero)
            {
                await Task.Delay(left, _options.TimeProvider, cancellationToken).ConfigureAwait(false);
            }
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
        Observe(peer, channel, message, at, out string? fault);
        return fault;
    }

    /// <returns>What became of the message.</returns>
    internal MessageOutcome Observe(NodeId peer, ChannelDescriptor channel, Message message, DateTimeOffset at, out string? fault)
    {
        ArgumentNullException.ThrowIfNull(channel);
        ArgumentNullException.ThrowIfNull(message);
        fault = ConsensusMessageCheck.FindFault(message);
        lock (_gate)
        {
            int slot = SlotOf(peer);
            if (slot < 0)
            {
                return fault is null ? MessageOutcome.Unheard : MessageOutcome.Refused;
            }

            if (fault is null && channel.Id == ChannelOf(message) && Tell(slot, message, at))
            {
                _at = at;
                Change();
                return MessageOutcome.News;
            }

            _slots[slot]!.Ignored++;
            _view = null;
            return fault is null ? MessageOutcome.Ignored : MessageOutcome.Refused;
        }
    }

    private static byte? ChannelOf(Message message) => message.SumCase switch
    {
        Message.SumOneofCase.NewRoundStep or Message.SumOneofCase.NewValidBlock or Message.SumOneofCase.HasVote
            or Message.SumOneofCase.VoteSetMaj23 or Message.SumOneofCase.HasProposalBlockPart => StandardChannels.ConsensusState.Id,
        Message.SumOneofCase.Proposal or Message.SumOneofCase.ProposalPol or Message.SumOneofCase.BlockPart => StandardChannels.ConsensusData.Id,
        Message.SumOneofCase.Vote => StandardChannels.ConsensusVote.Id,
        Message.SumOneofCase.VoteSetBits => StandardChannels.ConsensusVoteSetBits.Id,
        _ => null,
    };

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
                return Hold(slot, valid.Height, valid.Round, at) is { } block
                    && (TellTotal(block, slot, valid.BlockPartSetHeader.Total) | TellAll(block, block.Round.Parts, valid.BlockParts, slot, at));
            case Message.SumOneofCase.Proposal:
                Types.Proposal proposal = message.Proposal.Proposal_;
                return Hold(slot, proposal.Height, proposal.Round, at) is { } proposed && TellProposal(proposed, slot, proposal, at);
            case Message.SumOneofCase.ProposalPol:
                ProposalPOL pol = message.ProposalPol;
                return Hold(slot, pol.Height, pol.ProposalPolRound, at) is { } earlier && TellVotes(earlier, SignedMsgType.Prevote, pol.ProposalPol, slot, at);
            case Message.SumOneofCase.BlockPart:
                BlockPart part = message.BlockPart;
                return Hold(slot, part.Height, part.Round, at) is { } whole
                    && (TellTotal(whole, slot, (uint)part.Part.Proof.Total) | Tell(whole, whole.Round.Parts, (int)part.Part.Index, slot, at));
            case Message.SumOneofCase.HasProposalBlockPart:
                HasProposalBlockPart piece = message.HasProposalBlockPart;
                return Hold(slot, piece.Height, piece.Round, at) is { } pieces && Tell(pieces, pieces.Round.Parts, piece.Index, slot, at);
            case Message.SumOneofCase.Vote:
                Types.Vote vote = message.Vote.Vote_;
                return Hold(slot, vote.Height, vote.Round, at) is { } round && TellVote(round, slot, vote, at);
            case Message.SumOneofCase.HasVote:
                HasVote has = message.HasVote;
                return Hold(slot, has.Height, has.Round, at) is { } of && TellVote(of, has.Type, has.Index, slot, at);
            case Message.SumOneofCase.VoteSetBits:
                VoteSetBits bits = message.VoteSetBits;
                return Hold(slot, bits.Height, bits.Round, at) is { } set && TellVotes(set, bits.Type, bits.Votes, slot, at);
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
        committed.RoundsTotal.AtLeast(slot, TotalOf(round ?? 0));
        ObservedPeer[] peers = [.. _slots.OfType<ObservedPeer>().Where(peer => peer.IsConnected && peer.Height > 0)];
        if (2 * peers.Count(peer => peer.Height > height || (peer.Height == height && peer.Step == ConsensusStep.Commit)) > peers.Length)
        {
            committed.CommittedAt = at;
        }
    }

    // How many rounds there are when there is this one.
    private static int TotalOf(int round) => Math.Min(round, int.MaxValue - 1) + 1;

    /// <summary>
    /// Makes a round one of those that are kept of what a peer says, which may push out its earliest ones.
    /// </summary>
    /// <returns>Null when it is before all of them.</returns>
    private HeldRound? Hold(int slot, long height, int round, DateTimeOffset at)
    {
        ObservedPeer peer = _slots[slot]!;
        if (height == 0)
        {
            return null;
        }

        if (!peer.Held.TryGetValue(height, out SortedDictionary<int, HeldRound>? rounds))
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

        if (rounds.TryGetValue(round, out HeldRound? held))
        {
            return held;
        }

        if (rounds.Count >= _options.RoundsPerHeight)
        {
            int first = rounds.First().Key;
            if (round < first)
            {
                return null;
            }

            Forget(slot, height, first);
        }

        if (!_heights.TryGetValue(height, out ObservedHeight? observed))
        {
            _heights.Add(height, observed = new ObservedHeight(height, at));
        }

        if (!observed.Rounds.TryGetValue(round, out ObservedRound? heard))
        {
            observed.Rounds.Add(round, heard = new ObservedRound(round, at));
        }

        observed.Holders |= Slots.Bit(slot);
        heard.Holders |= Slots.Bit(slot);
        observed.RoundsTotal.AtLeast(slot, TotalOf(round));
        observed.Change();
        rounds.Add(round, held = new HeldRound(observed, heard));
        return held;
    }

    /// <summary>Makes room for one more fact of a peer, by what it said of lower heights, and of lower rounds of the same.</summary>
    /// <returns>Whether there is room.</returns>
    private bool MakeRoom(HeldRound held, int slot)
    {
        ObservedPeer peer = _slots[slot]!;
        while (peer.Facts >= _options.FactsPerPeer)
        {
            (long height, SortedDictionary<int, HeldRound> rounds) = peer.Held.First();
            if (height < held.Height.Number)
            {
                Forget(slot, height);
            }
            else if (height == held.Height.Number && rounds.First().Key is int round && round < held.Round.Number)
            {
                Forget(slot, height, round);
            }
            else
            {
                return false;
            }
        }

        return true;
    }

    private void Count(HeldRound held, int slot)
    {
        _slots[slot]!.Facts++;
        held.Facts++;
        held.Change();
    }

    /// <returns>Whether it is news, and there was room for it.</returns>
    private bool Tell<TView>(HeldRound held, Sightings<TView> sightings, int index, int slot, DateTimeOffset at)
        where TView : class
    {
        if (sightings.IsTold(index, slot) || !MakeRoom(held, slot))
        {
            return false;
        }

        sightings.Tell(index, slot, at);
        Count(held, slot);
        return true;
    }

    private bool TellAll<TView>(HeldRound held, Sightings<TView> sightings, BitArray bits, int slot, DateTimeOffset at)
        where TView : class
    {
        bool isNews = false;
        for (int i = 0; i < bits.Elems.Count; i++)
        {
            // Bits beyond the length that it names do not count.
            ulong left = (int)bits.Bits - (i * 64) is < 64 and int length ? (1UL << length) - 1 : ulong.MaxValue;
            for (ulong elements = bits.Elems[i] & left; elements != 0; elements &= elements - 1)
            {
                isNews |= Tell(held, sightings, (i * 64) + BitOperations.TrailingZeroCount(elements), slot, at);
            }
        }

        return isNews;
    }

    private static bool TellTotal(HeldRound held, int slot, uint parts)
    {
        bool isNews = held.Round.PartsTotal.AtLeast(slot, (int)parts);
        if (isNews)
        {
            held.Change();
        }

        return isNews;
    }

    private static bool TellValidators(HeldRound held, int slot, int validators)
    {
        bool isNews = held.Height.Validators.AtLeast(slot, validators);
        if (isNews)
        {
            held.Height.Change();
        }

        return isNews;
    }

    private bool TellProposal(HeldRound held, int slot, Types.Proposal proposal, DateTimeOffset at)
    {
        if ((held.Round.Proposals.Tellers & Slots.Bit(slot)) != 0 || !MakeRoom(held, slot))
        {
            return false;
        }

        held.Round.Proposals.Tell(slot, at, proposal.BlockId.Hash, ByteString.Empty, (int)proposal.BlockId.PartSetHeader.Total, proposal.PolRound);
        Count(held, slot);
        return true;
    }

    private bool TellVote(HeldRound held, SignedMsgType type, int index, int slot, DateTimeOffset at)
    {
        Sightings<VoteView> votes = type == SignedMsgType.Prevote ? held.Round.Prevotes : held.Round.Precommits;
        return Tell(held, votes, index, slot, at) | (votes.IsTold(index, slot) && TellValidators(held, slot, index + 1));
    }

    private bool TellVote(HeldRound held, int slot, Types.Vote vote, DateTimeOffset at)
    {
        Sightings<VoteView> votes = vote.Type == SignedMsgType.Prevote ? held.Round.Prevotes : held.Round.Precommits;
        bool isNews = TellVote(held, vote.Type, vote.ValidatorIndex, slot, at);
        if (votes.IsTold(vote.ValidatorIndex, slot) && votes.Claim(vote.ValidatorIndex, slot, at, vote.BlockId?.Hash ?? ByteString.Empty, vote.ValidatorAddress))
        {
            held.Change();
            return true;
        }

        return isNews;
    }

    private bool TellVotes(HeldRound held, SignedMsgType type, BitArray? bits, int slot, DateTimeOffset at) =>
        bits is { Bits: > 0 }
        && (TellAll(held, type == SignedMsgType.Prevote ? held.Round.Prevotes : held.Round.Precommits, bits, slot, at) | TellValidators(held, slot, (int)bits.Bits));

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
        _slots[slot]!.Held[height].Remove(round, out HeldRound? held);
        _slots[slot]!.Facts -= held!.Facts;
        held.Round.Forget(slot);
        held.Height.Change();
        if (held.Round.Holders == 0)
        {
            held.Height.Rounds.Remove(round);
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
        (int Slot, ObservedPeer Peer)[] peers = [.. _slots.Index().Where(slot => slot.Item is not null).OrderBy(slot => slot.Item!.Number).Select(slot => (slot.Index, slot.Item!))];
        long[] heights = HeightsOf(peers.Where(peer => peer.Peer.IsConnected));

        // When all have left, the last of what they said stands.
        heights = heights.Length > 0 ? heights : HeightsOf(peers);
        long height = heights.Length > 0 ? heights[(heights.Length - 1) / 2] : 0;
        return new ConsensusView(
            _at,
            height,
            [.. peers.Select(peer => ViewOf(peer.Slot, peer.Peer))],
            [.. _heights.Values.Where(known => known.Number > height - _options.Heights && known.Number - 1 <= height).Select(known => known.View(_slots))]);

        static long[] HeightsOf(IEnumerable<(int, ObservedPeer Peer)> peers) => [.. peers.Select(peer => peer.Peer.Height).Where(height => height > 0).Order()];
    }

    private static PeerConsensusView ViewOf(int slot, ObservedPeer peer)
    {
        ObservedRound? round = peer.Held.GetValueOrDefault(peer.Height)?.GetValueOrDefault(peer.Round)?.Round;
        return new PeerConsensusView
        {
            Id = peer.Id,
            Moniker = peer.Moniker,
            IsConnected = peer.IsConnected,
            Height = peer.Height,
            Round = peer.Round,
            Step = peer.Step,
            StepAt = peer.StepAt,
            HasProposal = round is not null && (round.Proposals.Tellers & Slots.Bit(slot)) != 0,
            Parts = round?.Parts.ToldBy(slot) ?? [],
            Prevotes = round?.Prevotes.ToldBy(slot) ?? [],
            Precommits = round?.Precommits.ToldBy(slot) ?? [],
            Facts = peer.Facts,
            Ignored = peer.Ignored,
        };
    }
}
