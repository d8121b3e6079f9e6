using System.IO.Pipelines;
using System.Threading.Channels;
using Pipeline.Experiments.Baselines;

namespace Pipeline.Experiments.Comparing;

/// <summary>One stream over TLS for messages of both kinds, with one short queue before it.</summary>
internal sealed class TlsMultiplexer : IMultiplexer
{
    private const int QueueCapacity = 16;
    private const int BufferSize = 64 << 10;

    public string Name => "tls";

    public async Task<ITwoStreams> OpenAsync(Receivers receivers, CancellationToken cancellationToken) =>
        new SharedStream(await Loopback.ConnectWithTlsAsync(cancellationToken), receivers);

    public Task<IIdleConnections> PrepareIdleAsync(int connections, CancellationToken cancellationToken)
    {
        TlsIdentity identity = new();
        return Task.FromResult<IIdleConnections>(
            new IdleConnections(connections, async token => new IdleEnds(await Loopback.ConnectWithTlsAsync(identity, token)), identity));
    }

    private sealed class SharedStream : ITwoStreams
    {
        private readonly Channel<ReadOnlyMemory<byte>> _queue =
            Channel.CreateBounded<ReadOnlyMemory<byte>>(new BoundedChannelOptions(QueueCapacity) { SingleReader = true });

        private readonly CancellationTokenSource _stop = new();
        private readonly Loopback _ends;
        private readonly Task _loops;

        public SharedStream(Loopback ends, Receivers receivers)
        {
            _ends = ends;
            _loops = Task.WhenAll(
                Task.Run(() => WriteAsync(ends.CreateWriter(BufferSize))),
                Task.Run(() => Prefixed.ReceiveAsync(ends.CreateReader(BufferSize), receivers.Receive, _stop.Token)));
        }

        public ValueTask SendBulkAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken) => _queue.Writer.WriteAsync(message, cancellationToken);

        public ValueTask SendSmallAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken) => _queue.Writer.WriteAsync(message, cancellationToken);

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            await _loops.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await _ends.DisposeAsync();
            _stop.Dispose();
        }

        private async Task WriteAsync(PipeWriter writer)
        {
            int gathered = 0;
            while (await _queue.Reader.WaitToReadAsync(_stop.Token))
            {
                while (gathered < BufferSize && _queue.Reader.TryRead(out ReadOnlyMemory<byte> message))
                {
                    Prefixed.Write(writer, message.Span);
                    gathered += message.Length;
                }

                gathered = 0;
                await Prefixed.FlushAsync(writer, _stop.Token);
            }
        }
    }

    // Reads that take no buffer while there is nothing to read.
    private sealed class IdleEnds : IAsyncDisposable
    {
        private readonly Loopback _ends;
        private readonly Task[] _reads;

        public IdleEnds(Loopback ends)
        {
            _ends = ends;
            _reads = [WaitAsync(ends.Near), WaitAsync(ends.Far)];
        }

        public async ValueTask DisposeAsync()
        {
            await _ends.DisposeAsync();
            await Task.WhenAll(_reads).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        private static async Task WaitAsync(Stream stream) =>
            await PipeReader.Create(stream, new StreamPipeReaderOptions(leaveOpen: true, useZeroByteReads: true)).ReadAsync();
    }
}
