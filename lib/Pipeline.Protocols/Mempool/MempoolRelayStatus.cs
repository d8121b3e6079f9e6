namespace Pipeline.Protocols.Mempool;

/// <summary>What a relay has done since it was made, and what it holds.</summary>
public sealed record MempoolRelayStatus
{
    /// <summary>Transactions that are kept to be sent.</summary>
    public int PoolTransactions { get; init; }

    /// <summary>Their bytes.</summary>
    public long PoolBytes { get; init; }

    /// <summary>Hashes that are remembered, those of the pool included.</summary>
    public int Remembered { get; init; }

    /// <summary>Transactions that have been asked for and not come.</summary>
    public int Requested { get; init; }

    /// <summary>Transactions that came, duplicates included, and were submitted.</summary>
    public long Received { get; init; }

    /// <summary>Those of them that were new and accepted.</summary>
    public long Accepted { get; init; }

    /// <summary>Those that had been seen.</summary>
    public long Duplicates { get; init; }

    /// <summary>Those that the check was against.</summary>
    public long Rejected { get; init; }

    /// <summary>Transactions sent, counted for each peer.</summary>
    public long Sent { get; init; }

    /// <summary>Transactions that a peer missed, counted for each: they had to make room before it took them.</summary>
    public long Missed { get; init; }

    /// <summary>Transactions that a peer announced and did not send within <see cref="MempoolRelayOptions.RequestTimeout"/>, counted for each that was asked.</summary>
    public long Undelivered { get; init; }

    /// <summary>Accepted transactions that a reader of <see cref="MempoolRelayReactor.ReadAcceptedAsync"/> missed, because it was too slow.</summary>
    public long Unread { get; init; }
}
