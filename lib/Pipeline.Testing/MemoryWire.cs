namespace Pipeline.Testing;

/// <summary>What lies between the two ends of a connection in memory: a bounded lane in each direction, and the time that bytes need.</summary>
internal sealed class MemoryWire
{
    private readonly int _capacity;
    private readonly TimeProvider _timeProvider;
    private readonly long _start;
    private readonly Lane _toA;
    private readonly Lane _toB;
    private readonly Action? _endClosed;

    // Guards these, and everything in the lanes. _failure is set when the wire is cut, and then stays. _timerDue is what the timer is set
    // for, by whoever has set _isSettingTimer.
    private readonly Lock _gate = new();
    private TimeSpan _latency;
    private bool _isUp;
    private string? _failure;
    private ITimer? _timer;
    private TimeSpan? _timerDue;
    private bool _isSettingTimer;

    public MemoryWire(int capacity, TimeProvider timeProvider, TimeSpan latency, bool isUp, Action? endClosed = null)
    {
        _capacity = capacity;
        _timeProvider = timeProvider;
        _start = timeProvider.GetTimestamp();
        _latency = latency;
        _isUp = isUp;
        _endClosed = endClosed;
        _toA = new Lane(this);
        _toB = new Lane(this);
        A = new MemoryDuplex(this, _toA, _toB);
        B = new MemoryDuplex(this, _toB, _toA);
    }

    internal enum Mark
    {
        Data,
        End,
        Reset,
    }

    public MemoryDuplex A { get; }

    public MemoryDuplex B { get; }

    public bool IsCut
    {
        get
        {
            lock (_gate)
            {
                return _failure is not null;
            }
        }
    }

    private TimeSpan Now => _timeProvider.GetElapsedTime(_start);

    /// <summary>How long what is sent from now on is on its way. Nothing overtakes what was sent before.</summary>
    public void SetLatency(TimeSpan latency)
    {
        lock (_gate)
        {
            _latency = latency;
        }
    }

    /// <summary>
    /// While a wire is down nothing arrives; what waits for that sets out again when it is up. To be followed by <see cref="SetTimer"/>.
    /// </summary>
    public void SetUp(bool isUp)
    {
        lock (_gate)
        {
            if (_isUp != isUp)
            {
                _isUp = isUp;
                _toA.Reschedule();
                _toB.Reschedule();
            }
        }
    }

    /// <summary>Breaks the connection at both ends at once; what was not read is lost.</summary>
    public void Cut(string failure)
    {
        lock (_gate)
        {
            _failure ??= failure;
            _toA.Discard();
            _toB.Discard();
        }

        SetTimer();
    }

    public long Total(Lane lane)
    {
        lock (_gate)
        {
            return lane.Total;
        }
    }

    public async ValueTask<int> ReadAsync(Lane lane, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Task readable;
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(lane.IsReaderClosed, typeof(MemoryDuplex));
                ThrowIfCut();
                if (lane.TryRead(buffer.Span, out int count))
                {
                    return count;
                }

                readable = lane.Readable.WaitAsync();
            }

            await readable.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    public async ValueTask WriteAsync(Lane lane, ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken)
    {
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Task writable;
            lock (_gate)
            {
                ObjectDisposedException.ThrowIf(lane.IsWriterClosed, typeof(MemoryDuplex));
                ThrowIfCut();
                lane.Write(ref buffer);
                writable = buffer.IsEmpty ? Task.CompletedTask : lane.Writable.WaitAsync();
            }

            SetTimer();
            if (buffer.IsEmpty)
            {
                return;
            }

            await writable.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    public async Task DrainAsync(Lane lane, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task drained;
            lock (_gate)
            {
                if (lane.IsEmpty)
                {
                    return;
                }

                drained = lane.Drained.WaitAsync();
            }

            await drained.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    public void Complete(Lane lane)
    {
        lock (_gate)
        {
            if (!lane.IsWriterClosed && _failure is null)
            {
                lane.Complete();
            }
        }

        SetTimer();
    }

    /// <summary>Says to whoever reads from <paramref name="lane"/> that the connection is over, and not as it should be.</summary>
    public void Reset(Lane lane)
    {
        lock (_gate)
        {
            lane.Send(Mark.Reset);
        }

        SetTimer();
    }

    /// <summary>Closes one end.</summary>
    public void Close(Lane incoming, Lane outgoing)
    {
        lock (_gate)
        {
            if (_failure is null)
            {
                // As a socket's stream does: the end first, and then, if not everything that came was read, what ends the other direction.
                outgoing.Complete();
                if (incoming.HasArrived)
                {
                    outgoing.Send(Mark.Reset);
                }
            }

            incoming.CloseReader();
            outgoing.CloseWriter();
        }

        SetTimer();
        _endClosed?.Invoke();
    }

    /// <summary>
    /// Sets the timer for what arrives next. Called without locks, because a clock that is moved by hand may call back whom it likes while
    /// a timer is set; so one caller sets it at a time, until it is set for what is wanted.
    /// </summary>
    /// <param name="atLeast">How long to wait in any case.</param>
    public void SetTimer(TimeSpan atLeast = default)
    {
        while (true)
        {
            TimeSpan wait = Timeout.InfiniteTimeSpan;
            bool isClosed;
            lock (_gate)
            {
                TimeSpan? due = NextDue();
                if (_isSettingTimer || due == _timerDue)
                {
                    return;
                }

                if (due is not null)
                {
                    wait = due.Value - Now;
                    wait = wait < atLeast ? atLeast : wait;
                }

                isClosed = _toA.IsReaderClosed && _toB.IsReaderClosed;
                _timerDue = due;
                _isSettingTimer = true;
            }

            _timer ??= _timeProvider.CreateTimer(static wire => ((MemoryWire)wire!).OnTimer(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            _timer.Change(wait, Timeout.InfiniteTimeSpan);
            if (isClosed)
            {
                _timer.Dispose();
            }

            lock (_gate)
            {
                _isSettingTimer = false;
            }
        }
    }

    private TimeSpan? NextDue()
    {
        TimeSpan due = _toA.NextDue < _toB.NextDue ? _toA.NextDue : _toB.NextDue;
        return due == TimeSpan.MaxValue ? null : due;
    }

    private void OnTimer()
    {
        lock (_gate)
        {
            _timerDue = null;
            TimeSpan now = Now;
            _toA.ArriveUntil(now);
            _toB.ArriveUntil(now);
        }

        // The system's timers may be a little early, and count in milliseconds.
        SetTimer(TimeSpan.FromMilliseconds(1));
    }

    private void ThrowIfCut()
    {
        if (_failure is not null)
        {
            throw new IOException(_failure);
        }
    }

    /// <summary>One direction. Everything is called with the wire's gate held.</summary>
    internal sealed class Lane(MemoryWire wire)
    {
        private const int SmallestBuffer = 4096;

        // Invariant: _bytes[_first, _first + _count), round and round, is written and not read. Of it the first _arrived bytes can be
        // read, and the others are what the data marks in _onTheWay count, whose times never decrease. The timer alone lets marks arrive,
        // so that a clock that is moved by hand has moved everything when it returns.
        private readonly Queue<(Mark Mark, int Count, TimeSpan Due)> _onTheWay = [];
        private byte[] _bytes = [];
        private int _first;
        private int _count;
        private int _arrived;
        private Mark? _ending;
        private bool _isCompleted;

        private TimeSpan _lastDue;

        // When the first write after the reader was closed is answered with a reset; and whether one has come.
        private TimeSpan? _refusedAt;
        private bool _isRefused;

        public Signal Readable { get; } = new();

        public Signal Writable { get; } = new();

        public Signal Drained { get; } = new();

        public long Total { get; private set; }

        public bool IsReaderClosed { get; private set; }

        public bool IsWriterClosed { get; private set; }

        public bool HasArrived => _arrived > 0;

        public bool IsEmpty => _count == 0;

        /// <summary>When something arrives next; the end of time when that has no time.</summary>
        public TimeSpan NextDue => _onTheWay.TryPeek(out (Mark Mark, int Count, TimeSpan Due) next) ? next.Due : TimeSpan.MaxValue;

        private Lane Opposite => this == wire._toA ? wire._toB : wire._toA;

        public bool TryRead(Span<byte> buffer, out int count)
        {
            count = Math.Min(buffer.Length, _arrived);
            if (_arrived == 0)
            {
                return _ending switch
                {
                    null => false,
                    Mark.Reset => throw new IOException("The connection was reset by the other end."),
                    _ => true,
                };
            }

            int firstPiece = Math.Min(count, _bytes.Length - _first);
            _bytes.AsSpan(_first, firstPiece).CopyTo(buffer);
            _bytes.AsSpan(0, count - firstPiece).CopyTo(buffer[firstPiece..]);
            Remove(count);
            return true;
        }

        /// <summary>Takes as much as there is room for.</summary>
        public void Write(ref ReadOnlyMemory<byte> buffer)
        {
            if (_isCompleted)
            {
                throw new IOException("Nothing can be written after the writes were completed.");
            }

            if (_isRefused || (_refusedAt is not null && wire.Now >= _refusedAt))
            {
                throw new IOException("The other end has closed the connection.");
            }

            if (IsReaderClosed)
            {
                Total += buffer.Length;
                if (!buffer.IsEmpty && wire._isUp)
                {
                    _refusedAt ??= wire.Now + (2 * wire._latency);
                }

                buffer = default;
                return;
            }

            int count = Math.Min(buffer.Length, wire._capacity - _count);
            if (count > 0)
            {
                Append(buffer.Span[..count]);
                buffer = buffer[count..];
                Send(Mark.Data, count);
            }
        }

        public void Complete()
        {
            if (!_isCompleted)
            {
                _isCompleted = true;
                Send(Mark.End);
                Writable.Set();
            }
        }

        public void Send(Mark mark, int count = 0)
        {
            if (IsReaderClosed)
            {
                return;
            }

            if (_onTheWay.Count == 0 && wire is { _isUp: true, _latency.Ticks: 0 })
            {
                Arrive(mark, count);
                return;
            }

            TimeSpan due = wire._isUp ? wire.Now + wire._latency : TimeSpan.MaxValue;
            _lastDue = due > _lastDue ? due : _lastDue;
            _onTheWay.Enqueue((mark, count, _lastDue));
        }

        public void Reschedule()
        {
            _lastDue = wire._isUp ? wire.Now + wire._latency : TimeSpan.MaxValue;
            for (int i = _onTheWay.Count; i > 0; i--)
            {
                _onTheWay.Enqueue(_onTheWay.Dequeue() with { Due = _lastDue });
            }

            if (wire is { _isUp: true, _latency.Ticks: 0 })
            {
                ArriveUntil(_lastDue);
            }
        }

        /// <summary>Lets arrive what is due.</summary>
        public void ArriveUntil(TimeSpan time)
        {
            while (_onTheWay.TryPeek(out (Mark Mark, int Count, TimeSpan Due) next) && next.Due <= time)
            {
                _onTheWay.Dequeue();
                Arrive(next.Mark, next.Count);
            }
        }

        public void CloseReader()
        {
            IsReaderClosed = true;
            Discard();
        }

        public void CloseWriter()
        {
            IsWriterClosed = true;
            Writable.Set();
        }

        /// <summary>Throws away what was not read; everybody who waits looks again at how things are.</summary>
        public void Discard()
        {
            _onTheWay.Clear();
            _bytes = [];
            _first = _count = _arrived = 0;
            Readable.Set();
            Writable.Set();
            Drained.Set();
        }

        private void Append(ReadOnlySpan<byte> bytes)
        {
            int needed = _count + bytes.Length;
            if (needed > _bytes.Length)
            {
                byte[] larger = new byte[Math.Min(wire._capacity, Math.Max(Math.Max(SmallestBuffer, 2 * _bytes.Length), needed))];
                int firstPiece = Math.Min(_count, _bytes.Length - _first);
                _bytes.AsSpan(_first, firstPiece).CopyTo(larger);
                _bytes.AsSpan(0, _count - firstPiece).CopyTo(larger.AsSpan(firstPiece));
                _bytes = larger;
                _first = 0;
            }

            int end = (_first + _count) % _bytes.Length;
            int toEnd = Math.Min(bytes.Length, _bytes.Length - end);
            bytes[..toEnd].CopyTo(_bytes.AsSpan(end));
            bytes[toEnd..].CopyTo(_bytes);
            _count = needed;
            Total += bytes.Length;
        }

        private void Remove(int count)
        {
            if (count > 0)
            {
                _first = (_first + count) % _bytes.Length;
                _count -= count;
                _arrived -= count;
                Writable.Set();
                if (_count == 0)
                {
                    Drained.Set();
                }
            }
        }

        private void Arrive(Mark mark, int count)
        {
            _arrived += count;
            if (mark == Mark.Reset)
            {
                Opposite._isRefused = true;
                Opposite.Writable.Set();
            }

            // What comes after the end changes nothing for the reader any more.
            _ending ??= mark == Mark.Data ? null : mark;
            Readable.Set();
        }
    }
}
