using System.Runtime.InteropServices;

namespace Pipeline.Protocols.Mempool;

/// <summary>
/// What has been seen, and the pool of what is to be sent: a log that the feed of each peer reads at its own pace. A full pool makes room by its oldest
/// transaction, once a peer other than its sender has it, or there is no such peer.
/// </summary>
internal sealed class RelayLog(MempoolRelayOptions options)
{
    /// <summary>How many transactions are announced, or asked for, in one message at most.</summary>
    public const int MaxAnnounced = 1_000;

    // Of one peer, and not dealt with; its own pool would have to be larger than the default to want more.
    private const int MaxAsked = 10_000;

    // The log is longer than the pool by this factor, because what leaves the pool leaves a gap.
    private const int Sparseness = 4;

    // Guarded by _gate, as the state of transactions and feeds. Invariant: _known has exactly the transactions that are in the ring of the cache, or held: being
    // checked, or in the pool. The pool is what is not null of _items[i % length] for _first <= i < _end: _count transactions of _bytes bytes, of which _unsettled
    // are not settled, and the others in _settled, where there may be some that have left. _requests are those not in _known that a peer has been asked for, and
    // _reserved is how many of those have come and are being checked: for both there is room, in the pool and in _items, unless they were forced.
    // No code of others is called with the lock held.
    private readonly Lock _gate = new();
    private readonly Dictionary<TransactionHash, RelayTransaction> _known = [];
    private readonly Dictionary<TransactionHash, Request> _requests = [];
    private readonly RelayTransaction?[] _cache = new RelayTransaction?[options.CacheSize];
    private readonly RelayTransaction?[] _items = new RelayTransaction?[Sparseness * options.MaxPoolTransactions];
    private readonly Queue<RelayTransaction> _settled = [];
    private readonly List<RelayFeed> _feeds = [];
    private int _nextCached;
    private long _first;
    private long _end;
    private int _count;
    private long _bytes;
    private int _unsettled;
    private int _reserved;
    private long _missed;
    private bool _isStuck;
    private TaskCompletionSource? _progress;

    public enum Sighting
    {
        New,
        Duplicate,

        /// <summary>The peer itself had sent it before.</summary>
        Repeat,
    }

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
        }
    }

    /// <summary>Forgets a peer that has left, and asks others for what it was asked for.</summary>
    public void Remove(RelayFeed feed)
    {
        long now = options.TimeProvider.GetTimestamp();
        lock (_gate)
        {
            _feeds.Remove(feed);
            foreach (RelayTransaction transaction in _known.Values)
            {
                transaction.Forget(feed);
                if (transaction is { Bytes: not null, IsSettled: false } && !IsWaitedFor(transaction))
                {
                    Settle(transaction);
                }
            }

            foreach ((TransactionHash hash, Request request) in _requests)
            {
                request.Next = request.Next == feed ? null : request.Next;
                if (request.Asked == feed)
                {
                    AskNext(hash, request, now);
                }
            }

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
            return transaction.TryAddSender(feed) ? Sighting.Duplicate : Sighting.Repeat;
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

    /// <summary>Puts a transaction into the pool; false when there is no room.</summary>
    /// <param name="transaction">The transaction.</param>
    /// <param name="bytes">Its bytes.</param>
    /// <param name="evict">Whether the oldest makes room, whoever has not taken it.</param>
    public bool TryAppend(RelayTransaction transaction, byte[] bytes, bool evict)
    {
        lock (_gate)
        {
            if (!evict && !transaction.IsReserved && !HasRoom(transaction.From, bytes.Length))
            {
                return false;
            }

            // Of what was asked for nobody knew the size, and what was forced has no room at all.
            Reserve(transaction, false);
            while (_count >= options.MaxPoolTransactions || IsFullFor(bytes.Length))
            {
                if (!TryEvict())
                {
                    Evict(ItemAt(_first)!);
                }
            }

            transaction.Bytes = bytes;
            transaction.Sequence = _end;
            _items[_end++ % _items.Length] = transaction;
            _count++;
            _bytes += bytes.Length;
            CountUnsettled(transaction, 1);
            if (transaction.IsSettled || !IsWaitedFor(transaction))
            {
                Settle(transaction);
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
    /// <param name="size">Its bytes.</param>
    /// <param name="timeout">The longest wait.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>False when there was none in time; for a peer's transaction at once, when nobody has taken anything since the last time.</returns>
    public async ValueTask<bool> WaitForRoomAsync(RelayFeed? source, int size, TimeSpan timeout, CancellationToken cancellationToken)
    {
        long start = options.TimeProvider.GetTimestamp();
        while (true)
        {
            Task progress;
            lock (_gate)
            {
                if (HasRoom(source, size))
                {
                    return true;
                }

                if (_isStuck && source is not null)
                {
                    return false;
                }

                progress = WhenProgress();
            }

            TimeSpan left = timeout - options.TimeProvider.GetElapsedTime(start);
            try
            {
                await progress.WaitAsync(left > TimeSpan.Zero ? left : TimeSpan.Zero, options.TimeProvider, cancellationToken).ConfigureAwait(false);
            }
            catch (TimeoutException)
            {
                lock (_gate)
                {
                    _isStuck = source is not null;
                    return false;
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
                if (_unsettled == 0)
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

    /// <summary>The bytes of transactions that are still there; of the others it is counted that the peer missed them.</summary>
    public void CopyBytes(ReadOnlySpan<RelayTransaction> batch, List<byte[]> bytes)
    {
        lock (_gate)
        {
            foreach (RelayTransaction transaction in batch)
            {
                if (transaction.Bytes is { } data)
                {
                    bytes.Add(data);
                }
                else
                {
                    _missed++;
                }
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

            Progress();
        }
    }

    /// <summary>Says of the first of the announced hashes which are wanted.</summary>
    /// <param name="feed">Who has them.</param>
    /// <param name="hashes">The hashes.</param>
    /// <param name="isForced">Whether some are taken although there is no room.</param>
    /// <param name="wanted">Gets a bit for each.</param>
    /// <returns>Of how many it is said: those after them there is no room for.</returns>
    public int Answer(RelayFeed feed, ReadOnlySpan<byte> hashes, bool isForced, Span<byte> wanted)
    {
        long now = options.TimeProvider.GetTimestamp();
        wanted.Clear();
        lock (_gate)
        {
            int count = hashes.Length / TransactionHash.Size;
            int allowed = isForced ? Math.Max(1, _items.Length / 4) : int.MaxValue;
            for (int i = 0; i < count; i++)
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
                        request.Next ??= feed;
                    }
                }
                else if (isForced ? allowed-- > 0 : HasRoom(feed, 0))
                {
                    _requests.Add(hash, new Request(feed, now));
                    feed.Requested++;
                    wanted[i / 8] |= (byte)(1 << (i % 8));
                }
                else
                {
                    return i;
                }
            }

            return count;
        }
    }

    /// <summary>Gives up waiting for what was asked for too long ago, and asks others that have it.</summary>
    public void Expire()
    {
        long now = options.TimeProvider.GetTimestamp();
        lock (_gate)
        {
            foreach ((TransactionHash hash, Request request) in _requests)
            {
                if (options.TimeProvider.GetElapsedTime(request.AskedAt, now) >= options.RequestTimeout)
                {
                    AskNext(hash, request, now);
                }
            }

            // What is not waited for any more is room for others.
            Signal();
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

    /// <summary>The transactions that a peer has asked for, as far as they are in the pool.</summary>
    public bool TakeAsked(RelayFeed feed, List<RelayTransaction> batch)
    {
        lock (_gate)
        {
            while (feed.Asked.TryDequeue(out TransactionHash hash))
            {
                if (_known.TryGetValue(hash, out RelayTransaction? transaction) && transaction.Bytes is not null)
                {
                    batch.Add(transaction);
                }
            }

            return batch.Count > 0;
        }
    }

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
        if (transaction.TryAddHolder(feed) && feed != transaction.From && !transaction.IsSettled)
        {
            transaction.IsSettled = true;
            if (transaction.Bytes is not null)
            {
                Settle(transaction);
            }
        }
    }

    // Of one peer's at most half, so that it does not keep out all others. What is submitted waits while an eighth is on its way, wherever it came from: the
    // pools of all nodes hold the same, so that there is room for what others submit, and nodes never wait for each other in a circle.
    private bool HasRoom(RelayFeed? source, int size)
    {
        int coming = _requests.Count + _reserved;
        if (source is null
            ? _unsettled + coming >= Math.Max(1, options.MaxPoolTransactions / 8)
            : source.Unsettled + source.Requested >= options.MaxPoolTransactions / 2)
        {
            return false;
        }

        while (_count + coming >= options.MaxPoolTransactions || _end - _first + coming >= _items.Length || IsFullFor(size))
        {
            if (!TryEvict())
            {
                return false;
            }
        }

        return true;
    }

    private void Reserve(RelayTransaction transaction, bool isReserved)
    {
        _reserved += (isReserved ? 1 : 0) - (transaction.IsReserved ? 1 : 0);
        transaction.IsReserved = isReserved;
    }

    private bool IsFullFor(int size) => _end - _first >= _items.Length || (_count > 0 && _bytes + size > options.MaxPoolBytes);

    private void Settle(RelayTransaction transaction)
    {
        transaction.IsSettled = true;
        CountUnsettled(transaction, -1);
        _settled.Enqueue(transaction);
        Progress();
    }

    private bool TryEvict()
    {
        while (_settled.TryDequeue(out RelayTransaction? settled))
        {
            if (settled.Bytes is not null)
            {
                Evict(settled);
                return true;
            }
        }

        return false;
    }

    private bool IsWaitedFor(RelayTransaction transaction) => _feeds.Exists(feed => !transaction.IsKnownTo(feed));

    private void CountUnsettled(RelayTransaction transaction, int change)
    {
        _unsettled += change;
        if (transaction.From is { } from)
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
        CountUnsettled(transaction, transaction.IsSettled ? 0 : -1);
        transaction.Bytes = null;
        transaction.IsHeld = false;
        if (!transaction.IsCached)
        {
            Forget(transaction);
        }
    }

    private void AskNext(TransactionHash hash, Request request, long now)
    {
        request.Asked.Requested--;
        if (request.Next is not { } next)
        {
            _requests.Remove(hash);
            return;
        }

        request.Asked = next;
        request.Next = null;
        request.AskedAt = now;
        next.Requested++;
        next.ToAsk.Enqueue(hash);
        next.Wake();
    }

    private Task WhenProgress() => (_progress ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;

    private void Progress()
    {
        _isStuck = false;
        Signal();
    }

    private void Signal()
    {
        _progress?.SetResult();
        _progress = null;
    }

    /// <summary>Who has been asked for a transaction, and who else has it.</summary>
    private sealed class Request(RelayFeed asked, long askedAt)
    {
        public RelayFeed Asked { get; set; } = asked;

        public long AskedAt { get; set; } = askedAt;

        public RelayFeed? Next { get; set; }
    }
}
