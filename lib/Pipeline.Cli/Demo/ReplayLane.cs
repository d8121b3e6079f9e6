using System.Globalization;
using Pipeline.Cli.Traces;
using Pipeline.Dataflow;

namespace Pipeline.Cli.Demo;

/// <summary>
/// What one peer sends on one channel, and the check that it arrives: all of it, in order, byte-identical. One sender marks what it
/// sends; what arrives is held against that.
/// </summary>
/// <remarks>
/// A message that matches one before the furthest that has arrived is out of order. One that matches none that is outstanding is
/// corrupt and takes the place of the next, so that one flipped bit is one fault and not a fault in all that follows.
/// </remarks>
internal sealed class ReplayLane
{
    // How far around the expected place a message is looked for; it bounds the time that a badly broken run takes.
    private const int Window = 1024;

    // How many differences are described; all are counted.
    private const int MostDescribed = 3;

    private readonly Lock _gate = new();
    private readonly TimeProvider _time;
    private readonly long[] _sentAt;
    private readonly Slot[] _slots;
    private readonly List<string> _differences = [];
    private int _sent;

    // The slot after the furthest that has been filled.
    private int _next;
    private int _matched;
    private long _received;
    private long _bytes;
    private long _outOfOrder;
    private long _corrupt;

    /// <summary>Creates a lane on which nothing has been sent.</summary>
    /// <param name="peer">The peer of the trace.</param>
    /// <param name="channel">The channel.</param>
    /// <param name="messages">What is to be sent, in order.</param>
    /// <param name="time">What latencies are measured with.</param>
    public ReplayLane(int peer, ChannelDescriptor channel, IReadOnlyList<TraceMessage> messages, TimeProvider time)
    {
        Peer = peer;
        Channel = channel;
        Messages = messages;
        _time = time;
        _sentAt = new long[messages.Count];
        _slots = new Slot[messages.Count];
    }

    private enum Slot : byte
    {
        Outstanding,
        Matched,
        Replaced,
    }

    public int Peer { get; }

    public ChannelDescriptor Channel { get; }

    public IReadOnlyList<TraceMessage> Messages { get; }

    /// <summary>From just before a message was sent to its arrival at the reactor.</summary>
    public LatencyHistogram Latency { get; } = new();

    public LaneCounts Counts
    {
        get
        {
            lock (_gate)
            {
                return new LaneCounts(_sent, _received, _bytes, _outOfOrder, _corrupt, _sent - _matched);
            }
        }
    }

    /// <summary>Says that the next message is about to be sent.</summary>
    public ReadOnlyMemory<byte> SendNext()
    {
        lock (_gate)
        {
            _sentAt[_sent] = _time.GetTimestamp();
            return Messages[_sent++].Data;
        }
    }

    /// <summary>Holds what has arrived against what was sent.</summary>
    public void Receive(ReadOnlySpan<byte> data)
    {
        long now = _time.GetTimestamp();
        lock (_gate)
        {
            _received++;
            _bytes += data.Length;
            if (Find(data) is not { } index)
            {
                Refuse(data);
                return;
            }

            if (index < _next && _slots[index] == Slot.Outstanding)
            {
                _outOfOrder++;
                Describe($"message {Number(index)} came after message {Number(_next - 1)}");
            }

            _slots[index] = Slot.Matched;
            _matched++;
            _next = Math.Max(_next, index + 1);
            Latency.Record(_time.GetElapsedTime(_sentAt[index], now));
        }
    }

    /// <summary>What differed, in sentences.</summary>
    /// <param name="expectAll">Whether what was sent and has not come is a difference.</param>
    public IReadOnlyList<string> DescribeDifferences(bool expectAll)
    {
        lock (_gate)
        {
            List<string> all = [.. _differences];
            int missing = _slots.AsSpan(0, _sent).Count(Slot.Outstanding);
            if (expectAll && missing > 0)
            {
                int first = _slots.AsSpan().IndexOf(Slot.Outstanding);
                all.Add(Name(Invariant($"{missing:N0} of {_sent:N0} messages sent did not come, the first is number {first + 1:N0}")));
            }

            return all;
        }
    }

    private int? Find(ReadOnlySpan<byte> data)
    {
        if (Is(_next, data))
        {
            return _next;
        }

        for (int index = _next - 1; index >= Math.Max(0, _next - Window); index--)
        {
            if (_slots[index] != Slot.Matched && Is(index, data))
            {
                return index;
            }
        }

        for (int index = _next + 1; index < _next + Window; index++)
        {
            if (Is(index, data))
            {
                return index;
            }
        }

        return null;
    }

    private bool Is(int index, ReadOnlySpan<byte> data) => index < _sent && data.SequenceEqual(Messages[index].Data.Span);

    private void Refuse(ReadOnlySpan<byte> data)
    {
        _corrupt++;
        for (int index = _next - 1; index >= Math.Max(0, _next - Window); index--)
        {
            if (Is(index, data))
            {
                Describe($"message {Number(index)} came again");
                return;
            }
        }

        if (_next == _sent)
        {
            Describe(Invariant($"a message of {data.Length:N0} bytes came that was not sent"));
            return;
        }

        ReadOnlySpan<byte> sent = Messages[_next].Data.Span;
        int same = sent.CommonPrefixLength(data);
        Describe($"message {Number(_next)} came "
            + (sent.Length != data.Length
                ? Invariant($"with {data.Length:N0} bytes instead of {sent.Length:N0}, different from byte {same:N0} on")
                : Invariant($"with byte {same:N0} of {sent.Length:N0} changed from 0x{sent[same]:x2} to 0x{data[same]:x2}")));
        _slots[_next++] = Slot.Replaced;
    }

    private void Describe(string difference)
    {
        if (_differences.Count < MostDescribed)
        {
            _differences.Add(Name(difference));
        }
    }

    private string Name(string difference) => $"Peer {Peer}, channel {Channel}: {difference}.";

    private string Number(int index) => Invariant($"{index + 1:N0} of {Messages.Count:N0}");

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>How much of a lane has been sent and has arrived.</summary>
/// <param name="Sent">Messages sent.</param>
/// <param name="Received">Messages that came, whatever they were.</param>
/// <param name="Bytes">Bytes of the messages that came.</param>
/// <param name="OutOfOrder">Messages that came after one that was sent later.</param>
/// <param name="Corrupt">Messages that came and were not sent like that, or came again.</param>
/// <param name="Missing">Messages that were sent and have not come unchanged.</param>
internal readonly record struct LaneCounts(long Sent, long Received, long Bytes, long OutOfOrder, long Corrupt, long Missing)
{
    public static LaneCounts operator +(LaneCounts a, LaneCounts b) => new(
        a.Sent + b.Sent,
        a.Received + b.Received,
        a.Bytes + b.Bytes,
        a.OutOfOrder + b.OutOfOrder,
        a.Corrupt + b.Corrupt,
        a.Missing + b.Missing);
}
