namespace Pipeline.Switching;

/// <summary>The tasks that a switch has started, so that its stop can wait for all of them.</summary>
internal sealed class TaskGroup
{
    // Guarded by _gate. Invariant: _running tasks have been started and have not ended; none is started once _isClosed.
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _running;
    private bool _isClosed;

    /// <summary>How many have not ended.</summary>
    public int Running
    {
        get
        {
            lock (_gate)
            {
                return _running;
            }
        }
    }

    /// <summary>Says that something begins, which <see cref="Exit"/> ends. False when the group is closed.</summary>
    public bool TryEnter()
    {
        lock (_gate)
        {
            _running += _isClosed ? 0 : 1;
            return !_isClosed;
        }
    }

    public void Exit()
    {
        lock (_gate)
        {
            if (--_running == 0 && _isClosed)
            {
                _ended.TrySetResult();
            }
        }
    }

    /// <summary>Starts a task, which must not fail. False when the group is closed.</summary>
    public bool TryRun(Func<Task> work)
    {
        bool entered = TryEnter();
        if (entered)
        {
            _ = RunAsync(work);
        }

        return entered;
    }

    /// <summary>Starts no more tasks and waits until all have ended.</summary>
    public Task CloseAsync()
    {
        lock (_gate)
        {
            _isClosed = true;
            if (_running == 0)
            {
                _ended.TrySetResult();
            }
        }

        return _ended.Task;
    }

    private async Task RunAsync(Func<Task> work)
    {
        try
        {
            await Task.Run(work).ConfigureAwait(false);
        }
        finally
        {
            Exit();
        }
    }
}
