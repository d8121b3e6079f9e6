using System.Buffers;

namespace Pipeline.Dataflow;

/// <summary>
/// Messages in the order in which they were added: those that others may hold as well by reference, small ones as copies, one behind the other in
/// pooled blocks, so that each costs its bytes and no object. Not safe for concurrent use.
/// </summary>
internal sealed class MessageLog(ArrayPool<byte> pool)
{
    /// <summary>The largest message that is worth a copy; of a block, at most as much stays unused at its end.</summary>
    public const int MaxCopySize = 2048;

    /// <summary>The bytes of a block.</summary>
    public const int BlockSize = 16 * 1024;

    // Invariant: the copies stand one behind the other in _blocks, each in one piece: from _start in the first block to _end in _last, the newest. One that
    // does not fit behind the one before it begins a block. There are blocks only while there are entries.
    private readonly Queue<Entry> _entries = [];
    private readonly Queue<byte[]> _blocks = [];
    private byte[]? _last;
    private int _start;
    private int _end;

    public int Count => _entries.Count;

    /// <summary>The bytes of the first message.</summary>
    public ReadOnlySpan<byte> First
    {
        get
        {
            Entry first = _entries.Peek();
            if (first.Shared is { } shared)
            {
                return shared.Span;
            }

            SkipToNextBlockFor(first.Length);
            return _blocks.Peek().AsSpan(_start, first.Length);
        }
    }

    /// <summary>Adds a message, taking over the caller's hold on it.</summary>
    public void Add(SerializedMessage message) => _entries.Enqueue(new Entry(message, message.Length));

    /// <summary>Adds a copy of a message of at most <see cref="MaxCopySize"/> bytes.</summary>
    public void Add(ReadOnlySpan<byte> message)
    {
        if (_last is null || message.Length > BlockSize - _end)
        {
            _blocks.Enqueue(_last = pool.Rent(BlockSize));
            _end = 0;
        }

        message.CopyTo(_last.AsSpan(_end));
        _end += message.Length;
        _entries.Enqueue(new Entry(null, message.Length));
    }

    /// <summary>Removes the first message, whose bytes nobody may look at any more, and returns its length.</summary>
    public int RemoveFirst()
    {
        Entry first = _entries.Dequeue();
        if (first.Shared is { } shared)
        {
            shared.Release();
        }
        else
        {
            SkipToNextBlockFor(first.Length);
            _start += first.Length;
        }

        if (_entries.Count == 0)
        {
            ReturnBlocks();
        }

        return first.Length;
    }

    /// <summary>Drops everything.</summary>
    public void Clear()
    {
        foreach (Entry entry in _entries)
        {
            entry.Shared?.Release();
        }

        _entries.Clear();
        ReturnBlocks();
    }

    // What did not fit when it was added stands at the beginning of the next.
    private void SkipToNextBlockFor(int length)
    {
        if (length > BlockSize - _start)
        {
            pool.Return(_blocks.Dequeue());
            _start = 0;
        }
    }

    private void ReturnBlocks()
    {
        while (_blocks.TryDequeue(out byte[]? block))
        {
            pool.Return(block);
        }

        _last = null;
        _start = _end = 0;
    }

    private readonly record struct Entry(SerializedMessage? Shared, int Length);
}
