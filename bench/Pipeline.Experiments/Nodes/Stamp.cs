using System.Buffers.Binary;
using System.Diagnostics;

namespace Pipeline.Experiments.Nodes;

/// <summary>What stands at the beginning of each message: when it was sent, by whom, and which of its sender's it is.</summary>
internal readonly record struct Stamp(long Timestamp, int Sender, long Sequence)
{
    /// <summary>How many bytes it takes, and so the size of the smallest message.</summary>
    public const int Size = 20;

    /// <summary>Stamps a message just before it is sent.</summary>
    public static void Write(Span<byte> message, int sender, long sequence)
    {
        BinaryPrimitives.WriteInt32LittleEndian(message[8..], sender);
        BinaryPrimitives.WriteInt64LittleEndian(message[12..], sequence);
        BinaryPrimitives.WriteInt64LittleEndian(message, Stopwatch.GetTimestamp());
    }

    public static Stamp Read(ReadOnlySpan<byte> message) => new(
        BinaryPrimitives.ReadInt64LittleEndian(message),
        BinaryPrimitives.ReadInt32LittleEndian(message[8..]),
        BinaryPrimitives.ReadInt64LittleEndian(message[12..]));
}
