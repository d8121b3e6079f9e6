using BenchmarkDotNet.Attributes;
using Google.Protobuf;
using Pipeline.Wire;
using Pipeline.Wire.Protos.P2P;
using Packet = Pipeline.Wire.Packet;

namespace Pipeline.Benchmarks;

/// <summary>The packet codec, beside the generated code that it stands in for.</summary>
public class PacketBenchmarks
{
    private readonly byte[] _buffer = new byte[2048];
    private byte[] _data = [];
    private byte[] _packet = [];

    [Params(64, 1024)]
    public int DataSize { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _data = new byte[DataSize];
        new Random(1).NextBytes(_data);
        Packet packet = Packet.Message(0x20, true, _data);
        _packet = new byte[PacketCodec.Size(packet)];
        PacketCodec.Write(_packet, packet);
    }

    [Benchmark]
    public int Write() => PacketCodec.Write(_buffer, Packet.Message(0x20, true, _data));

    [Benchmark]
    public int Read() =>
        PacketCodec.TryRead(_packet, PacketCodec.MaxPacketSize(PacketCodec.DefaultMaxDataSize), out Packet packet, out _) ? packet.Data.Length : -1;

    [Benchmark]
    public int WriteGenerated()
    {
        Wire.Protos.P2P.Packet packet = new()
        {
            PacketMsg = new PacketMsg { ChannelId = 0x20, Eof = true, Data = ByteString.CopyFrom(_data) },
        };
        int size = packet.CalculateSize();
        int prefix = Varint.Write(_buffer, (ulong)size);
        packet.WriteTo(_buffer.AsSpan(prefix, size));
        return prefix + size;
    }

    [Benchmark]
    public int ReadGenerated()
    {
        Varint.TryRead(_packet, out _, out int prefix);
        return Wire.Protos.P2P.Packet.Parser.ParseFrom(_packet.AsSpan(prefix)).PacketMsg.Data.Length;
    }
}
