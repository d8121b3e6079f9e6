namespace Pipeline.Transport;

/// <summary>
/// Says who owns the buffers of one direction of a connection. Whoever has the turn owns them; closing releases them at once when
/// nobody has the turn, and otherwise leaves that to whoever has it. A mutable struct: keep it in a field.
/// </summary>
internal struct Turn
{
    private const int Free = 0;
    private const int Taken = 1;
    private const int Closed = 2;
    private const int ClosedWhileTaken = 3;

    // Invariant: Free -> Taken -> Free by one owner after another; Closed is final, and reached exactly once.
    private int _state;

    public readonly bool IsClosed => Volatile.Read(in _state) >= Closed;

    /// <summary>Takes the turn.</summary>
    /// <exception cref="ObjectDisposedException">The direction is closed.</exception>
    /// <exception cref="InvalidOperationException">Somebody else has the turn.</exception>
    public void Take(string operation)
    {
        int was = Interlocked.CompareExchange(ref _state, Taken, Free);
        ObjectDisposedException.ThrowIf(was >= Closed, typeof(SecretConnection));
        if (was == Taken)
        {
            throw new InvalidOperationException($"Another {operation} is in progress; a connection does one at a time in each direction.");
        }
    }

    /// <summary>Gives the turn back. True when the direction was closed meanwhile, so that the caller has to release the buffers.</summary>
    public bool GiveBack()
    {
        if (Interlocked.CompareExchange(ref _state, Free, Taken) == Taken)
        {
            return false;
        }

        Volatile.Write(ref _state, Closed);
        return true;
    }

    /// <summary>Closes the direction. True when nobody had the turn, so that the caller has to release the buffers.</summary>
    public bool Close()
    {
        while (true)
        {
            int was = Volatile.Read(ref _state);
            if (was >= Closed)
            {
                return false;
            }

            if (Interlocked.CompareExchange(ref _state, was == Free ? Closed : ClosedWhileTaken, was) == was)
            {
                return was == Free;
            }
        }
    }
}
