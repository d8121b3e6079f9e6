using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;
using Pipeline.Experiments.Baselines;
using Pipeline.Experiments.Baselines.Protos;

namespace Pipeline.Experiments.Comparing;

/// <summary>Two calls, in each of which the client streams to the server, over one HTTP/2 connection with TLS.</summary>
internal sealed class GrpcMultiplexer : IMultiplexer
{
    public string Name => "grpc";

    public async Task<ITwoStreams> OpenAsync(Receivers receivers, CancellationToken cancellationToken)
    {
        GrpcServer server = await GrpcServer.StartAsync(receivers.Receive, cancellationToken);
        GrpcChannel channel = server.CreateChannel();
        Bulk.BulkClient client = new(channel);
        return new Calls(server, channel, client.Carry(cancellationToken: CancellationToken.None), client.Carry(cancellationToken: CancellationToken.None));
    }

    public async Task<IIdleConnections> PrepareIdleAsync(int connections, CancellationToken cancellationToken)
    {
        GrpcServer server = await GrpcServer.StartAsync(static _ => { }, cancellationToken);
        return new IdleConnections(
            connections,
            async token =>
            {
                GrpcChannel channel = server.CreateChannel();
                AsyncClientStreamingCall<BulkMessage, BulkEnd> call = new Bulk.BulkClient(channel).Carry(cancellationToken: CancellationToken.None);

                // The connection is made with the first message.
                await call.RequestStream.WriteAsync(new BulkMessage(), token);
                return new IdleCall(channel, call);
            },
            server);
    }

    private static async ValueTask SendAsync(AsyncClientStreamingCall<BulkMessage, BulkEnd> call, ReadOnlyMemory<byte> message, CancellationToken cancellationToken) =>
        await call.RequestStream.WriteAsync(new BulkMessage { Data = UnsafeByteOperations.UnsafeWrap(message) }, cancellationToken);

    private sealed record Calls(
        GrpcServer Server,
        GrpcChannel Channel,
        AsyncClientStreamingCall<BulkMessage, BulkEnd> Bulk,
        AsyncClientStreamingCall<BulkMessage, BulkEnd> Small) : ITwoStreams
    {
        public ValueTask SendBulkAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken) => SendAsync(Bulk, message, cancellationToken);

        public ValueTask SendSmallAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken) => SendAsync(Small, message, cancellationToken);

        public async ValueTask DisposeAsync()
        {
            Bulk.Dispose();
            Small.Dispose();
            Channel.Dispose();
            await Server.DisposeAsync();
        }
    }

    private sealed record IdleCall(GrpcChannel Channel, AsyncClientStreamingCall<BulkMessage, BulkEnd> Call) : IAsyncDisposable
    {
        public ValueTask DisposeAsync()
        {
            Call.Dispose();
            Channel.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
