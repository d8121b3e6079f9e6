using System.Buffers;
using System.IO.Pipelines;
using Pipeline.Dataflow;
using Pipeline.Wire;

namespace Pipeline.Benchmarks.Parts;

/// <summary>What one peer sends on one channel, put together as a connection does: the loop that decodes it, the demultiplexer, and a lane of an inbox.</summary>
internal sealed class Inflow : IKeepAliveTarget, IDisposable
{
    /// <summary>Without limits of rate: what is to be seen is what the machine can do.</summary>
    public static readonly ConnectionOptions Options = new() { SendRate = null, ReceiveRate = null };

    private static readonly int MaxPacketSize = PacketCodec.MaxPacketSize(Options.MaxPacketDataSize);

    private readonly ChannelDescriptor _channel;
    private readonly ReceiveAllowance _allowance;
    private readonly PeerLanes _lanes;
    private readonly ChannelDemultiplexer _demultiplexer;

    /// <param name="channel">The channel.</param>
    /// <param name="handler">Deals with each message and releases it; null when the inbox is read.</param>
    /// <param name="allowance">How many bytes may wait beyond the bounds of the lane; null for the default.</param>
    public Inflow(ChannelDescriptor channel, Action<Envelope>? handler = null, long? allowance = null)
    {
        _channel = channel;
        _allowance = new ReceiveAllowance(allowance ?? Options.ReceiveAllowance);
        Inbox = new ReactorInbox([channel], handler is null ? null : (envelope, _) =>
        {
            handler(envelope);
            return ValueTask.CompletedTask;
        });
        _lanes = Inbox.Open(_allowance, CancellationToken.None);

        // Nobody asks who the peer is.
        _demultiplexer = new ChannelDemultiplexer(new ChannelTable([channel]), peer: null!, [.. _lanes.Lanes], _allowance, this, Options.Pool);
    }

    public ReactorInbox Inbox { get; }

    /// <summary>The bytes of as many packets as a number of messages takes.</summary>
    public static byte[] Encode(ChannelDescriptor channel, byte[] message, int count)
    {
        ArrayBufferWriter<byte> packets = new();
        for (int i = 0; i < count; i++)
        {
            for (int at = 0; at < message.Length;)
            {
                int length = Math.Min(message.Length - at, Options.MaxPacketDataSize);
                Packet packet = Packet.Message(channel.Id, at + length == message.Length, message.AsSpan(at, length));
                packets.Advance(PacketCodec.Write(packets.GetSpan(PacketCodec.Size(packet)), packet));
                at += length;
            }
        }

        return packets.WrittenSpan.ToArray();
    }

    public Envelope CreateEnvelope(ReadOnlyMemory<byte> message) => new(peer: null!, _channel, message);

    /// <summary>Puts a message into the lane, and then waits, as the loop does, while more is there than may.</summary>
    public ValueTask WriteAsync(in Envelope envelope)
    {
        _lanes.Lanes[0].Write(envelope);
        return _allowance.IsUsedUp ? _allowance.WaitForRoomAsync(CancellationToken.None) : ValueTask.CompletedTask;
    }

    /// <summary>Decodes whole packets.</summary>
    public void Decode(ReadOnlySpan<byte> packets)
    {
        while (PacketCodec.TryRead(packets, MaxPacketSize, out Packet packet, out int consumed))
        {
            packets = packets[consumed..];
            _demultiplexer.Accept(packet, packets.Length);
        }

        _demultiplexer.Deliver();
    }

    /// <summary>Decodes what comes, until the end of it.</summary>
    public Task RunAsync(PipeReader input) => new FrameDecoder(input, _demultiplexer, Options).RunAsync(CancellationToken.None);

    public void Dispose()
    {
        _lanes.Close();
        _demultiplexer.Dispose();
    }

    // No pings come, and a pause is nothing to be told of.
    void IKeepAliveTarget.OnPing()
    {
    }

    void IKeepAliveTarget.OnPong()
    {
    }

    void IKeepAliveTarget.OnPause()
    {
    }

    void IKeepAliveTarget.OnResume()
    {
    }
}
