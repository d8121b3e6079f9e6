namespace Pipeline.Dataflow;

/// <summary>
/// How much a connection has sent and received lately. It costs nothing when packets come and go: it looks at what has been counted whenever
/// somebody wants to know, and about once a second. Guarded by its owner; times are since the connection's start.
/// </summary>
internal sealed class TrafficMeter(PrioritySendBlock outgoing, int channels)
{
    // Of the reference.
    private const double Remembered = 0.8;
    private static readonly TimeSpan ForgetPeriod = TimeSpan.FromSeconds(2);

    // Invariant: of the packets of the channel at each index, the bytes up to Counted have come into Recent, of which a fifth has been forgotten
    // every 2 s until _forgottenAt.
    private readonly (double Recent, long Counted)[] _sent = new (double, long)[channels];
    private TimeSpan _forgottenAt;
    private RateMeter _sentRate;
    private RateMeter _receivedRate;

    public ref readonly RateMeter Sent => ref _sentRate;

    public ref readonly RateMeter Received => ref _receivedRate;

    public void Measure(TimeSpan now, long sent, long received)
    {
        _sentRate.Measure(now, sent);
        _receivedRate.Measure(now, received);
        long periods = (now - _forgottenAt).Ticks / ForgetPeriod.Ticks;
        if (periods == 0)
        {
            return;
        }

        _forgottenAt += periods * ForgetPeriod;
        for (int i = 0; i < _sent.Length; i++)
        {
            _sent[i] = (GetRecent(i, out long total) * Math.Pow(Remembered, periods), total);
        }
    }

    /// <summary>The bytes of the packets of a channel, those of the past counting ever less.</summary>
    public long RecentlySent(int index) => (long)GetRecent(index, out _);

    private double GetRecent(int index, out long total)
    {
        total = outgoing.GetPacketBytes(index);
        return _sent[index].Recent + (total - _sent[index].Counted);
    }

    /// <summary>How fast a count of bytes grows: a moving average, which forgets. A mutable struct: keep it in a field.</summary>
    public struct RateMeter
    {
        private const double WindowSeconds = 3;

        // Invariant: _average is the sum of the rates so far, each by its weight, and _weight the sum of the weights: less than 1 until there
        // has been a window's time to look at.
        private double _average;
        private double _weight;
        private TimeSpan _measuredAt;
        private long _bytes;

        public readonly double BytesPerSecond => _weight > 0 ? _average / _weight : 0;

        /// <summary>When the count was first seen to be what it is.</summary>
        public TimeSpan LastMoved { get; private set; }

        public void Measure(TimeSpan now, long bytes)
        {
            double seconds = (now - _measuredAt).TotalSeconds;
            if (seconds <= 0)
            {
                return;
            }

            double forgotten = 1 - Math.Exp(-seconds / WindowSeconds);
            _average += forgotten * (((bytes - _bytes) / seconds) - _average);
            _weight += forgotten * (1 - _weight);
            LastMoved = bytes > _bytes ? now : LastMoved;
            _measuredAt = now;
            _bytes = bytes;
        }
    }
}
