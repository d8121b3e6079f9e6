namespace Pipeline.Dataflow;

/// <summary>
/// How many bytes of one peer may wait in lanes that are full. While it lasts, the other lanes of the peer go on; once it is used up, the
/// peer's connection is not read until half of it is free again, so that TCP slows the sender.
/// </summary>
internal sealed class ReceiveAllowance(long limit)
{
    // Guarded by _gate. Invariant: _used is the sum of what was charged and not yet released. _room is armed while _readerWaits.
    private readonly Lock _gate = new();
    private readonly SingleWaiterSignal _room = new();
    private long _used;
    private bool _readerWaits;

    public bool IsUsedUp => Volatile.Read(ref _used) > limit;

    public void Charge(long bytes)
    {
        lock (_gate)
        {
            _used += bytes;
        }
    }

    public void Release(long bytes)
    {
        bool wake;
        lock (_gate)
        {
            _used -= bytes;
            wake = _readerWaits && _used <= limit / 2;
            _readerWaits &= !wake;
        }

        if (wake)
        {
            _room.Set();
        }
    }

    /// <summary>Waits until half of the allowance is free. One caller at a time.</summary>
    public async ValueTask WaitForRoomAsync(CancellationToken cancellationToken)
    {
        ValueTask room;
        lock (_gate)
        {
            if (_used <= limit / 2)
            {
                return;
            }

            _readerWaits = true;
            room = _room.Arm();
        }

        using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(static a => ((ReceiveAllowance)a!).GiveUp(), this);
        await room.ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
    }

    private void GiveUp()
    {
        lock (_gate)
        {
            if (!_readerWaits)
            {
                return;
            }

            _readerWaits = false;
        }

        _room.Set();
    }
}
