using Pipeline.Transport;

namespace Pipeline.Testing;

/// <summary>
/// A stream over any other duplex stream, in which bytes go wrong by plan: held back, lost, changed, cut into pieces, or the whole
/// connection broken. Put it under a <see cref="SecretConnection"/>, or let a <see cref="MemoryNetwork"/> do so for its connections.
/// </summary>
/// <remarks>
/// <para>Where faults happen depends on the plan and the bytes' places only, so that the same plan does the same to the same bytes whenever
/// and in whatever pieces they are read and written. One read and one write may run at once. A write returns when all its bytes have been
/// passed on, or dropped; while bytes are held back it waits. What is read and held back when a read is cancelled comes with a later one.</para>
/// <para>After a cut every read and write fails with <see cref="IOException"/>, and the stream beneath is closed.</para>
/// </remarks>
public sealed class FaultyStream : DuplexStream, IHalfClosable
{
    private readonly Stream _inner;
    private readonly TimeProvider _timeProvider;
    private readonly long _start;
    private readonly Action<string> _cut;
    private readonly Lane _incoming;
    private readonly Lane _outgoing;
    private readonly CancellationTokenSource _ended = new();

    // Guards these.
    private readonly Lock _gate = new();
    private readonly List<InjectedFault> _injected = [];
    private TimeSpan _stalledUntil;

    private volatile string? _failure;

    // What was read from the stream beneath while bytes were held back, by a read that was then cancelled.
    private ReadOnlyMemory<byte> _heldBack;

    /// <summary>Puts faults into a stream, which belongs to this one from now on.</summary>
    /// <param name="inner">The stream beneath.</param>
    /// <param name="incoming">What happens to bytes that are read, or null for nothing.</param>
    /// <param name="outgoing">What happens to bytes that are written, or null for nothing. The same plan has other places here.</param>
    /// <param name="timeProvider">Where time comes from, or null for the system's clock.</param>
    public FaultyStream(Stream inner, FaultPlan? incoming, FaultPlan? outgoing = null, TimeProvider? timeProvider = null)
        : this(inner, incoming, outgoing, timeProvider ?? TimeProvider.System, salt: 0, cut: null)
    {
    }

    internal FaultyStream(Stream inner, FaultPlan? incoming, FaultPlan? outgoing, TimeProvider timeProvider, ulong salt, Action<string>? cut)
    {
        ArgumentNullException.ThrowIfNull(inner);
        _inner = inner;
        _timeProvider = timeProvider;
        _start = timeProvider.GetTimestamp();
        _cut = cut ?? (_ => inner.Dispose());
        _incoming = new Lane(this, FaultDirection.Incoming, incoming, salt);
        _outgoing = new Lane(this, FaultDirection.Outgoing, outgoing, salt);
    }

    /// <summary>The faults that have happened so far, in order.</summary>
    public IReadOnlyList<InjectedFault> Faults
    {
        get
        {
            lock (_gate)
            {
                return [.. _injected];
            }
        }
    }

    private TimeSpan Now => _timeProvider.GetElapsedTime(_start);

    /// <inheritdoc />
    public void CompleteWrites() => IHalfClosable.TryCompleteWrites(_inner);

    /// <inheritdoc />
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (true)
        {
            int count;
            if (_heldBack.IsEmpty)
            {
                _incoming.Reach();
                count = await ReadInnerAsync(buffer[.._incoming.Limit(buffer.Length)], cancellationToken).ConfigureAwait(false);
                if (count > 0)
                {
                    _incoming.Strike();
                    buffer.Span[0] ^= _incoming.TakeMask();
                    int dropped = _incoming.Drop(count);
                    count -= dropped;
                    if (count == 0)
                    {
                        continue;
                    }

                    buffer.Slice(dropped, count).CopyTo(buffer);
                }
            }
            else
            {
                count = Math.Min(buffer.Length, _heldBack.Length);
                _heldBack[..count].CopyTo(buffer);
                _heldBack = _heldBack[count..];
            }

            try
            {
                await _incoming.WaitAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                _heldBack = (byte[])[.. buffer.Span[..count], .. _heldBack.Span];
                throw;
            }

            _incoming.Pass(count);
            return count;
        }
    }

    /// <inheritdoc />
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        do
        {
            _outgoing.Reach();
            int count = _outgoing.Limit(buffer.Length);
            if (count > 0)
            {
                _outgoing.Strike();
                int dropped = _outgoing.Drop(count);
                buffer = buffer[dropped..];
                count -= dropped;
                if (count == 0)
                {
                    continue;
                }
            }

            await _outgoing.WaitAsync(cancellationToken).ConfigureAwait(false);
            ReadOnlyMemory<byte> passing = buffer[..count];
            if (_outgoing.TakeMask() is not 0 and byte mask)
            {
                passing = (byte[])[(byte)(buffer.Span[0] ^ mask)];
            }

            await WriteInnerAsync(passing, cancellationToken).ConfigureAwait(false);
            buffer = buffer[passing.Length..];
            _outgoing.Pass(passing.Length);
        }
        while (!buffer.IsEmpty);
    }

    /// <inheritdoc />
    protected override void Release()
    {
        _inner.Dispose();
        _ended.Cancel();
    }

    private async ValueTask<int> ReadInnerAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        try
        {
            return await _inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (_failure is { } failure)
        {
            throw new IOException(failure, e);
        }
    }

    private async ValueTask WriteInnerAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken)
    {
        try
        {
            await _inner.WriteAsync(buffer, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (_failure is { } failure)
        {
            throw new IOException(failure, e);
        }
    }

    private void ThrowIfEnded()
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        if (_failure is { } failure)
        {
            throw new IOException(failure);
        }
    }

    private void Cut(string failure)
    {
        if (Interlocked.CompareExchange(ref _failure, failure, null) is null)
        {
            _cut(failure);
            _ended.Cancel();
        }
    }

    /// <summary>One direction: how far it is, and what happens there. Used by one operation after another.</summary>
    private sealed class Lane(FaultyStream stream, FaultDirection direction, FaultPlan? plan, ulong salt)
    {
        // Invariant: of the planned faults, those at _position that have not happened are in _here, those after it in _ahead.
        private readonly FaultSchedule? _ahead = plan?.CreateSchedule(SeededRandom.Combine(salt, (ulong)direction));
        private readonly List<Fault> _here = [];
        private long _position;
        private long _toDrop;
        private byte _mask;
        private TimeSpan _heldUntil;

        /// <summary>Begins to pass bytes.</summary>
        public void Reach()
        {
            CutWhenReached();
            stream.ThrowIfEnded();
        }

        /// <summary>How many of some bytes come before the next place of a fault.</summary>
        public int Limit(int count) => _ahead?.NextPosition is { } next ? (int)Math.Min(count, next - _position) : count;

        /// <summary>The next byte is there: lets happen what happens to it.</summary>
        public void Strike()
        {
            foreach (Fault fault in _here)
            {
                Record(fault);
                _mask ^= fault.Mask;
                _toDrop = Math.Max(_toDrop, fault.Length);
                if (fault.Kind == FaultKind.Delay)
                {
                    _heldUntil = stream.Now + fault.Duration;
                }
                else if (fault.Kind == FaultKind.Stall)
                {
                    lock (stream._gate)
                    {
                        TimeSpan until = stream.Now + fault.Duration;
                        stream._stalledUntil = until > stream._stalledUntil ? until : stream._stalledUntil;
                    }
                }
            }

            _here.Clear();
        }

        public byte TakeMask()
        {
            byte mask = _mask;
            _mask = 0;
            return mask;
        }

        /// <summary>Drops as many of <paramref name="count"/> bytes as shall be, from the first on, and says how many.</summary>
        public int Drop(int count)
        {
            int dropped = (int)Math.Min(count, _toDrop);
            if (dropped > 0)
            {
                _toDrop -= dropped;
                _position += dropped;
                _mask = 0;
            }

            return dropped;
        }

        public void Pass(int count)
        {
            _position += count;
            CutWhenReached();
        }

        /// <summary>Waits while bytes are held back.</summary>
        public async ValueTask WaitAsync(CancellationToken cancellationToken)
        {
            // What has been waited for counts as over, because timers of the system may be a little early.
            TimeSpan waited = TimeSpan.Zero;
            while (true)
            {
                stream.ThrowIfEnded();
                TimeSpan until = Until();
                TimeSpan left = until - stream.Now;
                if (until <= waited || left <= TimeSpan.Zero)
                {
                    return;
                }

                using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, stream._ended.Token);
                try
                {
                    await Task.Delay(left, stream._timeProvider, either.Token).ConfigureAwait(false);
                    waited = until;
                }
                catch (OperationCanceledException)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                }
            }
        }

        private TimeSpan Until()
        {
            lock (stream._gate)
            {
                return _heldUntil > stream._stalledUntil ? _heldUntil : stream._stalledUntil;
            }
        }

        private void CutWhenReached()
        {
            while (_ahead?.NextPosition <= _position)
            {
                _here.Add(_ahead.Dequeue());
            }

            if (_here.Find(fault => fault.Kind == FaultKind.Cut) is { } cut)
            {
                _here.Clear();
                Record(cut);
                stream.Cut($"The connection was cut after {_position} bytes had {(direction == FaultDirection.Incoming ? "come" : "gone")}.");
            }
        }

        private void Record(Fault fault)
        {
            InjectedFault injected = new(fault, direction, stream._timeProvider.GetUtcNow());
            lock (stream._gate)
            {
                stream._injected.Add(injected);
            }
        }
    }
}
