namespace Pipeline.Discovery;

/// <summary>Runs something once a period, one run at a time, and sooner when that is asked for.</summary>
internal sealed class RoundTimer : IAsyncDisposable
{
    private readonly TimeProvider _time;
    private readonly TimeSpan _period;
    private readonly Action _round;
    private readonly long _origin;
    private readonly ITimer _timer;
    private readonly CancellationTokenSource _ended = new();

    // Guarded by _gate. Invariant: the timer is set for _due, or somebody is about to set it, see Arm; _due is null until the begin and after the end.
    private readonly Lock _gate = new();
    private TimeSpan? _due;
    private TimeSpan _last;
    private bool _isRunning;
    private bool _isDueAgain;

    private RoundTimer(TimeProvider time, TimeSpan period, Action round)
    {
        _time = time;
        _period = period;
        _round = round;
        _origin = time.GetTimestamp();
        _timer = time.CreateTimer(static timer => ((RoundTimer)timer!).OnDue(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Cancelled when the runs end.</summary>
    public CancellationToken Ended => _ended.Token;

    private TimeSpan Now => _time.GetElapsedTime(_origin);

    /// <summary>Makes a timer, which does nothing until its begin.</summary>
    /// <param name="time">Where time comes from.</param>
    /// <param name="period">The time from the begin of one run to the next.</param>
    /// <param name="round">What is run; must not throw.</param>
    public static RoundTimer Create(TimeProvider time, TimeSpan period, Action round) => new(time, period, round);

    /// <summary>Sets the time of the first run.</summary>
    public void Begin(TimeSpan pause)
    {
        lock (_gate)
        {
            _due = _ended.IsCancellationRequested ? null : Now + pause;
        }

        Arm();
    }

    /// <summary>Lets the next run come at once, but at least <paramref name="gap"/> after the begin of the one before.</summary>
    public void ComeEarly(TimeSpan gap)
    {
        lock (_gate)
        {
            TimeSpan earliest = _last + gap;
            TimeSpan due = earliest > Now ? earliest : Now;
            if (!(due < _due))
            {
                return;
            }

            _due = due;
        }

        Arm();
    }

    /// <summary>Ends the runs, and waits for one that runs.</summary>
    public async ValueTask DisposeAsync()
    {
        await _ended.CancelAsync().ConfigureAwait(false);
        lock (_gate)
        {
            _due = null;
        }

        await _timer.DisposeAsync().ConfigureAwait(false);
    }

    // Not with the gate held, because a timer may call back at once. Of two that do this at one moment the last sees what both want.
    private void Arm()
    {
        TimeSpan? due = Due();
        while (due is { } at)
        {
            TimeSpan pause = at - Now;
            _timer.Change(pause > TimeSpan.Zero ? pause : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
            TimeSpan? since = Due();
            due = since == due ? null : since;
        }
    }

    private TimeSpan? Due()
    {
        lock (_gate)
        {
            return _due;
        }
    }

    private void OnDue()
    {
        if (!TryEnter())
        {
            // The timer was early, or the run that goes on is to be followed by another.
            Arm();
            return;
        }

        do
        {
            Arm();
            _round();
        }
        while (!TryLeave());
    }

    private bool TryEnter()
    {
        lock (_gate)
        {
            if (_due is null || Now < _due)
            {
                return false;
            }

            _last = Now;
            _due = _last + _period;
            _isDueAgain = _isRunning;
            return !_isRunning && (_isRunning = true);
        }
    }

    private bool TryLeave()
    {
        lock (_gate)
        {
            _isRunning = _isDueAgain && !_ended.IsCancellationRequested;
            _isDueAgain = false;
            return !_isRunning;
        }
    }
}
