using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Pipeline.Cryptography;

namespace Pipeline.Transport;

/// <summary>The sending direction of a secret connection: seals what was written into frames and hands a block of them to the stream at once.</summary>
internal sealed class FrameWriter(Stream stream, FrameCipher cipher) : PipeWriter
{
    /// <summary>How much may be written between flushes without a larger buffer: the data of as many frames as fill one block.</summary>
    public const int DataPerBlock = FramesPerBlock * FrameCipher.MaxDataSize;

    private const int FramesPerBlock = 62;
    private const int BlockSize = 64 * 1024;

    // Invariant: all of these belong to whoever has the turn, from the first GetMemory to the end of FlushAsync.
    // _open[HeaderSize, _end) is written and not sealed; null when nothing is. Its length is enough for _end rounded up to whole frames.
    private Turn _turn;
    private bool _hasTurn;
    private byte[]? _open;
    private int _end = FrameCipher.HeaderSize;
    private Exception? _fault;

    public override bool CanGetUnflushedBytes => true;

    public override long UnflushedBytes => _end - FrameCipher.HeaderSize;

    public override Memory<byte> GetMemory(int sizeHint = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(sizeHint);
        TakeTurn();
        MakeRoom(Math.Max(sizeHint, 1));
        return _open.AsMemory(_end, UsableLength(_open!.Length) - _end);
    }

    public override Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;

    public override void Advance(int bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, _open is null ? 0 : UsableLength(_open.Length) - _end);
        _end += bytes;
    }

    /// <summary>
    /// Seals what was written, hands it to the stream, and waits until the stream has taken it. After a cancellation or an error part
    /// of a frame may have been sent, so nothing more can be.
    /// </summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public override async ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
    {
        TakeTurn();
        byte[]? block = null;
        try
        {
            ThrowIfBroken();
            for (int at = 0; at < UnflushedBytes;)
            {
                block ??= ArrayPool<byte>.Shared.Rent(BlockSize);
                at += SealBlock(at, block, out int sealedSize);
                await stream.WriteAsync(block.AsMemory(0, sealedSize), cancellationToken).ConfigureAwait(false);
            }

            await stream.FlushAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            _fault ??= e;
            throw;
        }
        finally
        {
            EndFlush(block);
        }

        return new FlushResult(isCanceled: false, isCompleted: false);
    }

    /// <summary>Seals and writes <paramref name="source"/> as a stream does, waiting on the calling thread.</summary>
    public void Write(ReadOnlySpan<byte> source)
    {
        TakeTurn();
        byte[]? block = null;
        try
        {
            ThrowIfBroken();
            block = ArrayPool<byte>.Shared.Rent(BlockSize);
            while (!source.IsEmpty)
            {
                int count = Math.Min(source.Length, DataPerBlock);
                MakeRoom(count);
                source[..count].CopyTo(_open.AsSpan(_end));
                _end += count;
                source = source[count..];
                for (int at = 0; at < UnflushedBytes;)
                {
                    at += SealBlock(at, block, out int sealedSize);
                    stream.Write(block, 0, sealedSize);
                }

                _end = FrameCipher.HeaderSize;
            }

            stream.Flush();
        }
        catch (Exception e)
        {
            _fault ??= e;
            throw;
        }
        finally
        {
            EndFlush(block);
        }
    }

    /// <summary>Writes as a stream does: <paramref name="source"/> is sealed and handed on when this returns.</summary>
    public async ValueTask WriteAllAsync(ReadOnlyMemory<byte> source, CancellationToken cancellationToken)
    {
        do
        {
            int count = Math.Min(source.Length, DataPerBlock);
            if (count > 0)
            {
                source.Span[..count].CopyTo(GetSpan(count));
                Advance(count);
            }

            source = source[count..];
            await FlushAsync(cancellationToken).ConfigureAwait(false);
        }
        while (!source.IsEmpty);
    }

    /// <summary>Not supported: a frame that was sent in part cannot be taken back. Pass a token to <see cref="FlushAsync"/> to end the connection.</summary>
    public override void CancelPendingFlush() =>
        throw new NotSupportedException("A frame that was sent in part cannot be taken back; cancel the token of FlushAsync to end the connection.");

    /// <summary>Drops what was not flushed and allows no more writes.</summary>
    public override void Complete(Exception? exception = null)
    {
        Close();
        if (_hasTurn)
        {
            EndFlush(block: null);
        }
    }

    public override async ValueTask CompleteAsync(Exception? exception = null)
    {
        if (exception is null && UnflushedBytes > 0)
        {
            await FlushAsync().ConfigureAwait(false);
        }

        Complete(exception);
    }

    public void Close()
    {
        if (_turn.Close())
        {
            Release();
        }
    }

    private static int UsableLength(int bufferLength) =>
        FrameCipher.HeaderSize + ((bufferLength - FrameCipher.HeaderSize) / FrameCipher.MaxDataSize * FrameCipher.MaxDataSize);

    private void TakeTurn()
    {
        if (!_hasTurn)
        {
            _turn.Take("write");
            _hasTurn = true;
        }
    }

    private void ThrowIfBroken()
    {
        if (_fault is not null)
        {
            throw new IOException("Nothing more can be sent on this connection, because sending on it failed before.", _fault);
        }
    }

    private void MakeRoom(int count)
    {
        if (_open is null)
        {
            _open = ArrayPool<byte>.Shared.Rent(Math.Max(BlockSize, FrameCipher.HeaderSize + count + FrameCipher.MaxDataSize));
            return;
        }

        if (UsableLength(_open.Length) - _end >= count)
        {
            return;
        }

        byte[] larger = ArrayPool<byte>.Shared.Rent(Math.Max(2 * _open.Length, _end + count + FrameCipher.MaxDataSize));
        _open.AsSpan(0, _end).CopyTo(larger);
        ArrayPool<byte>.Shared.Return(_open);
        _open = larger;
    }

    // A frame is sealed from its length and its data in one piece. To have that without copying the data, each length is written
    // over the last four bytes of the data before it, which have been sealed already.
    private int SealBlock(int at, Span<byte> block, out int sealedSize)
    {
        if (cipher.IsExhausted)
        {
            throw new CryptographicException("Every nonce of this connection has been used; it must end.");
        }

        int count = Math.Min((int)UnflushedBytes - at, DataPerBlock);
        sealedSize = 0;
        for (int done = 0; done < count; done += FrameCipher.MaxDataSize)
        {
            Span<byte> open = _open.AsSpan(at + done, FrameCipher.OpenSize);
            int length = Math.Min(count - done, FrameCipher.MaxDataSize);
            BinaryPrimitives.WriteUInt32LittleEndian(open, (uint)length);
            open[(FrameCipher.HeaderSize + length)..].Clear();
            cipher.Seal(open, block.Slice(sealedSize, FrameCipher.SealedSize));
            sealedSize += FrameCipher.SealedSize;
        }

        return count;
    }

    private void EndFlush(byte[]? block)
    {
        if (block is not null)
        {
            ArrayPool<byte>.Shared.Return(block);
        }

        ReturnOpen();
        _hasTurn = false;
        if (_turn.GiveBack())
        {
            Release();
        }
    }

    private void ReturnOpen()
    {
        _end = FrameCipher.HeaderSize;
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
}
