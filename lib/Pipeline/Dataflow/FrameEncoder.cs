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
    // As much as goes to the socket in one write. More would only delay what is more urgent than the packets in it.
    private const int MaxBatchSize = FrameWriter.DataPerBlock;

    private readonly PrioritySendBlock _source;
    private readonly PipeWriter _output;
    private readonly TimeProvider _timeProvider;
    private readonly TokenBucket? _rate;
    private readonly int _batchSize;
    private long _bytesSent;

    public FrameEncoder(PrioritySendBlock source, PipeWriter output, ConnectionOptions options)
    {
        _source = source;
        _output = output;
        _timeProvider = options.TimeProvider;
        _rate = TokenBucket.Create(options.SendRate, options.TimeProvider);
        int packet = PacketCodec.MaxPacketSize(options.MaxPacketDataSize) + Varint.MaxLength;
        _batchSize = Math.Max(packet, Math.Min(MaxBatchSize, _rate?.BatchSize ?? MaxBatchSize));
    }

    public long BytesSent => Volatile.Read(ref _bytesSent);

    /// <summary>Ends when the block has no more packets; throws when the connection breaks or <paramref name="cancellationToken"/> is cancelled.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        ITimer? release = null;
        try
        {
            while (await _source.WaitToTakeAsync().ConfigureAwait(false))
            {
                int count = _source.Take(_output.GetSpan(_batchSize)[.._batchSize]);
                _output.Advance(count);
                await _output.FlushAsync(cancellationToken).ConfigureAwait(false);
                Volatile.Write(ref _bytesSent, _bytesSent + count);
                if (count > _batchSize / 2)
                {
                    // While there is always more to send and the socket always takes it, this loop would keep its thread from everybody else.
                    await Task.Yield();
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
}
