namespace Pipeline.Tests.Support;

/// <summary>One end of a connection in memory, which can be half-closed, cut into any pieces, and filled up.</summary>
internal sealed class MemoryDuplex : TestStream
{
    private readonly ByteQueue _incoming;
    private readonly ByteQueue _outgoing;
    private readonly Func<int> _splits;

    private MemoryDuplex(ByteQueue incoming, ByteQueue outgoing, Func<int>? splits)
    {
        _incoming = incoming;
        _outgoing = outgoing;
        _splits = splits ?? Splits.None;
    }

    /// <summary>How many bytes have been written to this end.</summary>
    public long BytesWritten => _outgoing.Total;

    /// <summary>Two ends; each direction holds <paramref name="capacity"/> bytes and is read in pieces of <paramref name="splits"/>.</summary>
    public static (MemoryDuplex A, MemoryDuplex B) CreatePair(int capacity = 64 * 1024, Func<int>? splits = null)
    {
        ByteQueue one = new(capacity);
        ByteQueue other = new(capacity);
        return (new MemoryDuplex(one, other, splits), new MemoryDuplex(other, one, splits));
    }

    /// <summary>Says that nothing more will be written; the other end reads to the end.</summary>
    public void CompleteWrites() => _outgoing.Complete();

    /// <summary>Waits until the other end has read all that was written to this one.</summary>
    public Task DrainAsync(CancellationToken cancellationToken) => _outgoing.DrainAsync(cancellationToken);

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        _incoming.ReadAsync(buffer, _splits, cancellationToken);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        _outgoing.WriteAsync(buffer, cancellationToken);

    protected override void Release()
    {
        _incoming.Abort();
        _outgoing.Complete();
    }

    private sealed class ByteQueue(int capacity)
    {
        // Invariant: guarded by its lock. _bytes[_start, _start + _count), round and round, is written and not read.
        private readonly Lock _lock = new();
        private readonly byte[] _bytes = new byte[capacity];
        private int _start;
        private int _count;
        private bool _completed;
        private bool _aborted;
        private TaskCompletionSource _changed = NewSignal();

        public long Total { get; private set; }

        public async ValueTask<int> ReadAsync(Memory<byte> buffer, Func<int> splits, CancellationToken cancellationToken)
        {
            while (true)
            {
                cancellationToken.ThrowIfCancellationRequested();
                Task changed;
                lock (_lock)
                {
                    ObjectDisposedException.ThrowIf(_aborted, typeof(MemoryDuplex));
                    if (_count > 0 || _completed)
                    {
                        int count = Math.Min(Math.Min(buffer.Length, _count), _count == 0 ? 0 : splits());
                        for (int i = 0; i < count;)
                        {
                            int piece = Math.Min(count - i, capacity - _start);
                            _bytes.AsSpan(_start, piece).CopyTo(buffer.Span[i..]);
                            _start = (_start + piece) % capacity;
                            i += piece;
                        }

                        _count -= count;
                        Change();
                        return count;
                    }

                    changed = _changed.Task;
                }

                await changed.WaitAsync(cancellationToken);
            }
        }

        public async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken)
        {
            while (true)
            {
                cancellationToken.ThrowIfCancellationRequested();
                Task changed;
                lock (_lock)
                {
                    ObjectDisposedException.ThrowIf(_completed, typeof(MemoryDuplex));
                    if (_aborted)
                    {
                        throw new IOException("The other end is closed.");
                    }

                    while (!buffer.IsEmpty && _count < capacity)
                    {
                        int end = (_start + _count) % capacity;
                        int piece = Math.Min(Math.Min(buffer.Length, capacity - _count), capacity - end);
                        buffer.Span[..piece].CopyTo(_bytes.AsSpan(end));
                        buffer = buffer[piece..];
                        _count += piece;
                        Total += piece;
                        Change();
                    }

                    if (buffer.IsEmpty)
                    {
                        return;
                    }

                    changed = _changed.Task;
                }

                await changed.WaitAsync(cancellationToken);
            }
        }

        public async Task DrainAsync(CancellationToken cancellationToken)
        {
            while (true)
            {
                Task changed;
                lock (_lock)
                {
                    if (_count == 0)
                    {
                        return;
                    }

                    changed = _changed.Task;
                }

                await changed.WaitAsync(cancellationToken);
            }
        }

        public void Complete()
        {
            lock (_lock)
            {
                _completed = true;
                Change();
            }
        }

        public void Abort()
        {
            lock (_lock)
            {
                _aborted = true;
                Change();
            }
        }

        private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

        private void Change()
        {
            _changed.SetResult();
            _changed = NewSignal();
        }
    }
}
