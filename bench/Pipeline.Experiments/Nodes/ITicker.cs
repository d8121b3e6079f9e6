namespace Pipeline.Experiments.Nodes;

/// <summary>Sends a stamped message whenever it is told to, without making who tells it wait.</summary>
internal interface ITicker
{
    /// <summary>Messages that have been queued.</summary>
    long Sent { get; }

    /// <summary>Stamps a message and sends it.</summary>
    void Send();

    /// <summary>How many messages could not be queued since the last call, for want of room or because the connection is gone.</summary>
    long TakeRefused();
}
