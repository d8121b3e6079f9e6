using Google.Protobuf;
using Pipeline.Dataflow;

namespace Pipeline.Reactors;

/// <summary>Sending messages of a channel's own type.</summary>
public static class Sending
{
    // What is put together on the stack, and then copied into the queue of the one peer that it is for.
    private const int MaxStackSize = 1024;

    /// <summary>Queues a message for a peer without waiting, see <see cref="IPeer.TrySend(ChannelDescriptor, ReadOnlySpan{byte})"/>.</summary>
    public static SendResult TrySend<TMessage>(this IPeer peer, ChannelDescriptor<TMessage> channel, TMessage message)
        where TMessage : class, IMessage<TMessage>
    {
        ArgumentNullException.ThrowIfNull(peer);
        ArgumentNullException.ThrowIfNull(channel);
        ArgumentNullException.ThrowIfNull(message);
        int size = message.CalculateSize();
        if (size <= MaxStackSize)
        {
            Span<byte> bytes = stackalloc byte[MaxStackSize];
            message.WriteTo(bytes[..size]);
            return peer.TrySend(channel, bytes[..size]);
        }

        using SerializedMessage serialized = SerializedMessage.Create(channel, message);
        return peer.TrySend(serialized);
    }

    /// <summary>Queues a message for a peer, waiting for room if there is none, see <see cref="IPeer.SendAsync(SerializedMessage, TimeSpan?, CancellationToken)"/>.</summary>
    public static ValueTask<SendResult> SendAsync<TMessage>(
        this IPeer peer,
        ChannelDescriptor<TMessage> channel,
        TMessage message,
        TimeSpan? timeout = null,
        CancellationToken cancellationToken = default)
        where TMessage : class, IMessage<TMessage>
    {
        ArgumentNullException.ThrowIfNull(peer);
        ArgumentNullException.ThrowIfNull(channel);
        ArgumentNullException.ThrowIfNull(message);
        int size = message.CalculateSize();
        if (size <= MaxStackSize)
        {
            Span<byte> bytes = stackalloc byte[MaxStackSize];
            message.WriteTo(bytes[..size]);
            return peer.SendAsync(channel, bytes[..size], timeout, cancellationToken);
        }

        // The queue has a hold of its own by the time that this returns.
        using SerializedMessage serialized = SerializedMessage.Create(channel, message);
        return peer.SendAsync(serialized, timeout, cancellationToken);
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
