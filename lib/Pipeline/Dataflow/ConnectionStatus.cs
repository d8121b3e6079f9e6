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
    ImmutableArray<ChannelStatus> Channels);

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
    long MessagesDropped);
