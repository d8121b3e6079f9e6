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
        Count(stamp, message.Length, _counters[stamp.Sender], mayHaveGaps: false);
        return stamp;
    }

    /// <summary>Counts a message of a sequence that <paramref name="receiver"/> gets, whoever sent it.</summary>
    /// <param name="message">The message.</param>
    /// <param name="receiver">The number of the receiver.</param>
    /// <param name="mayHaveGaps">Whether messages may be missing, so that only going back is out of order.</param>
    public void Count(ReadOnlyMemory<byte> message, int receiver, bool mayHaveGaps) =>
        Count(Stamp.Read(message.Span), message.Length, _counters[receiver], mayHaveGaps);

    private static void Count(Stamp stamp, int length, Counter counter, bool mayHaveGaps)
    {
        bool isInOrder = mayHaveGaps ? stamp.Sequence >= counter.Next : stamp.Sequence == counter.Next;
        counter.OutOfOrder += isInOrder ? 0 : 1;
        counter.Next = stamp.Sequence + 1;
        Volatile.Write(ref counter.Bytes, counter.Bytes + length);
        Volatile.Write(ref counter.Messages, counter.Messages + 1);
    }

    /// <summary>Waits until as many messages have come; false when they do not.</summary>
    public Task<bool> WaitForAsync(long messages, TimeSpan timeout, CancellationToken cancellationToken) =>
        Pacing.UntilAsync(() => Messages >= messages, timeout, cancellationToken);

    private sealed class Counter
    {
        public long Messages;
        public long Bytes;
        public long OutOfOrder;
        public long Next;
    }
}
