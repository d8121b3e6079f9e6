using System.Diagnostics.CodeAnalysis;
using System.Net;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>
/// Which of the connections that come in may try a handshake: the checks that cost next to nothing, before those that cost cryptography.
/// What they do is the same however many connections come. Safe to use from any thread.
/// </summary>
/// <remarks>
/// All is counted by source: an IPv4 address, or the /64 of an IPv6 address, which is what one machine commonly has for itself. Memory is
/// bounded by the handshakes and by <see cref="MaxTrackedSources"/>.
/// </remarks>
internal sealed class InboundGate
{
    /// <summary>Sources whose rates are known; of more than that in a second, those that came first are taken for new ones. About 150 bytes each.</summary>
    public const int MaxTrackedSources = 16_384;

    // What one machine commonly gets of IPv6 (RFC 4291, section 2.5.4).
    private const int IPv6SourcePrefix = 64;

    private readonly int _maxHandshakes;
    private readonly int? _maxHandshakesPerIp;
    private readonly int? _connectionsPerSecondPerIp;

    // Guarded by _gate, as what changes in sources and slots. Invariant: _sources are those with a slot; _byCount[n] are those with n slots,
    // the one that has had so many for longest first; _most is the largest n with any, else 0; _open is the sum of all n.
    private readonly Lock _gate = new();
    private readonly AddressRates? _rates;
    private readonly Dictionary<AddressBits, Source> _sources = [];
    private readonly LinkedList<Source>[] _byCount;
    private int _most;
    private int _open;
    private int _ending;
    private InboundGateCounts _counts;

    /// <param name="maxHandshakes">Handshakes at once. At least 1.</param>
    /// <param name="maxHandshakesPerIp">Handshakes at once from one source, at least 1; null: no limit.</param>
    /// <param name="connectionsPerSecondPerIp">
    /// Connections a second from one source, at least 1; so many may come at once after a pause. Null: no limit.
    /// </param>
    /// <param name="timeProvider">Where time comes from.</param>
    public InboundGate(int maxHandshakes, int? maxHandshakesPerIp, int? connectionsPerSecondPerIp, TimeProvider timeProvider)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxHandshakes, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxHandshakesPerIp ?? maxHandshakes, 1, nameof(maxHandshakesPerIp));
        ArgumentNullException.ThrowIfNull(timeProvider);
        _maxHandshakes = maxHandshakes;
        _maxHandshakesPerIp = maxHandshakesPerIp;
        _connectionsPerSecondPerIp = connectionsPerSecondPerIp;
        _byCount = [.. Enumerable.Range(0, Math.Min(maxHandshakesPerIp ?? maxHandshakes, maxHandshakes) + 1).Select(_ => new LinkedList<Source>())];
        if (connectionsPerSecondPerIp is { } perSecond)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(perSecond, 1, nameof(connectionsPerSecondPerIp));
            _rates = new AddressRates(perSecond, MaxTrackedSources, timeProvider);
        }
    }

    /// <summary>Handshakes that have a slot.</summary>
    public int Open
    {
        get
        {
            lock (_gate)
            {
                return _open;
            }
        }
    }

    /// <summary>What was counted until now.</summary>
    public InboundGateCounts Counts
    {
        get
        {
            lock (_gate)
            {
                return _counts;
            }
        }
    }

    /// <summary>
    /// Takes a slot for the handshake of a connection. When none is free, the oldest handshake of the source that has most of them (with the
    /// new one) loses its slot: a flood that says nothing cannot keep others out, and one source's flood costs only its own. At most as many as
    /// there are slots are being given up at a time, half of them because of newer ones of their own source.
    /// </summary>
    /// <param name="ip">Where the connection comes from.</param>
    /// <param name="slot">The slot, to be disposed when the handshake has ended, or has been given up because <see cref="Slot.Token"/> says so.</param>
    /// <param name="refusal">Why the connection must be closed, as a sentence.</param>
    public bool TryEnter(IPAddress ip, [NotNullWhen(true)] out Slot? slot, [NotNullWhen(false)] out string? refusal)
    {
        ArgumentNullException.ThrowIfNull(ip);
        AddressBits bits = AddressBits.Of(ip);
        bits = bits.IsIPv4 ? bits : bits.First(IPv6SourcePrefix);
        Slot? evicted;
        lock (_gate)
        {
            slot = null;
            if (_rates?.TryTake(bits) == false)
            {
                _counts = _counts with { TooFast = _counts.TooFast + 1 };
                refusal = $"More than {_connectionsPerSecondPerIp} connections a second come from {ip}.";
                return false;
            }

            Source? source = _sources.GetValueOrDefault(bits);
            if (source is not null && source.Slots.Count == _maxHandshakesPerIp)
            {
                _counts = _counts with { TooManyOfSource = _counts.TooManyOfSource + 1 };
                refusal = $"There are {_maxHandshakesPerIp} handshakes with {ip}, as many as this node takes at once.";
                return false;
            }

            evicted = null;
            if (_open == _maxHandshakes)
            {
                Source loser = source?.Slots.Count == _most ? source : _byCount[_most].First!.Value;

                // What loses its slot has a socket until its handshake has been given up. Who floods must leave room there for others.
                if (_ending >= (loser == source ? (_maxHandshakes + 1) / 2 : _maxHandshakes))
                {
                    _counts = _counts with { Busy = _counts.Busy + 1 };
                    refusal = $"There are {_maxHandshakes} handshakes, and {_ending} more are being given up.";
                    return false;
                }

                evicted = Evict(loser);
                source = _sources.GetValueOrDefault(bits);
            }

            source ??= new Source(bits);
            slot = new Slot(this, source);
            source.Slots.AddLast(slot.Node);
            Count(source, +1);
        }

        evicted?.Cancel();
        refusal = null;
        return true;
    }

    // Called with the gate held, as those below.
    private Slot Evict(Source source)
    {
        Slot slot = source.Slots.First!.Value;
        slot.IsEvicted = true;
        _ending++;
        _counts = _counts with { Evicted = _counts.Evicted + 1 };
        Remove(slot);
        return slot;
    }

    private void Remove(Slot slot)
    {
        slot.Source.Slots.Remove(slot.Node);
        Count(slot.Source, -1);
    }

    /// <summary>Puts a source where it belongs after the number of its slots has changed by one.</summary>
    private void Count(Source source, int change)
    {
        int count = source.Slots.Count;
        if (count - change > 0)
        {
            _byCount[count - change].Remove(source.Node);
        }
        else
        {
            _sources.Add(source.Bits, source);
        }

        if (count > 0)
        {
            _byCount[count].AddLast(source.Node);
        }
        else
        {
            _sources.Remove(source.Bits);
        }

        _open += change;
        _most = count > _most ? count : _most > 0 && _byCount[_most].Count == 0 ? _most - 1 : _most;
    }

    private void Leave(Slot slot)
    {
        lock (_gate)
        {
            if (slot.HasLeft)
            {
                return;
            }

            slot.HasLeft = true;
            if (slot.IsEvicted)
            {
                _ending--;
            }
            else
            {
                Remove(slot);
            }
        }
    }

    /// <summary>The place of one connection among the handshakes.</summary>
    internal sealed class Slot : IDisposable
    {
        // Not disposed, because a slot may be evicted while it is given back; it has neither a timer nor a handle.
        private readonly CancellationTokenSource _evicted = new();
        private readonly InboundGate _owner;

        public Slot(InboundGate owner, Source source)
        {
            _owner = owner;
            Source = source;
            Node = new LinkedListNode<Slot>(this);
        }

        /// <summary>Cancelled when another handshake needs the slot: this one has to be given up, and its connection closed.</summary>
        public CancellationToken Token => _evicted.Token;

        internal Source Source { get; }

        internal LinkedListNode<Slot> Node { get; }

        internal bool IsEvicted { get; set; }

        internal bool HasLeft { get; set; }

        /// <summary>Gives the slot back, once; further calls do nothing.</summary>
        public void Dispose() => _owner.Leave(this);

        // What hangs on the token closes sockets, which is not for the one who accepts connections to do.
        internal void Cancel() => _ = _evicted.CancelAsync();
    }

    /// <summary>Where connections come from.</summary>
    internal sealed class Source
    {
        public Source(AddressBits bits)
        {
            Bits = bits;
            Node = new LinkedListNode<Source>(this);
        }

        public AddressBits Bits { get; }

        /// <summary>Its handshakes, the oldest first.</summary>
        public LinkedList<Slot> Slots { get; } = [];

        public LinkedListNode<Source> Node { get; }
    }
}

/// <summary>What an <see cref="InboundGate"/> has counted since it was made.</summary>
/// <param name="TooFast">Connections refused because too many came from their source in a second.</param>
/// <param name="TooManyOfSource">Connections refused because too many handshakes with their source ran.</param>
/// <param name="Busy">Connections refused because all slots were taken and too many handshakes were being given up.</param>
/// <param name="Evicted">Handshakes that lost their slot to another.</param>
internal readonly record struct InboundGateCounts(long TooFast, long TooManyOfSource, long Busy, long Evicted);
