using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Nodes;

/// <summary>Counts what arrives from some senders and sees whether each sender's messages come once and in order.</summary>
internal sealed class Arrivals(int senders)
{
    // Each sender's messages come one at a time, so its counters need no lock; they are apart so that senders do not share a cache line.
    private readonly Counter[] _counters = [.. Enumerable.Range(0, senders).Select(_ => new Counter())];

    public long Messages => _counters.Sum(counter => Volatile.Read(ref counter.Messages));

    public long Bytes => _counters.Sum(counter => Volatile.Read(ref counter.Bytes));

    /// <summary>Messages that were not the next of their sender.</summary>
    public long OutOfOrder => _counters.Sum(counter => Volatile.Read(ref counter.OutOfOrder));

    public long MessagesOf(int sender) => Volatile.Read(ref _counters[sender].Messages);

    public long BytesOf(int sender) => Volatile.Read(ref _counters[sender].Bytes);

    public Stamp Count(ReadOnlySpan<byte> message)
    {
        Stamp stamp = Stamp.Read(message);
        Counter counter = _counters[stamp.Sender];
        counter.OutOfOrder += stamp.Sequence == counter.Next ? 0 : 1;
        counter.Next = stamp.Sequence + 1;
        Volatile.Write(ref counter.Bytes, counter.Bytes + message.Length);
        Volatile.Write(ref counter.Messages, counter.Messages + 1);
        return stamp;
    }

    /// <summary>Waits until as many messages have come; false when they do not.</summary>
    public Task<bool> WaitForAsync(long messages, TimeSpan timeout, CancellationToken cancellationToken) =>
        Pacing.UntilAsync(() => Messages >= messages, timeout, cancellationToken);

    /// <summary>Everything that was sent has arrived, once and in order.</summary>
    public Verdict NothingLost(long sent) => new(
        "Every message that was sent arrives, once and in the order of sending",
        $"{Readable.Number(Messages)} of {Readable.Number(sent)} arrived, {Readable.Number(OutOfOrder)} out of order",
        Messages == sent && OutOfOrder == 0);

    private sealed class Counter
    {
        public long Messages;
        public long Bytes;
        public long OutOfOrder;
        public long Next;
    }
}
