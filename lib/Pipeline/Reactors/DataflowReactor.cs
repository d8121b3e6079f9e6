using Pipeline.Dataflow;

namespace Pipeline.Reactors;

/// <summary>
/// A reactor that is made of linked blocks, with no class of its own, and sees messages as bytes; see
/// <see cref="DataflowReactor{TMessage}"/> for parsed ones.
/// </summary>
/// <remarks>What was handed to a block may be dealt with after its peer has left.</remarks>
/// <param name="name">What logs, metrics and other reactors call it; unique within a switch.</param>
/// <param name="channels">The channels of the protocol.</param>
public sealed class DataflowReactor(string name, params IEnumerable<ChannelDescriptor> channels) : Reactor(name, channels, hasHandler: false)
{
    /// <summary>The messages that peers send: a dataflow source, and a channel reader for those who prefer that.</summary>
    public ReactorInbox Source => Inbox;
}
