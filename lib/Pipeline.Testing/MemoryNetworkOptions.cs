namespace Pipeline.Testing;

/// <summary>Settings of a <see cref="MemoryNetwork"/>.</summary>
public sealed record MemoryNetworkOptions
{
    /// <summary>Where time comes from, a fake one for instance. Default: the system's clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>How long bytes are on their way from one host to another. At least 0; default 0, which needs no timers.</summary>
    public TimeSpan Latency
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, TimeSpan.Zero, nameof(Latency));
            field = value;
        }
    }

    /// <summary>
    /// How many bytes may be written and not read, in each direction of a connection; with a latency, those on their way included. At least 1;
    /// default 64 KiB.
    /// </summary>
    public int BufferSize { get; init => field = AtLeastOne(value, nameof(BufferSize)); } = 64 * 1024;

    /// <summary>How many connections may wait to be accepted by one listener; further dials wait. At least 1; default 512.</summary>
    public int Backlog { get; init => field = AtLeastOne(value, nameof(Backlog)); } = 512;

    /// <summary>How long a dial may take. More than 0; default 3 s (<c>dial_timeout</c>).</summary>
    public TimeSpan DialTimeout
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(value, TimeSpan.Zero, nameof(DialTimeout));
            field = value;
        }
    } = TimeSpan.FromSeconds(3);

    /// <summary>What happens to the bytes of each direction of each connection. Null, the default: nothing.</summary>
    public FaultPlan? Faults { get; init; }

    private static int AtLeastOne(int value, string property)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, property);
        return value;
    }
}
