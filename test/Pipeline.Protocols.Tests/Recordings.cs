using System.Buffers;
using System.IO.Compression;
using System.Text.Json.Nodes;
using Google.Protobuf;
using Pipeline.Dataflow;
using Pipeline.Protocols.Types;
using Pipeline.Reactors;
using Pipeline.Wire;

namespace Pipeline.Protocols.Tests;

/// <summary>A message as a node of the reference sent it.</summary>
public record RecordedMessage(byte Channel, byte[] Bytes)
{
    /// <summary>The parser of the messages of its channel.</summary>
    public MessageParser Parser => StandardChannels.All.Single(channel => channel.Id == Channel) switch
    {
        ChannelDescriptor<Wire.Protos.P2P.Message> typed => typed.Parser,
        ChannelDescriptor<Consensus.Message> typed => typed.Parser,
        ChannelDescriptor<Mempool.Message> typed => typed.Parser,
        ChannelDescriptor<Protocols.BlockSync.Message> typed => typed.Parser,
        ChannelDescriptor<StateSync.Message> typed => typed.Parser,
        ChannelDescriptor<EvidenceList> typed => typed.Parser,
        ChannelDescriptor other => throw new InvalidOperationException($"Channel {other} has a type that the tests do not know."),
    };
}

/// <summary>A message of a session, with what the reference says of it.</summary>
public sealed record DescribedMessage(byte Channel, byte[] Bytes, string Type, JsonNode Json) : RecordedMessage(Channel, Bytes);

/// <summary>A message of the trace: when it came, since the start, and from which of the four peers.</summary>
public sealed record TracedMessage(TimeSpan At, int Peer, byte Channel, byte[] Bytes) : RecordedMessage(Channel, Bytes);

/// <summary>The recorded traffic; its forms are described in test/data/README.md.</summary>
public static class Recordings
{
    public static IEnumerable<DescribedMessage> Session(int number)
    {
        foreach (string line in File.ReadLines(PathOf($"session-{number}", "messages.jsonl")))
        {
            JsonNode message = JsonNode.Parse(line)!;
            yield return new(
                (byte)message["channel"]!,
                Convert.FromBase64String((string)message["bytes"]!),
                (string)message["type"]!,
                message["json"]!);
        }
    }

    public static IEnumerable<TracedMessage> Trace()
    {
        using GZipStream zipped = new(File.OpenRead(PathOf("trace.bin.gz")), CompressionMode.Decompress);
        using MemoryStream unzipped = new();
        zipped.CopyTo(unzipped);
        ReadOnlyMemory<byte> rest = unzipped.ToArray();
        TimeSpan at = TimeSpan.Zero;
        while (!rest.IsEmpty)
        {
            at += TimeSpan.FromMicroseconds((long)ReadVarint(ref rest));
            int peer = rest.Span[0];
            byte channel = rest.Span[1];
            rest = rest[2..];
            int length = (int)ReadVarint(ref rest);
            yield return new(at, peer, channel, rest[..length].ToArray());
            rest = rest[length..];
        }
    }

    private static ulong ReadVarint(ref ReadOnlyMemory<byte> source)
    {
        OperationStatus status = Varint.TryRead(source.Span, out ulong value, out int length);
        source = status == OperationStatus.Done
            ? source[length..]
            : throw new InvalidDataException($"The trace has a bad varint: {status}.");
        return value;
    }

    private static string PathOf(params string[] names) => Path.Combine([AppContext.BaseDirectory, "data", .. names]);
}
