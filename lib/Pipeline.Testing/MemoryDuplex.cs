using Pipeline.Transport;

namespace Pipeline.Testing;

/// <summary>
/// One end of a connection in memory, which behaves as the stream of a TCP socket does: it can be half-closed, and it fills up when the
/// other end does not read.
/// </summary>
/// <remarks>
/// <para>What was written before a close can still be read at the other end, and then the end of the stream. The first write to an end that was
/// closed is accepted and lost, unless that end had unread data when it was closed; later ones fail.</para>
/// <para>A read into an empty buffer waits until there is something to read. Reads and writes may run at once, and heed their tokens; a write
/// that is cancelled may have been sent in part.</para>
/// </remarks>
public sealed class MemoryDuplex : DuplexStream, IHalfClosable
{
    private readonly MemoryWire _wire;
    private readonly MemoryWire.Lane _incoming;
    private readonly MemoryWire.Lane _outgoing;

    internal MemoryDuplex(MemoryWire wire, MemoryWire.Lane incoming, MemoryWire.Lane outgoing)
    {
        _wire = wire;
        _incoming = incoming;
        _outgoing = outgoing;
    }

    /// <summary>How many bytes have been written to this end.</summary>
    public long BytesWritten => _wire.Total(_outgoing);

    /// <summary>Connects two ends.</summary>
    /// <param name="capacity">How many bytes may be written and not read, in each direction. At least 1; default 64 KiB.</param>
    public static (MemoryDuplex A, MemoryDuplex B) CreatePair(int capacity = 64 * 1024)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        MemoryWire wire = new(capacity, TimeProvider.System, TimeSpan.Zero, isUp: true);
        return (wire.A, wire.B);
    }

    /// <summary>Waits until the other end has read all that was written to this one, or is closed.</summary>
    public Task DrainAsync(CancellationToken cancellationToken = default) => _wire.DrainAsync(_outgoing, cancellationToken);

    /// <inheritdoc />
    public void CompleteWrites() => _wire.Complete(_outgoing);

    /// <inheritdoc />
    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        _wire.ReadAsync(_incoming, buffer, cancellationToken);

    /// <inheritdoc />
    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        _wire.WriteAsync(_outgoing, buffer, cancellationToken);

    /// <summary>Lets the other end fail once it has read what was written.</summary>
    internal void Reset() => _wire.Reset(_outgoing);

    /// <inheritdoc />
    protected override void Release() => _wire.Close(_incoming, _outgoing);
}
