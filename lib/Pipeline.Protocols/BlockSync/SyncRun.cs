using Pipeline.Dataflow;
using Pipeline.Protocols.Types;
using Pipeline.Reactors;

namespace Pipeline.Protocols.BlockSync;

/// <summary>
/// One sync. Blocks are asked for ahead of the one that is to come next, of the peers that answer fastest; each is checked, and its commit's signatures, on the pool's
/// threads as they come; then they are verified in order by whoever takes them.
/// </summary>
internal sealed class SyncRun
{
    private static readonly TimeSpan RateTime = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan RateStep = TimeSpan.FromMilliseconds(100);

    private readonly BlockSyncRequest _request;
    private readonly BlockSyncOptions _options;
    private readonly TimeProvider _time;
    private readonly Action<IPeer, string> _markBad;
    private readonly BlockVerifier _verifier;
    private readonly ITimer _timer;

    // All below is guarded by _gate, which is the reactor's. Invariants: _slots are the heights from _head on that are asked for, checked or wait; _buffered is the
    // bytes of those that have come; _changed is completed when what the taker waits for may have come.
    private readonly Lock _gate;
    private readonly List<SyncPeer> _peers;
    private readonly Dictionary<long, Slot> _slots = [];
    private readonly Queue<(long At, long Verified)> _samples = [];
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _head;
    private long _verified;
    private long _buffered;
    private long _size = 64 << 10;
    private long _heardAt;
    private long _sampledAt;
    private long _statusAt;
    private string? _lastFault;

    public SyncRun(BlockSyncRequest request, BlockSyncOptions options, TimeProvider time, Lock gate, List<SyncPeer> peers, Action<IPeer, string> markBad)
    {
        _request = request;
        _options = options;
        _time = time;
        _gate = gate;
        _peers = peers;
        _markBad = markBad;
        _verifier = new BlockVerifier(request.ChainId, request.Validators, request.Last);
        _head = request.Last is { } last ? last.Height + 1 : request.From >= 1 ? request.From : throw new ArgumentException($"A sync from block {request.From} is not possible; the first is 1.", nameof(request));
        _sampledAt = _heardAt = _statusAt = time.GetTimestamp();
        _timer = time.CreateTimer(_ => Step(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    public bool IsOver { get; private set; }

    // With the reactor's gate held.
    public BlockSyncProgress Progress
    {
        get
        {
            double seconds = _samples.TryPeek(out (long At, long Verified) first) ? _time.GetElapsedTime(first.At).TotalSeconds : 0;
            return new BlockSyncProgress(
                _verified == 0 ? 0 : _head - 1,
                Target,
                _verified,
                seconds > 0 ? (_verified - first.Verified) / seconds : 0,
                _peers.Count(static peer => !peer.IsExcluded && !peer.Range.IsEmpty),
                _slots.Values.Count(static slot => slot.Asked is not null),
                _buffered);
        }
    }

    // The last block that can be verified: it needs the one after it.
    private long Target => _request.To ?? Math.Max(0, Highest - 1);

    private long Highest => _peers.Where(static peer => !peer.IsExcluded).Select(static peer => peer.Range.Height).DefaultIfEmpty().Max();

    public void Start()
    {
        SyncPeer[] peers;
        lock (_gate)
        {
            _samples.Enqueue((_sampledAt, 0));
            foreach (SyncPeer peer in _peers)
            {
                (peer.IsExcluded, peer.Failures) = (false, 0);
            }

            peers = [.. _peers];
        }

        Array.ForEach(peers, AskStatus);
        Step();
    }

    public void End()
    {
        lock (_gate)
        {
            IsOver = true;
            _slots.Clear();
            _buffered = 0;
        }

        _timer.Dispose();
    }

    public void AskStatus(SyncPeer peer)
    {
        if (!peer.Peer.HasChannel(StandardChannels.BlockSync.Id))
        {
            return;
        }

        // Noted before it is sent: the answer may be here before the sending returns, and would then seem to be awaited for ever.
        lock (_gate)
        {
            peer.StatusAskedAt ??= _time.GetTimestamp();
        }

        if (peer.Peer.TrySend(StandardChannels.BlockSync, new Message { StatusRequest = new StatusRequest() }) != SendResult.Queued)
        {
            lock (_gate)
            {
                peer.StatusAskedAt = null;
            }
        }
    }

    public void OnStatus()
    {
        Step();
        Signal();
    }

    public void Remove(SyncPeer peer)
    {
        lock (_gate)
        {
            foreach (Slot slot in _slots.Values.Where(slot => slot.Asked == peer))
            {
                slot.Asked = null;
            }
        }

        OnStatus();
    }

    public void OnMissing(SyncPeer peer, long height)
    {
        BlockSyncFault? fault;
        lock (_gate)
        {
            Free(peer, height);
            BlockRange range = peer.Range;
            peer.Range = height - range.Base < range.Height - height ? range with { Base = height + 1 } : range with { Height = height - 1 };
            fault = Fail(peer, $"It has no block {height}, although it said that it has those from {range.Base} to {range.Height}.");
        }

        Report(fault);
        OnStatus();
    }

    public void OnBlock(SyncPeer peer, long height, Block block, int size, TimeSpan latency)
    {
        lock (_gate)
        {
            peer.Failures = 0;
            peer.Latency = peer.Latency == TimeSpan.Zero ? latency : (peer.Latency * 0.8) + (latency * 0.2);
            if (latency < _options.RequestTimeout / 4)
            {
                peer.Limit = Math.Min(_options.MaxAskedOfPeer, peer.Limit + 1);
            }

            _size = Math.Max(size, _size - (_size / 16));
            Free(peer, height);
            if (IsOver || !_slots.TryGetValue(height, out Slot? slot) || slot.Sender is not null)
            {
                return;
            }

            // What is not needed next has to fit; it is asked for again once there is room.
            if (height > _head + 1 && _buffered + size > _options.MaxBufferedBytes)
            {
                return;
            }

            _heardAt = _time.GetTimestamp();
            (slot.Sender, slot.Size, slot.Asked) = (peer, size, null);
            _buffered += size;
        }

        _ = Task.Run(() => Check(peer, height, block));
        Step();
    }

    /// <summary>The next block; null when there are no more.</summary>
    public async ValueTask<VerifiedBlock?> NextAsync(CancellationToken cancellationToken)
    {
        // The time that the taker took does not count as time without a block.
        lock (_gate)
        {
            _heardAt = _time.GetTimestamp();
        }

        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Task changed;
            Slot? head;
            Slot? next;
            (CheckedBlock? Block, SyncPeer? Sender) lower;
            (CheckedBlock? Block, SyncPeer? Sender) upper;
            Task<string?>? signatures;
            lock (_gate)
            {
                if (_changed.Task.IsCompleted)
                {
                    _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                }

                if (IsDone())
                {
                    return null;
                }

                changed = _changed.Task;
                head = _slots.GetValueOrDefault(_head);
                next = _slots.GetValueOrDefault(_head + 1);
                (lower, upper) = ((head?.Block, head?.Sender), (next?.Block, next?.Sender));
                signatures = head?.Signatures;
            }

            if (lower.Block is null || upper.Block is null || signatures is null)
            {
                ThrowIfStalled();
                await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
                continue;
            }

            string? wrong = await signatures.WaitAsync(cancellationToken).ConfigureAwait(false);
            if (_verifier.TryVerify(lower.Block, upper.Block, () => wrong, out BlockFault? fault) is { } verified)
            {
                Advance(head!);
                return verified;
            }

            if (fault!.Kind == BlockFaultKind.UnknownValidators)
            {
                throw new BlockSyncException(fault.Message);
            }

            bool isUpper = fault.Kind == BlockFaultKind.WrongNext;
            Refuse(isUpper ? upper.Sender! : lower.Sender!, fault.Message, isLie: fault.Kind is not (BlockFaultKind.WrongValidators or BlockFaultKind.WrongStart));
        }
    }

    private void Advance(Slot head)
    {
        lock (_gate)
        {
            _slots.Remove(_head++);
            _buffered -= head.Size;
            _verified++;
            long now = _time.GetTimestamp();
            _heardAt = now;
            if (_time.GetElapsedTime(_sampledAt, now) >= RateStep)
            {
                _sampledAt = now;
                _samples.Enqueue((now, _verified));
                while (_samples.Count > 2 && _time.GetElapsedTime(_samples.Peek().At, now) > RateTime)
                {
                    _samples.Dequeue();
                }
            }
        }

        Step();
    }

    private void Check(SyncPeer peer, long height, Block block)
    {
        CheckedBlock? good = CheckedBlock.TryCheck(block, out string? fault);
        lock (_gate)
        {
            if (IsOver || !_slots.TryGetValue(height, out Slot? slot) || slot.Sender != peer)
            {
                return;
            }

            if (good is not null)
            {
                slot.Block = good;
                StartSignatures(height - 1);
                StartSignatures(height);
            }
        }

        if (good is null)
        {
            Refuse(peer, fault!, isLie: true);
        }
        else
        {
            Signal();
        }
    }

    private void StartSignatures(long height)
    {
        if (_slots.GetValueOrDefault(height) is { Block: { } block, Signatures: null } slot && _slots.GetValueOrDefault(height + 1)?.Block is { } next)
        {
            slot.Signatures = Task.Run(() => _verifier.FindCommitFault(block, next));
        }
    }

    // Makes a slot as if nothing had come for it.
    private void Empty(Slot slot, long height)
    {
        _buffered -= slot.Size;
        (slot.Block, slot.Sender, slot.Size, slot.Signatures) = (null, null, 0, null);
        if (_slots.TryGetValue(height - 1, out Slot? before))
        {
            before.Signatures = null;
        }
    }

    // The peer is asked no more, and what else has come from it is not used; when it lied, it is banned as well.
    private void Refuse(SyncPeer peer, string why, bool isLie)
    {
        lock (_gate)
        {
            Exclude(peer);
            foreach ((long height, Slot slot) in _slots)
            {
                if (slot.Sender == peer)
                {
                    Empty(slot, height);
                }
            }

            _lastFault = why;
        }

        if (isLie)
        {
            _markBad(peer.Peer, why);
        }

        Report(new BlockSyncFault(peer.Peer.Id, isLie, why));
        OnStatus();
    }

    private void Exclude(SyncPeer peer)
    {
        peer.IsExcluded = true;
        foreach (Slot slot in _slots.Values.Where(slot => slot.Asked == peer))
        {
            slot.Asked = null;
        }
    }

    private void Free(SyncPeer peer, long height)
    {
        if (_slots.TryGetValue(height, out Slot? slot) && slot.Asked == peer)
        {
            slot.Asked = null;
        }
    }

    private BlockSyncFault? Fail(SyncPeer peer, string why)
    {
        peer.Limit = Math.Max(1, peer.Limit / 2);
        if (++peer.Failures < _options.MaxFailures || peer.IsExcluded)
        {
            return null;
        }

        Exclude(peer);
        _lastFault = why;
        return new BlockSyncFault(peer.Peer.Id, IsLie: false, why);
    }

    // Gives up what took too long, asks for what there is room for, and sets the timer for when the next of this is due.
    private void Step()
    {
        List<(SyncPeer Peer, long Height)> asking = [];
        List<SyncPeer> statuses = [];
        List<BlockSyncFault> faults = [];
        lock (_gate)
        {
            if (IsOver)
            {
                return;
            }

            long now = _time.GetTimestamp();
            foreach ((long height, Slot slot) in _slots)
            {
                if (slot.Asked is { } peer && _time.GetElapsedTime(slot.AskedAt, now) >= _options.RequestTimeout)
                {
                    slot.Asked = null;
                    if (peer.Asked.Remove(height))
                    {
                        peer.Late.Add(height);
                    }

                    if (Fail(peer, $"It has not sent block {height} within {_options.RequestTimeout.TotalSeconds:0.###} s.") is { } fault)
                    {
                        faults.Add(fault);
                    }
                }
            }

            if (_time.GetElapsedTime(_statusAt, now) >= _options.StatusInterval)
            {
                _statusAt = now;
                statuses.AddRange(_peers.Where(static peer => !peer.IsExcluded));
            }

            Choose(asking, now);
            TimeSpan due = _options.StatusInterval - _time.GetElapsedTime(_statusAt, now);
            foreach (Slot slot in _slots.Values)
            {
                TimeSpan left = _options.RequestTimeout - _time.GetElapsedTime(slot.AskedAt, now);
                due = slot.Asked is not null && left < due ? left : due;
            }

            TimeSpan stall = _options.StallTimeout - _time.GetElapsedTime(_heardAt, now);
            due = stall > TimeSpan.Zero && stall < due ? stall : due;
            _timer.Change(due > TimeSpan.Zero ? due : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
            if (stall <= TimeSpan.Zero)
            {
                _changed.TrySetResult();
            }
        }

        foreach ((SyncPeer peer, long height) in asking)
        {
            if (peer.Peer.TrySend(StandardChannels.BlockSync, new Message { BlockRequest = new BlockRequest { Height = height } }) != SendResult.Queued)
            {
                lock (_gate)
                {
                    // The time that the peer has to answer runs; then another is asked.
                    peer.Asked.Remove(height);
                    peer.Limit = 1;
                }
            }
        }

        statuses.ForEach(AskStatus);
        faults.ForEach(Report);
        if (faults.Count > 0)
        {
            OnStatus();
        }
    }

    private void Choose(List<(SyncPeer Peer, long Height)> asking, long now)
    {
        // A block needs the one after it.
        long last = _request.To is { } to ? to + 1 : long.MaxValue;
        long expected = _buffered + (_slots.Values.LongCount(static slot => slot.Asked is not null) * _size);
        for (long height = _head; height <= last && height < _head + _options.Window; height++)
        {
            if (height > _head + 1 && expected + _size > _options.MaxBufferedBytes)
            {
                return;
            }

            if (_slots.TryGetValue(height, out Slot? slot) && (slot.Asked is not null || slot.Sender is not null))
            {
                continue;
            }

            SyncPeer? best = null;
            bool isAnybody = false;
            foreach (SyncPeer peer in _peers)
            {
                if (peer.IsExcluded || !peer.Range.Contains(height))
                {
                    continue;
                }

                isAnybody = true;
                if (peer.Asked.Count < peer.Limit && !peer.Asked.ContainsKey(height) && (best is null || Cost(peer) < Cost(best)))
                {
                    best = peer;
                }
            }

            if (best is null)
            {
                if (!isAnybody)
                {
                    return;
                }

                continue;
            }

            _slots[height] = slot ??= new Slot();
            (slot.Asked, slot.AskedAt) = (best, now);
            best.Asked[height] = now;
            expected += _size;
            asking.Add((best, height));
        }
    }

    private static TimeSpan Cost(SyncPeer peer) => peer.Latency * (peer.Asked.Count + 1);

    // Whether all that is wanted has been taken. Peers that have just been asked what they have may have more.
    private bool IsDone()
    {
        if (_request.To is { } to)
        {
            return _head > to;
        }

        long now = _time.GetTimestamp();
        return Highest > 0
            && _head >= Highest
            && _peers.All(peer => peer.IsExcluded || peer.StatusAskedAt is not { } at || _time.GetElapsedTime(at, now) >= _options.StatusInterval);
    }

    private void ThrowIfStalled()
    {
        lock (_gate)
        {
            if (_time.GetElapsedTime(_heardAt) >= _options.StallTimeout)
            {
                throw new BlockSyncException(
                    $"No peer has sent what comes after block {_head - 1} for {_options.StallTimeout.TotalSeconds:0.###} s: {_peers.Count} peers, of which {_peers.Count(static peer => !peer.IsExcluded)} are asked and have blocks up to {Highest}."
                    + (_lastFault is null ? "" : $" The last that was refused: {_lastFault}"));
            }
        }
    }

    private void Report(BlockSyncFault? fault)
    {
        if (fault is not null)
        {
            _request.Faulted?.Invoke(fault);
        }
    }

    private void Signal()
    {
        lock (_gate)
        {
            _changed.TrySetResult();
        }
    }

    private sealed class Slot
    {
        public SyncPeer? Asked { get; set; }

        public long AskedAt { get; set; }

        public SyncPeer? Sender { get; set; }

        public int Size { get; set; }

        public CheckedBlock? Block { get; set; }

        public Task<string?>? Signatures { get; set; }
    }
}
