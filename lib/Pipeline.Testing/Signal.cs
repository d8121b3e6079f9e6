namespace Pipeline.Testing;

/// <summary>Wakes everybody who waits, and costs nothing while nobody does. Guarded by the lock of whoever has it.</summary>
internal sealed class Signal
{
    private TaskCompletionSource? _waiting;

    /// <summary>Completes at the next <see cref="Set"/>.</summary>
    public Task WaitAsync() => (_waiting ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;

    public void Set()
    {
        _waiting?.SetResult();
        _waiting = null;
    }
}
