using Google.Protobuf;
using Pipeline.Dataflow;

namespace Pipeline.Reactors;

/// <summary>A message of a channel's own type that is to be sent, and to whom.</summary>
/// <typeparam name="TMessage">The type of the channel's messages.</typeparam>
/// <param name="channel">The channel to send on.</param>
/// <param name="message">The message; it must not change any more.</param>
/// <param name="recipients">The peers to send to, which may be none; null for all.</param>
public sealed class OutboundEnvelope<TMessage>(ChannelDescriptor<TMessage> channel, TMessage message, IEnumerable<IPeer>? recipients = null)
    : OutboundEnvelope(channel, message, recipients)
    where TMessage : class, IMessage<TMessage>
{
    /// <summary>Makes an envelope for one peer.</summary>
    public OutboundEnvelope(ChannelDescriptor<TMessage> channel, TMessage message, IPeer recipient)
        : this(channel, message, [recipient])
    {
    }
}
