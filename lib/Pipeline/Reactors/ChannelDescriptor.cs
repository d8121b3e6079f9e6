using Google.Protobuf;
using Pipeline.Dataflow;
using Pipeline.Wire;

namespace Pipeline.Reactors;

/// <summary>A channel whose messages are all of one protobuf type.</summary>
/// <typeparam name="TMessage">The type of the channel's messages.</typeparam>
public sealed class ChannelDescriptor<TMessage> : ChannelDescriptor
    where TMessage : class, IMessage<TMessage>
{
    /// <summary>Creates a descriptor.</summary>
    /// <param name="id">The number of the channel on the wire, 0 to 255.</param>
    /// <param name="name">What logs, metrics and views call the channel; not empty.</param>
    /// <param name="parser">The parser of the channel's messages: <c>TMessage.Parser</c> of a generated class.</param>
    public ChannelDescriptor(byte id, string name, MessageParser<TMessage> parser)
        : base(id, name)
    {
        ArgumentNullException.ThrowIfNull(parser);
        Parser = parser;
    }

    /// <summary>Parses the channel's messages.</summary>
    public MessageParser<TMessage> Parser { get; }

    internal override MessageLabels Labels => field ??= MessageLabels.Of(Parser);
}
