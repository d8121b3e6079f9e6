using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Nodes;

/// <summary>Takes how long stamped messages were under way. Those that come while nobody measures are only counted.</summary>
internal sealed class LatencyProbe
{
    private static readonly TimeSpan ArrivalTimeout = TimeSpan.FromSeconds(10);

    private LatencyRecorder? _recorder;
    private long _received;

    /// <summary>Messages that have come so far. Not for concurrent use.</summary>
    public long Received => Volatile.Read(ref _received);

    /// <summary>A message comes now.</summary>
    public void Receive(ReadOnlySpan<byte> message)
    {
        Volatile.Read(ref _recorder)?.Record(Stamp.Read(message).Timestamp);
        Volatile.Write(ref _received, _received + 1);
    }

    /// <summary>Sends a message once an interval for a while, and waits until all of them have come. Nothing else may be under way.</summary>
    /// <returns>Messages that were sent or should have been, and how long each took of those that came.</returns>
    public async Task<(long Sent, Latencies Latencies)> MeasureAsync(ITicker ticker, TimeSpan interval, TimeSpan duration, CancellationToken cancellationToken)
    {
        long first = ticker.Sent;
        ticker.TakeRefused();
        LatencyRecorder recorder = new((int)(duration / interval) + 1000);
        Volatile.Write(ref _recorder, recorder);
        await Pacing.EveryAsync(interval, duration, ticker.Send, cancellationToken);
        await Pacing.UntilAsync(() => recorder.Count >= ticker.Sent - first, ArrivalTimeout, cancellationToken);
        Volatile.Write(ref _recorder, null);
        return (ticker.Sent - first + ticker.TakeRefused(), recorder.Take());
    }
}
