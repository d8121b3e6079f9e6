using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols.BlockSync;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Testing;

namespace Pipeline.Protocols.Tests.BlockSync;

/// <summary>Nodes with a real switch each, in memory: one that syncs, and those that it syncs from.</summary>
internal sealed class SyncNetwork : IAsyncDisposable
{
    private readonly MemoryNetwork _network = new();
    private readonly List<(Switch Node, NodeKey Key)> _nodes = [];

    /// <summary>Waits for what other tasks are doing.</summary>
    public static async Task UntilAsync(Func<bool> condition, CancellationToken cancellationToken)
    {
        while (!condition())
        {
            cancellationToken.ThrowIfCancellationRequested();
            await Task.Yield();
        }
    }

    /// <summary>Starts a node; it has one reactor.</summary>
    public async Task<Switch> StartAsync(Reactor reactor)
    {
        IPAddress host = new([10, 0, 0, (byte)(_nodes.Count + 1)]);
        NodeKey key = NodeKey.Create();
        Switch node = new(key, new SwitchOptions
        {
            Network = "signed-chain",
            ListenEndPoint = new IPEndPoint(host, 26656),
            Transport = _network.CreateTransport(host),
            Connection = new ConnectionOptions { SendRate = null, ReceiveRate = null },
        });
        _nodes.Add((node, key));
        node.AddReactor(reactor);
        await node.StartAsync();
        return node;
    }

    /// <summary>Starts the node that syncs, with those as its peers.</summary>
    public async Task<BlockSyncReactor> ConnectAsync(BlockSyncOptions options, params IEnumerable<Reactor> others)
    {
        List<Switch> listeners = [];
        foreach (Reactor other in others)
        {
            listeners.Add(await StartAsync(other));
        }

        BlockSyncReactor reactor = new(options);
        Switch node = await StartAsync(reactor);
        foreach (Switch listener in listeners)
        {
            await node.DialAsync(listener.ListenAddress);
        }

        return reactor;
    }

    public async ValueTask DisposeAsync()
    {
        foreach ((Switch node, NodeKey key) in _nodes)
        {
            await node.DisposeAsync();
            key.Dispose();
        }
    }
}

/// <summary>A node that answers as a test wants it to.</summary>
internal sealed class AnsweringReactor(Func<Message, Message?> answer) : Reactor<Message>("BLOCKSYNC", StandardChannels.BlockSync)
{
    public static AnsweringReactor WithBlocks(long height, Func<long, Message?> block) => new(message => message.SumCase switch
    {
        Message.SumOneofCase.StatusRequest => new Message { StatusResponse = new StatusResponse { Base = 1, Height = height } },
        Message.SumOneofCase.BlockRequest => block(message.BlockRequest.Height),
        _ => null,
    });

    public static Message Answer(Types.Block block) => new() { BlockResponse = new BlockResponse { Block = block } };

    protected override async ValueTask ReceiveAsync(Envelope<Message> envelope, CancellationToken cancellationToken)
    {
        if (answer(envelope.Message) is { } message)
        {
            await envelope.Peer.SendAsync(StandardChannels.BlockSync, message, cancellationToken: cancellationToken);
        }
    }
}
