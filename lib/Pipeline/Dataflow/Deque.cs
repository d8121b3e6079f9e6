using System.Numerics;

namespace Pipeline.Dataflow;

/// <summary>A queue to whose front something can be put back. A mutable struct: keep it in a field.</summary>
/// <typeparam name="T">The type of the items.</typeparam>
internal struct Deque<T>()
{
    // Invariant: the Count items start at _head and may go on at the beginning; all other places are default. The length is zero or a power of two.
    private const int MinLength = 4;

    private T[] _items = [];
    private int _head;

    public int Count { get; private set; }

    /// <summary>The first item, of which there is one.</summary>
    public readonly ref readonly T First => ref _items[_head];

    public void AddLast(in T item)
    {
        Grow();
        _items[(_head + Count++) & (_items.Length - 1)] = item;
    }

    public void AddFirst(in T item)
    {
        Grow();
        _head = (_head - 1) & (_items.Length - 1);
        _items[_head] = item;
        Count++;
    }

    /// <summary>Removes the first item, of which there is one.</summary>
    public void RemoveFirst()
    {
        _items[_head] = default!;
        _head = (_head + 1) & (_items.Length - 1);
        Count--;
    }

    private void Grow()
    {
        if (Count < _items.Length)
        {
            return;
        }

        T[] larger = new T[Math.Max(MinLength, (int)BitOperations.RoundUpToPowerOf2((uint)Count + 1))];
        _items.AsSpan(_head).CopyTo(larger);
        _items.AsSpan(0, _head).CopyTo(larger.AsSpan(_items.Length - _head));
        _items = larger;
        _head = 0;
    }
}
