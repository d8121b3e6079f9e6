using System.Buffers;

namespace Pipeline.Dataflow;

/// <summary>A pooled array that can be given back only once, however many hold this object.</summary>
internal sealed class PooledBuffer(byte[] array)
{
    private byte[]? _array = array;

    public void Release()
    {
        if (Interlocked.Exchange(ref _array, null) is { } array)
        {
            ArrayPool<byte>.Shared.Return(array);
        }
    }
}
