using System.Runtime.CompilerServices;

namespace Pipeline.Dataflow;

/// <summary>
/// When a loop should let others have its thread: while there is always more to read, or to send and the socket takes it, the loop never waits, and would
/// keep the thread from everybody else. A mutable struct: keep it in a variable of the loop.
/// </summary>
internal struct ThreadShare
{
    // About a quarter of a millisecond's work. To wake another thread for those who may be waiting costs a twentieth of that.
    private const int MaxBytes = 160 * 1024;

    private int _bytes;

    /// <summary>Counts bytes that the loop has dealt with. True when it should yield.</summary>
    public bool IsUsedUp(int bytes)
    {
        _bytes += bytes;
        if (_bytes < MaxBytes)
        {
            return false;
        }

        _bytes = 0;
        return true;
    }

    /// <summary>
    /// To be awaited: goes on behind all that waits in the thread pool. <see cref="Task.Yield"/> goes back to the context of who happens to run the loop, and a forced
    /// yield of a task goes before others that the same thread has queued.
    /// </summary>
    public static Turnover Yield() => default;

    public readonly struct Turnover : ICriticalNotifyCompletion
    {
        public bool IsCompleted => false;

        public Turnover GetAwaiter() => this;

        public void OnCompleted(Action continuation) => ThreadPool.QueueUserWorkItem(static go => go(), continuation, preferLocal: false);

        public void UnsafeOnCompleted(Action continuation) => ThreadPool.UnsafeQueueUserWorkItem(static go => go(), continuation, preferLocal: false);

        public void GetResult()
        {
        }
    }
}
