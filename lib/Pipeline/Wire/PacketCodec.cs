using System.Buffers;
using Google.Protobuf;

namespace Pipeline.Wire;

/// <summary>
/// Reads and writes packets: varint-delimited protobuf messages of type <c>tendermint.p2p.Packet</c>.
/// </summary>
/// <remarks>
/// Coded by hand because every 1024 bytes of traffic pass through here. The reader knows the form that encoders write; a legal
/// packet in another form (fields out of order, unknown fields) goes through the generated parser, so both always agree.
/// </remarks>
public static class PacketCodec
{
    /// <summary>The most bytes of a message in one packet, unless configured otherwise: <c>max_packet_msg_payload_size</c>.</summary>
    public const int DefaultMaxDataSize = 1024;

    private const byte PingTag = 0x0a;
    private const byte PongTag = 0x12;
    private const byte MessageTag = 0x1a;
    private const byte ChannelIdTag = 0x08;
    private const byte EndOfMessageTag = 0x10;
    private const byte DataTag = 0x1a;

    /// <summary>
    /// The length of the largest legal packet without its length prefix, when a packet carries at most
    /// <paramref name="maxDataSize"/> bytes of a message: 1035 for the default of 1024.
    /// </summary>
    /// <remarks>
    /// The reference computes this for a channel id below 128 and so takes one byte less; <see cref="MaxDataSizeFor"/> keeps what is
    /// sent within that.
    /// </remarks>
    public static int MaxPacketSize(int maxDataSize) => BodySize(byte.MaxValue, true, maxDataSize, out _);

    /// <summary>
    /// How many bytes of a message a packet on <paramref name="channelId"/> may carry so that every implementation takes it: channel ids
    /// from 128 need one byte more, for which the reference leaves no room.
    /// </summary>
    public static int MaxDataSizeFor(byte channelId, int maxDataSize) => channelId < 0x80 ? maxDataSize : maxDataSize - 1;

    /// <summary>The bytes of <paramref name="packet"/> with its length prefix.</summary>
    public static int Size(in Packet packet)
    {
        int body = packet.Kind == PacketKind.Message
            ? BodySize(packet.ChannelId, packet.EndOfMessage, packet.Data.Length, out _)
            : 2;
        return Varint.Length((ulong)body) + body;
    }

    /// <summary>Writes <paramref name="packet"/> with its length prefix and returns how many bytes it took.</summary>
    /// <exception cref="ArgumentException"><paramref name="destination"/> is shorter than <see cref="Size"/>.</exception>
    public static int Write(Span<byte> destination, in Packet packet) => TryWrite(destination, packet, out int written)
        ? written
        : throw new ArgumentException($"A packet of {Size(packet)} bytes does not fit into {destination.Length} bytes.", nameof(destination));

    /// <summary>Writes <paramref name="packet"/> with its length prefix, or nothing when <paramref name="destination"/> is shorter than <see cref="Size"/>.</summary>
    internal static bool TryWrite(Span<byte> destination, in Packet packet, out int written)
    {
        written = 0;
        if (packet.Kind != PacketKind.Message)
        {
            ReadOnlySpan<byte> bytes = packet.Kind == PacketKind.Ping ? [2, PingTag, 0] : [2, PongTag, 0];
            if (!bytes.TryCopyTo(destination))
            {
                return false;
            }

            written = bytes.Length;
            return true;
        }

        ReadOnlySpan<byte> data = packet.Data;
        int body = BodySize(packet.ChannelId, packet.EndOfMessage, data.Length, out int message);
        if (destination.Length < Varint.Length((ulong)body) + body)
        {
            return false;
        }

        int at = Varint.Write(destination, (ulong)body);
        destination[at++] = MessageTag;
        at += Varint.Write(destination[at..], (ulong)message);
        if (packet.ChannelId != 0)
        {
            destination[at++] = ChannelIdTag;
            at += Varint.Write(destination[at..], packet.ChannelId);
        }

        if (packet.EndOfMessage)
        {
            destination[at++] = EndOfMessageTag;
            destination[at++] = 1;
        }

        if (data.Length > 0)
        {
            destination[at++] = DataTag;
            at += Varint.Write(destination[at..], (ulong)data.Length);
            data.CopyTo(destination[at..]);
            at += data.Length;
        }

        written = at;
        return true;
    }

    /// <summary>Reads a packet with its length prefix from the start of <paramref name="source"/>.</summary>
    /// <param name="source">What was received and not yet consumed.</param>
    /// <param name="maxPacketSize">The length of the largest packet to accept, see <see cref="MaxPacketSize"/>.</param>
    /// <param name="packet">The packet, as a view of <paramref name="source"/>.</param>
    /// <param name="consumed">How many bytes of <paramref name="source"/> it took.</param>
    /// <returns>False when <paramref name="source"/> ends inside the packet.</returns>
    /// <exception cref="PacketException">The bytes are not a legal packet.</exception>
    public static bool TryRead(ReadOnlySpan<byte> source, int maxPacketSize, out Packet packet, out int consumed)
    {
        packet = default;
        consumed = 0;
        OperationStatus status = Varint.TryRead(source, out ulong size, out int prefix);
        if (status != OperationStatus.Done)
        {
            return status == OperationStatus.NeedMoreData && source.Length < Varint.MaxLength
                ? false
                : throw new PacketException(PacketFault.MalformedLength, "The length before a packet is not a varint of at most 64 bits.");
        }

        // Said before the packet is there, so that nobody can make us wait for, or keep, what would be refused.
        if (size > (ulong)maxPacketSize)
        {
            throw new PacketException(PacketFault.TooLong, $"A packet of {size} bytes is longer than the largest legal one, {maxPacketSize} bytes.");
        }

        if ((uint)(source.Length - prefix) < size)
        {
            return false;
        }

        ReadOnlySpan<byte> body = source.Slice(prefix, (int)size);
        consumed = prefix + body.Length;
        if (!TryReadUsualForm(body, out packet))
        {
            packet = ReadAnyForm(body);
        }

        return true;
    }

    private static bool TryReadUsualForm(ReadOnlySpan<byte> body, out Packet packet)
    {
        packet = default;
        if (body.Length < 2)
        {
            return false;
        }

        if (body[0] != MessageTag)
        {
            if (body.Length != 2 || body[1] != 0 || body[0] is not (PingTag or PongTag))
            {
                return false;
            }

            packet = body[0] == PingTag ? Packet.Ping : Packet.Pong;
            return true;
        }

        if (Varint.TryRead(body[1..], out ulong length, out int prefix) != OperationStatus.Done || length != (ulong)(body.Length - 1 - prefix))
        {
            return false;
        }

        ReadOnlySpan<byte> message = body[(1 + prefix)..];
        byte channelId = 0;
        if (message.Length >= 2 && message[0] == ChannelIdTag)
        {
            if (Varint.TryRead(message[1..], out ulong id, out prefix) != OperationStatus.Done || id > byte.MaxValue)
            {
                return false;
            }

            channelId = (byte)id;
            message = message[(1 + prefix)..];
        }

        bool endOfMessage = false;
        if (message.Length >= 2 && message[0] == EndOfMessageTag)
        {
            if (message[1] > 1)
            {
                return false;
            }

            endOfMessage = message[1] == 1;
            message = message[2..];
        }

        if (message.Length > 0)
        {
            if (message[0] != DataTag
                || Varint.TryRead(message[1..], out length, out prefix) != OperationStatus.Done
                || length != (ulong)(message.Length - 1 - prefix))
            {
                return false;
            }

            message = message[(1 + prefix)..];
        }

        packet = Packet.Message(channelId, endOfMessage, message);
        return true;
    }

    private static Packet ReadAnyForm(ReadOnlySpan<byte> body)
    {
        Protos.P2P.Packet parsed;
        try
        {
            // Unknown fields are kept, for nothing: a parser that discards them lets tags of wire types pass that do not exist.
            parsed = Protos.P2P.Packet.Parser.ParseFrom(body);
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new PacketException(PacketFault.Malformed, $"A packet of {body.Length} bytes is not a protobuf message of type Packet: {e.Message}", e);
        }

        switch (parsed.SumCase)
        {
            case Protos.P2P.Packet.SumOneofCase.PacketPing:
                return Packet.Ping;
            case Protos.P2P.Packet.SumOneofCase.PacketPong:
                return Packet.Pong;
            case Protos.P2P.Packet.SumOneofCase.PacketMsg:
                Protos.P2P.PacketMsg message = parsed.PacketMsg;
                return message.ChannelId is < 0 or > byte.MaxValue
                    ? throw new PacketException(
                        PacketFault.ChannelIdOutOfRange,
                        $"A packet names channel {message.ChannelId}; channel ids are 0 to 255.")
                    : Packet.Message((byte)message.ChannelId, message.Eof, message.Data.Span);
            default:
                throw new PacketException(PacketFault.NoKind, "A packet is neither a ping, a pong, nor a piece of a message.");
        }
    }

    private static int BodySize(byte channelId, bool endOfMessage, int dataLength, out int message)
    {
        message = (channelId == 0 ? 0 : 1 + Varint.Length(channelId))
            + (endOfMessage ? 2 : 0)
            + (dataLength == 0 ? 0 : 1 + Varint.Length((ulong)dataLength) + dataLength);
        return 1 + Varint.Length((ulong)message) + message;
    }
}
