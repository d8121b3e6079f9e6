namespace Pipeline.Wire;

/// <summary>What can be wrong with a packet.</summary>
public enum PacketFault
{
    /// <summary>The length before the packet is not a varint of at most 64 bits.</summary>
    MalformedLength,

    /// <summary>The packet is longer than the largest legal one.</summary>
    TooLong,

    /// <summary>The packet is not a protobuf message of type <c>Packet</c>.</summary>
    Malformed,

    /// <summary>The packet is neither a ping, a pong, nor a piece of a message.</summary>
    NoKind,

    /// <summary>The packet's channel id is not within 0 to 255.</summary>
    ChannelIdOutOfRange,

    /// <summary>The packet is for a channel that this node does not have.</summary>
    UnknownChannel,

    /// <summary>The message that the packet belongs to is longer than its channel allows.</summary>
    MessageTooLong,
}

/// <summary>Bytes that should have been a packet are not one. The connection they came from cannot go on.</summary>
public sealed class PacketException : FormatException
{
    /// <summary>Creates the exception.</summary>
    public PacketException(PacketFault fault, string message, Exception? innerException = null)
        : base(message, innerException) => Fault = fault;

    /// <summary>What is wrong with the packet.</summary>
    public PacketFault Fault { get; }
}
