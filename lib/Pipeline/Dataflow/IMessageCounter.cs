namespace Pipeline.Dataflow;

/// <summary>Is told of each message that the connections of a node receive and send; called by their loops, so it must be quick.</summary>
internal interface IMessageCounter
{
    void Received(ChannelDescriptor channel, ReadOnlySpan<byte> message);

    void Sent(ChannelDescriptor channel, ReadOnlySpan<byte> message);
}
