using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;

namespace Pipeline.Experiments.Baselines;

/// <summary>Messages with their lengths before them, four bytes, big-endian, in a stream of bytes.</summary>
internal static class Prefixed
{
    private const int PrefixSize = 4;

    public static void Write(IBufferWriter<byte> writer, ReadOnlySpan<byte> message)
    {
        BinaryPrimitives.WriteInt32BigEndian(writer.GetSpan(PrefixSize), message.Length);
        writer.Advance(PrefixSize);
        writer.Write(message);
    }

    /// <summary>Sends what has been written.</summary>
    public static async ValueTask FlushAsync(PipeWriter writer, CancellationToken cancellationToken) =>
        ThrowIfOver(await writer.FlushAsync(cancellationToken));

    /// <summary>Sends what has been written, and <paramref name="more"/>.</summary>
    public static async ValueTask WriteAsync(PipeWriter writer, ReadOnlyMemory<byte> more, CancellationToken cancellationToken) =>
        ThrowIfOver(await writer.WriteAsync(more, cancellationToken));

    /// <summary>Hands out each message, which is there only for so long, until it is cancelled.</summary>
    public static async Task ReceiveAsync(PipeReader reader, Action<ReadOnlySpan<byte>> receive, CancellationToken cancellationToken)
    {
        byte[] whole = [];
        while (true)
        {
            ReadResult result = await reader.ReadAsync(cancellationToken);
            ReadOnlySequence<byte> rest = result.Buffer;
            while (TryTake(ref rest, out ReadOnlySequence<byte> message))
            {
                if (message.IsSingleSegment)
                {
                    receive(message.FirstSpan);
                    continue;
                }

                whole = whole.Length < message.Length ? new byte[message.Length] : whole;
                message.CopyTo(whole);
                receive(whole.AsSpan(0, (int)message.Length));
            }

            reader.AdvanceTo(rest.Start, rest.End);
            if (result.IsCompleted)
            {
                throw new IOException("The stream ended in the middle of the experiment.");
            }
        }
    }

    private static bool TryTake(ref ReadOnlySequence<byte> rest, out ReadOnlySequence<byte> message)
    {
        message = default;
        if (rest.Length < PrefixSize)
        {
            return false;
        }

        Span<byte> prefix = stackalloc byte[PrefixSize];
        rest.Slice(0, PrefixSize).CopyTo(prefix);
        int length = BinaryPrimitives.ReadInt32BigEndian(prefix);
        if (rest.Length - PrefixSize < length)
        {
            return false;
        }

        message = rest.Slice(PrefixSize, length);
        rest = rest.Slice(message.End);
        return true;
    }

    private static void ThrowIfOver(FlushResult result)
    {
        if (result.IsCompleted)
        {
            throw new IOException("Nobody reads any more in the middle of the experiment.");
        }
    }
}
