using System.Buffers;
using System.Collections.Concurrent;

namespace Pipeline.Tests.Support;

/// <summary>A pool that knows which of its arrays are out, and does not take one back that is not.</summary>
internal sealed class CountingPool : ArrayPool<byte>
{
    private readonly ConcurrentDictionary<byte[], bool> _out = new(ReferenceEqualityComparer.Instance);
    private int _rented;

    /// <summary>How many arrays have been rented.</summary>
    public int Rented => Volatile.Read(ref _rented);

    /// <summary>How many of them have not been returned.</summary>
    public int Outstanding => _out.Count;

    public override byte[] Rent(int minimumLength)
    {
        byte[] array = new byte[Math.Max(16, minimumLength)];
        _out[array] = true;
        Interlocked.Increment(ref _rented);
        return array;
    }

    public override void Return(byte[] array, bool clearArray = false)
    {
        if (!_out.TryRemove(array, out _))
        {
            throw new InvalidOperationException("An array was returned that is not out: it is another's, or was returned before.");
        }

        // Whoever still reads it shall see it.
        Array.Fill(array, (byte)0xdd);
    }
}
