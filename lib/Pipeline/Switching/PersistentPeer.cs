using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>A node to be connected to at all times, and how that goes.</summary>
internal sealed class PersistentPeer(NetAddress address) : IDisposable
{
    private readonly CancellationTokenSource _given = new();

    private int _hasBegun;

    // Written by the loop that dials it alone.
    private int _failures;
    private long _nextDialTicks;
    private volatile string? _lastFailure;

    public NetAddress Address => address;

    /// <summary>Cancelled when it is to be dialled no more.</summary>
    public CancellationToken GivenUp => _given.Token;

    /// <summary>True once: for who is to run the loop that dials it, when the start of the switch and an addition come at one moment.</summary>
    public bool TryBegin() => Interlocked.Exchange(ref _hasBegun, 1) == 0;

    /// <summary>How many tries have failed since it was last connected.</summary>
    public int Failures
    {
        get => Volatile.Read(ref _failures);
        set => Volatile.Write(ref _failures, value);
    }

    /// <summary>Why the last try failed, or the last connection ended; null when neither did.</summary>
    public string? LastFailure
    {
        get => _lastFailure;
        set => _lastFailure = value;
    }

    /// <summary>When it is dialled next; null while it is connected or being dialled.</summary>
    public DateTimeOffset? NextDial
    {
        get => Volatile.Read(ref _nextDialTicks) is > 0 and long ticks ? new DateTimeOffset(ticks, TimeSpan.Zero) : null;
        set => Volatile.Write(ref _nextDialTicks, value?.UtcTicks ?? 0);
    }

    /// <summary>Gives it up. The source of the token holds nothing that would have to be disposed of, and the loop may still want the token.</summary>
    public void Dispose() => _given.Cancel();
}
