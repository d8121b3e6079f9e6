using System.Buffers;

namespace Pipeline.Dataflow;

/// <summary>A pooled array that can be given back only once, however many hold this object.</summary>
internal sealed class PooledBuffer(ArrayPool<byte> pool, byte[] array)
{
    private byte[]? _array = array;

    /// <summary>The bytes that it takes, which may be more than those in use.</summary>
    public int Size { get; } = array.Length;

    public void Release()
    {
        if (Interlocked.Exchange(ref _array, null) is { } array)
        {
            pool.Return(array);
        }
    }
}
