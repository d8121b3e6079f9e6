using System.Collections.Immutable;
using Google.Protobuf;

namespace Pipeline.Dataflow;

/// <summary>A message that is to be sent, and to whom: to one peer, to some, or to all that have the channel.</summary>
public class OutboundEnvelope
{
    /// <summary>Makes an envelope.</summary>
    /// <param name="channel">The channel to send on.</param>
    /// <param name="message">The message; it must not change any more.</param>
    /// <param name="recipients">The peers to send to, which may be none; null for all.</param>
    public OutboundEnvelope(ChannelDescriptor channel, IMessage message, IEnumerable<IPeer>? recipients = null)
    {
        ArgumentNullException.ThrowIfNull(channel);
        ArgumentNullException.ThrowIfNull(message);
        Channel = channel;
        Message = message;
        Recipients = recipients?.ToImmutableArray();
    }

    /// <summary>The channel to send on.</summary>
    public ChannelDescriptor Channel { get; }

    /// <summary>The message.</summary>
    public IMessage Message { get; }

    /// <summary>The peers to send to; null for all that are connected when the message is sent.</summary>
    public ImmutableArray<IPeer>? Recipients { get; }

    /// <summary>A peer that does not get the message although it is among the recipients, as the one that it came from.</summary>
    public IPeer? Except { get; init; }
}
