using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using Pipeline.Cryptography;

namespace Pipeline.Transport;

/// <summary>The receiving direction of a secret connection: opens the frames that a stream brings, a block of them a read.</summary>
internal sealed class FrameReader(Stream stream, FrameCipher cipher) : PipeReader, IDisposable
{
    // The most frames that fit, sealed, into a pooled buffer of 64 KiB; open they leave room there for the start of a packet.
    private const int FramesPerBlock = 62;
    private const int BlockSize = 64 * 1024;

    // A socket can wait for data without a buffer, so that an idle connection owns none.
    private readonly bool _waitsWithoutBuffer = stream is NetworkStream;

    // Invariant: all of these belong to whoever has the turn, from the start of a read to AdvanceTo.
    // _sealed[0, _sealedEnd) is less than a frame between reads; null when empty.
    // _open[_start, _end) is authentic and not consumed; null when empty; _start is never below HeaderSize.
    private Turn _turn;
    private byte[]? _sealed;
    private int _sealedEnd;
    private byte[]? _open;
    private int _start;
    private int _end;
    private bool _examinedAll = true;
    private bool _endOfStream;
    private SecretConnectionException? _fault;
    private ReadOnlySequence<byte> _lent;

    // Invariant: replaced only by whoever has the turn; cancelled by anybody.
    private CancellationTokenSource _cancelPending = new();

    public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
    {
        _turn.Take("read");
        try
        {
            if (TryLend(out ReadResult result))
            {
                return new ValueTask<ReadResult>(result);
            }
        }
        catch
        {
            GiveBack();
            throw;
        }

        return FillAndLendAsync(cancellationToken);
    }

    public override bool TryRead(out ReadResult result)
    {
        _turn.Take("read");
        bool lent = false;
        try
        {
            return lent = TryLend(out result);
        }
        finally
        {
            if (!lent)
            {
                GiveBack();
            }
        }
    }

    public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

    public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
    {
        long unconsumed = _lent.Slice(consumed).Length;
        _examinedAll = _lent.Slice(examined).IsEmpty;
        _lent = default;
        Consume(_end - _start - (int)unconsumed);
        GiveBack();
    }

    public override void CancelPendingRead()
    {
        try
        {
            Volatile.Read(ref _cancelPending).Cancel();
        }
        catch (ObjectDisposedException)
        {
            // The connection is closed, and every read with it.
        }
    }

    public override void Complete(Exception? exception = null) => Dispose();

    /// <summary>Reads as a stream does, waiting on the calling thread.</summary>
    public int Read(Span<byte> destination)
    {
        _turn.Take("read");
        try
        {
            while (_end == _start && _fault is null && !_endOfStream)
            {
                AfterRead(stream.Read(BufferForRead().Span));
            }

            return Copy(destination);
        }
        finally
        {
            GiveBack();
        }
    }

    /// <summary>Reads as a stream does. Waits for data, or for the end, also when <paramref name="destination"/> is empty.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<int> ReadAsync(Memory<byte> destination, CancellationToken cancellationToken)
    {
        _turn.Take("read");
        try
        {
            while (_end == _start && _fault is null && !_endOfStream)
            {
                await FillAsync(cancellationToken).ConfigureAwait(false);
            }

            return Copy(destination.Span);
        }
        finally
        {
            GiveBack();
        }
    }

    public void Dispose()
    {
        if (_turn.Close())
        {
            Release();
        }
    }

    private int Copy(Span<byte> destination)
    {
        if (_end == _start)
        {
            return _fault is null ? 0 : throw Rethrow(_fault);
        }

        int count = Math.Min(destination.Length, _end - _start);
        _open.AsSpan(_start, count).CopyTo(destination);
        Consume(count);
        return count;
    }

    private bool TryLend(out ReadResult result)
    {
        CancellationTokenSource cancel = _cancelPending;
        if (cancel.IsCancellationRequested)
        {
            Volatile.Write(ref _cancelPending, new CancellationTokenSource());
            result = Lend(isCanceled: true);
            return true;
        }

        if (_end > _start && !_examinedAll)
        {
            result = Lend(isCanceled: false);
            return true;
        }

        if (_fault is not null)
        {
            throw Rethrow(_fault);
        }

        result = _endOfStream ? Lend(isCanceled: false) : default;
        return _endOfStream;
    }

    private ReadResult Lend(bool isCanceled)
    {
        _lent = _open is null ? ReadOnlySequence<byte>.Empty : new ReadOnlySequence<byte>(_open, _start, _end - _start);
        return new ReadResult(_lent, isCanceled, _endOfStream);
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<ReadResult> FillAndLendAsync(CancellationToken cancellationToken)
    {
        try
        {
            CancellationTokenSource cancel = _cancelPending;
            using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(static c => ((CancellationTokenSource)c!).Cancel(), cancel);
            ReadResult result;
            while (!TryLend(out result))
            {
                try
                {
                    await FillAsync(cancel.Token).ConfigureAwait(false);
                }
                catch (OperationCanceledException)
                {
                    // Not only this wait was cancelled, but the caller's token.
                    cancellationToken.ThrowIfCancellationRequested();
                }
            }

            return result;
        }
        catch
        {
            GiveBack();
            throw;
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask FillAsync(CancellationToken cancellationToken)
    {
        if (_sealed is null && _waitsWithoutBuffer)
        {
            await stream.ReadAsync(Memory<byte>.Empty, cancellationToken).ConfigureAwait(false);
        }

        try
        {
            AfterRead(await stream.ReadAsync(BufferForRead(), cancellationToken).ConfigureAwait(false));
        }
        finally
        {
            ReturnSealedWhenEmpty();
        }
    }

    private Memory<byte> BufferForRead()
    {
        _sealed ??= ArrayPool<byte>.Shared.Rent(BlockSize);
        return _sealed.AsMemory(_sealedEnd, (FramesPerBlock * FrameCipher.SealedSize) - _sealedEnd);
    }

    private void AfterRead(int count)
    {
        if (count == 0)
        {
            _endOfStream = true;
            if (_sealedEnd > 0)
            {
                _fault = new SecretConnectionException(
                    SecretConnectionFault.TruncatedFrame,
                    $"The stream ended after {_sealedEnd} of the {FrameCipher.SealedSize} bytes of a frame.");
            }

            return;
        }

        _sealedEnd += count;
        OpenFrames();
        ReturnSealedWhenEmpty();
    }

    private void OpenFrames()
    {
        int frames = _sealedEnd / FrameCipher.SealedSize;
        if (frames == 0)
        {
            return;
        }

        MakeRoom(frames * FrameCipher.MaxDataSize);
        ReadOnlySpan<byte> received = _sealed;
        for (int i = 0; i < frames && _fault is null; i++)
        {
            OpenFrame(received.Slice(i * FrameCipher.SealedSize, FrameCipher.SealedSize));
        }

        int opened = frames * FrameCipher.SealedSize;
        received[opened.._sealedEnd].CopyTo(_sealed);
        _sealedEnd -= opened;
        _examinedAll &= _end == _start;
    }

    // A frame opens into its length and its data. To have the data of all frames in one piece without copying them, each opens
    // with its length over the last four bytes of the data before it, which are put back afterwards.
    private void OpenFrame(ReadOnlySpan<byte> sealedFrame)
    {
        Span<byte> open = _open.AsSpan(_end - FrameCipher.HeaderSize, FrameCipher.OpenSize);
        uint covered = BinaryPrimitives.ReadUInt32LittleEndian(open);
        bool authentic = cipher.TryOpen(sealedFrame, open);
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(open);
        BinaryPrimitives.WriteUInt32LittleEndian(open, covered);
        if (!authentic)
        {
            _fault = new SecretConnectionException(
                SecretConnectionFault.FrameNotAuthentic,
                "A frame was not sealed by the remote, or was changed, repeated, reordered or left out on its way.");
        }
        else if (length > FrameCipher.MaxDataSize)
        {
            _fault = new SecretConnectionException(
                SecretConnectionFault.InvalidFrameLength,
                $"A frame says that it holds {length} bytes; the most is {FrameCipher.MaxDataSize}.");
        }
        else
        {
            _end += (int)length;
        }
    }

    private void MakeRoom(int count)
    {
        if (_open is null)
        {
            _open = ArrayPool<byte>.Shared.Rent(Math.Max(BlockSize, FrameCipher.HeaderSize + count));
            _start = _end = FrameCipher.HeaderSize;
            return;
        }

        if (_open.Length - _end >= count)
        {
            return;
        }

        int kept = _end - _start;
        byte[] to = _open;
        if (FrameCipher.HeaderSize + kept + count > to.Length)
        {
            to = ArrayPool<byte>.Shared.Rent(Math.Max(2 * to.Length, FrameCipher.HeaderSize + kept + count));
        }

        _open.AsSpan(_start, kept).CopyTo(to.AsSpan(FrameCipher.HeaderSize));
        if (to != _open)
        {
            ArrayPool<byte>.Shared.Return(_open);
            _open = to;
        }

        _start = FrameCipher.HeaderSize;
        _end = _start + kept;
    }

    private void Consume(int count)
    {
        _start += count;
        if (_start == _end && _open is not null)
        {
            ArrayPool<byte>.Shared.Return(_open);
            _open = null;
            _start = _end = 0;
            _examinedAll = true;
        }
    }

    private void ReturnSealedWhenEmpty()
    {
        if (_sealedEnd == 0 && _sealed is not null)
        {
            ArrayPool<byte>.Shared.Return(_sealed);
            _sealed = null;
        }
    }

    private void GiveBack()
    {
        if (_turn.GiveBack())
        {
            Release();
        }
    }

    private void Release()
    {
        _sealedEnd = 0;
        ReturnSealedWhenEmpty();
        Consume(_end - _start);
        cipher.Dispose();
        _cancelPending.Dispose();
    }

    private static SecretConnectionException Rethrow(SecretConnectionException fault) => new(fault.Fault, fault.Message);
}
