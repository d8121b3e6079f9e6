namespace Pipeline.Dataflow;

/// <summary>What became of a message that was to be sent.</summary>
public enum SendResult
{
    /// <summary>The message waits in the peer's queue and will be sent, unless the connection ends first.</summary>
    Queued,

    /// <summary>The peer's queue for the channel had no room, at once or in time.</summary>
    QueueFull,

    /// <summary>The connection has ended, or is about to.</summary>
    PeerStopped,

    /// <summary>This node or the peer does not have the channel.</summary>
    UnknownChannel,

    /// <summary>The message is longer than the channel allows.</summary>
    MessageTooLarge,
}
