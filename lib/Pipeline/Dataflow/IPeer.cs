using System.Net;
using System.Threading.Tasks.Dataflow;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Dataflow;

/// <summary>
/// A connected node: where envelopes come from and messages go to. Each connection is a peer of its own, also when the same node
/// connects again.
/// </summary>
/// <remarks>Source: <c>docs/protocol.md</c>, the grammar of reactor calls.</remarks>
public interface IPeer
{
    /// <summary>The node's id, which it has proved to own.</summary>
    NodeId Id { get; }

    /// <summary>What the node said of itself.</summary>
    NodeInfo NodeInfo { get; }

    /// <summary>Whether this node dialled the peer.</summary>
    bool IsOutbound { get; }

    /// <summary>Whether this node wants to be connected to the peer at all times, and dials it again when it has left.</summary>
    bool IsPersistent { get; }

    /// <summary>The address that was dialled; null when the peer dialled.</summary>
    NetAddress? DialledAddress { get; }

    /// <summary>The other end of the connection.</summary>
    IPEndPoint RemoteEndPoint { get; }

    /// <summary>What reactors keep about the peer.</summary>
    PeerItems Items { get; }

    /// <summary>Cancelled as soon as the connection begins to end.</summary>
    CancellationToken Stopped { get; }

    /// <summary>Completes, and never fails, when the connection has ended: its socket closed and both directions at rest.</summary>
    Task<DisconnectReason> Completion { get; }

    /// <summary>Whether both this node and the peer have the channel.</summary>
    bool HasChannel(byte channelId);

    /// <summary>
    /// What waits to be sent, as a dataflow target that holds back whoever is linked to it. A message that it accepts is its own: the source
    /// does not dispose of it.
    /// </summary>
    ITargetBlock<SerializedMessage> Outgoing { get; }

    /// <summary>Queues a message without waiting. The caller still has to dispose of <paramref name="message"/>.</summary>
    SendResult TrySend(SerializedMessage message);

    /// <summary>
    /// Queues a copy of a message that is serialised already, without waiting: for a message to this peer alone, the cheapest way. When nothing has waited for the
    /// peer for 1 ms, a message of up to 2 KiB is also sealed and handed to the transport within the call, which takes about 10 µs.
    /// </summary>
    /// <param name="channel">The channel that the message is for.</param>
    /// <param name="message">The bytes of the message, which are the caller's again once this returns.</param>
    /// <returns><see cref="SendResult.Queued"/>, or why it is not.</returns>
    SendResult TrySend(ChannelDescriptor channel, ReadOnlySpan<byte> message)
    {
        using SerializedMessage copy = SerializedMessage.Create(channel, message);
        return TrySend(copy);
    }

    /// <summary>
    /// Queues a message, waiting for room if there is none. The caller still has to dispose of <paramref name="message"/>, and may do so
    /// at once.
    /// </summary>
    /// <param name="message">The message.</param>
    /// <param name="timeout">The longest wait; null for the node's setting, 10 s by default.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns><see cref="SendResult.QueueFull"/> when there was no room in time.</returns>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled; the message is not queued.</exception>
    ValueTask<SendResult> SendAsync(SerializedMessage message, TimeSpan? timeout = null, CancellationToken cancellationToken = default);

    /// <summary>Queues a copy of a message that is serialised already, waiting for room if there is none.</summary>
    /// <param name="channel">The channel that the message is for.</param>
    /// <param name="message">The bytes of the message, which are the caller's again once this returns, also when the wait goes on.</param>
    /// <param name="timeout">The longest wait; null for the node's setting, 10 s by default.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns><see cref="SendResult.QueueFull"/> when there was no room in time.</returns>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled; the message is not queued.</exception>
    ValueTask<SendResult> SendAsync(
        ChannelDescriptor channel,
        ReadOnlySpan<byte> message,
        TimeSpan? timeout = null,
        CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        SendResult result = TrySend(channel, message);
        if (result != SendResult.QueueFull)
        {
            return new ValueTask<SendResult>(result);
        }

        // The queue has a hold of its own by the time that this returns.
        using SerializedMessage copy = SerializedMessage.Create(channel, message);
        return SendAsync(copy, timeout, cancellationToken);
    }

    /// <summary>
    /// Ends the connection. Returns at once and may be called from anywhere, also from a reactor's own callback; the first reason counts.
    /// </summary>
    void Stop(DisconnectReason reason);

    /// <summary>
    /// Takes no more messages, sends the peer what waits for it, and then ends the connection; at once when the peer does not read for
    /// <see cref="ConnectionOptions.FlushTimeout"/>. What the peer sends until it has closed its side as well is dealt with.
    /// </summary>
    /// <param name="reason">Why; null, the default: this node is done with the peer.</param>
    /// <returns>Completes when the connection has ended.</returns>
    Task StopGracefullyAsync(DisconnectReason? reason = null);

    /// <summary>
    /// Says that the peer has just done something useful, which only a reactor can judge: a peer of which nobody says this for a time is
    /// lazy, see <c>SwitchOptions.LazyPeerTime</c>.
    /// </summary>
    void MarkUseful();

    /// <summary>What the connection has done so far, and what waits in it.</summary>
    ConnectionStatus GetStatus();
}
