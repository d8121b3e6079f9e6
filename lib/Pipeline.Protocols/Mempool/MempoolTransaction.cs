using Pipeline.Dataflow;

namespace Pipeline.Protocols.Mempool;

/// <summary>A transaction that the node had not seen.</summary>
/// <param name="Hash">Its hash.</param>
/// <param name="Data">Its bytes, which nobody may change.</param>
/// <param name="From">The peer that sent it first; null for one of this node's own.</param>
public readonly record struct MempoolTransaction(TransactionHash Hash, ReadOnlyMemory<byte> Data, IPeer? From);

/// <summary>What a check says of a transaction.</summary>
public enum MempoolVerdict
{
    /// <summary>It is passed on.</summary>
    Accept,

    /// <summary>It is not passed on, and nobody is blamed: what is valid may differ from node to node, and from block to block.</summary>
    Reject,

    /// <summary>It is not passed on, and the peer that sent it is stopped and banned: no honest node sends such a one.</summary>
    Ban,
}

/// <summary>What became of a transaction of this node's own.</summary>
public enum SubmitResult
{
    /// <summary>It is passed on to the peers, and to those that come while it is kept.</summary>
    Accepted,

    /// <summary>It has been seen: submitted or received before.</summary>
    AlreadySeen,

    /// <summary>The check was against it.</summary>
    Rejected,

    /// <summary>It has no bytes.</summary>
    Empty,

    /// <summary>It has more than <see cref="MempoolRelayOptions.MaxTransactionBytes"/> bytes.</summary>
    TooLarge,

    /// <summary>The pool had no room within <see cref="MempoolRelayOptions.SubmitTimeout"/>: the peers take fewer than are submitted. It may be submitted again.</summary>
    PoolFull,

    /// <summary>The node has not started, or has stopped.</summary>
    NotRunning,
}
