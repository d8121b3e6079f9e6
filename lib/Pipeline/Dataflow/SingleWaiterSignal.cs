using System.Threading.Tasks.Sources;

namespace Pipeline.Dataflow;

/// <summary>
/// Wakes one waiter, again and again, without allocating. Its owner decides under its own lock whether somebody has to wait
/// (<see cref="Arm"/>) and whether the waiter has to be woken, and wakes it outside (<see cref="Set"/>): once for each time it was armed.
/// </summary>
internal sealed class SingleWaiterSignal : IValueTaskSource
{
    // The one who sets the signal is in the middle of something else, a reactor that sends or a loop that receives; it must not be made
    // to do the waiter's work unless it wants to.
    private ManualResetValueTaskSourceCore<bool> _core = new() { RunContinuationsAsynchronously = true };

    public ValueTask Arm()
    {
        _core.Reset();
        _core.RunContinuationsAsynchronously = true;
        return new ValueTask(this, _core.Version);
    }

    public void Set() => _core.SetResult(true);

    /// <summary>Wakes the waiter, which goes on within this call until it waits for something else.</summary>
    public void SetAndRun()
    {
        _core.RunContinuationsAsynchronously = false;
        _core.SetResult(true);
    }

    void IValueTaskSource.GetResult(short token) => _core.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);
}
