using System.Collections.Immutable;
using System.Diagnostics;
using System.Numerics;

namespace Pipeline.Discovery;

/// <summary>Up to four different numbers of buckets, in eight bytes: there are as many of these as addresses.</summary>
internal struct BucketNumbers
{
    public const int Capacity = 4;

    private const int Bits = 16;
    private const ulong Mask = (1 << Bits) - 1;

    // The first number is in the lowest bits, and each is one more than it is, so that none is zero.
    private ulong _packed;

    public readonly int Count => ((Bits * Capacity) - BitOperations.LeadingZeroCount(_packed) + Bits - 1) / Bits;

    public readonly int this[int index] => (int)((_packed >> (Bits * index)) & Mask) - 1;

    public readonly bool Contains(int number) => IndexOf(number) >= 0;

    public void Add(int number)
    {
        Debug.Assert(Count < Capacity && !Contains(number) && number is >= 0 and < (int)Mask, "There is room for a few small numbers.");
        _packed |= (ulong)(number + 1) << (Bits * Count);
    }

    public void Remove(int number)
    {
        int index = IndexOf(number);
        Debug.Assert(index >= 0, "Only what is there can be removed.");
        ulong before = _packed & ((1UL << (Bits * index)) - 1);
        _packed = before | ((_packed >> (Bits * index) >> Bits) << (Bits * index));
    }

    public readonly ImmutableArray<int> ToImmutableArray()
    {
        ImmutableArray<int>.Builder numbers = ImmutableArray.CreateBuilder<int>(Count);
        for (int i = 0; i < Count; i++)
        {
            numbers.Add(this[i]);
        }

        return numbers.MoveToImmutable();
    }

    private readonly int IndexOf(int number)
    {
        for (int i = 0; i < Count; i++)
        {
            if (this[i] == number)
            {
                return i;
            }
        }

        return -1;
    }
}
