using Pipeline.Dataflow;
using Pipeline.Experiments.Draining;
using Pipeline.Experiments.Nodes;

namespace Pipeline.Experiments.Comparing;

/// <summary>Two channels between two nodes of ours.</summary>
internal sealed class PipelineMultiplexer : IMultiplexer
{
    public string Name => "pipeline";

    public async Task<ITwoStreams> OpenAsync(Receivers receivers, CancellationToken cancellationToken)
    {
        ChannelDescriptor bulk = new(0x30, "bulk") { Priority = 5, SendQueueCapacity = 64, SendQueueBytes = 16 << 20, ReceiveQueueCapacity = 1000 };
        ChannelDescriptor small = new(0x20, "small") { Priority = 10, SendQueueCapacity = 1000 };
        Node near = await Node.StartAsync(cancellationToken, new HandlerReactor("sender", bulk, small));
        Node? far = null;
        try
        {
            far = await Node.StartAsync(
                cancellationToken,
                new HandlerReactor("bulk", [bulk], envelope => receivers.Bulk(envelope.Data.Span)),
                new HandlerReactor("small", [small], envelope => receivers.Small(envelope.Data.Span)));
            (IPeer peer, _) = await near.ConnectAsync(far, cancellationToken);
            return new Channels(new PeerSender(peer, bulk), new PeerSender(peer, small), near, far);
        }
        catch
        {
            await near.DisposeAsync();
            await (far?.DisposeAsync() ?? ValueTask.CompletedTask);
            throw;
        }
    }

    public async Task<IIdleConnections> PrepareIdleAsync(int connections, CancellationToken cancellationToken) =>
        new IdleMesh(await Mesh.StartAsync(connections, Node.Unlimited, cancellationToken));

    private sealed record Channels(PeerSender Bulk, PeerSender Small, Node Near, Node Far) : ITwoStreams
    {
        public ValueTask SendBulkAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken) => Bulk.SendAsync(message, cancellationToken);

        public ValueTask SendSmallAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken) => Small.SendAsync(message, cancellationToken);

        public async ValueTask DisposeAsync()
        {
            await Near.DisposeAsync();
            await Far.DisposeAsync();
        }
    }

    private sealed record IdleMesh(Mesh Mesh) : IIdleConnections
    {
        public Task ConnectAsync(CancellationToken cancellationToken) => Mesh.ConnectAsync(IdleConnections.AtOnce, cancellationToken);

        public ValueTask DisposeAsync() => Mesh.DisposeAsync();
    }
}
