using System.Net;

namespace Pipeline.Testing;

/// <summary>A connection that was made over a <see cref="MemoryNetwork"/>, open or not, as somebody sees it who stands beside it.</summary>
public sealed class MemoryConnection
{
    private readonly MemoryWire _wire;
    private readonly FaultyStream? _faultyDialler;
    private readonly FaultyStream? _faultyListener;

    internal MemoryConnection(MemoryNetwork network, MemoryLink link, IPEndPoint dialler, IPEndPoint listener, FaultPlan? faults, ulong salt)
    {
        Link = link;
        DiallerEndPoint = dialler;
        ListenerEndPoint = listener;
        MemoryNetworkOptions options = network.Options;
        _wire = new MemoryWire(options.BufferSize, options.TimeProvider, link.Latency, link.IsUp, () => network.OnEndClosed(this));
        DiallerStream = _wire.A;
        ListenerStream = _wire.B;
        if (faults is not null)
        {
            // Where bytes come, so that a sender is held up by a delay only when everything is full.
            DiallerStream = _faultyDialler = Wrap(_wire.A, 0);
            ListenerStream = _faultyListener = Wrap(_wire.B, 1);
        }

        FaultyStream Wrap(MemoryDuplex end, ulong side) =>
            new(end, faults, outgoing: null, options.TimeProvider, SeededRandom.Combine(salt, side), _wire.Cut);
    }

    /// <summary>The link between both hosts.</summary>
    public MemoryLink Link { get; }

    /// <summary>The end that dialled.</summary>
    public IPEndPoint DiallerEndPoint { get; }

    /// <summary>The end that was dialled.</summary>
    public IPEndPoint ListenerEndPoint { get; }

    /// <summary>Whether the end that dialled has not been closed by its owner.</summary>
    public bool IsDiallerOpen => !DiallerStream.IsDisposed;

    /// <summary>Whether the end that was dialled has not been closed by its owner.</summary>
    public bool IsListenerOpen => !ListenerStream.IsDisposed;

    /// <summary>Whether one of both ends has not been closed by its owner.</summary>
    public bool IsOpen => IsDiallerOpen || IsListenerOpen;

    /// <summary>Whether bytes have been lost or changed, or the connection was cut: what was sent need not have come.</summary>
    public bool HasFailed =>
        _wire.IsCut || FaultsToDialler.Concat(FaultsToListener).Any(injected => injected.Fault.Kind is FaultKind.Drop or FaultKind.Corrupt or FaultKind.Cut);

    /// <summary>The faults that have happened to what the end that dialled receives, in order.</summary>
    public IReadOnlyList<InjectedFault> FaultsToDialler => _faultyDialler?.Faults ?? [];

    /// <summary>The faults that have happened to what the end that was dialled receives, in order.</summary>
    public IReadOnlyList<InjectedFault> FaultsToListener => _faultyListener?.Faults ?? [];

    internal DuplexStream DiallerStream { get; }

    internal DuplexStream ListenerStream { get; }

    /// <summary>Breaks the connection: both ends fail with <see cref="IOException"/> at once, and what was not read is lost.</summary>
    public void Cut()
    {
        if (IsOpen)
        {
            _wire.Cut("The connection was cut.");
        }
    }

    /// <summary>Both ends, and which of them are open.</summary>
    public override string ToString() =>
        $"{DiallerEndPoint} ({(IsDiallerOpen ? "open" : "closed")}) to {ListenerEndPoint} ({(IsListenerOpen ? "open" : "closed")})";

    /// <summary>Closes the end that was dialled because nobody will accept it.</summary>
    internal void Refuse()
    {
        _wire.B.Reset();
        ListenerStream.Dispose();
    }

    internal void SetLatency(TimeSpan latency) => _wire.SetLatency(latency);

    internal void SetUp(bool isUp) => _wire.SetUp(isUp);

    internal void SetTimer() => _wire.SetTimer();
}
