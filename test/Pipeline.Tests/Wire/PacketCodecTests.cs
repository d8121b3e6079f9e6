using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Pipeline.Tests.Support;
using Pipeline.Wire;
using Packet = Pipeline.Wire.Packet;

namespace Pipeline.Tests.Wire;

public sealed partial class PacketCodecTests
{
    private static readonly int MaxPacketSize = PacketCodec.MaxPacketSize(PacketCodec.DefaultMaxDataSize);

    [Test]
    public void Every_recorded_packet_is_written_and_read_as_the_reference_does()
    {
        int count = 0;
        foreach (JsonElement vector in TestData.Json("vectors/packets.json").EnumerateArray())
        {
            string name = vector.Text("name");
            byte[] body = vector.Hex("bytes_hex");
            byte[] delimited = Delimited(body);
            Packet expected = Parse(name);

            byte[] written = new byte[PacketCodec.Size(expected)];
            Assert.That(PacketCodec.Write(written, expected), Is.EqualTo(written.Length), name);
            Assert.That(written, Is.EqualTo(delimited), name);

            Assert.That(PacketCodec.TryRead(delimited, MaxPacketSize, out Packet read, out int consumed), Is.True, name);
            Assert.That(consumed, Is.EqualTo(delimited.Length), name);
            Assert.That(Show(read), Is.EqualTo(Show(expected)), name);
            count++;
        }

        Assert.That(count, Is.EqualTo(10));
    }

    [Test]
    public void A_packet_is_not_read_before_its_last_byte_is_there()
    {
        byte[] bytes = Written(Packet.Message(0x21, true, new byte[300]));
        for (int length = 0; length < bytes.Length; length++)
        {
            Assert.That(PacketCodec.TryRead(bytes.AsSpan(0, length), MaxPacketSize, out _, out int consumed), Is.False);
            Assert.That(consumed, Is.Zero);
        }

        Assert.That(PacketCodec.TryRead([.. bytes, 1, 2, 3], MaxPacketSize, out _, out int all), Is.True);
        Assert.That(all, Is.EqualTo(bytes.Length));
    }

    [Test]
    public void The_largest_legal_packet_is_one_with_the_most_data_on_the_longest_channel_id()
    {
        byte[] largest = Written(Packet.Message(255, true, new byte[PacketCodec.DefaultMaxDataSize]));

        Assert.That(MaxPacketSize, Is.EqualTo(1035));
        Assert.That(largest, Has.Length.EqualTo(2 + MaxPacketSize));
        Assert.That(PacketCodec.TryRead(largest, MaxPacketSize, out _, out _), Is.True);
    }

    [Test]
    public void What_is_sent_fits_the_limit_of_the_reference_on_every_channel()
    {
        const int referenceLimit = 1034;
        for (int channel = 0; channel <= byte.MaxValue; channel++)
        {
            int most = PacketCodec.MaxDataSizeFor((byte)channel, PacketCodec.DefaultMaxDataSize);
            byte[] bytes = Written(Packet.Message((byte)channel, true, new byte[most]));
            Assert.That(bytes.Length - 2, Is.LessThanOrEqualTo(referenceLimit), $"channel {channel}");
            Assert.That(most, Is.GreaterThanOrEqualTo(1023));
        }
    }

    [TestCase("8c08", PacketFault.TooLong, "A packet of 1036 bytes is longer than the largest legal one, 1035 bytes.", Description = "refused on sight of its length")]
    [TestCase("ffffffffffffffffff01", PacketFault.TooLong, "18446744073709551615 bytes")]
    [TestCase("80808080808080808080", PacketFault.MalformedLength, "not a varint of at most 64 bits")]
    [TestCase("ffffffffffffffffff02", PacketFault.MalformedLength, "not a varint of at most 64 bits")]
    [TestCase("00", PacketFault.NoKind, "neither a ping, a pong, nor a piece of a message", Description = "empty")]
    [TestCase("022200", PacketFault.NoKind, "neither a ping, a pong, nor a piece of a message", Description = "a kind 4")]
    [TestCase("0d1a0b08ffffffffffffffffff01", PacketFault.ChannelIdOutOfRange, "names channel -1; channel ids are 0 to 255", Description = "-1")]
    [TestCase("051a03088002", PacketFault.ChannelIdOutOfRange, "names channel 256; channel ids are 0 to 255", Description = "256")]
    [TestCase("081a0608ffffffff07", PacketFault.ChannelIdOutOfRange, "names channel 2147483647")]
    [TestCase("021a05", PacketFault.Malformed, "not a protobuf message of type Packet", Description = "a message that is cut off")]
    [TestCase("040a020000", PacketFault.Malformed, "not a protobuf message of type Packet", Description = "field number 0")]
    [TestCase("01ff", PacketFault.Malformed, "not a protobuf message of type Packet")]
    public void What_is_no_packet_is_refused_with_its_reason(string hex, PacketFault fault, string reason)
    {
        Assert.That(
            () => PacketCodec.TryRead(Convert.FromHexString(hex), MaxPacketSize, out _, out _),
            Throws.TypeOf<PacketException>().With.Property(nameof(PacketException.Fault)).EqualTo(fault).And.Message.Contains(reason));
    }

    [TestCase("040a022805", "Ping", Description = "an unknown field in a ping")]
    [TestCase("041a020800", "Message 0 False ", Description = "a zero that is written out")]
    [TestCase("041a021002", "Message 0 True ", Description = "a truth that is not 1")]
    [TestCase("061a0410011000", "Message 0 False ", Description = "the last of two values counts")]
    [TestCase("091a071a010110010820", "Message 32 True 01", Description = "fields in reverse")]
    [TestCase("040a001200", "Pong", Description = "the last of two kinds counts")]
    [TestCase("071a051081808000", "Message 0 True ", Description = "a varint longer than needed")]
    public void Odd_but_legal_forms_are_read(string hex, string expected)
    {
        byte[] bytes = Convert.FromHexString(hex);
        bytes[0] = (byte)(bytes.Length - 1);

        Assert.That(PacketCodec.TryRead(bytes, MaxPacketSize, out Packet packet, out _), Is.True);
        Assert.That(Show(packet), Is.EqualTo(expected));
    }

    [Test]
    public void A_destination_that_is_too_short_is_a_mistake_of_the_caller()
    {
        Assert.That(() => PacketCodec.Write(new byte[2], Packet.Ping), Throws.InstanceOf<ArgumentException>());
        int size = PacketCodec.Size(Packet.Message(200, true, new byte[200]));
        for (int length = 0; length < size; length++)
        {
            Assert.That(() => PacketCodec.Write(new byte[length], Packet.Message(200, true, new byte[200])), Throws.InstanceOf<ArgumentException>());
        }
    }

    internal static byte[] Delimited(byte[] body)
    {
        byte[] prefix = new byte[Varint.Length((ulong)body.Length)];
        Varint.Write(prefix, (ulong)body.Length);
        return [.. prefix, .. body];
    }

    internal static byte[] Written(in Packet packet)
    {
        byte[] bytes = new byte[PacketCodec.Size(packet)];
        PacketCodec.Write(bytes, packet);
        return bytes;
    }

    internal static string Show(in Packet packet) => packet.Kind == PacketKind.Message
        ? $"Message {packet.ChannelId} {packet.EndOfMessage} {Convert.ToHexStringLower(packet.Data)}"
        : packet.Kind.ToString();

    private static Packet Parse(string name)
    {
        if (name is "ping" or "pong")
        {
            return name == "ping" ? Packet.Ping : Packet.Pong;
        }

        Match match = MessageName().Match(name);
        int length = int.Parse(match.Groups[3].Value, CultureInfo.InvariantCulture);
        byte[] data = [.. Enumerable.Range(0, length).Select(i => (byte)(i * 7))];
        return Packet.Message(byte.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture), match.Groups[2].Value == "true", data);
    }

    [GeneratedRegex(@"^msg channel=(\d+) eof=(true|false) .* len=(\d+)$")]
    private static partial Regex MessageName();
}
