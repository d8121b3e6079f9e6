using Pipeline.Testing;

namespace Pipeline.Tests.Support;

/// <summary>A remote that says what was recorded, whatever it is told.</summary>
internal sealed class ReplayStream(ReadOnlyMemory<byte> script, Func<int>? splits = null) : DuplexStream
{
    private readonly Func<int> _splits = splits ?? Splits.None;
    private readonly MemoryStream _written = new();
    private readonly TaskCompletionSource _disposed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _at;

    /// <summary>Whether the remote falls silent after its script; otherwise it closes the connection.</summary>
    public bool StaysSilent { get; init; }

    /// <summary>Whether a wait ends when its token is cancelled; some streams only end it when they are closed.</summary>
    public bool HeedsTokens { get; init; } = true;

    /// <summary>All that was written to the remote so far.</summary>
    public byte[] Written
    {
        get
        {
            lock (_written)
            {
                return _written.ToArray();
            }
        }
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        cancellationToken.ThrowIfCancellationRequested();
        if (_at == script.Length)
        {
            if (StaysSilent)
            {
                await _disposed.Task.WaitAsync(HeedsTokens ? cancellationToken : CancellationToken.None);
                throw new ObjectDisposedException(nameof(ReplayStream));
            }

            return 0;
        }

        int count = Math.Min(Math.Min(buffer.Length, script.Length - _at), _splits());
        script.Slice(_at, count).CopyTo(buffer);
        _at += count;
        return count;
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        lock (_written)
        {
            _written.Write(buffer.Span);
        }

        return ValueTask.CompletedTask;
    }

    protected override void Release() => _disposed.SetResult();
}
