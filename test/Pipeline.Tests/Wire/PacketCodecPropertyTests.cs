using System.Collections.Concurrent;
using CsCheck;
using Google.Protobuf;
using Pipeline.Wire;
using Packet = Pipeline.Wire.Packet;
using Protos = Pipeline.Wire.Protos.P2P;

namespace Pipeline.Tests.Wire;

/// <summary>The hand-written codec against the one that protobuf generates.</summary>
public sealed class PacketCodecPropertyTests
{
    private const int Iterations = 50_000;
    private const int NoLimit = int.MaxValue;

    private static readonly Gen<byte[]> AnyBytes = Gen.OneOf(Gen.Byte.Array[0, 12], Gen.Byte.Array[0, 300]);

    // Varints in their shortest form, padded, and of more bits than their field has.
    private static readonly Gen<byte[]> AnyVarint = Gen.Select(
        Gen.OneOf(Gen.ULong[0, 1], Gen.ULong[0, 300], Gen.ULong),
        Gen.Frequency((4, Gen.Const(0)), (1, Gen.Int[0, 9])),
        (value, padding) => Pad(Varint(value), padding));

    private static readonly Gen<byte[]> AnyUnknownField = Gen.OneOf(
        Gen.Select(Gen.UInt[4, 40], AnyVarint, (number, value) => Field(number, 0, value)),
        Gen.Select(Gen.UInt[4, 40], Gen.Byte.Array[8], (number, value) => Field(number, 1, value)),
        Gen.Select(Gen.UInt[4, 40], AnyBytes, (number, value) => Field(number, 2, Prefixed(value))),
        Gen.Select(Gen.UInt[4, 40], AnyVarint, (number, value) => Joined([Field(number, 3, Field(1, 0, value)), Tag(number, 4)])),
        Gen.Select(Gen.UInt[4, 40], Gen.Byte.Array[4], (number, value) => Field(number, 5, value)),
        Gen.Select(Gen.UInt[0, 4], Gen.UInt[0, 7], AnyVarint, (number, wireType, value) => Field(number, wireType, value)));

    private static readonly Gen<byte[]> AnyMessageField = Gen.Frequency(
        (4, AnyVarint.Select(value => Field(1, 0, value))),
        (4, AnyVarint.Select(value => Field(2, 0, value))),
        (4, AnyBytes.Select(value => Field(3, 2, Prefixed(value)))),
        (1, AnyUnknownField));

    private static readonly Gen<byte[]> AnyContent = Gen.OneOf(
        Gen.Const(Array.Empty<byte>()),
        AnyMessageField.Array[0, 5].Select(Joined),
        AnyUnknownField);

    private static readonly Gen<byte[]> AnyBody = Gen.Frequency(
            (8, Gen.Select(Gen.UInt[1, 3], AnyContent, (kind, content) => Field(kind, 2, Prefixed(content)))),
            (1, AnyUnknownField))
        .Array[0, 3]
        .Select(Joined);

    private static readonly Gen<(PacketKind Kind, byte ChannelId, bool EndOfMessage, byte[] Data)> AnyPacket = Gen.Select(
        Gen.Enum<PacketKind>(),
        Gen.Byte,
        Gen.Bool,
        Gen.OneOf(AnyBytes, Gen.Byte.Array[1000, 1100]));

    [Test]
    public void Every_packet_is_written_as_the_generated_code_writes_it_and_read_back() => AnyPacket.Sample(
        p =>
        {
            Packet packet = p.Kind switch
            {
                PacketKind.Ping => Packet.Ping,
                PacketKind.Pong => Packet.Pong,
                _ => Packet.Message(p.ChannelId, p.EndOfMessage, p.Data),
            };
            byte[] written = PacketCodecTests.Written(packet);
            return written.AsSpan().SequenceEqual(DelimitedMessage.Encode(Generated(packet))) && Read(written) == PacketCodecTests.Show(packet);
        },
        iter: Iterations);

    [Test]
    public void Every_legal_form_of_a_packet_is_read_as_the_generated_code_reads_it()
    {
        ConcurrentDictionary<string, int> verdicts = [];
        AnyBody.Sample(
            body =>
            {
                string expected = ReadGenerated(body);
                verdicts.AddOrUpdate(expected.Split(' ')[0], 1, (_, count) => count + 1);
                return Read(PacketCodecTests.Delimited(body)) == expected;
            },
            iter: Iterations);

        // Else the test would say nothing.
        string[] all = ["Ping", "Pong", "Message", "NoKind", "Malformed", "ChannelIdOutOfRange"];
        Assert.That(verdicts.Keys, Is.EquivalentTo(all));
        Assert.That(verdicts.Values, Is.All.GreaterThan(Iterations / 100));
    }

    [Test]
    public void Damaged_packets_get_the_verdict_of_the_generated_code() =>
        Gen.Select(AnyBody, Gen.Select(Gen.Int[0, 400], Gen.Byte).Array[1, 4], Gen.Int[0, 400]).Sample(
            (body, changes, cut) =>
            {
                byte[] damaged = [.. body];
                foreach ((int at, byte value) in changes)
                {
                    if (at < damaged.Length)
                    {
                        damaged[at] = value;
                    }
                }

                damaged = damaged[..Math.Min(damaged.Length, Math.Max(cut, damaged.Length / 2))];
                return Read(PacketCodecTests.Delimited(damaged)) == ReadGenerated(damaged);
            },
            iter: Iterations);

    [Test]
    public void Random_bytes_get_the_verdict_of_the_generated_code() =>
        AnyBytes.Sample(body => Read(PacketCodecTests.Delimited(body)) == ReadGenerated(body), iter: Iterations);

    private static string Read(byte[] delimited)
    {
        try
        {
            return PacketCodec.TryRead(delimited, NoLimit, out Packet packet, out int consumed) && consumed == delimited.Length
                ? PacketCodecTests.Show(packet)
                : "incomplete";
        }
        catch (PacketException e)
        {
            return e.Fault.ToString();
        }
    }

    private static string ReadGenerated(byte[] body)
    {
        Protos.Packet packet;
        try
        {
            packet = Protos.Packet.Parser.ParseFrom(body);
        }
        catch (InvalidProtocolBufferException)
        {
            return nameof(PacketFault.Malformed);
        }

        return packet.SumCase switch
        {
            Protos.Packet.SumOneofCase.PacketPing => nameof(PacketKind.Ping),
            Protos.Packet.SumOneofCase.PacketPong => nameof(PacketKind.Pong),
            Protos.Packet.SumOneofCase.PacketMsg => packet.PacketMsg.ChannelId is < 0 or > 255
                ? nameof(PacketFault.ChannelIdOutOfRange)
                : $"Message {packet.PacketMsg.ChannelId} {packet.PacketMsg.Eof} {Convert.ToHexStringLower(packet.PacketMsg.Data.Span)}",
            _ => nameof(PacketFault.NoKind),
        };
    }

    private static Protos.Packet Generated(in Packet packet) => packet.Kind switch
    {
        PacketKind.Ping => new Protos.Packet { PacketPing = new Protos.PacketPing() },
        PacketKind.Pong => new Protos.Packet { PacketPong = new Protos.PacketPong() },
        _ => new Protos.Packet
        {
            PacketMsg = new Protos.PacketMsg
            {
                ChannelId = packet.ChannelId,
                Eof = packet.EndOfMessage,
                Data = ByteString.CopyFrom(packet.Data),
            },
        },
    };

    private static byte[] Varint(ulong value)
    {
        byte[] bytes = new byte[Pipeline.Wire.Varint.Length(value)];
        Pipeline.Wire.Varint.Write(bytes, value);
        return bytes;
    }

    private static byte[] Pad(byte[] varint, int padding)
    {
        byte[] padded = [.. varint, .. new byte[Math.Min(padding, 10 - varint.Length)]];
        for (int i = 0; i < padded.Length - 1; i++)
        {
            padded[i] |= 0x80;
        }

        return padded;
    }

    private static byte[] Tag(uint number, uint wireType) => Varint((number << 3) | wireType);

    private static byte[] Field(uint number, uint wireType, byte[] content) => [.. Tag(number, wireType), .. content];

    private static byte[] Prefixed(byte[] content) => [.. Varint((ulong)content.Length), .. content];

    private static byte[] Joined(byte[][] pieces) => [.. pieces.SelectMany(piece => piece)];
}
