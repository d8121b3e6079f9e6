using Google.Protobuf;
using Pipeline.Dataflow;

namespace Pipeline.Reactors;

/// <summary>Sending messages of a channel's own type.</summary>
public static class Sending
{
    /// <summary>Queues a message for a peer without waiting.</summary>
    public static SendResult TrySend<TMessage>(this IPeer peer, ChannelDescriptor<TMessage> channel, TMessage message)
        where TMessage : class, IMessage<TMessage>
    {
        ArgumentNullException.ThrowIfNull(peer);
        using SerializedMessage serialized = SerializedMessage.Create(channel, message);
        return peer.TrySend(serialized);
    }

    /// <summary>Queues a message for a peer, waiting for room if there is none, see <see cref="IPeer.SendAsync(SerializedMessage, TimeSpan?, CancellationToken)"/>.</summary>
    public static async ValueTask<SendResult> SendAsync<TMessage>(
        this IPeer peer,
        ChannelDescriptor<TMessage> channel,
        TMessage message,
        TimeSpan? timeout = null,
        CancellationToken cancellationToken = default)
        where TMessage : class, IMessage<TMessage>
    {
        ArgumentNullException.ThrowIfNull(peer);
        using SerializedMessage serialized = SerializedMessage.Create(channel, message);
        return await peer.SendAsync(serialized, timeout, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Queues a message for every peer that has the channel, without waiting, see <see cref="ISwitch.TryBroadcast"/>.</summary>
    public static IReadOnlyList<BroadcastResult> TryBroadcast<TMessage>(
        this ISwitch node,
        ChannelDescriptor<TMessage> channel,
        TMessage message,
        IEnumerable<IPeer>? recipients = null)
        where TMessage : class, IMessage<TMessage>
    {
        ArgumentNullException.ThrowIfNull(node);
        using SerializedMessage serialized = SerializedMessage.Create(channel, message);
        return node.TryBroadcast(serialized, recipients);
    }

    /// <summary>Queues a message for every peer that has the channel, waiting for room, see <see cref="ISwitch.BroadcastAsync"/>.</summary>
    public static async Task<IReadOnlyList<BroadcastResult>> BroadcastAsync<TMessage>(
        this ISwitch node,
        ChannelDescriptor<TMessage> channel,
        TMessage message,
        IEnumerable<IPeer>? recipients = null,
        CancellationToken cancellationToken = default)
        where TMessage : class, IMessage<TMessage>
    {
        ArgumentNullException.ThrowIfNull(node);
        using SerializedMessage serialized = SerializedMessage.Create(channel, message);
        return await node.BroadcastAsync(serialized, recipients, cancellationToken).ConfigureAwait(false);
    }
}
