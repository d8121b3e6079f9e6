using System.Collections.Concurrent;
using System.Net;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols;
using Pipeline.Reactors;
using Pipeline.Switching;

namespace Pipeline.Cli.Demo.Nodes;

/// <summary>
/// Nodes in this process, each with its own key, switch and TCP listener on a free port of 127.0.0.1. All but one stand for the peers of a
/// trace and have dialled that one, the receiver, which has a reactor for each protocol.
/// </summary>
internal sealed class DemoNetwork : IDemoNetwork, IReceiver
{
    private static readonly SwitchOptions Options = new()
    {
        Network = "pipeline-demo",
        Version = typeof(DemoNetwork).Assembly.GetName().Version!.ToString(3),
        ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0),
        AllowDuplicateIp = true,
    };

    private readonly MessageArrived _arrived;
    private readonly ILoggerFactory _loggers;
    private readonly NodeKey[] _keys;
    private readonly Dictionary<NodeId, int> _peerOf;
    private readonly Switch[] _players;
    private readonly Switch _receiver;
    private readonly MempoolBlocks _mempool;
    private readonly IPeer?[] _outgoing;
    private readonly ConcurrentDictionary<int, IPeer> _incoming = [];
    private bool _isUp;

    private DemoNetwork(int peers, MessageArrived arrived, ILoggerFactory loggers)
    {
        _arrived = arrived;
        _loggers = loggers;
        _keys = [.. Enumerable.Range(0, peers + 1).Select(_ => NodeKey.Create())];
        _outgoing = new IPeer?[peers];
        _peerOf = Enumerable.Range(0, peers).ToDictionary(peer => _keys[peer].Id);
        _players = [.. Enumerable.Range(0, peers).Select(peer => MakeSwitch(_keys[peer], $"peer-{peer}", new PlayingReactor()))];
        _mempool = new MempoolBlocks(this);
        _receiver = MakeSwitch(
            _keys[^1],
            "receiver",
            new CountingReactor<Wire.Protos.P2P.Message>("pex", this, StandardChannels.PeerExchange),
            new CountingReactor<Protocols.Consensus.Message>(
                "consensus",
                this,
                StandardChannels.ConsensusState,
                StandardChannels.ConsensusData,
                StandardChannels.ConsensusVote,
                StandardChannels.ConsensusVoteSetBits),
            _mempool.Reactor,
            new CountingReactor<Protocols.Types.EvidenceList>("evidence", this, StandardChannels.Evidence),
            new CountingReactor<Protocols.BlockSync.Message>("block sync", this, StandardChannels.BlockSync),
            new CountingReactor<Protocols.StateSync.Message>(
                "state sync",
                this,
                StandardChannels.StateSyncSnapshots,
                StandardChannels.StateSyncChunks));
    }

    /// <inheritdoc />
    public long Transactions => _mempool.Transactions;

    /// <summary>Starts the nodes and lets all dial the receiver, see <see cref="StartNetwork"/>.</summary>
    public static async Task<IDemoNetwork> StartAsync(int peers, MessageArrived arrived, ILoggerFactory loggers, CancellationToken cancellationToken)
    {
        DemoNetwork network = new(peers, arrived, loggers);
        try
        {
            await Task.WhenAll(network.Switches.Select(node => node.StartAsync(cancellationToken)));
            await Task.WhenAll(network._players.Select(async (player, peer) =>
                network._outgoing[peer] = await player.DialAsync(network._receiver.ListenAddress, cancellationToken)));
            network._isUp = true;
            return network;
        }
        catch
        {
            await network.DisposeAsync();
            throw;
        }
    }

    /// <inheritdoc />
    public async Task<string?> SendAsync(ReplayLane lane, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        using SerializedMessage message = SerializedMessage.Create(lane.Channel, data.Span);
        SendResult result = await _outgoing[lane.Peer]!.SendAsync(message, timeout: null, cancellationToken);
        return result switch
        {
            SendResult.Queued => null,
            SendResult.PeerStopped => await DescribeDepartureAsync(lane.Peer),
            SendResult.QueueFull => $"For {Options.Connection.SendTimeout.TotalSeconds:0.#} s peer {lane.Peer} had no room to send on channel {lane.Channel}.",
            _ => $"Peer {lane.Peer} could not send {data.Length} bytes on channel {lane.Channel}: {result}.",
        };
    }

    /// <inheritdoc />
    public async Task<string> WhenDepartedAsync()
    {
        Task<DisconnectReason> first = await Task.WhenAny(_outgoing.Select(peer => peer!.Completion));
        return await DescribeDepartureAsync(Array.FindIndex(_outgoing, peer => peer!.Completion == first));
    }

    /// <inheritdoc />
    public IReadOnlyDictionary<byte, (int SendQueue, int Inbox)> GetWaiting(int peer)
    {
        ConnectionStatus sending = _outgoing[peer]!.GetStatus();
        ILookup<byte, int>? receiving = _incoming.GetValueOrDefault(peer)?.GetStatus().Channels
            .ToLookup(channel => channel.Channel.Id, channel => channel.InboxMessages);
        return sending.Channels.ToDictionary(
            channel => channel.Channel.Id,
            channel => (channel.SendQueueMessages, receiving?[channel.Channel.Id].Sum() ?? 0));
    }

    public void Join(IPeer peer) => _incoming[_peerOf[peer.Id]] = peer;

    public void Receive(IPeer peer, ChannelDescriptor channel, ReadOnlySpan<byte> data, IMessage message) =>
        _arrived(_peerOf[peer.Id], channel, data, message);

    /// <summary>Stops all nodes; when this is done, nothing arrives any more.</summary>
    public async ValueTask DisposeAsync()
    {
        await Task.WhenAll(Switches.Select(node => node.StopAsync()));
        if (_isUp)
        {
            await _mempool.Completion;
        }

        foreach (NodeKey key in _keys)
        {
            key.Dispose();
        }
    }

    private IEnumerable<Switch> Switches => _players.Append(_receiver);

    private Switch MakeSwitch(NodeKey key, string moniker, params ReadOnlySpan<Reactor> reactors)
    {
        Switch node = new(key, Options with { Moniker = moniker }, _loggers.CreateLogger<Switch>());
        foreach (Reactor reactor in reactors)
        {
            node.AddReactor(reactor);
        }

        return node;
    }

    // The receiver knows more: a peer that it has stopped only sees a closed connection.
    private async Task<string> DescribeDepartureAsync(int peer)
    {
        DisconnectReason reason = await _outgoing[peer]!.Completion;
        if (reason.Kind is DisconnectKind.RemoteClosed or DisconnectKind.ConnectionLost && _incoming.TryGetValue(peer, out IPeer? incoming))
        {
            reason = await incoming.Completion;
        }

        return $"The connection of peer {peer} ended. {reason.Message}";
    }
}
