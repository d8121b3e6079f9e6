using System.Collections.Immutable;

namespace Pipeline.Dataflow;

/// <summary>What a connection has done so far, and what waits in it.</summary>
/// <param name="Duration">How long it has been up.</param>
/// <param name="BytesSent">Bytes of packets sent, without the cost of encryption.</param>
/// <param name="BytesReceived">Bytes of packets received, without the cost of encryption.</param>
/// <param name="IsPaused">Whether reading waits for reactors that are behind.</param>
/// <param name="Channels">The same for each channel.</param>
public sealed record ConnectionStatus(
    TimeSpan Duration,
    long BytesSent,
    long BytesReceived,
    bool IsPaused,
    ImmutableArray<ChannelStatus> Channels)
{
    /// <summary>
    /// Bytes a second sent now: an average in which what was sent 3 s ago counts for about a third. That over the whole
    /// <see cref="Duration"/> is <see cref="BytesSent"/> by it.
    /// </summary>
    public double SendRate { get; init; }

    /// <summary>Bytes a second received now, as <see cref="SendRate"/>.</summary>
    public double ReceiveRate { get; init; }

    /// <summary>For how long nothing was sent, not even a ping, to within a second.</summary>
    public TimeSpan SendIdle { get; init; }

    /// <summary>For how long nothing was received, not even a ping, to within a second.</summary>
    public TimeSpan ReceiveIdle { get; init; }

    /// <summary>How often reading has waited for reactors that were behind.</summary>
    public long Pauses { get; init; }

    /// <summary>How long reading has waited for them, all in all.</summary>
    public TimeSpan PausedTime { get; init; }
}

/// <summary>What one channel of a connection has done so far, and what waits in it. Bytes are those of messages.</summary>
/// <param name="Channel">The channel.</param>
/// <param name="SendQueueMessages">Messages that wait to be sent, the one being sent among them.</param>
/// <param name="SendQueueBytes">Their bytes.</param>
/// <param name="MessagesSent">Messages sent.</param>
/// <param name="BytesSent">Their bytes.</param>
/// <param name="InboxMessages">Messages that wait for the reactor.</param>
/// <param name="InboxBytes">Their bytes.</param>
/// <param name="MessagesReceived">Messages received, those that still wait among them.</param>
/// <param name="BytesReceived">Their bytes.</param>
/// <param name="MessagesDropped">Messages received and dropped, because too many waited for the reactor.</param>
public sealed record ChannelStatus(
    ChannelDescriptor Channel,
    int SendQueueMessages,
    long SendQueueBytes,
    long MessagesSent,
    long BytesSent,
    int InboxMessages,
    long InboxBytes,
    long MessagesReceived,
    long BytesReceived,
    long MessagesDropped)
{
    /// <summary>Bytes received of a message of which the rest has not come; not in <see cref="BytesReceived"/>.</summary>
    public int PartialBytes { get; init; }

    /// <summary>Bytes of packets sent not long ago: of what was counted, a fifth is forgotten every 2 s.</summary>
    public long RecentlySent { get; init; }

    /// <summary>Senders, and offers of linked blocks, that wait for room in the send queue.</summary>
    public int SendersWaiting { get; init; }

    /// <summary>How often one of them had to wait.</summary>
    public long SendWaits { get; init; }

    /// <summary>How long they waited, all together, those that still wait among them.</summary>
    public TimeSpan SendWaitTime { get; init; }
}
