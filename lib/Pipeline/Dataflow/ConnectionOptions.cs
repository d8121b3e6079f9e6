using System.Buffers;
using Pipeline.Wire;

namespace Pipeline.Dataflow;

/// <summary>Settings of the connections of a node.</summary>
public sealed record ConnectionOptions
{
    /// <summary>How often a ping is sent. More than 0; default 60 s.</summary>
    public TimeSpan PingInterval { get; init => field = Positive(value, nameof(PingInterval)); } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// How long the answer to a ping may take before the connection ends; the clock stands still while this node does not read. More than
    /// 0; default 45 s.
    /// </summary>
    public TimeSpan PongTimeout { get; init => field = Positive(value, nameof(PongTimeout)); } = TimeSpan.FromSeconds(45);

    /// <summary>
    /// The most bytes of a message in one packet, sent or received. 2 to 4 MiB; default 1024 (<c>max_packet_msg_payload_size</c>). Both ends
    /// of a connection need the same.
    /// </summary>
    public int MaxPacketDataSize
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 2, nameof(MaxPacketDataSize));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value, 4 << 20, nameof(MaxPacketDataSize));
            field = value;
        }
    } = PacketCodec.DefaultMaxDataSize;

    /// <summary>
    /// How many bytes of one peer may wait for reactors beyond the bounds of their channels, before the peer's connection is not read any
    /// more. At least 0; default 1 MiB.
    /// </summary>
    public long ReceiveAllowance
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value, nameof(ReceiveAllowance));
            field = value;
        }
    } = 1 << 20;

    /// <summary>
    /// The most bytes of packets to send in a second, with bursts of at most 100 ms; pings and pongs go all the same. Null for no limit,
    /// else more than 0; default 5,120,000 (<c>send_rate</c>).
    /// </summary>
    public long? SendRate { get; init => field = PositiveOrNull(value, nameof(SendRate)); } = 5_120_000;

    /// <summary>
    /// The most bytes of packets to receive in a second, with bursts of at most 100 ms; more waits at the sender. Null for no limit, else more
    /// than 0; default 5,120,000 (<c>recv_rate</c>).
    /// </summary>
    public long? ReceiveRate { get; init => field = PositiveOrNull(value, nameof(ReceiveRate)); } = 5_120_000;

    /// <summary>
    /// How many messages of one reactor's outbox may wait for room at one peer; further ones are not delivered to that peer. At least 1;
    /// default 64.
    /// </summary>
    public int OutboxMessagesPerPeer { get; init => field = AtLeastOne(value, nameof(OutboxMessagesPerPeer)); } = 64;

    /// <summary>
    /// How many bytes of one reactor's outbox may wait for room at one peer, unless a single message is larger; further messages are not
    /// delivered to that peer. At least 1; default 1 MiB.
    /// </summary>
    public int OutboxBytesPerPeer { get; init => field = AtLeastOne(value, nameof(OutboxBytesPerPeer)); } = 1 << 20;

    /// <summary>How long a send waits for room unless it says otherwise. More than 0; default 10 s.</summary>
    public TimeSpan SendTimeout { get; init => field = Positive(value, nameof(SendTimeout)); } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long a graceful stop waits until all is sent and the remote has closed its side; and how long what a remote sent before it broke
    /// the connection is still read. More than 0; default 5 s.
    /// </summary>
    public TimeSpan FlushTimeout { get; init => field = Positive(value, nameof(FlushTimeout)); } = TimeSpan.FromSeconds(5);

    /// <summary>Where time comes from: what the switch says. Default: the system's clock.</summary>
    internal TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Where the buffers of received messages come from.</summary>
    internal ArrayPool<byte> Pool { get; init; } = ArrayPool<byte>.Shared;

    /// <summary>Is told of each message; null when nobody may want to know.</summary>
    internal IMessageCounter? MessageCounter { get; init; }

    private static int AtLeastOne(int value, string property)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, property);
        return value;
    }

    private static long? PositiveOrNull(long? value, string property)
    {
        if (value is { } limit)
        {
            ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(limit, 0, property);
        }

        return value;
    }

    private static TimeSpan Positive(TimeSpan value, string property)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(value, TimeSpan.Zero, property);
        return value;
    }
}
