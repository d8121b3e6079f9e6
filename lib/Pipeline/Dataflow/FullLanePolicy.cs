namespace Pipeline.Dataflow;

/// <summary>What happens to a message that finds its lane full: as many messages or bytes of its peer and channel wait as may.</summary>
public enum FullLanePolicy
{
    /// <summary>
    /// It waits all the same, at the cost of the peer's allowance; when that is used up, the peer is not read any more until the reactor has
    /// caught up. Nothing is lost.
    /// </summary>
    Wait,

    /// <summary>It is dropped.</summary>
    DropNewest,

    /// <summary>Those that wait longest are dropped, until it finds room.</summary>
    DropOldest,

    /// <summary>The peer is disconnected.</summary>
    Disconnect,
}
