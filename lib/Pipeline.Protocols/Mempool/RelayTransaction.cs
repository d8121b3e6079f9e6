namespace Pipeline.Protocols.Mempool;

/// <summary>A transaction that the log remembers. Guarded by the log's lock, but for what never changes.</summary>
internal sealed class RelayTransaction(TransactionHash hash, RelayFeed? from, long addedAt)
{
    // A bit for each peer's slot.
    private SlotSet _holders;
    private SlotSet _senders;

    public TransactionHash Hash { get; } = hash;

    /// <summary>The feed of the peer that sent it first, which may have left; null when nobody did.</summary>
    public RelayFeed? From { get; } = from;

    public long AddedAt { get; } = addedAt;

    /// <summary>While it is in the pool.</summary>
    public byte[]? Bytes { get; set; }

    public long Sequence { get; set; }

    /// <summary>Whether it is being checked, or is in the pool, so that it may not be forgotten.</summary>
    public bool IsHeld { get; set; } = true;

    /// <summary>Whether it was asked for and has come, so that there is room kept for it, and is not in the pool yet.</summary>
    public bool IsReserved { get; set; }

    /// <summary>Whether the cache has it.</summary>
    public bool IsCached { get; set; }

    /// <summary>Whether a peer that did not send it first has it, so that it may make room for others.</summary>
    public bool IsSettled { get; set; }

    /// <summary>Whether a peer has it, or is about to: it was sent in either direction, or announced.</summary>
    public bool IsKnownTo(RelayFeed feed) => _holders.Contains(feed.Slot);

    public bool TryAddHolder(RelayFeed feed) => _holders.TryAdd(feed.Slot);

    /// <summary>False when the peer had sent it before.</summary>
    public bool TryAddSender(RelayFeed feed) => _senders.TryAdd(feed.Slot);

    public void Forget(RelayFeed feed)
    {
        _holders.Remove(feed.Slot);
        _senders.Remove(feed.Slot);
    }

    // Most nodes have fewer peers than a word has bits.
    private struct SlotSet
    {
        private const int Bits = 64;
        private ulong _low;
        private ulong[]? _high;

        public readonly bool Contains(int slot) => (Word(slot) >> (slot % Bits) & 1) != 0;

        public bool TryAdd(int slot)
        {
            if (Contains(slot))
            {
                return false;
            }

            ulong bit = 1UL << (slot % Bits);
            if (slot < Bits)
            {
                _low |= bit;
            }
            else
            {
                Array.Resize(ref _high, Math.Max(_high?.Length ?? 0, slot / Bits));
                _high[(slot / Bits) - 1] |= bit;
            }

            return true;
        }

        public void Remove(int slot)
        {
            if (slot < Bits)
            {
                _low &= ~(1UL << slot);
            }
            else if (Contains(slot))
            {
                _high![(slot / Bits) - 1] &= ~(1UL << (slot % Bits));
            }
        }

        private readonly ulong Word(int slot) => slot < Bits ? _low : _high is null || (slot / Bits) - 1 >= _high.Length ? 0 : _high[(slot / Bits) - 1];
    }
}
