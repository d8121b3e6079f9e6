using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace Pipeline.Protocols;

/// <summary>What happened, for any number of readers, of whom none holds back the others or who tells: one that is too slow misses the oldest.</summary>
/// <param name="capacity">How much may wait for each reader.</param>
internal sealed class Fanout<T>(int capacity)
{
    private ImmutableArray<Channel<T>> _readers = [];
    private volatile bool _isCompleted;
    private long _missed;

    /// <summary>What readers have missed, counted for each.</summary>
    public long Missed => Volatile.Read(ref _missed);

    public void Tell(T item)
    {
        foreach (Channel<T> reader in _readers)
        {
            reader.Writer.TryWrite(item);
        }
    }

    public void Complete()
    {
        _isCompleted = true;
        foreach (Channel<T> reader in _readers)
        {
            reader.Writer.TryComplete();
        }
    }

    /// <summary>What is told from this call on, also before the first item is asked for.</summary>
    public IAsyncEnumerable<T> ReadAsync(CancellationToken cancellationToken)
    {
        Channel<T> reader = Channel.CreateBounded<T>(
            new BoundedChannelOptions(capacity) { FullMode = BoundedChannelFullMode.DropOldest },
            _ => Interlocked.Increment(ref _missed));
        ImmutableInterlocked.Update(ref _readers, static (readers, added) => readers.Add(added), reader);
        if (_isCompleted)
        {
            reader.Writer.TryComplete();
        }

        return EnumerateAsync(reader, cancellationToken);
    }

    private async IAsyncEnumerable<T> EnumerateAsync(Channel<T> reader, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        try
        {
            await foreach (T item in reader.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false))
            {
                yield return item;
            }
        }
        finally
        {
            ImmutableInterlocked.Update(ref _readers, static (readers, removed) => readers.Remove(removed), reader);
        }
    }
}
