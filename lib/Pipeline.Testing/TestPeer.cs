using System.Collections.Immutable;
using System.Net;
using System.Threading.Tasks.Dataflow;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Transport;

namespace Pipeline.Testing;

/// <summary>A peer without a connection, for tests of reactors: it keeps what is sent to it, and what it is stopped for.</summary>
public sealed class TestPeer : IPeer, IDisposable
{
    private readonly CancellationTokenSource _stopped = new();
    private readonly TaskCompletionSource<DisconnectReason> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ActionBlock<SerializedMessage> _outgoing;

    // Guarded by _gate; the array is replaced, never changed.
    private readonly Lock _gate = new();
    private ImmutableArray<SentMessage> _sent = [];
    private DisconnectReason? _reason;
    private int _usefulness;

    /// <summary>Makes a peer.</summary>
    /// <param name="info">What the peer says of itself; null: a new id, and no channels, which stands for all.</param>
    public TestPeer(NodeInfo? info = null)
    {
        NodeInfo = info ?? MakeInfo();
        _outgoing = new ActionBlock<SerializedMessage>(message =>
        {
            TrySend(message);
            message.Dispose();
        });
    }

    /// <inheritdoc />
    public NodeId Id => NodeInfo.Id;

    /// <inheritdoc />
    public NodeInfo NodeInfo { get; }

    /// <inheritdoc />
    public bool IsOutbound => DialledAddress is not null;

    /// <inheritdoc />
    public bool IsPersistent { get; init; }

    /// <inheritdoc />
    public NetAddress? DialledAddress { get; init; }

    /// <inheritdoc />
    public IPEndPoint RemoteEndPoint { get; init; } = new(IPAddress.Loopback, 26656);

    /// <inheritdoc />
    public PeerItems Items { get; } = new();

    /// <inheritdoc />
    public CancellationToken Stopped => _stopped.Token;

    /// <inheritdoc />
    public Task<DisconnectReason> Completion => _completion.Task;

    /// <inheritdoc />
    public ITargetBlock<SerializedMessage> Outgoing => _outgoing;

    /// <summary>What becomes of messages that could be sent: <see cref="SendResult.QueueFull"/> makes a peer that does not read. Default <see cref="SendResult.Queued"/>.</summary>
    public SendResult NextResult { get; set; } = SendResult.Queued;

    /// <summary>What <see cref="GetStatus"/> says; null, the default, for what was sent, and that nothing was received.</summary>
    public ConnectionStatus? Status { get; set; }

    /// <summary>The messages that were sent to the peer, in order.</summary>
    public ImmutableArray<SentMessage> Sent
    {
        get
        {
            lock (_gate)
            {
                return _sent;
            }
        }
    }

    /// <summary>How often <see cref="MarkUseful"/> was called.</summary>
    public int Usefulness => Volatile.Read(ref _usefulness);

    /// <summary>The messages that were sent to the peer on one channel, parsed.</summary>
    public IReadOnlyList<TMessage> SentOn<TMessage>(ChannelDescriptor<TMessage> channel)
        where TMessage : class, IMessage<TMessage>
    {
        ArgumentNullException.ThrowIfNull(channel);
        return [.. Sent.Where(sent => sent.Channel.Id == channel.Id).Select(sent => channel.Parser.ParseFrom(sent.Data.Span))];
    }

    /// <inheritdoc />
    public bool HasChannel(byte channelId) => NodeInfo.Channels.IsEmpty || NodeInfo.Channels.Contains(channelId);

    /// <inheritdoc />
    public SendResult TrySend(SerializedMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        lock (_gate)
        {
            SendResult result = _reason is not null ? SendResult.PeerStopped
                : !HasChannel(message.Channel.Id) ? SendResult.UnknownChannel
                : message.Length > message.Channel.MaxMessageSize ? SendResult.MessageTooLarge
                : NextResult;
            if (result == SendResult.Queued)
            {
                _sent = _sent.Add(new SentMessage(message.Channel, message.Span.ToArray()));
            }

            return result;
        }
    }

    /// <inheritdoc />
    /// <remarks>Never waits: what would be full after a time is full at once.</remarks>
    public ValueTask<SendResult> SendAsync(SerializedMessage message, TimeSpan? timeout = null, CancellationToken cancellationToken = default) =>
        cancellationToken.IsCancellationRequested ? ValueTask.FromCanceled<SendResult>(cancellationToken) : new ValueTask<SendResult>(TrySend(message));

    /// <inheritdoc />
    public void Stop(DisconnectReason reason)
    {
        ArgumentNullException.ThrowIfNull(reason);
        lock (_gate)
        {
            if (_reason is not null)
            {
                return;
            }

            _reason = reason;
        }

        _stopped.Cancel();
        _completion.SetResult(reason);
    }

    /// <inheritdoc />
    public Task StopGracefullyAsync(DisconnectReason? reason = null)
    {
        Stop(reason ?? new DisconnectReason(DisconnectKind.Stopped, "This node is done with the peer."));
        return Completion;
    }

    /// <inheritdoc />
    public void MarkUseful() => Interlocked.Increment(ref _usefulness);

    /// <inheritdoc />
    public ConnectionStatus GetStatus() => Status ?? new(TimeSpan.Zero, Sent.Sum(sent => (long)sent.Data.Length), 0, IsPaused: false, []);

    /// <summary>Stops the peer, if nobody has. Not needed for one that has been stopped.</summary>
    public void Dispose() => Stop(new DisconnectReason(DisconnectKind.Stopped, "The test is done with the peer."));

    /// <summary>The peer's id.</summary>
    public override string ToString() => Id.ToString();

    private static NodeInfo MakeInfo()
    {
        using NodeKey key = NodeKey.Create();
        return new NodeInfo { Id = key.Id, Moniker = "test peer", ListenAddress = "tcp://127.0.0.1:26656" };
    }
}

/// <summary>A message that was sent to a <see cref="TestPeer"/>.</summary>
/// <param name="Channel">The channel that it was sent on.</param>
/// <param name="Data">Its bytes.</param>
public readonly record struct SentMessage(ChannelDescriptor Channel, ReadOnlyMemory<byte> Data);
