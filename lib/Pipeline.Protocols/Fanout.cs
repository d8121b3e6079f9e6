using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace Pipeline.Protocols;

/// <summary>What happened, for any number of readers, of whom none holds back the others or who tells: one that is too slow misses the oldest.</summary>
/// <param name="capacity">How much may wait for each reader.</param>
/// <param name="maxSize">How large all that waits for a reader may be; one item may always wait.</param>
/// <param name="sizeOf">The size of an item.</param>
internal sealed class Fanout<T>(int capacity, long maxSize, Func<T, long> sizeOf)
{
    private ImmutableArray<Reader> _readers = [];
    private volatile bool _isCompleted;
    private long _missed;

    /// <summary>What readers have missed, counted for each.</summary>
    public long Missed => Volatile.Read(ref _missed);

    public void Tell(T item)
    {
        foreach (Reader reader in _readers)
        {
            Interlocked.Add(ref _missed, reader.Add(item));
        }
    }

    public void Complete()
    {
        _isCompleted = true;
        foreach (Reader reader in _readers)
        {
            reader.Complete();
        }
    }

    /// <summary>What is told from this call on, also before the first item is asked for; until it ends, or the token is cancelled, what is not read is held.</summary>
    public IAsyncEnumerable<T> ReadAsync(CancellationToken cancellationToken)
    {
        Reader reader = new(capacity, maxSize, sizeOf);
        ImmutableInterlocked.Update(ref _readers, static (readers, added) => readers.Add(added), reader);
        if (_isCompleted)
        {
            reader.Complete();
        }

        // Also when nobody ever enumerates it.
        CancellationTokenRegistration cancellation = cancellationToken.UnsafeRegister(_ => Remove(reader), state: null);
        return EnumerateAsync(reader, cancellation, cancellationToken);
    }

    private async IAsyncEnumerable<T> EnumerateAsync(Reader reader, CancellationTokenRegistration cancellation, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        try
        {
            while (await reader.WaitAsync(cancellationToken).ConfigureAwait(false))
            {
                while (reader.TryTake(out T? item))
                {
                    yield return item;
                    cancellationToken.ThrowIfCancellationRequested();
                }
            }
        }
        finally
        {
            await cancellation.DisposeAsync().ConfigureAwait(false);
            Remove(reader);
        }
    }

    private void Remove(Reader reader)
    {
        ImmutableInterlocked.Update(ref _readers, static (readers, removed) => readers.Remove(removed), reader);
        reader.Clear();
    }

    private sealed class Reader(int capacity, long maxSize, Func<T, long> sizeOf)
    {
        // Guarded by _gate. Invariant: _size is that of all in _waiting.
        private readonly Lock _gate = new();
        private readonly Queue<T> _waiting = [];
        private readonly Channel<bool> _wakes = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
        private long _size;
        private bool _isRemoved;

        /// <summary>How many it misses for it.</summary>
        public int Add(T item)
        {
            int missed = 0;
            lock (_gate)
            {
                if (_isRemoved)
                {
                    return 0;
                }

                long size = sizeOf(item);
                for (; _waiting.Count >= capacity || (_waiting.Count > 0 && _size + size > maxSize); missed++)
                {
                    _size -= sizeOf(_waiting.Dequeue());
                }

                _waiting.Enqueue(item);
                _size += size;
            }

            _wakes.Writer.TryWrite(true);
            return missed;
        }

        public void Complete() => _wakes.Writer.TryComplete();

        public void Clear()
        {
            lock (_gate)
            {
                _isRemoved = true;
                _waiting.Clear();
                _size = 0;
            }
        }

        /// <summary>False when nothing waits, and nothing will come.</summary>
        public async ValueTask<bool> WaitAsync(CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            bool isOpen = await _wakes.Reader.WaitToReadAsync(cancellationToken).ConfigureAwait(false);
            _wakes.Reader.TryRead(out _);
            lock (_gate)
            {
                return isOpen || _waiting.Count > 0;
            }
        }

        public bool TryTake([System.Diagnostics.CodeAnalysis.MaybeNullWhen(false)] out T item)
        {
            lock (_gate)
            {
                bool hasAny = _waiting.TryDequeue(out item);
                _size -= hasAny ? sizeOf(item!) : 0;
                return hasAny;
            }
        }
    }
}
