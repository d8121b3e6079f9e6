using System.Runtime.ExceptionServices;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols.Types;
using Pipeline.Reactors;

namespace Pipeline.Protocols.BlockSync;

/// <summary>
/// One sync. Blocks are asked for ahead of the one that is to come next, of the peers that answer fastest, and those that are needed next of a second peer when the
/// first takes too long; each is checked, and its commit's signatures, on the pool's threads as they come; then they are verified in order by whoever takes them.
/// </summary>
internal sealed class SyncRun
{
    private static readonly TimeSpan RateTime = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan RateStep = TimeSpan.FromMilliseconds(100);

    // A second peer is asked for one of the next blocks when it would probably have answered so many times over; but not because of a moment in which this process
    // had other things to do.
    private const int SecondAhead = 16;
    private const int SecondPatience = 3;
    private static readonly TimeSpan MinSecondPatience = TimeSpan.FromMilliseconds(250);

    // How often a peer has to have been silent before it is asked for the same block again: before that it is on its way, and asked again it would come twice.
    private const int SilencesBeforeAgain = 2;

    // Of nodes that have failed or lied and left; and of answers that a peer owes to syncs that are over, after which it is asked for no more.
    private const int MaxRemembered = 10_000;
    private const int MaxOwedBefore = 1_000;

    // What objects take of memory beside their bytes: a transaction two and a place in a list, a signature five; a piece of evidence has two votes.
    private const int TransactionCost = 80;
    private const int SignatureCost = 256;
    private const int EvidenceCost = 1024;

    private readonly BlockSyncRequest _request;
    private readonly BlockSyncOptions _options;
    private readonly TimeProvider _time;
    private readonly ChannelDescriptor<Message> _channel;
    private readonly Action<SyncPeer, string> _ban;
    private readonly BlockSyncMetrics _metrics;
    private readonly BlockVerifier _verifier;
    private ITimer? _timer;

    // All below is guarded by _gate, which is the reactor's. Invariants: _slots are the heights from _head on that are asked for, checked or wait; _buffered is what
    // those that have come take of memory; _changed is completed when what the taker waits for may have come. Who is asked for a slot owes its height; a peer may owe
    // what it is asked for no more.
    private readonly Lock _gate;
    private readonly List<SyncPeer> _peers;
    private readonly Dictionary<long, Slot> _slots = [];
    private readonly Queue<(long At, long Verified)> _samples = [];
    private readonly Dictionary<NodeId, SyncStanding> _left = [];
    private readonly List<TimeSpan> _latencies = [];
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _head;
    private long _verified;
    private long _buffered;
    private long _size = 64 << 10;
    private long _heardAt;
    private long _sampledAt;
    private long _statusAt;
    private string? _lastFault;
    private ExceptionDispatchInfo? _failure;

    /// <exception cref="ArgumentException">What is asked for makes no sense.</exception>
    /// <exception cref="BlockStoreException">The block to go on after is damaged.</exception>
    public SyncRun(
        BlockSyncRequest request,
        BlockSyncOptions options,
        TimeProvider time,
        Lock gate,
        List<SyncPeer> peers,
        ChannelDescriptor<Message> channel,
        Action<SyncPeer, string> ban,
        BlockSyncMetrics metrics)
    {
        _request = request;
        _options = options;
        _time = time;
        _gate = gate;
        _peers = peers;
        _channel = channel;
        _ban = ban;
        _metrics = metrics;
        _verifier = new BlockVerifier(request.ChainId, request.Validators, request.Last);
        _head = request.Last is { } last ? last.Height + 1 : request.From >= 1 ? request.From : throw new ArgumentException($"A sync from block {request.From} is not possible; the first is 1.", nameof(request));
        _sampledAt = _heardAt = _statusAt = time.GetTimestamp();
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
                _peers.Count(static peer => !peer.Standing.IsExcluded && !peer.Range.IsEmpty),
                _slots.Values.Count(static slot => slot.First is not null),
                _buffered);
        }
    }

    // The last block that can be verified: it needs the one after it.
    private long Target => _request.To ?? Math.Max(0, Highest - 1);

    private long Highest => _peers.Where(static peer => !peer.Standing.IsExcluded).Select(static peer => peer.Range.Height).DefaultIfEmpty().Max();

    public void Start()
    {
        SyncPeer[] peers;
        lock (_gate)
        {
            _timer = _time.CreateTimer(_ => Step(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            _samples.Enqueue((_sampledAt, 0));
            foreach (SyncPeer peer in _peers)
            {
                (peer.Standing, peer.Silences) = (default, 0);
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
            _peers.ForEach(static peer => peer.EndSync());
        }

        _timer?.Dispose();
    }

    /// <summary>Ends the sync with an exception, if nothing has ended it before.</summary>
    public void Fail(Exception exception)
    {
        lock (_gate)
        {
            _failure ??= ExceptionDispatchInfo.Capture(exception);
            _changed.TrySetResult();
        }
    }

    /// <summary>A peer is connected, with the gate held: a node that has failed or lied is no other for having come again.</summary>
    public void Add(SyncPeer peer) => peer.Standing = _left.GetValueOrDefault(peer.Peer.Id);

    public void AskStatus(SyncPeer peer)
    {
        if (!peer.Peer.HasChannel(_channel.Id))
        {
            return;
        }

        // Noted before it is sent: the answer may be here before the sending returns, and would then seem to be awaited for ever.
        lock (_gate)
        {
            peer.StatusAskedAt ??= _time.GetTimestamp();
            peer.StatusesOwed++;
        }

        if (peer.Peer.TrySend(_channel, new Message { StatusRequest = new StatusRequest() }) != SendResult.Queued)
        {
            lock (_gate)
            {
                (peer.StatusAskedAt, peer.StatusesOwed) = (null, 0);
            }
        }
    }

    public void OnStatus()
    {
        Step();
        Signal();
    }

    public void Remove(SyncPeer peer, DisconnectReason reason)
    {
        BlockSyncFault? fault = null;
        lock (_gate)
        {
            Free(peer);
            if (peer.Owed.Count > 0 && reason.Kind is DisconnectKind.RemoteClosed or DisconnectKind.ConnectionLost or DisconnectKind.PongTimeout)
            {
                _metrics.Fault("left");
                fault = Fail(peer, $"It left again and again with none of the blocks sent that it was asked for; the last time it owed {peer.Owed.Count}.");
            }

            if (peer.Standing == default)
            {
                _left.Remove(peer.Peer.Id);
            }
            else if (_left.Count < MaxRemembered || _left.ContainsKey(peer.Peer.Id))
            {
                _left[peer.Peer.Id] = peer.Standing;
            }
        }

        Report(fault);
        OnStatus();
    }

    /// <summary>Nothing more is asked of a peer that has broken the rules, nor used that it has sent.</summary>
    public void Dismiss(SyncPeer peer)
    {
        lock (_gate)
        {
            Refuse(peer);
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
            if (range.Contains(height))
            {
                peer.Range = height - range.Base < range.Height - height ? range with { Base = height + 1 } : range with { Height = height - 1 };
            }

            _metrics.Fault("missing");
            fault = Fail(peer, $"It has no block {height}, although it said that it has those from {range.Base} to {range.Height}.");
        }

        Report(fault);
        OnStatus();
    }

    public void OnBlock(SyncPeer peer, long height, Block block, int size, TimeSpan? latency)
    {
        lock (_gate)
        {
            Free(peer, height);
            if (IsOver || peer.Standing.IsRefused)
            {
                return;
            }

            peer.Standing = peer.Standing with { Failures = 0 };
            if (latency is { } took)
            {
                peer.Latency = peer.Latency == TimeSpan.Zero ? took : (peer.Latency * 0.8) + (took * 0.2);
                peer.Limit = took < _options.RequestTimeout / 4 ? Math.Min(_options.MaxAskedOfPeer, peer.Limit + 1) : peer.Limit;
            }

            long cost = CostOf(block, size);
            _size = Math.Max(cost, _size - (_size / 16));
            if (!_slots.TryGetValue(height, out Slot? slot) || slot.Sender is not null)
            {
                return;
            }

            // What is not needed next has to fit; it is asked for again once there is room.
            if (height > _head + 1 && _buffered + cost > _options.MaxBufferedBytes)
            {
                return;
            }

            _heardAt = _time.GetTimestamp();
            (slot.Sender, slot.Cost, slot.First, slot.Second) = (peer, cost, null, null);
            _buffered += cost;
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

                _failure?.Throw();
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
                if (IsStalled())
                {
                    return null;
                }

                await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
                continue;
            }

            string? wrong = await signatures.WaitAsync(cancellationToken).ConfigureAwait(false);
            if (_verifier.TryVerify(lower.Block, upper.Block, () => wrong, out BlockFault? fault) is { } verified)
            {
                Advance(head!, verified);
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

    private void Advance(Slot head, VerifiedBlock block)
    {
        lock (_gate)
        {
            _slots.Remove(_head++);
            _buffered -= head.Cost;
            _verified++;
            _metrics.Verified(block);
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
        _buffered -= slot.Cost;
        (slot.Block, slot.Sender, slot.Cost, slot.Signatures) = (null, null, 0, null);
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
            Refuse(peer);
            _lastFault = why;
            _metrics.Fault(isLie ? "lie" : "mismatch");
        }

        if (isLie)
        {
            _ban(peer, why);
        }

        Report(new BlockSyncFault(peer.Peer.Id, isLie, why));
        OnStatus();
    }

    private void Refuse(SyncPeer peer)
    {
        peer.Standing = peer.Standing with { IsExcluded = true, IsRefused = true };
        Free(peer);
        foreach ((long height, Slot slot) in _slots)
        {
            if (slot.Sender == peer)
            {
                Empty(slot, height);
            }
        }
    }

    // Nothing is expected of the peer any more. What it owes may still come.
    private void Free(SyncPeer peer)
    {
        foreach (Slot slot in _slots.Values)
        {
            slot.Free(peer);
        }
    }

    private void Free(SyncPeer peer, long height) => _slots.GetValueOrDefault(height)?.Free(peer);

    private BlockSyncFault? Fail(SyncPeer peer, string why)
    {
        peer.Limit = Math.Max(1, peer.Limit / 2);
        peer.Standing = peer.Standing with { Failures = peer.Standing.Failures + 1 };
        if (peer.Standing.Failures < _options.MaxFailures || peer.Standing.IsExcluded)
        {
            return null;
        }

        peer.Standing = peer.Standing with { IsExcluded = true };
        Free(peer);
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
            if (IsOver || _timer is null)
            {
                return;
            }

            long now = _time.GetTimestamp();
            GiveUp(faults, now);
            if (_time.GetElapsedTime(_statusAt, now) >= _options.StatusInterval)
            {
                _statusAt = now;
                statuses.AddRange(_peers.Where(static peer => !peer.Standing.IsExcluded));
            }

            TimeSpan due = Choose(asking, now);
            Shorten(ref due, _options.StatusInterval - _time.GetElapsedTime(_statusAt, now));
            foreach (SyncPeer peer in _peers.Where(static peer => IsExpected(peer)))
            {
                Shorten(ref due, _options.RequestTimeout - _time.GetElapsedTime(peer.SilentSince, now));
            }

            TimeSpan stall = _options.StallTimeout - _time.GetElapsedTime(_heardAt, now);
            if (stall > TimeSpan.Zero)
            {
                Shorten(ref due, stall);
            }
            else
            {
                _changed.TrySetResult();
            }

            _timer.Change(due > TimeSpan.Zero ? due : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        }

        foreach ((SyncPeer peer, long height) in asking)
        {
            // A request that cannot even be queued is one that is not answered: the time that the peer has to answer runs.
            peer.Peer.TrySend(_channel, new Message { BlockRequest = new BlockRequest { Height = height } });
        }

        statuses.ForEach(AskStatus);
        faults.ForEach(Report);
        if (faults.Count > 0)
        {
            OnStatus();
        }

        static void Shorten(ref TimeSpan due, TimeSpan other) => due = other < due ? other : due;
    }

    private static bool IsExpected(SyncPeer peer) => peer.Owed.Count > 0 && !peer.Standing.IsExcluded;

    // A peer has time from one answer to the next, and not for each: what it is asked for comes over one line, one after the other.
    private void GiveUp(List<BlockSyncFault> faults, long now)
    {
        foreach (SyncPeer peer in _peers)
        {
            if (IsExpected(peer) && _time.GetElapsedTime(peer.SilentSince, now) >= _options.RequestTimeout)
            {
                (peer.SilentSince, peer.Silences) = (now, peer.Silences + 1);
                Free(peer);
                _metrics.Fault("late");
                if (Fail(peer, $"It has not sent block {peer.Owed.Keys.Min()} within {_options.RequestTimeout.TotalSeconds:0.###} s.") is { } fault)
                {
                    faults.Add(fault);
                }
            }
        }
    }

    // Returns in what time a second peer is to be asked for something.
    private TimeSpan Choose(List<(SyncPeer Peer, long Height)> asking, long now)
    {
        TimeSpan due = TimeSpan.MaxValue;
        TimeSpan typical = TypicalLatency();

        // A block needs the one after it.
        long last = _request.To is { } to and < long.MaxValue ? to + 1 : long.MaxValue;
        long expected = _buffered + (_slots.Values.LongCount(static slot => slot.First is not null) * _size);
        for (int ahead = 0; ahead < _options.Window && _head <= last - ahead; ahead++)
        {
            long height = _head + ahead;
            Slot? slot = _slots.GetValueOrDefault(height);
            if (slot?.Sender is not null || slot?.Second is not null || (slot?.First is not null && ahead >= SecondAhead))
            {
                continue;
            }

            if (slot?.First is null && ahead > 1 && expected + _size > _options.MaxBufferedBytes)
            {
                return due;
            }

            SyncPeer? best = null;
            TimeSpan bestCost = TimeSpan.MaxValue;
            bool isAnybody = false;
            foreach (SyncPeer peer in _peers)
            {
                if (peer.Standing.IsExcluded || !peer.Range.Contains(height))
                {
                    continue;
                }

                isAnybody = true;
                if (peer != slot?.First && CanAsk(peer, height) && Cost(peer, typical, now) is var cost && cost < bestCost)
                {
                    (best, bestCost) = (peer, cost);
                }
            }

            if (!isAnybody)
            {
                return due;
            }

            if (best is null)
            {
                continue;
            }

            if (slot?.First is { } first)
            {
                TimeSpan left = Patience(bestCost) - _time.GetElapsedTime(slot.FirstAt, now);
                if (left > TimeSpan.Zero)
                {
                    due = left < due ? left : due;
                    continue;
                }

                first.Limit = Math.Max(1, first.Limit / 2);
                (slot.Second, slot.SecondAt) = (best, now);
            }
            else
            {
                _slots[height] = slot ??= new Slot();
                (slot.First, slot.FirstAt) = (best, now);
                expected += _size;
            }

            best.Ask(height, now);
            asking.Add((best, height));
        }

        return due;
    }

    private static bool CanAsk(SyncPeer peer, long height) => peer.Owed.ContainsKey(height)
        ? peer.Silences >= SilencesBeforeAgain
        : peer.Owed.Count < peer.Limit && peer.OwedBefore.Count < MaxOwedBefore;

    // How long it takes, as far as that is known, until the peer has sent what it owes and one block more. One that is silent takes at least as long as it has been.
    private TimeSpan Cost(SyncPeer peer, TimeSpan typical, long now)
    {
        TimeSpan latency = peer.Latency == TimeSpan.Zero ? typical : peer.Latency;
        TimeSpan silence = peer.Owed.Count == 0 ? TimeSpan.Zero : _time.GetElapsedTime(peer.SilentSince, now);
        return (silence > latency ? silence : latency) * (peer.Owed.Count + 1);
    }

    private TimeSpan Patience(TimeSpan cost)
    {
        TimeSpan least = MinSecondPatience < _options.RequestTimeout / 2 ? MinSecondPatience : _options.RequestTimeout / 2;
        TimeSpan patience = cost * SecondPatience;
        return patience < least ? least : patience > _options.RequestTimeout ? _options.RequestTimeout : patience;
    }

    // Of those that have answered, the one in the middle. One that has not yet is taken to be like it.
    private TimeSpan TypicalLatency()
    {
        _latencies.Clear();
        foreach (SyncPeer peer in _peers)
        {
            if (peer.Latency > TimeSpan.Zero && !peer.Standing.IsExcluded)
            {
                _latencies.Add(peer.Latency);
            }
        }

        _latencies.Sort();
        return _latencies.Count == 0 ? _options.RequestTimeout / 16 : _latencies[(_latencies.Count - 1) / 2];
    }

    // The bytes of a block that waits are there as they came, in its parts, and as they are hashed.
    private static long CostOf(Block block, int size) => (2L * size)
        + ((long)TransactionCost * (block.Data?.Txs.Count ?? 0))
        + ((long)SignatureCost * (block.LastCommit?.Signatures.Count ?? 0))
        + ((long)EvidenceCost * (block.Evidence?.Evidence.Count ?? 0));

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
            && _peers.All(peer => peer.Standing.IsExcluded || peer.StatusAskedAt is not { } at || _time.GetElapsedTime(at, now) >= _options.StatusInterval);
    }

    // Whether what peers have has come to its end, although some say that they have more: they have not sent it for all the time.
    private bool IsStalled()
    {
        lock (_gate)
        {
            if (_time.GetElapsedTime(_heardAt) < _options.StallTimeout)
            {
                return false;
            }

            return _request.To is null && _peers.Any(peer => !peer.Standing.IsExcluded && peer.Owed.Count == 0 && peer.Range.Height > 0 && peer.Range.Height <= _head && peer.Range.Height >= _head - 1)
                ? true
                : throw new BlockSyncException(
                    $"No peer has sent what comes after block {_head - 1} for {_options.StallTimeout.TotalSeconds:0.###} s: {_peers.Count} peers, of which {_peers.Count(static peer => !peer.Standing.IsExcluded)} are asked and have blocks up to {Highest}."
                    + (_lastFault is null ? "" : $" The last that was refused: {_lastFault}"));
        }
    }

    // Called from timers and for peers that have done nothing: what the user's code throws is the sync's, and nobody else's.
    private void Report(BlockSyncFault? fault)
    {
        try
        {
            if (fault is not null)
            {
                _request.Faulted?.Invoke(fault);
            }
        }
        catch (Exception e)
        {
            Fail(e);
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
        public SyncPeer? First { get; set; }

        public long FirstAt { get; set; }

        /// <summary>Asked because the first took long; there is none without a first.</summary>
        public SyncPeer? Second { get; set; }

        public long SecondAt { get; set; }

        public SyncPeer? Sender { get; set; }

        public long Cost { get; set; }

        public CheckedBlock? Block { get; set; }

        public Task<string?>? Signatures { get; set; }

        public void Free(SyncPeer peer)
        {
            if (First == peer)
            {
                (First, FirstAt, Second) = (Second, SecondAt, null);
            }
            else if (Second == peer)
            {
                Second = null;
            }
        }
    }
}
