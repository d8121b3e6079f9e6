using System.Net;
using System.Threading.Tasks.Dataflow;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>A connected node.</summary>
public sealed class Peer : IPeer
{
    private readonly ConnectionOptions _options;
    private readonly MultiplexedConnection _connection;

    internal Peer(ConnectionOptions options, MultiplexedConnection connection, NodeInfo info, IPEndPoint remoteEndPoint, NetAddress? dialledAddress)
    {
        _options = options;
        _connection = connection;
        NodeInfo = info;
        RemoteEndPoint = remoteEndPoint;
        DialledAddress = dialledAddress;
    }

    /// <inheritdoc />
    public NodeId Id => NodeInfo.Id;

    /// <inheritdoc />
    public NodeInfo NodeInfo { get; }

    /// <inheritdoc />
    public bool IsOutbound => DialledAddress is not null;

    /// <inheritdoc />
    public NetAddress? DialledAddress { get; }

    /// <inheritdoc />
    public IPEndPoint RemoteEndPoint { get; }

    /// <inheritdoc />
    public CancellationToken Stopped => _connection.Stopped;

    /// <inheritdoc />
    public Task<DisconnectReason> Completion => _connection.Completion;

    /// <inheritdoc />
    public ITargetBlock<SerializedMessage> Outgoing => _connection.Outgoing;

    /// <inheritdoc />
    public bool HasChannel(byte channelId) => _connection.Outgoing.HasChannel(channelId);

    /// <inheritdoc />
    public SendResult TrySend(SerializedMessage message) => _connection.Outgoing.TrySend(message);

    /// <inheritdoc />
    public ValueTask<SendResult> SendAsync(SerializedMessage message, TimeSpan? timeout = null, CancellationToken cancellationToken = default) =>
        _connection.Outgoing.SendAsync(message, timeout ?? _options.SendTimeout, cancellationToken);

    /// <inheritdoc />
    public void Stop(DisconnectReason reason)
    {
        ArgumentNullException.ThrowIfNull(reason);
        _connection.Stop(reason);
    }

    /// <inheritdoc />
    public ConnectionStatus GetStatus() => _connection.GetStatus();

    /// <summary>The peer's id and address.</summary>
    public override string ToString() => $"{Id}@{RemoteEndPoint}";

    internal Task StopGracefullyAsync(DisconnectReason reason) => _connection.StopGracefullyAsync(reason);
}
