using System.Net;
using System.Threading.Tasks.Dataflow;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>A connected node.</summary>
public sealed class Peer : IPeer
{
    private readonly Switch _switch;
    private readonly ConnectionOptions _options;
    private readonly MultiplexedConnection _connection;

    // A timestamp of the options' time provider.
    private long _lastUseful;

    internal Peer(
        Switch owner,
        ConnectionOptions options,
        MultiplexedConnection connection,
        NodeInfo info,
        IPEndPoint remoteEndPoint,
        NetAddress? dialledAddress)
    {
        _switch = owner;
        _options = options;
        _lastUseful = options.TimeProvider.GetTimestamp();
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
    public bool IsPersistent => _switch.IsPersistent(Id);

    /// <inheritdoc />
    public NetAddress? DialledAddress { get; }

    /// <inheritdoc />
    public IPEndPoint RemoteEndPoint { get; }

    /// <inheritdoc />
    public PeerItems Items { get; } = new();

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
    public SendResult TrySend(ChannelDescriptor channel, ReadOnlySpan<byte> message) => _connection.Outgoing.TrySend(channel, message);

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
    public Task StopGracefullyAsync(DisconnectReason? reason = null) =>
        _connection.StopGracefullyAsync(reason ?? new DisconnectReason(DisconnectKind.Stopped, "This node is done with the peer."));

    /// <inheritdoc />
    public void MarkUseful() => Volatile.Write(ref _lastUseful, _options.TimeProvider.GetTimestamp());

    /// <inheritdoc />
    public ConnectionStatus GetStatus() => _connection.GetStatus();

    /// <summary>The peer's id and address.</summary>
    public override string ToString() => $"{Id}@{RemoteEndPoint}";

    /// <summary>How long ago it last did something useful, or connected.</summary>
    internal TimeSpan SinceUseful => _options.TimeProvider.GetElapsedTime(Volatile.Read(ref _lastUseful));

    /// <summary>Whether it has been reported as lazy and not been useful since. Of the watchdog alone.</summary>
    internal bool IsLazy { get; set; }

    /// <summary>Whether who stopped it for what it did has banned it as well.</summary>
    internal bool IsBanned { get; set; }
}
