using System.Numerics;
using System.Runtime.ExceptionServices;
using Pipeline.Cryptography;
using Pipeline.Reactors;

namespace Pipeline.Protocols.StateSync;

/// <summary>
/// A download of one snapshot: its chunks, in order, from all peers that offer it. It begins when it is enumerated, which it is once, and ends with that.
/// </summary>
/// <remarks>See <see cref="StateSyncReactor.DownloadAsync"/>, which makes it.</remarks>
public sealed class SnapshotDownload : IAsyncEnumerable<SnapshotChunk>
{
    // A peer is asked only when there is nobody else from this on. A failure counts 1, and all that was counted by a tenth less with each chunk that is accepted: so one
    // that fails with one chunk of eight is asked on, and one that fails with every other soon is not.
    private const double Avoided = 2;
    private const double Forgiven = 0.9;

    private const int MaxRecords = 1_000;

    private static readonly TimeSpan LeastPatience = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestWait = TimeSpan.FromDays(1);

    private readonly StateSyncState _state;
    private readonly StateSyncOptions _options;
    private readonly SnapshotKey _key;
    private readonly Func<SnapshotChunk, ChunkVerdict> _check;
    private readonly CancellationToken _cancellationToken;

    // Guarded by the state's gate. Invariant: what is wanted are the chunks of _again, and those from _next on, fewer than Window; each of them is in _come, or
    // asked for, or to be asked for, and no other is in _come. _senders has those of the chunks that were handed out or have come.
    private readonly Dictionary<uint, SnapshotChunk> _come = [];
    private readonly SortedSet<uint> _again = [];
    private readonly Dictionary<uint, NodeId> _senders = [];
    private readonly Dictionary<uint, (int Tries, int Doubts)> _tries = [];
    private readonly Dictionary<NodeId, Record> _records = [];
    private uint _next;
    private long? _nobodySince;
    private bool _isBegun;
    private bool _isEnded;
    private ExceptionDispatchInfo? _failure;
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal SnapshotDownload(StateSyncState state, Snapshot snapshot, SnapshotKey key, Func<SnapshotChunk, ChunkVerdict> check, uint from, CancellationToken cancellationToken)
    {
        _state = state;
        _options = state.Options;
        Snapshot = snapshot;
        _key = key;
        _check = check;
        _next = from;
        _cancellationToken = cancellationToken;
    }

    /// <summary>The snapshot.</summary>
    public Snapshot Snapshot { get; }

    /// <summary>Of how many nodes it remembers what they did.</summary>
    internal int Remembered
    {
        get
        {
            lock (_state.Gate)
            {
                return _records.Count;
            }
        }
    }

    private uint? Head => _again.Count > 0 ? _again.Min : _next < Snapshot.Chunks ? _next : null;

    /// <summary>
    /// Says of a chunk that was handed out already, or is before the first that was wanted, that it has to be fetched again: from another than who sent it, if there is
    /// one. It is handed out next, before those that were not yet.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">The chunk has not been handed out.</exception>
    /// <exception cref="InvalidOperationException">The download is over: its enumeration has come to its end.</exception>
    public void Refetch(uint index)
    {
        lock (_state.Gate)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, _next);
            if (_isEnded)
            {
                throw new InvalidOperationException("The download is over.");
            }

            if (_again.Add(index))
            {
                _state.Metrics.Chunk("refetched");
                if (_senders.Remove(index, out NodeId sender))
                {
                    Blame(sender, index);
                }

                Wake();
            }
        }
    }

    /// <summary>The chunks. What this throws is said at <see cref="StateSyncReactor.DownloadAsync"/>.</summary>
    public async IAsyncEnumerator<SnapshotChunk> GetAsyncEnumerator(CancellationToken cancellationToken = default)
    {
        using CancellationTokenSource ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _cancellationToken);
        Begin();
        Task planning = PlanAsync(ending.Token);
        try
        {
            while (Take(out SnapshotChunk? chunk, out Task changed))
            {
                if (chunk is not null)
                {
                    yield return chunk;
                }
                else
                {
                    await changed.WaitAsync(ending.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                }

                cancellationToken.ThrowIfCancellationRequested();
                _cancellationToken.ThrowIfCancellationRequested();
            }
        }
        finally
        {
            await ending.CancelAsync().ConfigureAwait(false);
            await planning.ConfigureAwait(false);
            End();
        }
    }

    /// <summary>A peer came that has the snapshot, or one has room for more; called with the gate held.</summary>
    internal void Wake()
    {
        _changed.SetResult();
        _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    /// <summary>A peer has left; called with the gate held.</summary>
    internal void Leave(ChunkPeer peer)
    {
        foreach (AskedChunk asked in peer.Asked.Where(asked => !asked.IsChecked))
        {
            Fail(peer, asked);
        }

        Wake();
    }

    /// <summary>What came from a peer is not to be handed out; called with the gate held.</summary>
    internal void Forget(NodeId sender)
    {
        foreach (uint index in _come.Values.Where(chunk => chunk.From == sender).Select(chunk => chunk.Index).ToArray())
        {
            _come.Remove(index);
            _senders.Remove(index);
        }

        Wake();
    }

    /// <summary>A peer has answered: with a chunk, or null for one that it lacks.</summary>
    /// <returns>Whether the peer is to be rejected.</returns>
    internal bool Receive(ChunkPeer peer, AskedChunk asked, ReadOnlyMemory<byte>? data)
    {
        uint index = asked.Key.Index;
        long now = _options.TimeProvider.GetTimestamp();
        lock (_state.Gate)
        {
            peer.Progress(now);
            asked.IsChecked = data is not null && IsMissing(asked.Key);
            if (!asked.IsChecked)
            {
                peer.Asked.Remove(asked);
                if (IsMissing(asked.Key))
                {
                    Fail(peer, asked, "missing");
                }
                else
                {
                    _state.Metrics.Chunk("unused");
                }

                Wake();
                return false;
            }
        }

        // The user's code is not called with the gate held; the peer's next message waits for it.
        SnapshotChunk chunk = new(index, data!.Value, peer.Id);
        ChunkVerdict verdict;
        try
        {
            verdict = _check(chunk);
        }
        catch (Exception e)
        {
            // No peer's fault.
            lock (_state.Gate)
            {
                peer.Asked.Remove(asked);
                Fail(e);
            }

            return false;
        }

        if (verdict == ChunkVerdict.Accept)
        {
            peer.Peer.MarkUseful();
        }

        lock (_state.Gate)
        {
            peer.Asked.Remove(asked);
            peer.Progress(_options.TimeProvider.GetTimestamp());
            if (verdict != ChunkVerdict.Accept)
            {
                Fail(peer, asked, verdict == ChunkVerdict.RejectSender ? "rejected" : "refetched");
            }
            else if (IsMissing(asked.Key) && !_state.Pool.IsRejected(peer.Id))
            {
                Accept(peer, asked, chunk, now);
            }
            else
            {
                _state.Metrics.Chunk("unused");
            }

            Wake();
            return verdict == ChunkVerdict.RejectSender;
        }
    }

    private void Begin()
    {
        lock (_state.Gate)
        {
            if (_isBegun)
            {
                throw new InvalidOperationException("A download can be enumerated once.");
            }

            _state.ThrowIfDownloading();
            _state.Download = this;
            _isBegun = true;
        }
    }

    // What peers still owe stays with them: they go on sending it.
    private void End()
    {
        lock (_state.Gate)
        {
            _state.Download = null;
            _isEnded = true;
            _come.Clear();
            foreach (ChunkPeer peer in _state.Peers)
            {
                peer.Asked.RemoveAll(asked => asked.IsLate);
            }
        }
    }

    // False at the end; no chunk when it has not come.
    private bool Take(out SnapshotChunk? chunk, out Task changed)
    {
        lock (_state.Gate)
        {
            chunk = null;
            changed = _changed.Task;
            _failure?.Throw();
            if (Head is not { } head)
            {
                return false;
            }

            if (_come.Remove(head, out chunk))
            {
                _next += _again.Remove(head) ? 0u : 1u;
                _tries.Remove(head);
                foreach (Record record in _records.Values)
                {
                    record.Failed.Remove(head);
                }

                foreach (ChunkPeer peer in _state.Peers)
                {
                    peer.Asked.RemoveAll(asked => asked.IsLate && asked.Key == KeyOf(head));
                }

                Wake();
            }

            return true;
        }
    }

    // The only one who asks.
    private async Task PlanAsync(CancellationToken cancellationToken)
    {
        try
        {
            while (!cancellationToken.IsCancellationRequested)
            {
                List<(ChunkPeer Peer, uint Index)> requests = [];
                ChunkPeer[] overdue;
                Task changed;
                long now = _options.TimeProvider.GetTimestamp();
                lock (_state.Gate)
                {
                    changed = _changed.Task;
                    overdue = [.. _state.Peers.Where(peer => peer.TimeLeft(_options, now) <= TimeSpan.Zero)];
                }

                foreach (ChunkPeer peer in overdue)
                {
                    peer.Measure();
                }

                TimeSpan wait;
                lock (_state.Gate)
                {
                    Expire(overdue, now);
                    wait = Plan(requests, now);
                }

                foreach ((ChunkPeer peer, uint index) in requests)
                {
                    // One that cannot be sent is one that is not answered in time.
                    Message request = new() { ChunkRequest = new ChunkRequest { Height = Snapshot.Height, Format = Snapshot.Format, Index = index } };
                    _ = peer.Peer.TrySend(StandardChannels.StateSyncChunks, request);
                }

                // Since it was thought of, some of it has passed.
                wait -= _options.TimeProvider.GetElapsedTime(now);
                await changed.WaitAsync(wait > TimeSpan.Zero ? wait : TimeSpan.Zero, _options.TimeProvider, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
        catch (Exception e)
        {
            lock (_state.Gate)
            {
                Fail(e);
            }
        }
    }

    // Called with the gate held, as all that follow. A peer owes what it was asked for by earlier downloads, too.
    private void Expire(IEnumerable<ChunkPeer> overdue, long now)
    {
        foreach (ChunkPeer peer in overdue.Where(peer => peer.TimeLeft(_options, now) <= TimeSpan.Zero && !peer.TryProgress(now)))
        {
            foreach (AskedChunk asked in peer.Asked.Where(asked => !asked.IsLate))
            {
                Fail(peer, asked, "timed_out");
                asked.IsLate = true;
            }

            peer.Asked.RemoveAll(asked => asked.IsLate && !IsMissing(asked.Key));
        }
    }

    // What is to be asked for now, and how long until that has to be thought of again if nothing happens.
    private TimeSpan Plan(List<(ChunkPeer Peer, uint Index)> requests, long now)
    {
        if (Head is not { } head)
        {
            return LongestWait;
        }

        if (_state.Pool.IsRejected(_key, Snapshot.Format))
        {
            throw new StateSyncException($"The snapshot of height {Snapshot.Height} and format {Snapshot.Format} was rejected.");
        }

        ChunkPeer[] peers = [.. _state.Pool.PeersOf(_key).Where(peer => !peer.Peer.Stopped.IsCancellationRequested && peer.Peer.HasChannel(StandardChannels.StateSyncChunks.Id))];
        HashSet<uint> inFlight = [.. _state.Peers.SelectMany(peer => peer.Asked).Where(asked => !asked.IsLate && IsMissing(asked.Key)).Select(asked => asked.Key.Index)];
        TimeSpan wait = WaitForOffers(isNobodyThere: peers.Length == 0 && inFlight.Count == 0 && !_come.ContainsKey(head), head, now);
        int held = _come.Count + inFlight.Count;
        foreach (uint index in Wanted().Where(index => !_come.ContainsKey(index) && !inFlight.Contains(index)))
        {
            if (held >= _options.Window && index != head)
            {
                break;
            }

            int tries = TriesOf(index).Tries;
            if (tries >= _options.TriesPerChunk && peers.Length > 0 && peers.All(peer => FailuresOf(peer, index) > 0))
            {
                if (index == head)
                {
                    throw new StateSyncException($"Chunk {index} of the snapshot of height {Snapshot.Height} could not be had in {tries} tries: every peer that offers it has failed with it.");
                }
            }
            else if (Choose(peers, index) is { } peer)
            {
                Ask(peer, index);
                _tries[index] = (tries, 0);
                held++;
            }
        }

        if (_state.Peers.Exists(peer => peer.IsAskedFor(KeyOf(head))))
        {
            wait = Min(wait, Doubt(head));
        }

        foreach (ChunkPeer peer in _state.Peers)
        {
            wait = Min(wait, peer.TimeLeft(_options, now) ?? LongestWait);
        }

        return wait;

        void Ask(ChunkPeer peer, uint index)
        {
            peer.Ask(KeyOf(index), now);
            requests.Add((peer, index));
        }

        // Everybody waits for the head. When it takes much longer than chunks do, somebody else is asked as well; each time is twice as far away as the one before, so that
        // a line that is only slow does not carry it many times. Who has failed with it has his turn later.
        TimeSpan Doubt(uint index)
        {
            AskedChunk[] asked = [.. _state.Peers.SelectMany(peer => peer.Asked).Where(asked => !asked.IsLate && asked.Key == KeyOf(index))];
            TimeSpan patience = Patience(peers);
            TimeSpan elapsed = _options.TimeProvider.GetElapsedTime(asked.Min(request => request.At), now);
            int round = elapsed < patience ? -1 : BitOperations.Log2((ulong)(elapsed / patience));
            (int tries, int doubts) = TriesOf(index);
            if (doubts <= round && !asked.Any(request => request.IsChecked) && ChooseOther(peers, index, round) is { } other)
            {
                Ask(other, index);
                _tries[index] = (tries, doubts + 1);
            }

            return (patience * (1L << (round + 1))) - elapsed;
        }
    }

    private TimeSpan WaitForOffers(bool isNobodyThere, uint head, long now)
    {
        _nobodySince = isNobodyThere ? _nobodySince ?? now : null;
        TimeSpan left = _nobodySince is { } since ? _options.OfferTimeout - _options.TimeProvider.GetElapsedTime(since, now) : LongestWait;
        return left > TimeSpan.Zero
            ? Min(left, LongestWait)
            : throw new StateSyncException($"No connected peer offers the snapshot of height {Snapshot.Height} and format {Snapshot.Format} any more; chunk {head} is missing.");
    }

    // Who has failed least with the chunk, even if that one is busy; of them the good ones, if there are any; of them who has room.
    private ChunkPeer? Choose(ChunkPeer[] peers, uint index)
    {
        if (peers.Length == 0)
        {
            return null;
        }

        int least = peers.Min(peer => FailuresOf(peer, index));
        ChunkPeer[] able = [.. peers.Where(peer => FailuresOf(peer, index) == least)];
        ChunkPeer[] good = [.. able.Where(peer => PenaltyOf(peer) < Avoided)];
        return BestOf(good.Length > 0 ? good : able);
    }

    private ChunkPeer? ChooseOther(ChunkPeer[] peers, uint index, int mostFailures) =>
        BestOf(peers.Where(peer => !peer.IsAskedFor(KeyOf(index)) && FailuresOf(peer, index) <= mostFailures));

    private ChunkPeer? BestOf(IEnumerable<ChunkPeer> peers) =>
        peers.Where(peer => peer.InFlight < _options.ChunksPerPeer).MinBy(peer => (PenaltyOf(peer), peer.InFlight));

    // Thrice what the quickest peer takes for a chunk. So no peer can make it longer than an honest one does, and one that makes it shorter delivers.
    private TimeSpan Patience(IEnumerable<ChunkPeer> peers)
    {
        double? quickest = peers.Min(peer => _records.GetValueOrDefault(peer.Id)?.Seconds);
        TimeSpan patience = quickest is { } seconds ? TimeSpan.FromSeconds(3 * seconds) : _options.ChunkTimeout / 3;
        return patience > LeastPatience ? patience : LeastPatience;
    }

    private void Accept(ChunkPeer peer, AskedChunk asked, SnapshotChunk chunk, long now)
    {
        _come.Add(chunk.Index, chunk);
        _senders[chunk.Index] = peer.Id;
        _state.Metrics.Accepted(chunk.Data.Length);
        peer.Chunks++;
        Record record = RecordOf(peer.Id);
        record.Penalty *= Forgiven;
        double seconds = _options.TimeProvider.GetElapsedTime(asked.At, now).TotalSeconds;
        record.Seconds = ((record.Seconds ?? seconds) + seconds) / 2;

        // Who was asked before and has not answered is slow.
        foreach (ChunkPeer other in _state.Peers)
        {
            if (other.Asked.Find(request => request.Key == asked.Key && request.At < asked.At && !request.IsChecked) is { } outrun)
            {
                Fail(other, outrun, "outrun");
            }
        }
    }

    // A peer has left, or its chunk is not to be waited for.
    private void Fail(ChunkPeer peer, AskedChunk asked, string outcome = "left")
    {
        if (!asked.IsFailed && asked.Key == KeyOf(asked.Key.Index))
        {
            asked.IsFailed = true;
            _state.Metrics.Chunk(outcome);
            (int tries, int doubts) = TriesOf(asked.Key.Index);
            if (IsMissing(asked.Key))
            {
                _tries[asked.Key.Index] = (tries + 1, doubts);
            }

            Blame(peer.Id, asked.Key.Index);
        }
    }

    private void Fail(Exception exception)
    {
        _failure ??= ExceptionDispatchInfo.Capture(exception);
        Wake();
    }

    private void Blame(NodeId id, uint index)
    {
        Record record = RecordOf(id);
        record.Penalty++;
        record.Failed[index] = record.Failed.GetValueOrDefault(index) + 1;
        if (_state.Peers.Find(peer => peer.Id == id) is { } peer)
        {
            peer.Failures++;
        }
    }

    // By the node and not the connection, so that one does not get rid of it by coming again.
    private Record RecordOf(NodeId id)
    {
        if (!_records.TryGetValue(id, out Record? record))
        {
            if (_records.Count >= MaxRecords)
            {
                foreach (NodeId gone in _records.Keys.Where(known => _state.Peers.TrueForAll(peer => peer.Id != known)).ToArray())
                {
                    _records.Remove(gone);
                }
            }

            _records.Add(id, record = new Record());
        }

        return record;
    }

    private double PenaltyOf(ChunkPeer peer) => _records.GetValueOrDefault(peer.Id)?.Penalty ?? 0;

    private int FailuresOf(ChunkPeer peer, uint index) => _records.GetValueOrDefault(peer.Id)?.Failed.GetValueOrDefault(index) ?? 0;

    private (int Tries, int Doubts) TriesOf(uint index) => _tries.GetValueOrDefault(index);

    private ChunkKey KeyOf(uint index) => new(Snapshot.Height, Snapshot.Format, index);

    private bool IsMissing(ChunkKey key) =>
        key == KeyOf(key.Index)
        && !_come.ContainsKey(key.Index)
        && (_again.Contains(key.Index) || (key.Index >= _next && key.Index < Snapshot.Chunks && key.Index - _next < _options.Window));

    private IEnumerable<uint> Wanted()
    {
        foreach (uint index in _again)
        {
            yield return index;
        }

        for (uint index = _next; index < Snapshot.Chunks && index - _next < _options.Window; index++)
        {
            yield return index;
        }
    }

    private static TimeSpan Min(TimeSpan one, TimeSpan other) => one < other ? one : other;

    /// <summary>What is known of a node in this download.</summary>
    private sealed class Record
    {
        /// <summary>How often it failed, what is long ago counting less.</summary>
        public double Penalty { get; set; }

        /// <summary>How long it took for a chunk lately; null when none was accepted.</summary>
        public double? Seconds { get; set; }

        /// <summary>How often it failed with a chunk that is wanted.</summary>
        public Dictionary<uint, int> Failed { get; } = [];
    }
}
