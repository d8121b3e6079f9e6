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
    // 62 sealed frames; open they leave room there for the start of a packet. And three.
    private const int BlockSize = 64 * 1024;
    private const int SmallBlockSize = 4 * 1024;

    // A socket can wait for data without a buffer, so that an idle connection owns none.
    private readonly Socket? _socket = (stream as NetworkStream)?.Socket;

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

    // Ends a wait for the stream, whoever wants that: the caller's token, CancelPendingRead or Dispose. What it was for is looked at
    // after the source has been renewed, so that no wish gets lost. Invariant: replaced only by whoever has the turn.
    private CancellationTokenSource _wake = new();
    private int _cancelPending;

    public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
    {
        _turn.Begin("read");
        ReadResult result;
        try
        {
            if (!TryGet(out result))
            {
                return WaitAndLendAsync(cancellationToken);
            }
        }
        catch (Exception e)
        {
            EndFailed(e);
            throw;
        }

        return new ValueTask<ReadResult>(Lend(result));
    }

    public override bool TryRead(out ReadResult result)
    {
        _turn.Begin("read");
        try
        {
            if (!TryGet(out result))
            {
                End();
                return false;
            }
        }
        catch (Exception e)
        {
            EndFailed(e);
            throw;
        }

        result = Lend(result);
        return true;
    }

    public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

    public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
    {
        if (!_turn.TryTakeBack(nameof(AdvanceTo)))
        {
            return;
        }

        try
        {
            long unconsumed = _lent.Slice(consumed).Length;
            long unexamined = _lent.Slice(examined).Length;
            ArgumentOutOfRangeException.ThrowIfGreaterThan(unexamined, unconsumed, nameof(examined));
            _examinedAll = unexamined == 0;
            _lent = default;
            Consume(_end - _start - (int)unconsumed);
        }
        finally
        {
            End();
        }
    }

    public override void CancelPendingRead()
    {
        Interlocked.Exchange(ref _cancelPending, 1);
        Wake();
    }

    public override void Complete(Exception? exception = null) => Dispose();

    /// <summary>Reads as a stream does, waiting on the calling thread.</summary>
    public int Read(Span<byte> destination)
    {
        _turn.Begin("read");
        try
        {
            while (_end == _start && _fault is null && !_endOfStream)
            {
                AfterRead(stream.Read(BufferForRead(destination.Length).Span));
            }

            int count = Copy(destination);
            End();
            return count;
        }
        catch (Exception e)
        {
            EndFailed(e);
            throw;
        }
    }

    /// <summary>Reads as a stream does. Waits for data, or for the end, also when <paramref name="destination"/> is empty.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<int> ReadAsync(Memory<byte> destination, CancellationToken cancellationToken)
    {
        _turn.Begin("read");
        try
        {
            while (_end == _start && _fault is null && !_endOfStream)
            {
                RenewWake();
                await FillAsync(destination.Length, cancellationToken).ConfigureAwait(false);
            }

            int count = Copy(destination.Span);
            End();
            return count;
        }
        catch (Exception e)
        {
            EndFailed(e);
            throw;
        }
    }

    public void Dispose()
    {
        if (_turn.Close(out bool lent))
        {
            if (lent)
            {
                _open = null;
            }

            Release();
        }

        Wake();
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

    private bool TryGet(out ReadResult result)
    {
        if (Interlocked.Exchange(ref _cancelPending, 0) != 0)
        {
            result = Result(isCanceled: true);
            return true;
        }

        if (_end > _start && !_examinedAll)
        {
            result = Result(isCanceled: false);
            return true;
        }

        if (_fault is not null)
        {
            throw Rethrow(_fault);
        }

        result = _endOfStream ? Result(isCanceled: false) : default;
        return _endOfStream;
    }

    // An end of the stream inside a frame is no end to report but a fault, which comes after what was read before it.
    private ReadResult Result(bool isCanceled)
    {
        _lent = _open is null ? ReadOnlySequence<byte>.Empty : new ReadOnlySequence<byte>(_open, _start, _end - _start);
        return new ReadResult(_lent, isCanceled, isCompleted: _endOfStream && _fault is null);
    }

    private ReadResult Lend(ReadResult result)
    {
        if (_turn.Lend())
        {
            Release();
            throw ClosedDuringRead();
        }

        return result;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<ReadResult> WaitAndLendAsync(CancellationToken cancellationToken)
    {
        ReadResult result;
        try
        {
            RenewWake();
            while (!TryGet(out result))
            {
                await FillAsync(wanted: 0, cancellationToken).ConfigureAwait(false);
                RenewWake();
            }
        }
        catch (Exception e)
        {
            EndFailed(e);
            throw;
        }

        return Lend(result);
    }

    private void Wake() => Volatile.Read(ref _wake).Cancel();

    private void RenewWake()
    {
        if (_wake.IsCancellationRequested)
        {
            Interlocked.Exchange(ref _wake, new CancellationTokenSource());
        }

        if (_turn.IsClosed)
        {
            throw ClosedDuringRead();
        }
    }

    // Returns without data when the wait was ended by anything but the caller's token. Who wants some bytes, and so has a buffer, gives one up in
    // this connection as well while it waits, a small one if that is enough; who says nothing of the kind may be idle for hours.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask FillAsync(int wanted, CancellationToken cancellationToken)
    {
        CancellationToken wake = _wake.Token;
        using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(static reader => ((FrameReader)reader!).Wake(), this);
        try
        {
            if (wanted == 0 && _sealed is null && _socket is not null)
            {
                // Such a wait now and then ends although there is nothing to read yet.
                do
                {
                    await stream.ReadAsync(Memory<byte>.Empty, wake).ConfigureAwait(false);
                }
                while (!_socket.Poll(0, SelectMode.SelectRead));
            }

            AfterRead(await stream.ReadAsync(BufferForRead(wanted), wake).ConfigureAwait(false));
        }
        catch (OperationCanceledException) when (wake.IsCancellationRequested)
        {
            cancellationToken.ThrowIfCancellationRequested();
        }
        finally
        {
            ReturnSealedWhenEmpty();
        }
    }

    private Memory<byte> BufferForRead(int wanted)
    {
        _sealed ??= ArrayPool<byte>.Shared.Rent(wanted is > 0 and <= FrameCipher.MaxDataSize ? SmallBlockSize : BlockSize);
        return _sealed.AsMemory(_sealedEnd, (_sealed.Length / FrameCipher.SealedSize * FrameCipher.SealedSize) - _sealedEnd);
    }

    private void AfterRead(int count)
    {
        if (count == 0)
        {
            // A socket that this side closes while somebody reads from it may also come to an end like this.
            if (_turn.IsClosed)
            {
                throw ClosedDuringRead();
            }

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
        int end = _end;
        ReadOnlySpan<byte> received = _sealed;
        for (int i = 0; i < frames && _fault is null; i++)
        {
            OpenFrame(received.Slice(i * FrameCipher.SealedSize, FrameCipher.SealedSize));
        }

        int opened = frames * FrameCipher.SealedSize;
        received[opened.._sealedEnd].CopyTo(_sealed);
        _sealedEnd -= opened;
        _examinedAll &= _end == end;
    }

    // A frame opens into its length and its data. To have the data of all frames in one piece without copying them, each opens
    // with its length over the last four bytes of the data before it, which are put back afterwards.
    private void OpenFrame(ReadOnlySpan<byte> sealedFrame)
    {
        if (cipher.IsExhausted)
        {
            _fault = SecretConnectionException.NoncesExhausted();
            return;
        }

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
            _open = ArrayPool<byte>.Shared.Rent(FrameCipher.HeaderSize + count);
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

    private bool End()
    {
        bool closed = _turn.End();
        if (closed)
        {
            Release();
        }

        return closed;
    }

    // Whatever a stream says when it is closed while somebody reads from it, the reason is that this connection was closed.
    private void EndFailed(Exception e)
    {
        if (End() && e is not ObjectDisposedException)
        {
            throw ClosedDuringRead(e);
        }
    }

    private void Release()
    {
        _sealedEnd = 0;
        ReturnSealedWhenEmpty();
        Consume(_end - _start);
        cipher.Dispose();
    }

    private static ObjectDisposedException ClosedDuringRead(Exception? e = null) => new("The connection was closed during a read.", e);

    private static SecretConnectionException Rethrow(SecretConnectionException fault) => new(fault.Fault, fault.Message);
}
