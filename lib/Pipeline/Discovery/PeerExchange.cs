using Pipeline.Reactors;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Discovery;

/// <summary>The peer exchange protocol (PEX): how nodes learn of each other's addresses.</summary>
public static class PeerExchange
{
    /// <summary>Channel 0x00: priority 1, 10 messages queued to send, at most 64,000 bytes a message.</summary>
    public static ChannelDescriptor<Message> Channel { get; } = new(0x00, "pex", Message.Parser)
    {
        Priority = 1,
        SendQueueCapacity = 10,
        MaxMessageSize = 64_000,
    };
}
