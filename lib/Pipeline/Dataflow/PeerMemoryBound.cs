using System.Numerics;
using Pipeline.Transport;
using Pipeline.Wire;

namespace Pipeline.Dataflow;

/// <summary>
/// The most managed memory, in bytes, that one peer can make this process hold, whatever it sends and however little it reads, while every
/// reactor is stuck. Not counted is what reactors make of messages and keep, and what the operating system buffers.
/// </summary>
/// <remarks>Pooled arrays have powers of two as sizes; each part counts what they really take.</remarks>
public sealed record PeerMemoryBound
{
    // Objects that every connection has, and that it has for each channel; measured, and rounded up.
    private const long PerConnection = 16 * 1024;
    private const long PerChannel = 1024;

    // A place in the queue of a lane, which may be half empty, and stays for the next message.
    private const long PerPlace = 2 * 56;

    // A message in a send queue: the object, its places in both queues, which may be half empty, and the header of its array.
    private const long PerQueuedMessage = 144;

    private PeerMemoryBound()
    {
    }

    /// <summary>Messages in lanes within the bounds of their channels.</summary>
    public required long Lanes { get; init; }

    /// <summary>Messages in lanes beyond those bounds: the allowance, and the messages that use it up.</summary>
    public required long Allowance { get; init; }

    /// <summary>The messages that reactors are dealing with or have taken up to deal with next, on each channel one of any size and 64 KiB of small ones.</summary>
    public required long BeingHandled { get; init; }

    /// <summary>Messages of which the end has not come, one on each channel, and the copy made when one outgrows its array.</summary>
    public required long Partial { get; init; }

    /// <summary>Messages that wait to be sent.</summary>
    public required long SendQueues { get; init; }

    /// <summary>Messages that wait in outboxes for room in the send queues, one outbox for each channel.</summary>
    public required long Outboxes { get; init; }

    /// <summary>Blocks of frames that are being read, opened, sealed and written.</summary>
    public required long Buffers { get; init; }

    /// <summary>The objects of the connection itself, and the places that lanes keep after they have held messages on the allowance.</summary>
    public required long Objects { get; init; }

    /// <summary>All of it.</summary>
    public long Total => Lanes + Allowance + BeingHandled + Partial + SendQueues + Outboxes + Buffers + Objects;

    /// <summary>Computes the bound for connections with certain settings and channels.</summary>
    public static PeerMemoryBound Compute(ConnectionOptions options, IEnumerable<ChannelDescriptor> channels)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(channels);
        List<ChannelDescriptor> all = [.. channels];
        long largest = all.Select(channel => Pooled(channel.MaxMessageSize)).DefaultIfEmpty().Max();
        int packet = PacketCodec.MaxPacketSize(options.MaxPacketDataSize) + Varint.MaxLength;
        return new PeerMemoryBound
        {
            Lanes = all.Sum(channel => Math.Max(channel.ReceiveQueueBytes, Envelope(channel))),
            Allowance = options.ReceiveAllowance + Lane.EnvelopeCost + largest + ChannelDemultiplexer.MaxUncounted,
            BeingHandled = all.Sum(channel => Envelope(channel) + PeerLanes.MaxBatchBytes),
            Partial = all.Sum(channel => Pooled(channel.MaxMessageSize)) + (largest / 2),
            SendQueues = all.Sum(channel =>
                (2L * Math.Max(channel.SendQueueBytes, channel.MaxMessageSize)) + (channel.SendQueueCapacity * PerQueuedMessage) + (4 * MessageLog.BlockSize)),
            Outboxes = all.Sum(channel =>
                (2L * Math.Max(options.OutboxBytesPerPeer, channel.MaxMessageSize)) + (options.OutboxMessagesPerPeer * PerQueuedMessage)),
            Buffers = (4 * Pooled(FrameWriter.DataPerBlock)) + (packet > 2048 ? 3 * Pooled(FrameWriter.DataPerBlock + packet) : 0),
            Objects = PerConnection + ((PerChannel + (options.ReceiveAllowance / Lane.EnvelopeCost * PerPlace)) * all.Count),
        };
    }

    private static long Envelope(ChannelDescriptor channel) => Lane.EnvelopeCost + Pooled(channel.MaxMessageSize);

    private static long Pooled(int size) => (long)BitOperations.RoundUpToPowerOf2((uint)size);
}
