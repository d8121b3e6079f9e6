namespace Pipeline.Testing.Tests;

/// <summary>A clock for which every wait is over at once, and moves it to when it would have been.</summary>
internal sealed class InstantTime : TimeProvider
{
    private long _now;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => Interlocked.Read(ref _now);

    public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch.AddTicks(GetTimestamp());

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
        new Timer(this, () => callback(state), dueTime);

    private sealed class Timer : ITimer
    {
        private readonly InstantTime _time;
        private readonly Action _callback;

        public Timer(InstantTime time, Action callback, TimeSpan dueTime)
        {
            _time = time;
            _callback = callback;
            Change(dueTime, Timeout.InfiniteTimeSpan);
        }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            if (dueTime != Timeout.InfiniteTimeSpan)
            {
                Interlocked.Add(ref _time._now, dueTime.Ticks);
                ThreadPool.QueueUserWorkItem(static callback => callback(), _callback, preferLocal: false);
            }

            return true;
        }

        public void Dispose()
        {
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
