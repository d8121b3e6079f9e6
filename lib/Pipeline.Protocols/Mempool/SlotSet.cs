namespace Pipeline.Protocols.Mempool;

/// <summary>A set of peers, by their slots: a bit for each. Most nodes have fewer peers than a word has bits.</summary>
internal struct SlotSet
{
    private const int Bits = 64;
    private ulong _low;
    private ulong[]? _high;

    public readonly bool Contains(int slot) => (Word(slot / Bits) >> (slot % Bits) & 1) != 0;

    public readonly bool ContainsAll(in SlotSet other)
    {
        bool hasAll = (other._low & ~_low) == 0;
        for (int i = 1; hasAll && i <= (other._high?.Length ?? 0); i++)
        {
            hasAll = (other.Word(i) & ~Word(i)) == 0;
        }

        return hasAll;
    }

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

    private readonly ulong Word(int index) => index == 0 ? _low : _high is null || index > _high.Length ? 0 : _high[index - 1];
}
