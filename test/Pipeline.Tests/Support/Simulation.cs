using System.Diagnostics;

namespace Pipeline.Tests.Support;

/// <summary>
/// A clock that moves only while the whole process is at rest, and then to the next moment for which anybody has set a timer. So nothing
/// runs out of time because the machine is slow, whatever lasts costs no time, and no two moments of it come closer to each other than they are.
/// </summary>
/// <remarks>
/// <para>At rest means: no work waits for the thread pool, and no thread of it is at work, but those in <see cref="Block"/> and those that who runs
/// the tests keeps busy. Who drives the clock is not part of the pool's work, and everything else in a test is: what waits, waits for a timer
/// of this clock, for another's work, or for the driver. So a moment at which nothing runs is one at which nothing will, until the driver does
/// something.</para>
/// <para>The pool belongs to the process: fixtures that use this cannot run beside others.</para>
/// </remarks>
internal sealed class Simulation : TimeProvider, IDisposable
{
    // Enough that every callback that blocks a thread has one, and work does not wait until the pool makes more.
    private const int Threads = 100;

    private static readonly TimeSpan RealLimit = TimeSpan.FromSeconds(30);

    // Threads that have been at work for as long, without a break, wait for something outside.
    private static readonly TimeSpan LongWork = TimeSpan.FromMilliseconds(300);

    // Threads of the pool that who runs the tests keeps, to wait for something outside.
    private static int _foreign;
    private static readonly DateTimeOffset Beginning = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    // Guarded by _gate. Invariant: a timer that is set is in _timers once with its present version; what is there of other versions is void.
    private readonly Lock _gate = new();
    private readonly PriorityQueue<(Timer Timer, long Version), (long Due, long Order)> _timers = new();
    private long _order;
    private long _now;

    private readonly ManualResetEventSlim _unblock = new();
    private readonly (int Workers, int Ports) _formerThreads;
    private int _blocked;

    public Simulation()
    {
        ThreadPool.GetMinThreads(out int workers, out int ports);
        _formerThreads = (workers, ports);
        ThreadPool.SetMinThreads(Math.Max(workers, Threads), ports);
    }

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public TimeSpan Elapsed => new(GetTimestamp());

    /// <summary>Timers that are set, and not disposed of.</summary>
    public int Timers
    {
        get
        {
            lock (_gate)
            {
                return _timers.UnorderedItems.Count(item => item.Element.Timer.Version == item.Element.Version);
            }
        }
    }

    public override long GetTimestamp() => Interlocked.Read(ref _now);

    public override DateTimeOffset GetUtcNow() => Beginning + Elapsed;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        Timer timer = new(this, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    /// <summary>Blocks the calling thread, one of the pool's, until <see cref="Unblock"/>.</summary>
    public void Block()
    {
        if (!_unblock.IsSet)
        {
            Interlocked.Increment(ref _blocked);
            _unblock.Wait();
        }
    }

    /// <summary>Lets all go on that are blocked, or want to be.</summary>
    public void Unblock()
    {
        Settle();
        Volatile.Write(ref _blocked, 0);
        _unblock.Set();
    }

    /// <summary>Waits until everything is at rest. The clock stands still.</summary>
    public void Settle()
    {
        long start = Stopwatch.GetTimestamp(), lookedAt = start;
        int fewest = int.MaxValue;
        SpinWait spin = default;
        while (!IsAtRest(ref fewest))
        {
            spin.SpinOnce(sleep1Threshold: -1);
            if (Stopwatch.GetElapsedTime(lookedAt) > LongWork)
            {
                _foreign = fewest;
                fewest = int.MaxValue;
                lookedAt = Stopwatch.GetTimestamp();
            }

            if (Stopwatch.GetElapsedTime(start) > RealLimit)
            {
                throw new TimeoutException(
                    $"The process does not come to rest: {Working()} threads at work, {_blocked} of them blocked on purpose, and {ThreadPool.PendingWorkItemCount} pieces of work.");
            }
        }
    }

    /// <summary>Moves the clock, from timer to timer.</summary>
    public void Advance(TimeSpan time)
    {
        long end = GetTimestamp() + time.Ticks;
        Settle();
        while (TryStep(end))
        {
            Settle();
        }

        Interlocked.Exchange(ref _now, end);
    }

    /// <summary>Moves the clock until a condition holds, which is looked at whenever all is at rest. False when it does not in time.</summary>
    public bool AdvanceUntil(Func<bool> condition, TimeSpan limit)
    {
        long end = GetTimestamp() + limit.Ticks;
        Settle();
        while (!condition())
        {
            if (!TryStep(end))
            {
                return false;
            }

            Settle();
        }

        return true;
    }

    public void Dispose()
    {
        Unblock();
        Settle();
        ThreadPool.SetMinThreads(_formerThreads.Workers, _formerThreads.Ports);
    }

    // Work that is done between the first and the last look shows in the count of what is done.
    private bool IsAtRest(ref int fewest)
    {
        if (ThreadPool.PendingWorkItemCount > 0)
        {
            fewest = Math.Min(fewest, Working() - _blocked);
            return false;
        }

        long done = ThreadPool.CompletedWorkItemCount;
        bool isIdle = ThreadPool.PendingWorkItemCount == 0;
        int working = Working() - Volatile.Read(ref _blocked);
        fewest = Math.Min(fewest, working);
        _foreign = Math.Min(_foreign, working);
        return isIdle && working == _foreign && ThreadPool.PendingWorkItemCount == 0 && ThreadPool.CompletedWorkItemCount == done;
    }

    private static int Working()
    {
        ThreadPool.GetMaxThreads(out int all, out _);
        ThreadPool.GetAvailableThreads(out int available, out _);
        return all - available - (Thread.CurrentThread.IsThreadPoolThread ? 1 : 0);
    }

    private bool TryStep(long end)
    {
        List<Timer> due = [];
        lock (_gate)
        {
            while (TryPeek(out Timer? timer, out long time) && time <= (due.Count == 0 ? end : GetTimestamp()))
            {
                _timers.Dequeue();
                Interlocked.Exchange(ref _now, Math.Max(GetTimestamp(), time));
                timer.OnDue();
                due.Add(timer);
            }
        }

        // At once, as timers of the system that are due at the same moment.
        due.ForEach(timer => ThreadPool.UnsafeQueueUserWorkItem(timer, preferLocal: false));
        return due.Count > 0;
    }

    // Called with the gate held.
    private bool TryPeek([System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out Timer? timer, out long due)
    {
        while (_timers.TryPeek(out (Timer Timer, long Version) next, out (long Due, long Order) at))
        {
            if (next.Timer.Version == next.Version)
            {
                (timer, due) = (next.Timer, at.Due);
                return true;
            }

            _timers.Dequeue();
        }

        (timer, due) = (null, 0);
        return false;
    }

    private sealed class Timer(Simulation simulation, TimerCallback callback, object? state) : ITimer, IThreadPoolWorkItem
    {
        private TimeSpan _period;
        private bool _isDisposed;

        /// <summary>Another after each change. Guarded by the gate.</summary>
        public long Version { get; private set; }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            lock (simulation._gate)
            {
                Version++;
                _period = period;
                if (!_isDisposed && dueTime != Timeout.InfiniteTimeSpan)
                {
                    Set(dueTime);
                }

                return !_isDisposed;
            }
        }

        /// <summary>Called with the gate held.</summary>
        public void OnDue()
        {
            Version++;
            if (_period > TimeSpan.Zero)
            {
                Set(_period);
            }
        }

        public void Execute() => callback(state);

        public void Dispose()
        {
            lock (simulation._gate)
            {
                _isDisposed = true;
                Version++;
            }
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }

        private void Set(TimeSpan after) =>
            simulation._timers.Enqueue((this, Version), (simulation.GetTimestamp() + Math.Max(0, after.Ticks), simulation._order++));
    }
}
