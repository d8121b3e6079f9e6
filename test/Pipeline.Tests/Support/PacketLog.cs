using System.Buffers;
using System.IO.Pipelines;
using Pipeline.Wire;

namespace Pipeline.Tests.Support;

/// <summary>Everything that a connection carried until its end: the messages in the order in which they were complete, pings and pongs.</summary>
internal sealed class PacketLog
{
    private static readonly int MaxPacketSize = PacketCodec.MaxPacketSize(PacketCodec.DefaultMaxDataSize);

    private readonly Dictionary<byte, List<byte>> _incomplete = [];

    public List<(byte Channel, byte[] Bytes)> Messages { get; } = [];

    public int Pings { get; private set; }

    public int Pongs { get; private set; }

    public int Packets { get; private set; }

    /// <summary>How many bytes of messages without an end there are, or of a packet.</summary>
    public long Leftover { get; private set; }

    public static async Task<PacketLog> ReadAllAsync(PipeReader reader, CancellationToken cancellationToken)
    {
        PacketLog log = new();
        while (true)
        {
            ReadResult result = await reader.ReadAsync(cancellationToken);
            ReadOnlySequence<byte> buffer = result.Buffer;
            long consumed = log.Read(buffer.IsSingleSegment ? buffer.FirstSpan : buffer.ToArray());
            reader.AdvanceTo(buffer.GetPosition(consumed), buffer.End);
            if (result.IsCompleted)
            {
                log.Leftover = buffer.Length - consumed + log._incomplete.Values.Sum(message => message.Count);
                return log;
            }
        }
    }

    private int Read(ReadOnlySpan<byte> source)
    {
        int at = 0;
        while (PacketCodec.TryRead(source[at..], MaxPacketSize, out Packet packet, out int consumed))
        {
            Add(packet);
            at += consumed;
        }

        return at;
    }

    private void Add(in Packet packet)
    {
        Packets++;
        switch (packet.Kind)
        {
            case PacketKind.Ping:
                Pings++;
                return;
            case PacketKind.Pong:
                Pongs++;
                return;
        }

        if (!_incomplete.TryGetValue(packet.ChannelId, out List<byte>? message))
        {
            _incomplete.Add(packet.ChannelId, message = []);
        }

        message.AddRange(packet.Data);
        if (packet.EndOfMessage)
        {
            Messages.Add((packet.ChannelId, [.. message]));
            message.Clear();
        }
    }
}
