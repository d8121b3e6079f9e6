namespace Pipeline.Testing;

/// <summary>What can happen to the bytes of one direction of a connection.</summary>
public enum FaultKind
{
    /// <summary>A read or a write ends here, and the next begins.</summary>
    Split,

    /// <summary>Bytes vanish.</summary>
    Drop,

    /// <summary>Bits of a byte flip.</summary>
    Corrupt,

    /// <summary>The bytes from here on are held back for a time.</summary>
    Delay,

    /// <summary>Nothing passes for a time, in either direction.</summary>
    Stall,

    /// <summary>The connection breaks, in both directions.</summary>
    Cut,
}

/// <summary>Which bytes a fault happened to, as seen from a stream.</summary>
public enum FaultDirection
{
    /// <summary>Those that are read.</summary>
    Incoming,

    /// <summary>Those that are written.</summary>
    Outgoing,
}

/// <summary>One fault at a place in one direction of a connection.</summary>
public sealed record Fault
{
    private Fault(FaultKind kind, long position)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        Kind = kind;
        Position = position;
    }

    /// <summary>What happens.</summary>
    public FaultKind Kind { get; }

    /// <summary>How many bytes come before it; those that are dropped count.</summary>
    public long Position { get; }

    /// <summary>How many bytes are dropped; 0 for the other kinds.</summary>
    public int Length { get; private init; }

    /// <summary>Which bits of the byte flip; 0 for all kinds but <see cref="FaultKind.Corrupt"/>.</summary>
    public byte Mask { get; private init; }

    /// <summary>For how long bytes are held back; zero for all kinds but <see cref="FaultKind.Delay"/> and <see cref="FaultKind.Stall"/>.</summary>
    public TimeSpan Duration { get; private init; }

    /// <summary>A read or a write ends after <paramref name="position"/> bytes.</summary>
    public static Fault Split(long position) => new(FaultKind.Split, position);

    /// <summary>After <paramref name="position"/> bytes, <paramref name="length"/> bytes vanish; at least 1.</summary>
    public static Fault Drop(long position, int length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        return new Fault(FaultKind.Drop, position) { Length = length };
    }

    /// <summary>Of the byte that comes after <paramref name="position"/> others, the bits of <paramref name="mask"/> flip; not 0.</summary>
    public static Fault Corrupt(long position, byte mask = 1)
    {
        ArgumentOutOfRangeException.ThrowIfZero(mask);
        return new Fault(FaultKind.Corrupt, position) { Mask = mask };
    }

    /// <summary>
    /// The byte that comes after <paramref name="position"/> others, and all after it, are held back for <paramref name="duration"/> once it is
    /// there. More than 0.
    /// </summary>
    public static Fault Delay(long position, TimeSpan duration) => new(FaultKind.Delay, position) { Duration = Positive(duration) };

    /// <summary>
    /// When the byte is there that comes after <paramref name="position"/> others, nothing passes for <paramref name="duration"/>, in either
    /// direction. More than 0.
    /// </summary>
    public static Fault Stall(long position, TimeSpan duration) => new(FaultKind.Stall, position) { Duration = Positive(duration) };

    /// <summary>When <paramref name="position"/> bytes have passed the connection breaks: reads and writes fail with <see cref="IOException"/>.</summary>
    public static Fault Cut(long position) => new(FaultKind.Cut, position);

    private static TimeSpan Positive(TimeSpan duration)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(duration, TimeSpan.Zero);
        return duration;
    }
}

/// <summary>A fault that has happened.</summary>
/// <param name="Fault">What, and where.</param>
/// <param name="Direction">To which bytes.</param>
/// <param name="Time">When, by the clock of the stream or network.</param>
public sealed record InjectedFault(Fault Fault, FaultDirection Direction, DateTimeOffset Time);
