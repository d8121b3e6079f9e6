using System.Buffers;
using System.IO.Pipelines;
using Pipeline.Wire;

namespace Pipeline.Dataflow;

/// <summary>
/// The receiving loop of a connection: reads packets and hands them to the demultiplexer. It stops reading while there is no room for more,
/// or a rate limit is reached; what comes meanwhile waits at the sender.
/// </summary>
internal sealed class FrameDecoder
{
    private readonly PipeReader _input;
    private readonly ChannelDemultiplexer _target;
    private readonly TimeProvider _timeProvider;
    private readonly TokenBucket? _rate;
    private readonly int _maxPacketSize;
    private readonly int _batchSize;
    private long _bytesReceived;

    public FrameDecoder(PipeReader input, ChannelDemultiplexer target, ConnectionOptions options)
    {
        _input = input;
        _target = target;
        _timeProvider = options.TimeProvider;
        _rate = TokenBucket.Create(options.ReceiveRate, options.TimeProvider);
        _maxPacketSize = PacketCodec.MaxPacketSize(options.MaxPacketDataSize);
        _batchSize = Math.Max(_maxPacketSize + Varint.MaxLength, _rate?.BytesIn(TokenBucket.Burst) ?? int.MaxValue);
    }

    public long BytesReceived => Volatile.Read(ref _bytesReceived);

    /// <summary>
    /// Ends when the remote has closed the connection; throws when it breaks, what comes is no legal packet, or
    /// <paramref name="cancellationToken"/> is cancelled.
    /// </summary>
    /// <returns>False when the end came in the middle of a packet.</returns>
    public async Task<bool> RunAsync(CancellationToken cancellationToken)
    {
        ThreadShare share = default;
        while (true)
        {
            ReadResult result = await _input.ReadAsync(cancellationToken).ConfigureAwait(false);
            ReadOnlySequence<byte> batch = result.Buffer.Slice(0, Math.Min(result.Buffer.Length, _batchSize));
            int consumed = Decode(batch, out bool isIncomplete);

            // What was left although it is whole is looked at again without waiting for more.
            bool isAll = isIncomplete && batch.Length == result.Buffer.Length;
            SequencePosition end = result.Buffer.GetPosition(consumed);
            _input.AdvanceTo(end, isAll ? result.Buffer.End : end);
            Volatile.Write(ref _bytesReceived, _bytesReceived + consumed);
            if (result.IsCompleted && isAll)
            {
                return consumed == batch.Length;
            }

            if (share.IsUsedUp(consumed))
            {
                await ThreadShare.Yield();
            }

            await _target.WaitForRoomAsync(cancellationToken).ConfigureAwait(false);
            if (_rate?.Use(consumed) is { Ticks: > 0 } wait)
            {
                await Task.Delay(wait, _timeProvider, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private int Decode(in ReadOnlySequence<byte> buffer, out bool isIncomplete)
    {
        if (buffer.IsSingleSegment)
        {
            return Decode(buffer.FirstSpan, out isIncomplete);
        }

        // Never over a secret connection, which has all that came in one piece.
        byte[] whole = ArrayPool<byte>.Shared.Rent((int)buffer.Length);
        try
        {
            buffer.CopyTo(whole);
            return Decode(whole.AsSpan(0, (int)buffer.Length), out isIncomplete);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(whole);
        }
    }

    // isIncomplete: what is left is the beginning of a packet, or nothing.
    private int Decode(ReadOnlySpan<byte> bytes, out bool isIncomplete)
    {
        int at = 0;
        try
        {
            while (!_target.IsFull)
            {
                if (!PacketCodec.TryRead(bytes[at..], _maxPacketSize, out Packet packet, out int consumed))
                {
                    isIncomplete = true;
                    return at;
                }

                at += consumed;
                _target.Accept(packet, bytes.Length - at);
            }
        }
        finally
        {
            _target.Deliver();
        }

        isIncomplete = false;
        return at;
    }
}
