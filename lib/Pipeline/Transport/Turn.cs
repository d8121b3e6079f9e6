namespace Pipeline.Transport;

/// <summary>
/// Says who owns the buffers of one direction of a connection: an operation, the user between two operations (from a read to
/// <c>AdvanceTo</c>, from <c>GetMemory</c> to the flush), or nobody. A mutable struct: keep it in a field.
/// </summary>
/// <remarks>
/// Whoever closes the direction releases what it owns, except when an operation runs, which then does so at its end. A buffer that
/// the user may still look at or write to is never returned to a pool, but left to the garbage collector.
/// </remarks>
internal struct Turn
{
    private const int Free = 0;
    private const int Busy = 1;
    private const int Lent = 2;
    private const int Closing = 3;
    private const int Closed = 4;

    // Invariant: one operation after another takes it from Free or Lent to Busy and back. Closing is Busy and closed. Closed is final
    // and reached exactly once.
    private int _state;

    public readonly bool IsClosed => Volatile.Read(in _state) >= Closing;

    /// <summary>Begins an operation that needs the buffers to be nobody's.</summary>
    /// <exception cref="ObjectDisposedException">The direction is closed.</exception>
    /// <exception cref="InvalidOperationException">Another operation runs, or the user has the buffers.</exception>
    public void Begin(string operation)
    {
        int was = Interlocked.CompareExchange(ref _state, Busy, Free);
        if (was != Free)
        {
            throw Refusal(was, operation);
        }
    }

    /// <summary>Begins an operation that goes on where the user left off.</summary>
    /// <exception cref="ObjectDisposedException">The direction is closed.</exception>
    /// <exception cref="InvalidOperationException">Another operation runs.</exception>
    public void BeginOrResume(string operation)
    {
        int was = Interlocked.CompareExchange(ref _state, Busy, Free);
        if (was == Lent)
        {
            was = Interlocked.CompareExchange(ref _state, Busy, Lent) == Lent ? Free : Volatile.Read(in _state);
        }

        if (was != Free)
        {
            throw Refusal(was, operation);
        }
    }

    /// <summary>Takes the buffers back from the user. False when the direction was closed meanwhile: nothing is left to do.</summary>
    /// <exception cref="InvalidOperationException">The user does not have the buffers.</exception>
    public bool TryTakeBack(string operation) => Interlocked.CompareExchange(ref _state, Busy, Lent) switch
    {
        Lent => true,
        Closing or Closed => false,
        _ => throw new InvalidOperationException($"{operation} was called without a buffer to give back."),
    };

    /// <summary>Ends an operation. True when the direction was closed meanwhile, so that the caller has to release what it owns.</summary>
    public bool End() => Leave(Free);

    /// <summary>Ends an operation and leaves the buffers to the user. True when the direction was closed meanwhile, as with <see cref="End"/>.</summary>
    public bool Lend() => Leave(Lent);

    /// <summary>Closes the direction. True when the caller has to release what it owns.</summary>
    /// <param name="lent">Whether the user has the buffers, which then must not go back to a pool.</param>
    public bool Close(out bool lent)
    {
        while (true)
        {
            int was = Volatile.Read(in _state);
            lent = was == Lent;
            if (was >= Closing)
            {
                return false;
            }

            if (Interlocked.CompareExchange(ref _state, was == Busy ? Closing : Closed, was) == was)
            {
                return was != Busy;
            }
        }
    }

    private bool Leave(int next)
    {
        if (Interlocked.CompareExchange(ref _state, next, Busy) == Busy)
        {
            return false;
        }

        Volatile.Write(ref _state, Closed);
        return true;
    }

    private static InvalidOperationException Refusal(int state, string operation) => state switch
    {
        >= Closing => new ObjectDisposedException(typeof(SecretConnection).FullName),
        Lent => new InvalidOperationException($"The buffer of the {operation} before has not been given back with AdvanceTo."),
        _ => new InvalidOperationException($"Another {operation} is in progress; a connection does one at a time in each direction."),
    };
}
