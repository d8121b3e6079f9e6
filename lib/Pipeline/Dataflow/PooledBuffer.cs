using System.Buffers;

namespace Pipeline.Dataflow;

/// <summary>
/// A pooled array with one message in it, or several; it goes back when each has been released, and each can be released only once, however many
/// hold this object.
/// </summary>
internal sealed class PooledBuffer(ArrayPool<byte> pool, byte[] array, int messages = 1)
{
    /// <summary>
    /// Up to this size an array is made in less time than it takes to rent one and to return it on another thread, and the collector gets rid of it as it
    /// does of the object that it belongs to.
    /// </summary>
    public const int MaxUnpooledSize = 512;

    /// <summary>The most messages in one array.</summary>
    public const int MaxMessages = 64;

    // Invariant: bit i is set until message i has been released; the array is the pool's once none is.
    private ulong _held = ulong.MaxValue >> (MaxMessages - messages);

    /// <summary>The bytes that each message takes, which may be more than its own.</summary>
    public int Share { get; } = ((array.Length - 1) / messages) + 1;

    public void Release(int message)
    {
        ulong bit = 1UL << message;
        if (Interlocked.And(ref _held, ~bit) == bit)
        {
            pool.Return(array);
        }
    }
}
