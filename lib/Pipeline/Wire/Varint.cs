using System.Buffers;
using System.Numerics;

namespace Pipeline.Wire;

/// <summary>Protobuf's base-128 varints, which also prefix every delimited message on the wire.</summary>
public static class Varint
{
    /// <summary>The most bytes that a 64-bit varint can take.</summary>
    public const int MaxLength = 10;

    /// <summary>The number of bytes that <paramref name="value"/> takes, 1 to <see cref="MaxLength"/>.</summary>
    public static int Length(ulong value) => (BitOperations.Log2(value | 1) / 7) + 1;

    /// <summary>Writes <paramref name="value"/> and returns how many bytes it took.</summary>
    /// <exception cref="IndexOutOfRangeException"><paramref name="destination"/> is shorter than <see cref="Length"/>.</exception>
    public static int Write(Span<byte> destination, ulong value)
    {
        int length = 0;
        while (value >= 0x80)
        {
            destination[length++] = (byte)(value | 0x80);
            value >>= 7;
        }

        destination[length++] = (byte)value;
        return length;
    }

    /// <summary>Reads a varint from the start of <paramref name="source"/>.</summary>
    /// <param name="source">The bytes to read from.</param>
    /// <param name="value">The value, when done.</param>
    /// <param name="length">How many bytes it took, when done.</param>
    /// <returns>
    /// <see cref="OperationStatus.Done"/>; <see cref="OperationStatus.NeedMoreData"/> when <paramref name="source"/> ends inside the
    /// varint; <see cref="OperationStatus.InvalidData"/> when it does not end within <see cref="MaxLength"/> bytes or is over 64 bits.
    /// </returns>
    public static OperationStatus TryRead(ReadOnlySpan<byte> source, out ulong value, out int length)
    {
        // Lengths of packets are one or two bytes nearly always.
        if (source.Length > 0 && source[0] < 0x80)
        {
            value = source[0];
            length = 1;
            return OperationStatus.Done;
        }

        return TryReadLong(source, out value, out length);
    }

    private static OperationStatus TryReadLong(ReadOnlySpan<byte> source, out ulong value, out int length)
    {
        value = 0;
        length = 0;
        for (int i = 0; i < source.Length; i++)
        {
            byte b = source[i];

            // The tenth byte holds the 64th bit alone.
            if (i == MaxLength - 1 && b > 1)
            {
                value = 0;
                return OperationStatus.InvalidData;
            }

            value |= (ulong)(b & 0x7f) << (7 * i);
            if (b < 0x80)
            {
                length = i + 1;
                return OperationStatus.Done;
            }
        }

        value = 0;
        return OperationStatus.NeedMoreData;
    }
}
