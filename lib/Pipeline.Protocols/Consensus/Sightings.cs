using System.Collections.Immutable;
using System.Numerics;
using System.Runtime.InteropServices;
using Google.Protobuf;
using Pipeline.Cryptography;

namespace Pipeline.Protocols.Consensus;

/// <summary>Peers as bits: the place of each in the observer.</summary>
internal static class Slots
{
    public static ulong Bit(int slot) => 1UL << slot;

    /// <summary>The ids of some peers, with one of them in front.</summary>
    /// <param name="peers">The peers by slot.</param>
    /// <param name="slots">Which.</param>
    /// <param name="first">The slot of the first; it need not be among them.</param>
    public static ImmutableArray<NodeId> Ids(ObservedPeer?[] peers, ulong slots, int first)
    {
        NodeId[] ids = new NodeId[BitOperations.PopCount(slots)];
        int count = 0;
        if (first >= 0 && (slots & Bit(first)) != 0)
        {
            ids[count++] = peers[first]!.Id;
            slots &= ~Bit(first);
        }

        for (; slots != 0; slots &= slots - 1)
        {
            ids[count++] = peers[BitOperations.TrailingZeroCount(slots)]!.Id;
        }

        return ImmutableCollectionsMarshal.AsImmutableArray(ids);
    }
}

/// <summary>A number that peers have an opinion of, and may lie about.</summary>
internal sealed class Opinions
{
    private int[] _bySlot = [];
    private int _agreed = -1;

    /// <summary>The largest number that more than half of those who said something said at least; 0 when nobody did.</summary>
    public int Agreed => _agreed >= 0 ? _agreed : _agreed = FindAgreed();

    /// <returns>Whether that is news.</returns>
    public bool AtLeast(int slot, int value)
    {
        if (_bySlot.Length == 0)
        {
            _bySlot = new int[ConsensusObserver.MaxPeers];
        }

        if (value <= _bySlot[slot])
        {
            return false;
        }

        _bySlot[slot] = value;
        _agreed = -1;
        return true;
    }

    public void Forget(int slot)
    {
        if (_bySlot.Length > 0)
        {
            _bySlot[slot] = 0;
            _agreed = -1;
        }
    }

    private int FindAgreed()
    {
        Span<int> said = stackalloc int[ConsensusObserver.MaxPeers];
        int count = 0;
        foreach (int value in _bySlot)
        {
            if (value > 0)
            {
                said[count++] = value;
            }
        }

        said[..count].Sort();
        return count == 0 ? 0 : said[(count - 1) / 2];
    }
}

/// <summary>What some peers say that a vote or proposal is.</summary>
internal sealed class Claim(DateTimeOffset firstSeen, ByteString block, int parts, int validRound, int first)
{
    private string? _blockText;

    public DateTimeOffset FirstSeen => firstSeen;

    public ByteString Block => block;

    public string BlockText => _blockText ??= Convert.ToHexStringLower(block.Span);

    public int Parts => parts;

    public int ValidRound => validRound;

    /// <summary>The slot of who said it first.</summary>
    public int First { get; set; } = first;

    public ByteString Address { get; set; } = ByteString.Empty;

    public string? AddressText => Address.IsEmpty ? null : field ??= Convert.ToHexStringLower(Address.Span);

    public ulong Tellers { get; set; }
}

/// <summary>What a vote or a proposal is, as different peers have it, in the order that it was heard.</summary>
/// <remarks>Invariant: a peer is a teller of at most one of them, and each has a teller.</remarks>
internal sealed class Claims
{
    private readonly List<Claim> _claims = new(1);

    public int Count => _claims.Count;

    /// <summary>What most peers say; the earlier of two.</summary>
    public Claim? Best => _claims.MaxBy(claim => BitOperations.PopCount(claim.Tellers));

    public ulong Tellers => _claims.Aggregate(0UL, (tellers, claim) => tellers | claim.Tellers);

    /// <returns>Whether it is news: a peer's first claim counts.</returns>
    public bool Tell(int slot, DateTimeOffset at, ByteString block, ByteString address, int parts = 0, int validRound = 0)
    {
        Claim? same = null;
        foreach (Claim claim in _claims)
        {
            if ((claim.Tellers & Slots.Bit(slot)) != 0)
            {
                return false;
            }

            same = claim.Block == block && claim.Parts == parts && claim.ValidRound == validRound ? claim : same;
        }

        if (same is null)
        {
            _claims.Add(same = new Claim(at, block, parts, validRound, slot));
        }

        same.Tellers |= Slots.Bit(slot);
        same.Address = same.Address.IsEmpty ? address : same.Address;
        return true;
    }

    public void Forget(int slot)
    {
        for (int i = _claims.Count - 1; i >= 0; i--)
        {
            _claims[i].First = _claims[i].First == slot ? -1 : _claims[i].First;
            if ((_claims[i].Tellers &= ~Slots.Bit(slot)) == 0)
            {
                _claims.RemoveAt(i);
            }
        }
    }
}

/// <summary>What was heard of one vote or part.</summary>
/// <typeparam name="TView">What it looks like.</typeparam>
internal struct Sighting<TView>
    where TView : class
{
    /// <summary>The slots of the peers that told of it, as bits; none when nothing was heard.</summary>
    public ulong Tellers;

    public DateTimeOffset FirstSeen;

    /// <summary>The slot of who told first; -1 when that one is forgotten.</summary>
    public int First;

    /// <summary>What peers say that it is; null when nobody did.</summary>
    public Claims? Claims;

    /// <summary>What it looks like since it changed last; null when nobody has asked.</summary>
    public TView? View;
}

/// <summary>What was heard of the votes of one kind, or the parts, of a round, by index.</summary>
/// <remarks>
/// A message may name 10,000 of them, so there is neither an object nor a look-up for each: they lie beside each other in small arrays, which
/// are there where something was heard.
/// </remarks>
internal sealed class Sightings<TView>
    where TView : class
{
    private const int ChunkSize = 16;

    private Sighting<TView>[]?[] _chunks = [];
    private ImmutableArray<TView> _view;
    private int _viewed;

    public delegate TView Describe(int index, in Sighting<TView> sighting);

    /// <summary>Whether a peer has told of one.</summary>
    public bool IsTold(int index, int slot) =>
        index / ChunkSize < _chunks.Length && _chunks[index / ChunkSize] is { } chunk && (chunk[index % ChunkSize].Tellers & Slots.Bit(slot)) != 0;

    /// <summary>A peer tells of one, for the first time.</summary>
    public void Tell(int index, int slot, DateTimeOffset at)
    {
        if (index / ChunkSize >= _chunks.Length)
        {
            Array.Resize(ref _chunks, Math.Max((index / ChunkSize) + 1, 2 * _chunks.Length));
        }

        ref Sighting<TView> sighting = ref (_chunks[index / ChunkSize] ??= new Sighting<TView>[ChunkSize])[index % ChunkSize];
        if (sighting.Tellers == 0)
        {
            (sighting.FirstSeen, sighting.First) = (at, slot);
        }

        sighting.Tellers |= Slots.Bit(slot);
        Change(ref sighting);
    }

    /// <summary>A peer that has told of one says what it is.</summary>
    /// <returns>Whether it is news.</returns>
    public bool Claim(int index, int slot, DateTimeOffset at, ByteString block, ByteString address)
    {
        ref Sighting<TView> sighting = ref _chunks[index / ChunkSize]![index % ChunkSize];
        bool isNews = (sighting.Claims ??= new Claims()).Tell(slot, at, block, address);
        if (isNews)
        {
            Change(ref sighting);
        }

        return isNews;
    }

    public void Forget(int slot)
    {
        foreach (ref Sighting<TView>[]? chunk in _chunks.AsSpan())
        {
            bool isEmpty = true;
            foreach (ref Sighting<TView> sighting in chunk.AsSpan())
            {
                if ((sighting.Tellers & Slots.Bit(slot)) != 0)
                {
                    sighting.Tellers &= ~Slots.Bit(slot);
                    sighting.First = sighting.First == slot ? -1 : sighting.First;
                    sighting.Claims?.Forget(slot);
                    Change(ref sighting);
                    sighting = sighting.Tellers == 0 ? default : sighting;
                }

                isEmpty &= sighting.Tellers == 0;
            }

            chunk = isEmpty ? null : chunk;
        }
    }

    /// <summary>The indices that a peer has told of.</summary>
    public ImmutableArray<int> ToldBy(int slot)
    {
        ImmutableArray<int>.Builder told = ImmutableArray.CreateBuilder<int>();
        for (int i = 0; i < _chunks.Length; i++)
        {
            for (int j = 0; j < ChunkSize && _chunks[i] is { } chunk; j++)
            {
                if ((chunk[j].Tellers & Slots.Bit(slot)) != 0)
                {
                    told.Add((i * ChunkSize) + j);
                }
            }
        }

        return told.DrainToImmutable();
    }

    /// <summary>Those below a number, lowest first; the same array as long as nothing has changed.</summary>
    public ImmutableArray<TView> View(int below, Describe describe)
    {
        if (!_view.IsDefault && _viewed == below)
        {
            return _view;
        }

        ImmutableArray<TView>.Builder seen = ImmutableArray.CreateBuilder<TView>();
        for (int i = 0; i < _chunks.Length && i * ChunkSize < below; i++)
        {
            for (int j = 0; j < ChunkSize && (i * ChunkSize) + j < below && _chunks[i] is { } chunk; j++)
            {
                if (chunk[j].Tellers != 0)
                {
                    seen.Add(chunk[j].View ??= describe((i * ChunkSize) + j, in chunk[j]));
                }
            }
        }

        _viewed = below;
        return _view = seen.DrainToImmutable();
    }

    private void Change(ref Sighting<TView> sighting)
    {
        sighting.View = null;
        _view = default;
    }
}
