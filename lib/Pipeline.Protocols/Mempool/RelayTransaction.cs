namespace Pipeline.Protocols.Mempool;

/// <summary>A transaction that the log remembers. Guarded by the log's lock, but for what never changes.</summary>
internal sealed class RelayTransaction(TransactionHash hash, RelayFeed? from, long addedAt)
{
    // A bit for each peer's slot.
    private SlotSet _holders;
    private SlotSet _senders;

    public TransactionHash Hash { get; } = hash;

    /// <summary>The feed of the peer that sent it first, which may have left; null when nobody did.</summary>
    public RelayFeed? From { get; } = from;

    public long AddedAt { get; } = addedAt;

    /// <summary>While it is in the pool.</summary>
    public byte[]? Bytes { get; set; }

    public long Sequence { get; set; }

    /// <summary>Its place in the list of its rank, while it is in the pool.</summary>
    public LinkedListNode<RelayTransaction> Place => field ??= new LinkedListNode<RelayTransaction>(this);

    public PoolRank Rank { get; set; }

    /// <summary>Whether it is being checked, or is in the pool, so that it may not be forgotten.</summary>
    public bool IsHeld { get; set; } = true;

    /// <summary>Whether it was asked for and has come, so that there is room kept for it, and is not in the pool yet.</summary>
    public bool IsReserved { get; set; }

    /// <summary>Whether the cache has it.</summary>
    public bool IsCached { get; set; }

    /// <summary>Whether a peer that did not send it first has it.</summary>
    public bool IsSettled { get; set; }

    /// <summary>Whether a peer has it, or is about to: it was sent in either direction, or announced.</summary>
    public bool IsKnownTo(RelayFeed feed) => _holders.Contains(feed.Slot);

    public bool IsKnownToAll(in SlotSet feeds) => _holders.ContainsAll(feeds);

    public bool TryAddHolder(RelayFeed feed) => _holders.TryAdd(feed.Slot);

    /// <summary>False when the peer had sent it before.</summary>
    public bool TryAddSender(RelayFeed feed) => _senders.TryAdd(feed.Slot);

    public void Forget(RelayFeed feed)
    {
        _holders.Remove(feed.Slot);
        _senders.Remove(feed.Slot);
    }
}

/// <summary>In which order the transactions of a full pool make room.</summary>
internal enum PoolRank
{
    /// <summary>All peers that are waited for have it, and at least one that did not send it, if there is any.</summary>
    Everybodys,

    /// <summary>A peer other than its sender has it.</summary>
    Settled,

    /// <summary>The same, but of this node's own: who is not told it by this node may not be told by anybody.</summary>
    OwnSettled,

    /// <summary>Nobody else has it: from here on only when there is no other way.</summary>
    Unsettled,

    /// <summary>The same, of this node's own.</summary>
    OwnUnsettled,
}
