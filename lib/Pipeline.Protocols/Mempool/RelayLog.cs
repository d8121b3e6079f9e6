using System.Runtime.InteropServices;

namespace Pipeline.Protocols.Mempool;

/// <summary>
/// What has been seen, and the pool of what is to be sent: a log that the feed of each peer reads at its own pace. A full pool makes room by what is needed least,
/// see <see cref="PoolRank"/>.
/// </summary>
internal sealed class RelayLog(MempoolRelayOptions options)
{
    /// <summary>How many transactions are announced, or asked for, in one message at most.</summary>
    public const int MaxAnnounced = 1_000;

    // Of one peer, and not dealt with; its own pool would have to be larger than the default to want more.
    private const int MaxAsked = 10_000;

    // The log is longer than the pool by this factor, because what leaves the pool leaves a gap, and closing gaps costs as much as the log is long.
    private const int Sparseness = 4;

    // As many as the pool has at least.
    private const int MinCapacity = 4;

    // For how many timeouts a peer may send nothing of all that it owes.
    private const int MaxTimeoutsOwing = 5;

    // Guarded by _gate, as the state of transactions and feeds. Invariant: _known has exactly the transactions that are in the ring of the cache, or held: being
    // checked, or in the pool. The pool is what is not null of _items[i % length] for _first <= i < _end: _count transactions of _bytes bytes, each in the list
    // of its rank; _awaitedBytes are those of all ranks but the first. _requests are those not in _known that a peer has been asked for, and
    // _reserved is how many of those have come and are being checked: together, and with what is unsettled, they fit into the pool, unless they were forced.
    // _present has the slots of _feeds, and _awaited of those that are not slow. No code of others is called with the lock held.
    private readonly Lock _gate = new();
    private readonly Dictionary<TransactionHash, RelayTransaction> _known = [];
    private readonly Dictionary<TransactionHash, Request> _requests = [];
    private readonly RelayTransaction?[] _cache = new RelayTransaction?[options.CacheSize];
    private readonly RelayTransaction?[] _items = new RelayTransaction?[Sparseness * options.MaxPoolTransactions];
    private readonly LinkedList<RelayTransaction>[] _ranks = [.. Enum.GetValues<PoolRank>().Select(_ => new LinkedList<RelayTransaction>())];
    private readonly List<RelayFeed> _feeds = [];
    private SlotSet _present;
    private SlotSet _awaited;
    private long _judgedAt = options.TimeProvider.GetTimestamp();
    private int _nextCached;
    private long _first;
    private long _end;
    private int _count;
    private long _bytes;
    private long _awaitedBytes;
    private int _reserved;
    private long _missed;
    private long _undelivered;
    private bool _isFreed;
    private bool _isStuck;
    private bool _isClosed;

    // What a transaction that was asked for is taken to have: what those before it had, the last ones most; at first so much that the pool is full of both at once.
    private double _expectedBytes = (double)options.MaxPoolBytes / options.MaxPoolTransactions;
    private TaskCompletionSource? _progress;

    public enum Sighting
    {
        New,
        Duplicate,

        /// <summary>The peer itself had sent it before.</summary>
        Repeat,
    }

    // What one peer can be asked for when nobody else is.
    private int MostOwed { get; } = (options.MaxPoolTransactions - ForOwn(options.MaxPoolTransactions)) / 2;

    private int Unsettled => _ranks[(int)PoolRank.Unsettled].Count + _ranks[(int)PoolRank.OwnUnsettled].Count;

    // What a peer that is not slow still has to take.
    private int Awaited => _count - _ranks[(int)PoolRank.Everybodys].Count;

    private int Coming => _requests.Count + _reserved;

    public MempoolRelayStatus Read()
    {
        lock (_gate)
        {
            return new MempoolRelayStatus
            {
                PoolTransactions = _count,
                PoolBytes = _bytes,
                Remembered = _known.Count,
                Requested = _requests.Count,
                Missed = _missed,
                Undelivered = _undelivered,
            };
        }
    }

    public void Add(RelayFeed feed)
    {
        long now = options.TimeProvider.GetTimestamp();
        lock (_gate)
        {
            while (_feeds.Exists(other => other.Slot == feed.Slot))
            {
                feed.Slot++;
            }

            feed.Position = _first;
            while (feed.Position < _end && (ItemAt(feed.Position) is not { } item || options.TimeProvider.GetElapsedTime(item.AddedAt, now) > options.MaxAge))
            {
                feed.Position++;
            }

            _feeds.Add(feed);
            _present.TryAdd(feed.Slot);
            _awaited.TryAdd(feed.Slot);
        }
    }

    /// <summary>The node stops: nothing more is put into the pool.</summary>
    public void Close()
    {
        lock (_gate)
        {
            _isClosed = true;
            Signal();
        }
    }

    /// <summary>Forgets a peer that has left, and asks others for what it was asked for.</summary>
    public void Remove(RelayFeed feed)
    {
        long now = options.TimeProvider.GetTimestamp();
        lock (_gate)
        {
            _feeds.Remove(feed);
            _present.Remove(feed.Slot);
            _awaited.Remove(feed.Slot);
            foreach (RelayTransaction transaction in _known.Values)
            {
                transaction.Forget(feed);
            }

            RankAll();

            foreach ((TransactionHash hash, Request request) in _requests)
            {
                request.Others.Remove(feed.Slot);
                if (request.Asked == feed)
                {
                    AskNext(hash, request, now);
                }
            }

            _isFreed = true;
            Progress();
        }
    }

    /// <summary>A transaction has come, or is submitted; when it is new, the caller has to append or forget it.</summary>
    public Sighting See(TransactionHash hash, RelayFeed? feed, out RelayTransaction transaction)
    {
        long now = options.TimeProvider.GetTimestamp();
        lock (_gate)
        {
            bool wasRequested = _requests.Remove(hash, out Request? request);
            if (wasRequested)
            {
                request!.Asked.Requested--;
            }

            ref RelayTransaction? entry = ref CollectionsMarshal.GetValueRefOrAddDefault(_known, hash, out bool isKnown);
            if (!isKnown)
            {
                transaction = entry = new RelayTransaction(hash, feed, now);
                if (feed is not null)
                {
                    transaction.TryAddHolder(feed);
                    transaction.TryAddSender(feed);
                    Credit(feed, now);
                }

                Reserve(transaction, wasRequested);
                Remember(transaction);
                return Sighting.New;
            }

            transaction = entry!;
            if (wasRequested)
            {
                // Its room is somebody else's.
                Signal();
            }

            if (feed is null)
            {
                return Sighting.Duplicate;
            }

            HasIt(feed, transaction);
            Progress();
            if (!transaction.TryAddSender(feed))
            {
                return Sighting.Repeat;
            }

            Credit(feed, now);
            return Sighting.Duplicate;
        }
    }

    /// <summary>A transaction that is not passed on.</summary>
    /// <param name="transaction">The transaction.</param>
    /// <param name="isRemembered">Whether it counts as seen.</param>
    public void Drop(RelayTransaction transaction, bool isRemembered)
    {
        lock (_gate)
        {
            transaction.IsHeld = false;
            if (!isRemembered || !transaction.IsCached)
            {
                Forget(transaction);
            }

            Reserve(transaction, false);
            Signal();
        }
    }

    /// <summary>Puts a transaction into the pool; false when there is no room, or the node stops.</summary>
    /// <param name="transaction">The transaction.</param>
    /// <param name="bytes">Its bytes.</param>
    /// <param name="evict">Whether others make room, whoever has not taken them.</param>
    public bool TryAppend(RelayTransaction transaction, byte[] bytes, bool evict)
    {
        lock (_gate)
        {
            if (_isClosed || (!evict && !transaction.IsReserved && !HasRoom(transaction.From, bytes.Length, isForced: false)))
            {
                return false;
            }

            // Of what was asked for nobody knew the size, and what was forced has no room at all.
            Reserve(transaction, false);
            while (_count >= options.MaxPoolTransactions || (_count > 0 && _bytes + bytes.Length > options.MaxPoolBytes))
            {
                Evict(_ranks.First(rank => rank.Count > 0).First!.Value);
            }

            if (_end - _first >= _items.Length)
            {
                CloseGaps();
            }

            transaction.Bytes = bytes;
            transaction.Sequence = _end;
            _items[_end++ % _items.Length] = transaction;
            _count++;
            _bytes += bytes.Length;
            _expectedBytes += (bytes.Length - _expectedBytes) / 64;
            Rank(transaction);
            Progress();
            if (_isStuck)
            {
                // Its sender may be asked for another.
                Signal();
            }

            foreach (RelayFeed feed in _feeds)
            {
                feed.Wake();
            }

            return true;
        }
    }

    /// <summary>Waits until there is room.</summary>
    /// <param name="source">Whose transaction it is for; null for one of this node's own.</param>
    /// <param name="size">Its bytes; 0 for one that is to be asked for.</param>
    /// <param name="timeout">The longest wait, but for what may not even be forced.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>
    /// False when there was none in time, or the node stops; for a peer's transaction at once, when nobody has taken anything since the last time and it may be forced.
    /// </returns>
    public async ValueTask<bool> WaitForRoomAsync(RelayFeed? source, int size, TimeSpan timeout, CancellationToken cancellationToken)
    {
        long start = options.TimeProvider.GetTimestamp();
        while (true)
        {
            Task progress;
            lock (_gate)
            {
                if (_isClosed && size > 0)
                {
                    return false;
                }

                if (HasRoom(source, size, isForced: false))
                {
                    return true;
                }

                if (_isStuck && source is not null && HasRoom(source, size, isForced: true))
                {
                    return false;
                }

                Judge(isStarting: true);
                progress = WhenProgress();
            }

            // What is less than a millisecond would be no time.
            TimeSpan left = timeout - options.TimeProvider.GetElapsedTime(start);
            TimeSpan wait = TimeSpan.FromMilliseconds(Math.Max(0, Math.Ceiling(Math.Min(left.TotalMilliseconds, options.MaxHoldBack.TotalMilliseconds))));
            try
            {
                await progress.WaitAsync(wait, options.TimeProvider, cancellationToken).ConfigureAwait(false);
            }
            catch (TimeoutException)
            {
                lock (_gate)
                {
                    Judge(isStarting: false);
                    if (HasRoom(source, size, isForced: false))
                    {
                        continue;
                    }

                    bool mayBeForced = source is not null && HasRoom(source, size, isForced: true);
                    _isStuck |= mayBeForced;
                    if (mayBeForced || (size > 0 && options.TimeProvider.GetElapsedTime(start) >= timeout))
                    {
                        return false;
                    }
                }

                if (size == 0)
                {
                    // A peer that has been asked for as much as it may waits for itself.
                    await progress.WaitAsync(cancellationToken).ConfigureAwait(false);
                }
            }
        }
    }

    public async Task WhenSettledAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            Task progress;
            lock (_gate)
            {
                if (Unsettled == 0)
                {
                    return;
                }

                progress = WhenProgress();
            }

            await progress.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Whether there is something that a feed's peer is not known to have.</summary>
    public bool HasMore(RelayFeed feed)
    {
        lock (_gate)
        {
            Skip(feed);
            return feed.Position < _end;
        }
    }

    /// <summary>What a feed has to look at next, that its peer is not known to have.</summary>
    /// <param name="feed">The feed.</param>
    /// <param name="batch">Gets the transactions.</param>
    /// <param name="maxCount">How many at most.</param>
    /// <param name="maxBytes">How many bytes, but at least one transaction.</param>
    /// <returns>Whether there is any.</returns>
    public bool Collect(RelayFeed feed, List<RelayTransaction> batch, int maxCount, long maxBytes)
    {
        lock (_gate)
        {
            long bytes = 0;
            for (Skip(feed); feed.Position < _end && batch.Count < maxCount; Skip(feed))
            {
                RelayTransaction transaction = ItemAt(feed.Position)!;
                bytes += transaction.Bytes!.Length;
                if (bytes > maxBytes && batch.Count > 0)
                {
                    break;
                }

                batch.Add(transaction);
                feed.Position++;
            }

            return batch.Count > 0;
        }
    }

    /// <summary>The next message's worth of transactions that are still there; of the others it is counted that the peer missed them.</summary>
    /// <param name="batch">The transactions; those that were looked at are taken off.</param>
    /// <param name="bytes">Gets the bytes of each.</param>
    /// <param name="maxLength">The longest message.</param>
    public void TakeBytes(ref ReadOnlySpan<RelayTransaction> batch, List<byte[]> bytes, int maxLength)
    {
        lock (_gate)
        {
            long size = 0;
            for (; !batch.IsEmpty && bytes.Count < options.MaxBatchTransactions; batch = batch[1..])
            {
                if (batch[0].Bytes is not { } data)
                {
                    _missed++;
                    continue;
                }

                size += data.Length;
                if (bytes.Count > 0 && (size > options.MaxBatchBytes || TransactionsCodec.MaxLength(bytes.Count + 1, size) > maxLength))
                {
                    return;
                }

                bytes.Add(data);
            }
        }
    }

    /// <summary>A peer has been sent transactions, or has said that it has them.</summary>
    /// <param name="feed">The peer's feed.</param>
    /// <param name="batch">The transactions.</param>
    public void Settle(RelayFeed feed, ReadOnlySpan<RelayTransaction> batch)
    {
        lock (_gate)
        {
            foreach (RelayTransaction transaction in batch)
            {
                HasIt(feed, transaction);
            }

            Skip(feed);
            if (feed.Position == _end)
            {
                _awaited.TryAdd(feed.Slot);
            }

            _isFreed = true;
            Progress();
        }
    }

    /// <summary>Says of the first of the announced hashes which are wanted.</summary>
    /// <param name="feed">Who has them.</param>
    /// <param name="hashes">The hashes.</param>
    /// <param name="isForced">Whether they are taken although the pool is full of what nobody takes.</param>
    /// <param name="wanted">Gets a bit for each.</param>
    /// <returns>Of how many it is said: those after them there is no room for.</returns>
    public int Answer(RelayFeed feed, ReadOnlySpan<byte> hashes, bool isForced, Span<byte> wanted)
    {
        long now = options.TimeProvider.GetTimestamp();
        wanted.Clear();
        lock (_gate)
        {
            int count = hashes.Length / TransactionHash.Size;
            int i = 0;
            for (; i < count; i++)
            {
                TransactionHash hash = new(hashes.Slice(i * TransactionHash.Size, TransactionHash.Size));
                if (_known.TryGetValue(hash, out RelayTransaction? transaction))
                {
                    HasIt(feed, transaction);
                }
                else if (_requests.TryGetValue(hash, out Request? request))
                {
                    if (request.Asked != feed)
                    {
                        request.Others.TryAdd(feed.Slot);
                    }
                }
                else if (HasRoom(feed, 0, isForced))
                {
                    _requests.Add(hash, new Request(feed, now));
                    feed.Requested++;
                    wanted[i / 8] |= (byte)(1 << (i % 8));
                }
                else
                {
                    break;
                }
            }

            Progress();
            return i;
        }
    }

    /// <summary>Gives up waiting for what was asked for too long ago, and asks others that have it.</summary>
    /// <returns>Peers that have announced much and sent nothing of it, with how much; null for none.</returns>
    public List<(RelayFeed Feed, int Owed)>? Expire()
    {
        long now = options.TimeProvider.GetTimestamp();
        lock (_gate)
        {
            foreach ((TransactionHash hash, Request request) in _requests)
            {
                if (options.TimeProvider.GetElapsedTime(request.AskedAt, now) >= options.RequestTimeout)
                {
                    _undelivered++;
                    request.Asked.OwesSince = request.Asked.Owed++ == 0 ? now : request.Asked.OwesSince;
                    AskNext(hash, request, now);
                }
            }

            // What is not waited for any more is room for others.
            Signal();
            List<(RelayFeed, int)>? defaulters = null;
            foreach (RelayFeed feed in _feeds)
            {
                if (feed.Owed >= MostOwed && options.TimeProvider.GetElapsedTime(feed.OwesSince, now) >= MaxTimeoutsOwing * options.RequestTimeout)
                {
                    (defaulters ??= []).Add((feed, feed.Owed));
                    feed.OwesSince = now;
                }
            }

            return defaulters;
        }
    }

    /// <summary>The hashes, back to back, that a peer has to be asked for; null for none.</summary>
    public byte[]? TakeAsks(RelayFeed feed)
    {
        lock (_gate)
        {
            if (feed.ToAsk.Count == 0)
            {
                return null;
            }

            byte[] hashes = new byte[Math.Min(feed.ToAsk.Count, MaxAnnounced) * TransactionHash.Size];
            for (int at = 0; at < hashes.Length; at += TransactionHash.Size)
            {
                feed.ToAsk.Dequeue().CopyTo(hashes.AsSpan(at));
            }

            return hashes;
        }
    }

    /// <summary>A peer asks for transactions; false when it asks for more than there could be.</summary>
    public bool TryAsk(RelayFeed feed, ReadOnlySpan<byte> hashes)
    {
        lock (_gate)
        {
            if (hashes.Length % TransactionHash.Size != 0 || feed.Asked.Count + (hashes.Length / TransactionHash.Size) > MaxAsked)
            {
                return false;
            }

            for (; !hashes.IsEmpty; hashes = hashes[TransactionHash.Size..])
            {
                feed.Asked.Enqueue(new TransactionHash(hashes[..TransactionHash.Size]));
            }
        }

        feed.Wake();
        return true;
    }

    /// <summary>The next transactions that a peer has asked for, as far as they are in the pool.</summary>
    public bool TakeAsked(RelayFeed feed, List<RelayTransaction> batch)
    {
        lock (_gate)
        {
            while (batch.Count < MaxAnnounced && feed.Asked.TryDequeue(out TransactionHash hash))
            {
                if (_known.TryGetValue(hash, out RelayTransaction? transaction) && transaction.Bytes is not null)
                {
                    batch.Add(transaction);
                }
            }

            return batch.Count > 0;
        }
    }

    // An eighth of the pool is for this node's own, however much peers announce.
    private static int ForOwn(int capacity) => Math.Max(1, capacity / 8);

    private RelayTransaction? ItemAt(long sequence) => _items[sequence % _items.Length];

    // To what the peer is not known to have.
    private void Skip(RelayFeed feed)
    {
        feed.Position = Math.Max(feed.Position, _first);
        while (feed.Position < _end && ItemAt(feed.Position)?.IsKnownTo(feed) != false)
        {
            feed.Position++;
        }
    }

    private void Remember(RelayTransaction transaction)
    {
        if (_cache[_nextCached] is { } oldest)
        {
            oldest.IsCached = false;
            if (!oldest.IsHeld)
            {
                Forget(oldest);
            }
        }

        transaction.IsCached = true;
        _cache[_nextCached] = transaction;
        _nextCached = (_nextCached + 1) % _cache.Length;
    }

    // One that was dropped may have come again, and be another.
    private void Forget(RelayTransaction transaction)
    {
        if (_known.GetValueOrDefault(transaction.Hash) == transaction)
        {
            _known.Remove(transaction.Hash);
        }
    }

    private void HasIt(RelayFeed feed, RelayTransaction transaction)
    {
        if (transaction.TryAddHolder(feed))
        {
            feed.Taken++;
            transaction.IsSettled |= feed != transaction.From;
            if (transaction.Bytes is not null)
            {
                Rank(transaction);
            }
        }
    }

    // For a peer no more than it leaves to others, who may be many: of an empty pool half. What it owes counts as if it were on its way. Who owes too much may show
    // with one at a time that it delivers. Own transactions wait while an eighth of the pool is what some have to take, wherever it came from: the pools of all nodes hold
    // the same, so that there is room for what others submit, and nodes do not wait for each other in a circle. What is only announced they do not wait for.
    private bool HasRoom(RelayFeed? source, int size, bool isForced)
    {
        int capacity = (int)Math.Clamp(options.MaxPoolBytes / _expectedBytes, MinCapacity, options.MaxPoolTransactions);
        int taken = Coming + (isForced ? 0 : Awaited);
        if (source is null)
        {
            if (Awaited + _reserved >= ForOwn(capacity) || taken >= capacity)
            {
                return false;
            }
        }
        else
        {
            int free = capacity - ForOwn(capacity) - taken;
            int onItsWay = source.Requested + (isForced ? 0 : source.Unsettled);
            if (free <= 0 || (onItsWay > 0 && onItsWay + source.Owed >= free))
            {
                return false;
            }
        }

        double bytes = (Coming * _expectedBytes) + (isForced ? 0 : _awaitedBytes);
        return bytes == 0 || bytes + size <= options.MaxPoolBytes;
    }

    private void Reserve(RelayTransaction transaction, bool isReserved)
    {
        _reserved += (isReserved ? 1 : 0) - (transaction.IsReserved ? 1 : 0);
        transaction.IsReserved = isReserved;
    }

    // Into the list of its rank; what others have is room for more.
    private void Rank(RelayTransaction transaction)
    {
        bool isOwn = transaction.From is null;
        PoolRank rank = transaction.IsKnownToAll(transaction.IsSettled ? _awaited : _present) ? PoolRank.Everybodys
            : transaction.IsSettled ? (isOwn ? PoolRank.OwnSettled : PoolRank.Settled)
            : isOwn ? PoolRank.OwnUnsettled : PoolRank.Unsettled;
        LinkedList<RelayTransaction> list = _ranks[(int)rank];
        if (transaction.Place.List == list)
        {
            return;
        }

        bool wasAwaited = transaction.Place.List is not null && transaction.Rank > rank;
        Unrank(transaction);
        list.AddLast(transaction.Place);
        transaction.Rank = rank;
        Count(transaction, 1);
        _isFreed |= wasAwaited || rank < PoolRank.Unsettled;
    }

    private void RankAll()
    {
        for (long i = _first; i < _end; i++)
        {
            if (ItemAt(i) is { } transaction)
            {
                Rank(transaction);
            }
        }
    }

    // Who is to be waited for: a peer that takes less than an eighth of the pool while others are held back for as long as may be is slow until it has caught up.
    private void Judge(bool isStarting)
    {
        long now = options.TimeProvider.GetTimestamp();
        if (options.TimeProvider.GetElapsedTime(_judgedAt, now) < options.MaxHoldBack)
        {
            return;
        }

        _judgedAt = now;
        bool isAnySlow = false;
        foreach (RelayFeed feed in _feeds)
        {
            if (!isStarting && feed.Taken < Math.Max(1, _count / 8) && _ranks.Skip(1).Any(rank => rank.First is { } first && !first.Value.IsKnownTo(feed)))
            {
                _awaited.Remove(feed.Slot);
                isAnySlow = true;
            }

            feed.Taken = 0;
        }

        if (isAnySlow)
        {
            RankAll();
            Progress();
        }
    }

    private void Unrank(RelayTransaction transaction)
    {
        if (transaction.Place.List is { } list)
        {
            list.Remove(transaction.Place);
            Count(transaction, -1);
        }
    }

    private void Count(RelayTransaction transaction, int change)
    {
        if (transaction.Rank > PoolRank.Everybodys)
        {
            _awaitedBytes += change * transaction.Bytes!.Length;
        }

        if (transaction is { Rank: >= PoolRank.Unsettled, From: { } from })
        {
            from.Unsettled += change;
        }
    }

    private void Evict(RelayTransaction transaction)
    {
        foreach (RelayFeed feed in _feeds)
        {
            _missed += feed.Position <= transaction.Sequence && !transaction.IsKnownTo(feed) ? 1 : 0;
        }

        _items[transaction.Sequence % _items.Length] = null;
        while (_first < _end && ItemAt(_first) is null)
        {
            _first++;
        }

        _count--;
        _bytes -= transaction.Bytes!.Length;
        Unrank(transaction);
        transaction.Bytes = null;
        transaction.IsHeld = false;
        if (!transaction.IsCached)
        {
            Forget(transaction);
        }
    }

    // So that one transaction that nobody takes does not fill the log.
    private void CloseGaps()
    {
        RelayFeed[] feeds = [.. _feeds.OrderBy(feed => feed.Position)];
        int next = 0;
        long to = _first;
        for (long from = _first; from < _end; from++)
        {
            for (; next < feeds.Length && feeds[next].Position <= from; next++)
            {
                feeds[next].Position = to;
            }

            if (ItemAt(from) is { } transaction)
            {
                _items[from % _items.Length] = null;
                _items[to % _items.Length] = transaction;
                transaction.Sequence = to++;
            }
        }

        foreach (RelayFeed feed in feeds.AsSpan(next))
        {
            feed.Position = to;
        }

        _end = to;
    }

    private void Credit(RelayFeed feed, long now)
    {
        if (feed.Owed > 0)
        {
            feed.Owed--;
            feed.OwesSince = now;
            Signal();
        }
    }

    // Of those that have announced it, the one that keeps its word best; not one that does not even read what it is asked.
    private void AskNext(TransactionHash hash, Request request, long now)
    {
        request.Asked.Requested--;
        RelayFeed? next = null;
        foreach (RelayFeed feed in _feeds)
        {
            if (request.Others.Contains(feed.Slot) && feed.ToAsk.Count < MaxAnnounced && !(next?.Owed <= feed.Owed))
            {
                next = feed;
            }
        }

        if (next is null)
        {
            _requests.Remove(hash);
            return;
        }

        request.Asked = next;
        request.Others.Remove(next.Slot);
        request.AskedAt = now;
        next.Requested++;
        next.ToAsk.Enqueue(hash);
        next.Wake();
    }

    private Task WhenProgress() => (_progress ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;

    // At the end of what ranks transactions, and not for each of them: who waits comes for the lock at once.
    private void Progress()
    {
        if (_isFreed)
        {
            _isFreed = false;
            _isStuck = false;
            Signal();
        }
    }

    private void Signal()
    {
        _progress?.SetResult();
        _progress = null;
    }

    /// <summary>Who has been asked for a transaction, and who else has announced it.</summary>
    private sealed class Request(RelayFeed asked, long askedAt)
    {
        // Of peers that have not been asked.
        public SlotSet Others;

        public RelayFeed Asked { get; set; } = asked;

        public long AskedAt { get; set; } = askedAt;
    }
}
