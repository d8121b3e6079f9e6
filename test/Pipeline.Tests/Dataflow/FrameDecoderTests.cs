using System.Buffers;
using System.IO.Pipelines;
using CsCheck;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;
using Pipeline.Wire;

namespace Pipeline.Tests.Dataflow;

public sealed class FrameDecoderTests
{
    private static readonly ChannelDescriptor Small = new(0x20, "small") { MaxMessageSize = 3000 };
    private static readonly ChannelDescriptor Large = new(0xfe, "large") { MaxMessageSize = 1 << 20 };

    [Test]
    public void Messages_are_put_together_however_the_bytes_come()
    {
        Gen<(byte Channel, byte[] Data)> message = Gen.Select(Gen.Bool, Gen.Byte.Array[0, 5000])
            .Select((small, data) => small ? (Small.Id, data[..Math.Min(data.Length, 3000)]) : (Large.Id, data));
        Gen.Select(message.Array[1, 12], Gen.Int[1, 3000], Gen.Int).Sample(
            (messages, piece, seed) =>
            {
                Random random = new(seed);
                byte[] wire = Interleave(messages, random);
                Received received = DecodeAsync(wire, () => random.Next(1, piece + 1)).GetAwaiter().GetResult();
                return received.Failure is null
                    && new[] { Small.Id, Large.Id }.All(id =>
                        received.Messages.Where(m => m.Channel == id).Select(m => m.Data).SequenceEqual(
                            messages.Where(m => m.Channel == id).Select(m => m.Data),
                            ByteArrays));
            },
            iter: 300);
    }

    [Test, CancelAfter(30_000)]
    public async Task Pings_and_pongs_are_told_apart_from_messages()
    {
        Received received = await DecodeAsync([.. Encode(Packet.Ping), .. Encode(Packet.Pong), .. Encode(Packet.Ping)], () => 1);
        Assert.That(received.Failure, Is.Null);
        Assert.That((received.Pings, received.Pongs), Is.EqualTo((2, 1)));
        Assert.That(received.Messages, Is.Empty);
    }

    [TestCaseSource(nameof(IllegalBytes))]
    public async Task Illegal_bytes_end_the_connection_with_their_reason(byte[] bytes, PacketFault fault, string says)
    {
        foreach (int piece in new[] { 1, 100_000 })
        {
            Received received = await DecodeAsync([.. Encode(Packet.Message(Small.Id, true, [1, 2])), .. bytes], () => piece);
            Assert.That(received.Messages, Has.Count.EqualTo(1), "what came before is received");
            Assert.That(received.Failure, Is.InstanceOf<PacketException>());
            Assert.That(((PacketException)received.Failure!).Fault, Is.EqualTo(fault));
            Assert.That(received.Failure.Message, Does.Contain(says));
        }
    }

    [Test, CancelAfter(30_000)]
    public async Task A_message_over_its_capacity_is_refused_on_the_packet_that_exceeds_it()
    {
        byte[] exact = [.. Split(Small.Id, new byte[3000])];
        Assert.That((await DecodeAsync(exact, () => 999)).Messages.Single().Data, Has.Length.EqualTo(3000));
        byte[] over =
        [
            .. Encode(Packet.Message(Small.Id, false, new byte[1024])),
            .. Encode(Packet.Message(Small.Id, false, new byte[1024])),
            .. Encode(Packet.Message(Small.Id, false, new byte[953])),
        ];
        Received received = await DecodeAsync(over, () => 999);
        Assert.That(((PacketException)received.Failure!).Fault, Is.EqualTo(PacketFault.MessageTooLong));
        Assert.That(received.Failure.Message, Does.Contain("0x20 small").And.Contain("3000"));
    }

    [Test, CancelAfter(30_000)]
    public async Task An_end_inside_a_packet_or_message_delivers_what_was_whole()
    {
        byte[] wire = [.. Encode(Packet.Message(Small.Id, true, [1])), .. Encode(Packet.Message(Small.Id, false, [2])), 5, 1];
        Received received = await DecodeAsync(wire, () => 3);
        Assert.That(received.Failure, Is.Null);
        Assert.That(received.Messages.Single().Data, Is.EqualTo(new byte[] { 1 }));
    }

    private static IEnumerable<TestCaseData> IllegalBytes()
    {
        yield return Case([2, 0x22, 0], PacketFault.NoKind, "neither a ping");
        yield return Case([0], PacketFault.NoKind, "neither a ping");
        yield return Case(Convert.FromHexString("0d1a0b08ffffffffffffffffff01"), PacketFault.ChannelIdOutOfRange, "channel -1");
        yield return Case(Convert.FromHexString("051a03088002"), PacketFault.ChannelIdOutOfRange, "channel 256");
        yield return Case(Encode(Packet.Message(0x21, true, [1])), PacketFault.UnknownChannel, "0x21");
        yield return Case([0x8c, 0x08], PacketFault.TooLong, "1036");
        yield return Case([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], PacketFault.MalformedLength, "varint");
        yield return Case([3, 0x1a, 5, 1], PacketFault.Malformed, "not a protobuf message");

        static TestCaseData Case(byte[] bytes, PacketFault fault, string says) =>
            new TestCaseData(bytes, fault, says).SetArgDisplayNames(fault.ToString(), Convert.ToHexString(bytes));
    }

    private static byte[] Interleave((byte Channel, byte[] Data)[] messages, Random random)
    {
        Queue<byte[]>[] byChannel = [.. messages.GroupBy(m => m.Channel).Select(group => new Queue<byte[]>(group.SelectMany(m => Packets(m.Channel, m.Data))))];
        List<byte> wire = [];
        while (byChannel.Where(queue => queue.Count > 0).ToArray() is { Length: > 0 } left)
        {
            wire.AddRange(left[random.Next(left.Length)].Dequeue());
        }

        return [.. wire];
    }

    private static IEnumerable<byte> Split(byte channel, byte[] message) => Packets(channel, message).SelectMany(packet => packet);

    private static IEnumerable<byte[]> Packets(byte channel, byte[] message)
    {
        int at = 0;
        do
        {
            int count = Math.Min(1000, message.Length - at);
            at += count;
            yield return Encode(Packet.Message(channel, at == message.Length, message.AsSpan(at - count, count)));
        }
        while (at < message.Length);
    }

    private static byte[] Encode(in Packet packet)
    {
        byte[] bytes = new byte[PacketCodec.Size(packet)];
        PacketCodec.Write(bytes, packet);
        return bytes;
    }

    private static async Task<Received> DecodeAsync(byte[] wire, Func<int> piece)
    {
        Received received = new();
        using StubPeer peer = new();
        ReactorInbox inbox = new([Small, Large]);
        ReceiveAllowance allowance = new(long.MaxValue);
        PeerLanes lanes = inbox.Open(allowance, CancellationToken.None);
        using ChannelDemultiplexer demultiplexer = new(new ChannelTable([Small, Large]), peer, [.. lanes.Lanes], allowance, received, ArrayPool<byte>.Shared);
        Pipe pipe = new(new PipeOptions(pauseWriterThreshold: 0, minimumSegmentSize: 16));
        FrameDecoder decoder = new(pipe.Reader, demultiplexer, new ConnectionOptions { ReceiveRate = null });
        Task running = decoder.RunAsync(CancellationToken.None);
        for (int at = 0; at < wire.Length && !running.IsCompleted;)
        {
            int count = Math.Min(piece(), wire.Length - at);
            await pipe.Writer.WriteAsync(wire.AsMemory(at, count));
            at += count;
        }

        await pipe.Writer.CompleteAsync();
        try
        {
            await running.WaitAsync(TimeSpan.FromSeconds(20));
        }
        catch (PacketException e)
        {
            received.Failure = e;
        }

        while (inbox.TryRead(out Envelope envelope))
        {
            received.Messages.Add((envelope.Channel.Id, envelope.Data.ToArray()));
            envelope.Release();
        }

        return received;
    }

    private static readonly IEqualityComparer<byte[]> ByteArrays = EqualityComparer<byte[]>.Create((a, b) => a.AsSpan().SequenceEqual(b));

    private sealed class Received : IKeepAliveTarget
    {
        public List<(byte Channel, byte[] Data)> Messages { get; } = [];

        public int Pings { get; private set; }

        public int Pongs { get; private set; }

        public Exception? Failure { get; set; }

        public void OnPing() => Pings++;

        public void OnPong() => Pongs++;

        public void OnPause() => Assert.Fail("There is room for everything.");

        public void OnResume() => Assert.Fail("Reading never paused.");
    }
}
