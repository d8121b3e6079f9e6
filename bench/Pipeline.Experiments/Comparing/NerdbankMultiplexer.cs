using System.IO.Pipelines;
using Nerdbank.Streams;
using Pipeline.Experiments.Baselines;

namespace Pipeline.Experiments.Comparing;

/// <summary>Two channels of Nerdbank.Streams' <see cref="MultiplexingStream"/> over TLS.</summary>
internal sealed class NerdbankMultiplexer : IMultiplexer
{
    public string Name => "nerdbank";

    public async Task<ITwoStreams> OpenAsync(Receivers receivers, CancellationToken cancellationToken)
    {
        Connection connection = new(await Loopback.ConnectWithTlsAsync(cancellationToken));
        (PipeWriter bulkIn, PipeReader bulkOut) = await connection.AddChannelAsync("bulk", cancellationToken);
        (PipeWriter smallIn, PipeReader smallOut) = await connection.AddChannelAsync("small", cancellationToken);
        return new Channels(connection, bulkIn, bulkOut, smallIn, smallOut, receivers);
    }

    public Task<IIdleConnections> PrepareIdleAsync(int connections, CancellationToken cancellationToken)
    {
        TlsIdentity identity = new();
        return Task.FromResult<IIdleConnections>(new IdleConnections(
            connections,
            async token =>
            {
                Connection connection = new(await Loopback.ConnectWithTlsAsync(identity, token));
                await connection.AddChannelAsync("idle", token);
                return connection;
            },
            identity));
    }

    // Windows are those it has by itself: larger ones only let more bulk stand before what is small.
    private sealed class Connection(Loopback loopback) : IAsyncDisposable
    {
        // The third version of its protocol begins without a handshake.
        private readonly MultiplexingStream _near = MultiplexingStream.Create(loopback.Near, new MultiplexingStream.Options { ProtocolMajorVersion = 3 });
        private readonly MultiplexingStream _far = MultiplexingStream.Create(loopback.Far, new MultiplexingStream.Options { ProtocolMajorVersion = 3 });

        public async Task<(PipeWriter Near, PipeReader Far)> AddChannelAsync(string name, CancellationToken cancellationToken)
        {
            Task<MultiplexingStream.Channel> offered = _near.OfferChannelAsync(name, cancellationToken);
            MultiplexingStream.Channel accepted = await _far.AcceptChannelAsync(name, cancellationToken);
            return ((await offered).Output, accepted.Input);
        }

        public async ValueTask DisposeAsync()
        {
            await _near.DisposeAsync();
            await _far.DisposeAsync();
            await loopback.DisposeAsync();
        }
    }

    private sealed class Channels : ITwoStreams
    {
        private readonly CancellationTokenSource _stop = new();
        private readonly Connection _connection;
        private readonly PipeWriter _bulk;
        private readonly PipeWriter _small;
        private readonly Task _receiving;

        public Channels(Connection connection, PipeWriter bulkIn, PipeReader bulkOut, PipeWriter smallIn, PipeReader smallOut, Receivers receivers)
        {
            _connection = connection;
            _bulk = bulkIn;
            _small = smallIn;
            _receiving = Task.WhenAll(
                Task.Run(() => Prefixed.ReceiveAsync(bulkOut, receivers.Bulk, _stop.Token)),
                Task.Run(() => Prefixed.ReceiveAsync(smallOut, receivers.Small, _stop.Token)));
        }

        public ValueTask SendBulkAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken) => SendAsync(_bulk, message, cancellationToken);

        public ValueTask SendSmallAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken) => SendAsync(_small, message, cancellationToken);

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            await _receiving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await _connection.DisposeAsync();
            _stop.Dispose();
        }

        private static ValueTask SendAsync(PipeWriter writer, ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
        {
            Prefixed.Write(writer, message.Span);
            return Prefixed.FlushAsync(writer, cancellationToken);
        }
    }
}
