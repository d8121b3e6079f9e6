namespace Pipeline.Wire;

/// <summary>The kinds of packets that a connection carries after its handshake.</summary>
public enum PacketKind
{
    /// <summary>Asks the other side for a pong.</summary>
    Ping,

    /// <summary>Answers a ping.</summary>
    Pong,

    /// <summary>A piece of a message.</summary>
    Message,
}

/// <summary>A packet, as a view of the bytes it was read from; it is valid as long as they are.</summary>
public readonly ref struct Packet
{
    private Packet(PacketKind kind, byte channelId = 0, bool endOfMessage = false, ReadOnlySpan<byte> data = default)
    {
        Kind = kind;
        ChannelId = channelId;
        EndOfMessage = endOfMessage;
        Data = data;
    }

    /// <summary>A ping.</summary>
    public static Packet Ping => new(PacketKind.Ping);

    /// <summary>A pong.</summary>
    public static Packet Pong => new(PacketKind.Pong);

    /// <summary>Which kind of packet this is; the other properties say something for <see cref="PacketKind.Message"/> only.</summary>
    public PacketKind Kind { get; }

    /// <summary>The channel of the message.</summary>
    public byte ChannelId { get; }

    /// <summary>Whether this is the last piece of its message.</summary>
    public bool EndOfMessage { get; }

    /// <summary>The piece of the message; may be empty.</summary>
    public ReadOnlySpan<byte> Data { get; }

    /// <summary>A piece of a message.</summary>
    public static Packet Message(byte channelId, bool endOfMessage, ReadOnlySpan<byte> data) =>
        new(PacketKind.Message, channelId, endOfMessage, data);
}
