using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using Pipeline.Cryptography;

namespace Pipeline.Transport;

/// <summary>The sending direction of a secret connection: seals what was written into frames and hands a block of them to the stream at once.</summary>
internal sealed class FrameWriter(Stream stream, FrameCipher cipher) : PipeWriter
{
    /// <summary>How much may be written between flushes without a larger buffer: the data of as many frames as fill one block.</summary>
    public const int DataPerBlock = FramesPerBlock * FrameCipher.MaxDataSize;

    private const int FramesPerBlock = 62;

    // Invariant: all of these belong to whoever has the turn, from the first GetMemory to the end of FlushAsync.
    // _open[HeaderSize, _end) is written and not handed to the stream; null when nothing is. Its length is enough for _end rounded up
    // to whole frames. Of that data, the first _sealedData bytes are sealed; 0 unless an operation runs.
    private Turn _turn;
    private byte[]? _open;
    private int _end = FrameCipher.HeaderSize;
    private int _sealedData;
    private Exception? _fault;

    public override bool CanGetUnflushedBytes => true;

    public override long UnflushedBytes => _end - FrameCipher.HeaderSize;

    public override Memory<byte> GetMemory(int sizeHint = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(sizeHint);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(sizeHint, Array.MaxLength / 2);
        _turn.BeginOrResume("write");
        MakeRoom(sizeHint > 0 ? sizeHint : _open is null ? DataPerBlock : 1);
        Memory<byte> room = _open.AsMemory(_end, UsableLength(_open!.Length) - _end);
        if (_turn.Lend())
        {
            Release();
            throw ClosedDuringWrite();
        }

        return room;
    }

    public override Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;

    public override void Advance(int bytes)
    {
        if (!_turn.TryTakeBack(nameof(Advance)))
        {
            return;
        }

        try
        {
            ArgumentOutOfRangeException.ThrowIfNegative(bytes);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, UsableLength(_open!.Length) - _end);
            _end += bytes;
        }
        finally
        {
            if (_turn.Lend())
            {
                Release();
            }
        }
    }

    /// <summary>
    /// Seals what was written, hands it to the stream, and waits until the stream has taken it. After a cancellation or an error on the
    /// way part of a frame may have been sent, so nothing more can be.
    /// </summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public override async ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
    {
        await WriteAllAsync(ReadOnlyMemory<byte>.Empty, cancellationToken).ConfigureAwait(false);
        return new FlushResult(isCanceled: false, isCompleted: false);
    }

    /// <summary>Writes as a stream does, waiting on the calling thread.</summary>
    public void Write(ReadOnlySpan<byte> source)
    {
        _turn.BeginOrResume("write");
        byte[]? block = null;
        try
        {
            ThrowIfBroken();
            do
            {
                source = source[Append(source)..];
                while (TrySealBlock(ref block, out int sealedSize))
                {
                    stream.Write(block!, 0, sealedSize);
                }
            }
            while (!source.IsEmpty);

            stream.Flush();
        }
        catch (Exception e)
        {
            EndFailed(block, e);
            throw;
        }

        End(block);
    }

    /// <summary>Writes as a stream does: what was written before and <paramref name="source"/> is sealed and handed on when this returns.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    public async ValueTask WriteAllAsync(ReadOnlyMemory<byte> source, CancellationToken cancellationToken)
    {
        // As long as nothing is sealed a cancellation does no harm.
        cancellationToken.ThrowIfCancellationRequested();
        _turn.BeginOrResume("write");
        byte[]? block = null;
        try
        {
            ThrowIfBroken();
            do
            {
                source = source[Append(source.Span)..];
                while (TrySealBlock(ref block, out int sealedSize))
                {
                    await stream.WriteAsync(block.AsMemory(0, sealedSize), cancellationToken).ConfigureAwait(false);
                }
            }
            while (!source.IsEmpty);

            await stream.FlushAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            EndFailed(block, e);
            throw;
        }

        End(block);
    }

    /// <summary>Not supported: a frame that was sent in part cannot be taken back. Pass a token to <see cref="FlushAsync"/> to end the connection.</summary>
    public override void CancelPendingFlush() =>
        throw new NotSupportedException("A frame that was sent in part cannot be taken back; cancel the token of FlushAsync to end the connection.");

    /// <summary>Drops what was not flushed and allows no more writes.</summary>
    public override void Complete(Exception? exception = null) => Close();

    /// <summary>Sends what was not flushed, unless there is an <paramref name="exception"/>, and allows no more writes.</summary>
    public override async ValueTask CompleteAsync(Exception? exception = null)
    {
        if (exception is null && UnflushedBytes > 0)
        {
            await FlushAsync().ConfigureAwait(false);
        }

        Close();
    }

    public void Close()
    {
        if (_turn.Close(out bool lent))
        {
            if (lent)
            {
                _open = null;
            }

            Release();
        }
    }

    private static int RoundUpToFrames(int length) => ((length - 1) / FrameCipher.MaxDataSize + 1) * FrameCipher.MaxDataSize;

    private static int UsableLength(int bufferLength) =>
        FrameCipher.HeaderSize + ((bufferLength - FrameCipher.HeaderSize) / FrameCipher.MaxDataSize * FrameCipher.MaxDataSize);

    private void ThrowIfBroken()
    {
        if (_fault is not null)
        {
            throw new IOException("Nothing more can be sent on this connection, because sending on it failed before.", _fault);
        }
    }

    private int Append(ReadOnlySpan<byte> source)
    {
        int count = Math.Min(source.Length, DataPerBlock);
        if (count > 0)
        {
            MakeRoom(count);
            source[..count].CopyTo(_open.AsSpan(_end));
            _end += count;
        }

        return count;
    }

    private void MakeRoom(int count)
    {
        if (_open is null)
        {
            _open = ArrayPool<byte>.Shared.Rent(FrameCipher.HeaderSize + RoundUpToFrames(count));
            return;
        }

        if (UsableLength(_open.Length) - _end >= count)
        {
            return;
        }

        byte[] larger = ArrayPool<byte>.Shared.Rent(Math.Max(2 * _open.Length, FrameCipher.HeaderSize + RoundUpToFrames(_end - FrameCipher.HeaderSize + count)));
        _open.AsSpan(0, _end).CopyTo(larger);
        ArrayPool<byte>.Shared.Return(_open);
        _open = larger;
    }

    // A frame is sealed from its length and its data in one piece. To have that without copying the data, each length is written
    // over the last four bytes of the data before it, which have been sealed already.
    // A block is rented for what there is to seal first, which is all of it unless there is more than one block of it.
    private bool TrySealBlock(ref byte[]? block, out int sealedSize)
    {
        sealedSize = 0;
        int end = Math.Min((int)UnflushedBytes, _sealedData + DataPerBlock);
        block ??= end > _sealedData ? ArrayPool<byte>.Shared.Rent(RoundUpToFrames(end - _sealedData) / FrameCipher.MaxDataSize * FrameCipher.SealedSize) : null;
        while (_sealedData < end)
        {
            if (cipher.IsExhausted)
            {
                throw SecretConnectionException.NoncesExhausted();
            }

            Span<byte> open = _open.AsSpan(_sealedData, FrameCipher.OpenSize);
            int length = Math.Min(end - _sealedData, FrameCipher.MaxDataSize);
            BinaryPrimitives.WriteUInt32LittleEndian(open, (uint)length);
            open[(FrameCipher.HeaderSize + length)..].Clear();
            cipher.Seal(open, block.AsSpan(sealedSize, FrameCipher.SealedSize));
            sealedSize += FrameCipher.SealedSize;
            _sealedData += length;
        }

        if (sealedSize > 0)
        {
            return true;
        }

        _end = FrameCipher.HeaderSize;
        _sealedData = 0;
        return false;
    }

    // Whatever a stream says when it is closed while somebody writes to it, the reason is that this connection was closed.
    private void EndFailed(byte[]? block, Exception e)
    {
        _fault ??= e;
        if (End(block) && e is not ObjectDisposedException)
        {
            throw ClosedDuringWrite(e);
        }
    }

    private bool End(byte[]? block)
    {
        if (block is not null)
        {
            ArrayPool<byte>.Shared.Return(block);
        }

        ReturnOpen();
        bool closed = _turn.End();
        if (closed)
        {
            Release();
        }

        return closed;
    }

    private void ReturnOpen()
    {
        _end = FrameCipher.HeaderSize;
        _sealedData = 0;
        if (_open is not null)
        {
            ArrayPool<byte>.Shared.Return(_open);
            _open = null;
        }
    }

    private void Release()
    {
        ReturnOpen();
        cipher.Dispose();
    }

    private static ObjectDisposedException ClosedDuringWrite(Exception? e = null) => new("The connection was closed during a write.", e);
}
