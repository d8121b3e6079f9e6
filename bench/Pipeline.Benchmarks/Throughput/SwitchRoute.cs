using System.Net;
using Pipeline.Benchmarks.Parts;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Switching;

namespace Pipeline.Benchmarks.Throughput;

/// <summary>Two nodes with a connection between them, from a reactor's send to the other's reactor.</summary>
internal sealed class SwitchRoute : Route
{
    private readonly NodeKey _nearKey;
    private readonly NodeKey _farKey;
    private readonly Switch _near;
    private readonly Switch _far;
    private readonly IPeer _peer;

    private SwitchRoute(NodeKey nearKey, NodeKey farKey, Switch near, Switch far, IPeer peer) =>
        (_nearKey, _farKey, _near, _far, _peer) = (nearKey, farKey, near, far, peer);

    public override Task Ended => _peer.Completion;

    public static async Task<Route> ConnectAsync(Action handle)
    {
        NodeKey nearKey = NodeKey.Create();
        NodeKey farKey = NodeKey.Create();
        Switch near = CreateSwitch(nearKey, static () => { });
        Switch far = CreateSwitch(farKey, handle);
        await near.StartAsync();
        await far.StartAsync();
        return new SwitchRoute(nearKey, farKey, near, far, await near.DialAsync(far.ListenAddress));
    }

    public override async ValueTask DisposeAsync()
    {
        await _near.DisposeAsync();
        await _far.DisposeAsync();
        _nearKey.Dispose();
        _farKey.Dispose();
    }

    protected override SendResult TrySend(ReadOnlySpan<byte> message) => _peer.TrySend(Channel, message);

    protected override ValueTask<SendResult> SendAsync(SerializedMessage message) => _peer.SendAsync(message, Timeout.InfiniteTimeSpan);

    private static Switch CreateSwitch(NodeKey key, Action handle)
    {
        Switch node = new(key, new SwitchOptions
        {
            Network = "benchmark",
            ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0),
            AllowDuplicateIp = true,
            Connection = Inflow.Options,
        });
        node.AddReactor(new HandlerReactor(handle));
        return node;
    }

    private sealed class HandlerReactor(Action handle) : Reactor("bulk", Channel)
    {
        protected internal override ValueTask ReceiveAsync(Envelope envelope, CancellationToken cancellationToken)
        {
            handle();
            return ValueTask.CompletedTask;
        }
    }
}
