using System.Collections.Concurrent;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Reactors;
using Pipeline.Switching;

namespace Pipeline.Experiments.Nodes;

/// <summary>A node in this process that listens on a free port of 127.0.0.1.</summary>
internal sealed class Node : IAsyncDisposable
{
    /// <summary>Connections without limits of rate: what is to be seen is what the machine can do.</summary>
    public static readonly ConnectionOptions Unlimited = new() { SendRate = null, ReceiveRate = null };

    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(30);

    private readonly NodeKey _key = NodeKey.Create();
    private readonly PresenceReactor _presence = new();

    private Node(Func<SwitchOptions, SwitchOptions> configure, IEnumerable<Reactor> reactors)
    {
        Switch = new Switch(_key, configure(new SwitchOptions
        {
            Network = "experiments",
            ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0),
            AllowDuplicateIp = true,
            Connection = Unlimited,
        }));
        Switch.AddReactor(_presence);
        foreach (Reactor reactor in reactors)
        {
            Switch.AddReactor(reactor);
        }
    }

    public Switch Switch { get; }

    public NodeId Id => Switch.Id;

    public static Task<Node> StartAsync(CancellationToken cancellationToken, params IEnumerable<Reactor> reactors) =>
        StartAsync(Unlimited, cancellationToken, reactors);

    public static Task<Node> StartAsync(ConnectionOptions connection, CancellationToken cancellationToken, params IEnumerable<Reactor> reactors) => StartAsync(
        options => options with
        {
            MaxInboundConnectionRatePerIp = null,
            MaxInboundHandshakes = 2048,
            MaxInboundHandshakesPerIp = null,
            MaxInboundPeers = 10_000,
            Connection = connection,
        },
        cancellationToken,
        reactors);

    /// <summary>Starts a node whose limits on what comes in are the defaults, or what <paramref name="configure"/> makes of them.</summary>
    public static async Task<Node> StartAsync(
        Func<SwitchOptions, SwitchOptions> configure,
        CancellationToken cancellationToken,
        params IEnumerable<Reactor> reactors)
    {
        Node node = new(configure, reactors);
        try
        {
            await node.Switch.StartAsync(cancellationToken);
            return node;
        }
        catch
        {
            await node.DisposeAsync();
            throw;
        }
    }

    /// <summary>Connects to another node.</summary>
    /// <returns>The connection as this node sees it, and as the other does.</returns>
    public async Task<(IPeer Near, IPeer Far)> ConnectAsync(Node other, CancellationToken cancellationToken)
    {
        IPeer near = await Switch.DialAsync(other.Switch.ListenAddress, cancellationToken);
        return (near, await other._presence.WhenAdded(Id).WaitAsync(ConnectTimeout, cancellationToken));
    }

    public async ValueTask DisposeAsync()
    {
        await Switch.DisposeAsync();
        _key.Dispose();
    }

    // Has no channel; it only sees who comes.
    private sealed class PresenceReactor() : Reactor("presence")
    {
        private readonly ConcurrentDictionary<NodeId, TaskCompletionSource<IPeer>> _peers = [];

        public Task<IPeer> WhenAdded(NodeId id) => Of(id).Task;

        protected internal override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken)
        {
            Of(peer.Id).TrySetResult(peer);
            return ValueTask.CompletedTask;
        }

        private TaskCompletionSource<IPeer> Of(NodeId id) =>
            _peers.GetOrAdd(id, static _ => new TaskCompletionSource<IPeer>(TaskCreationOptions.RunContinuationsAsynchronously));
    }
}

/// <summary>What goes wrong with connections, as a sentence.</summary>
internal static class Connections
{
    /// <summary>Throws when a message could not be queued; a full queue is no reason.</summary>
    public static async ValueTask EnsureAliveAsync(this IPeer peer, SendResult result)
    {
        if (result is SendResult.Queued or SendResult.QueueFull)
        {
            return;
        }

        string reason = result == SendResult.PeerStopped ? (await peer.Completion).ToString() : result.ToString();
        throw new ExperimentException($"A connection ended in the middle of the experiment. {reason}");
    }
}
