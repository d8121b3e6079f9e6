using System.Buffers;
using Pipeline.Wire;

namespace Pipeline.Protocols.Mempool;

/// <summary>
/// The mempool's message by hand, because most transactions that come have been seen: nothing is copied or allocated to find that out.
/// A property test holds it against the generated code.
/// </summary>
internal static class TransactionsCodec
{
    // Field 1 of either message, with a length.
    private const byte Tag = 0x0a;

    /// <summary>Finds the transactions in a message.</summary>
    /// <param name="message">The message.</param>
    /// <param name="found">Gets where each is and how long.</param>
    /// <param name="max">When there are more than this many, it ends after one more.</param>
    /// <returns>False when it is no such message.</returns>
    public static bool TryFind(ReadOnlySpan<byte> message, List<(int Start, int Length)> found, int max)
    {
        found.Clear();
        bool isKnown = false;
        for (int at = 0; at < message.Length;)
        {
            if (!TryReadField(message, ref at, out bool isFirst, out int start))
            {
                return false;
            }

            isKnown |= isFirst;
            for (int inner = start; isFirst && inner < at;)
            {
                if (!TryReadField(message[..at], ref inner, out bool isTransaction, out int begin))
                {
                    return false;
                }

                if (isTransaction)
                {
                    found.Add((begin, inner - begin));
                    if (found.Count > max)
                    {
                        return true;
                    }
                }
            }
        }

        return isKnown;
    }

    /// <summary>How many bytes a message of transactions takes: at most this many.</summary>
    public static int MaxLength(int count, long bytes) => (int)Math.Min(Array.MaxLength, bytes + ((count + 1) * 6L));

    /// <summary>Writes a message.</summary>
    /// <param name="destination">As many bytes as <see cref="MaxLength"/> says.</param>
    /// <param name="transactions">The transactions.</param>
    /// <returns>Its length.</returns>
    public static int Write(Span<byte> destination, ReadOnlySpan<byte[]> transactions)
    {
        ulong inner = 0;
        foreach (byte[] transaction in transactions)
        {
            inner += 1 + (ulong)Varint.Length((ulong)transaction.Length) + (ulong)transaction.Length;
        }

        destination[0] = Tag;
        int at = 1 + Varint.Write(destination[1..], inner);
        foreach (byte[] transaction in transactions)
        {
            destination[at++] = Tag;
            at += Varint.Write(destination[at..], (ulong)transaction.Length);
            transaction.CopyTo(destination[at..]);
            at += transaction.Length;
        }

        return at;
    }

    // Leaves `at` behind the field; `start` is where the bytes of field 1 begin.
    private static bool TryReadField(ReadOnlySpan<byte> source, ref int at, out bool isFirst, out int start)
    {
        start = at;
        isFirst = false;
        if (!TryReadVarint(source, ref at, out ulong tag) || tag >> 3 is 0 or > 0x1fff_ffff)
        {
            return false;
        }

        ulong length;
        switch (tag & 7)
        {
            case 0:
                return TryReadVarint(source, ref at, out _);
            case 1:
                length = 8;
                break;
            case 2 when TryReadVarint(source, ref at, out length):
                isFirst = tag == Tag;
                break;
            case 5:
                length = 4;
                break;
            default:
                return false;
        }

        start = at;
        if (length > (ulong)(source.Length - at))
        {
            return false;
        }

        at += (int)length;
        return true;
    }

    private static bool TryReadVarint(ReadOnlySpan<byte> source, ref int at, out ulong value)
    {
        bool isDone = Varint.TryRead(source[at..], out value, out int length) == OperationStatus.Done;
        at += isDone ? length : 0;
        return isDone;
    }
}
