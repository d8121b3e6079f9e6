using System.Diagnostics;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;

namespace Pipeline.Experiments.Draining;

/// <summary>What goes through a connection in one run.</summary>
/// <param name="Size">Bytes of a message, at least <see cref="Stamp.Size"/>.</param>
/// <param name="Senders">How many send at once.</param>
/// <param name="Total">Bytes of all messages together; each sender sends one message at least.</param>
internal sealed record Load(int Size, int Senders, long Total)
{
    /// <summary>How many messages each sender sends.</summary>
    public long Share => Math.Max(1, Total / Size / Senders);
}

/// <summary>How one run went.</summary>
/// <param name="Sent">Messages that were sent; KiB of data where there are no messages.</param>
/// <param name="Received">How many of them came.</param>
/// <param name="OutOfOrder">How many were not the next of their sender.</param>
/// <param name="Bytes">Bytes of data that came.</param>
/// <param name="Seconds">From the first send until the last one had been handled.</param>
internal sealed record Drained(long Sent, long Received, long OutOfOrder, long Bytes, double Seconds)
{
    public double MegabytesPerSecond => Bytes / Seconds / 1e6;

    /// <summary>Whether all that was sent in some runs has come.</summary>
    /// <param name="what">What it was, in the singular, as the beginning of a sentence.</param>
    /// <param name="runs">The runs.</param>
    public static Verdict Judge(string what, IEnumerable<Drained> runs)
    {
        (long sent, long received, long outOfOrder) = runs.Aggregate(
            (Sent: 0L, Received: 0L, OutOfOrder: 0L),
            (sum, run) => (sum.Sent + run.Sent, sum.Received + run.Received, sum.OutOfOrder + run.OutOfOrder));
        return new Verdict(
            $"{what} arrives, once and in the order of sending",
            $"{Readable.Number(received)} of {Readable.Number(sent)} arrived, {Readable.Number(outOfOrder)} out of order",
            received == sent && outOfOrder == 0);
    }

    /// <summary>How many messages of <paramref name="size"/> bytes that is in a second.</summary>
    public double MessagesPerSecond(int size) => Bytes / Seconds / size;
}

/// <summary>Where one sender puts its messages.</summary>
internal interface IMessageSender
{
    /// <summary>Sends a message, whose bytes are the caller's again once this completes.</summary>
    ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken);

    /// <summary>Sees that nothing stays in a buffer; called once, after the last message.</summary>
    ValueTask FlushAsync(CancellationToken cancellationToken);
}

/// <summary>One run: sends as fast as it can, counts what comes, and takes the time.</summary>
internal sealed class Drain(Load load)
{
    // A run that takes longer than this has hung.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private readonly Arrivals _arrivals = new(load.Senders);
    private readonly Finish _finish = new();

    public Load Load => load;

    /// <summary>Counts a message that has come. Not for concurrent use.</summary>
    public void Receive(ReadOnlySpan<byte> message)
    {
        _arrivals.Count(message);
        _finish.Count();
    }

    /// <summary>Sends everything, and waits until all of it has been received.</summary>
    /// <param name="context">Its duration, if there is one, is when sending ends at the latest.</param>
    /// <param name="senders">One for each of the load's senders.</param>
    public async Task<Drained> MeasureAsync(RunContext context, IReadOnlyList<IMessageSender> senders)
    {
        GC.Collect();
        long start = Stopwatch.GetTimestamp();
        long[] sent = await Task.WhenAll(senders.Select((sender, number) => Task.Run(() => SendAsync(context, sender, number, start))));
        long end = await _finish.WaitAsync(sent.Sum(), context.CancellationToken);
        return new Drained(sent.Sum(), _arrivals.Messages, _arrivals.OutOfOrder, _arrivals.Bytes, Stopwatch.GetElapsedTime(start, end).TotalSeconds);
    }

    private async Task<long> SendAsync(RunContext context, IMessageSender sender, int number, long start)
    {
        byte[] message = context.CreatePayload(load.Size);
        long sequence = 0;
        for (; sequence < load.Share; sequence++)
        {
            if (context.Duration is { } limit && (sequence & 63) == 0 && Stopwatch.GetElapsedTime(start) > limit)
            {
                break;
            }

            Stamp.Write(message, number, sequence);
            await sender.SendAsync(message, context.CancellationToken);
        }

        await sender.FlushAsync(context.CancellationToken);
        return sequence;
    }

    // Sees the last message come without looking at the clock for each.
    private sealed class Finish
    {
        private readonly TaskCompletionSource<long> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private long _count;
        private long _expected = long.MaxValue;

        public void Count()
        {
            long count = _count + 1;
            Volatile.Write(ref _count, count);
            Interlocked.MemoryBarrier();
            if (count >= Volatile.Read(ref _expected))
            {
                _end.TrySetResult(Stopwatch.GetTimestamp());
            }
        }

        public async Task<long> WaitAsync(long expected, CancellationToken cancellationToken)
        {
            Interlocked.Exchange(ref _expected, expected);
            if (Volatile.Read(ref _count) >= expected)
            {
                _end.TrySetResult(Stopwatch.GetTimestamp());
            }

            try
            {
                return await _end.Task.WaitAsync(Patience, cancellationToken);
            }
            catch (TimeoutException)
            {
                return Stopwatch.GetTimestamp();
            }
        }
    }
}
