using System.IO.Pipelines;
using Pipeline.Transport;
using Pipeline.Wire;

namespace Pipeline.Dataflow;

/// <summary>
/// The sending loop of a connection: takes packets from the send block, as many as are sealed and written at once, and flushes them. When a
/// rate limit is reached, the block holds its messages back for a while; pings and pongs go on.
/// </summary>
internal sealed class FrameEncoder
{
    // As much as goes to the socket in one write. More would only delay what is more urgent than the packets in it; so would this, where the
    // connection is slow: batches are halved while one takes longer than MaxFlush, and doubled again when they take less than half of it.
    private const int MaxBatchSize = FrameWriter.DataPerBlock;
    private const int MinBatchSize = 4 * 1024;
    private static readonly TimeSpan MaxFlush = TimeSpan.FromMilliseconds(2);

    private readonly PrioritySendBlock _source;
    private readonly PipeWriter _output;
    private readonly TimeProvider _timeProvider;
    private readonly TokenBucket? _rate;
    private readonly int _minBatchSize;
    private readonly int _maxBatchSize;
    private int _batchSize;
    private long _bytesSent;

    public FrameEncoder(PrioritySendBlock source, PipeWriter output, ConnectionOptions options)
    {
        _source = source;
        _output = output;
        _timeProvider = options.TimeProvider;
        _rate = TokenBucket.Create(options.SendRate, options.TimeProvider);
        int packet = PacketCodec.MaxPacketSize(options.MaxPacketDataSize) + Varint.MaxLength;
        _minBatchSize = Math.Max(packet, MinBatchSize);
        _batchSize = _maxBatchSize = Math.Max(packet, Math.Min(MaxBatchSize, _rate?.BytesIn(MaxFlush) ?? MaxBatchSize));
    }

    public long BytesSent => Volatile.Read(ref _bytesSent);

    /// <summary>Ends when the block has no more packets; throws when the connection breaks or <paramref name="cancellationToken"/> is cancelled.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        ITimer? release = null;
        try
        {
            ThreadShare share = default;
            while (true)
            {
                ValueTask<bool> waiting = _source.WaitToTakeAsync();
                if (waiting.IsCompleted && _source.IsLent)
                {
                    // The thread is a sender's, which wants to go on, and so may be the context that awaits return to by default.
                    await ThreadShare.Yield();
                }

                if (!await waiting.ConfigureAwait(false))
                {
                    break;
                }

                int count = _source.Take(_output.GetSpan(_batchSize)[.._batchSize]);
                _output.Advance(count);
                long start = _timeProvider.GetTimestamp();
                await _output.FlushAsync(cancellationToken).ConfigureAwait(false);
                AdaptBatchSize(count, _timeProvider.GetElapsedTime(start));
                Volatile.Write(ref _bytesSent, _bytesSent + count);
                if (share.IsUsedUp(count))
                {
                    await ThreadShare.Yield();
                }

                if (_rate?.Use(count) is { Ticks: > 0 } wait)
                {
                    _source.HoldMessages();
                    release ??= _timeProvider.CreateTimer(
                        static block => ((PrioritySendBlock)block!).ReleaseMessages(),
                        _source,
                        Timeout.InfiniteTimeSpan,
                        Timeout.InfiniteTimeSpan);
                    release.Change(wait, Timeout.InfiniteTimeSpan);
                }
            }
        }
        finally
        {
            release?.Dispose();
            _source.Close();
        }
    }

    private void AdaptBatchSize(int count, TimeSpan flush)
    {
        if (flush > MaxFlush && count > _batchSize / 2)
        {
            _batchSize = Math.Min(_maxBatchSize, Math.Max(_minBatchSize, _batchSize / 2));
        }
        else if (flush < MaxFlush / 2)
        {
            _batchSize = Math.Min(_maxBatchSize, 2 * _batchSize);
        }
    }
}
