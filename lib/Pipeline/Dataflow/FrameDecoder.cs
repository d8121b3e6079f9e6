using System.Buffers;
using System.IO.Pipelines;
using Pipeline.Wire;

namespace Pipeline.Dataflow;

/// <summary>The receiving loop of a connection: reads packets and hands them to the demultiplexer; reading stops while it has no room.</summary>
internal sealed class FrameDecoder(PipeReader input, ChannelDemultiplexer target, int maxPacketDataSize)
{
    private readonly int _maxPacketSize = PacketCodec.MaxPacketSize(maxPacketDataSize);
    private long _bytesReceived;

    public long BytesReceived => Volatile.Read(ref _bytesReceived);

    /// <summary>
    /// Ends when the remote has closed the connection; throws when it breaks, what comes is no legal packet, or
    /// <paramref name="cancellationToken"/> is cancelled.
    /// </summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            ReadResult result = await input.ReadAsync(cancellationToken).ConfigureAwait(false);
            long consumed = Decode(result.Buffer);
            input.AdvanceTo(result.Buffer.GetPosition(consumed), result.Buffer.End);
            Volatile.Write(ref _bytesReceived, _bytesReceived + consumed);
            if (result.IsCompleted)
            {
                return;
            }

            await target.WaitForRoomAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private long Decode(in ReadOnlySequence<byte> buffer)
    {
        if (buffer.IsSingleSegment)
        {
            return Decode(buffer.FirstSpan);
        }

        // Never over a secret connection, which has all that came in one piece.
        byte[] whole = ArrayPool<byte>.Shared.Rent((int)buffer.Length);
        try
        {
            buffer.CopyTo(whole);
            return Decode(whole.AsSpan(0, (int)buffer.Length));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(whole);
        }
    }

    private int Decode(ReadOnlySpan<byte> bytes)
    {
        int at = 0;
        while (PacketCodec.TryRead(bytes[at..], _maxPacketSize, out Packet packet, out int consumed))
        {
            at += consumed;
            target.Accept(packet);
        }

        return at;
    }
}
