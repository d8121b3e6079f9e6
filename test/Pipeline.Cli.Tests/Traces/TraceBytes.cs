using System.IO.Compression;

namespace Pipeline.Cli.Tests.Traces;

/// <summary>Makes traces, good and bad ones.</summary>
internal sealed class TraceBytes
{
    private readonly List<byte> _bytes = [];

    public byte[] Plain => [.. _bytes];

    public byte[] Gzipped => Gzip(Plain);

    public static byte[] Gzip(byte[] bytes)
    {
        using MemoryStream packed = new();
        using (GZipStream gzip = new(packed, CompressionLevel.Optimal, leaveOpen: true))
        {
            gzip.Write(bytes);
        }

        return packed.ToArray();
    }

    public TraceBytes Record(ulong microseconds, byte peer, byte channel, params byte[] data) =>
        Varint(microseconds).Raw(peer, channel).Varint((ulong)data.Length).Raw(data);

    public TraceBytes Varint(ulong value)
    {
        byte[] bytes = new byte[Pipeline.Wire.Varint.MaxLength];
        return Raw(bytes[..Pipeline.Wire.Varint.Write(bytes, value)]);
    }

    public TraceBytes Raw(params byte[] bytes)
    {
        _bytes.AddRange(bytes);
        return this;
    }
}
