using System.Runtime.CompilerServices;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;

namespace Pipeline.Protocols.StateSync;

/// <summary>One download: which chunks are asked for, of whom, and which have come and wait to be handed out.</summary>
internal sealed class ChunkDownload(Snapshot snapshot, Func<SnapshotChunk, ChunkVerdict> check, StateSyncOptions options, Func<ChunkDownload, IReadOnlyList<ChunkPeer>> peersOf)
{
    private const int MostFailuresInRow = 2;

    // Guarded by _gate. Invariant: a chunk from _next on, below _next + Window, is in at most one of _come and _asked; none other is in either.
    private readonly Lock _gate = new();
    private readonly Dictionary<uint, SnapshotChunk> _come = [];
    private readonly Dictionary<uint, (ChunkPeer Peer, long Since)> _asked = [];
    private readonly Dictionary<uint, (int Tries, HashSet<NodeId> Failed)> _tries = [];
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private uint _next;

    public Snapshot Snapshot => snapshot;

    public async IAsyncEnumerable<SnapshotChunk> RunAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        while (_next < snapshot.Chunks)
        {
            Task changed;
            lock (_gate)
            {
                changed = _changed.Task;
            }

            Ask();
            if (Take() is { } chunk)
            {
                Ask();
                yield return chunk;
                continue;
            }

            await WaitAsync(changed, cancellationToken).ConfigureAwait(false);
            Expire();
        }
    }

    /// <summary>A peer sent a chunk, or that it has none. Does nothing when it was not asked, or too long ago.</summary>
    public void Receive(ChunkPeer peer, uint index, ReadOnlyMemory<byte>? data)
    {
        lock (_gate)
        {
            if (!_asked.TryGetValue(index, out (ChunkPeer Peer, long Since) asked) || asked.Peer != peer)
            {
                return;
            }
        }

        // The user's code is not called with the gate held; one peer's messages come one after the other, so nobody else answers for it.
        SnapshotChunk? chunk = data is { } bytes ? new SnapshotChunk(index, bytes, peer.Peer.Id) : null;
        ChunkVerdict verdict = chunk is null ? ChunkVerdict.Refetch : check(chunk);
        lock (_gate)
        {
            if (!_asked.TryGetValue(index, out (ChunkPeer Peer, long Since) asked) || asked.Peer != peer)
            {
                return;
            }

            _asked.Remove(index);
            peer.AddInFlight(-1);
            if (verdict == ChunkVerdict.Accept)
            {
                _come.Add(index, chunk!);
                peer.Accepted();
            }
            else
            {
                Fail(index, peer);
            }
        }

        if (verdict == ChunkVerdict.RejectSender)
        {
            peer.Peer.Stop(new DisconnectReason(DisconnectKind.ProtocolViolation, $"Chunk {index} of the snapshot of height {snapshot.Height} was rejected."));
        }

        Ask();
        Wake();
    }

    /// <summary>A peer came that has the snapshot, or one has left.</summary>
    public void Change(ChunkPeer? left)
    {
        if (left is not null)
        {
            lock (_gate)
            {
                foreach (uint index in _asked.Where(asked => asked.Value.Peer == left).Select(asked => asked.Key).ToArray())
                {
                    _asked.Remove(index);
                    Fail(index, left);
                }
            }
        }

        Ask();
        Wake();
    }

    /// <summary>The download is over: nobody counts as asked by it any more.</summary>
    public void End()
    {
        lock (_gate)
        {
            foreach ((ChunkPeer peer, _) in _asked.Values)
            {
                peer.AddInFlight(-1);
            }

            _asked.Clear();
            _next = snapshot.Chunks;
        }
    }

    private SnapshotChunk? Take()
    {
        lock (_gate)
        {
            if (_come.Remove(_next, out SnapshotChunk? chunk))
            {
                _tries.Remove(_next);
                _next++;
            }

            return chunk;
        }
    }

    private void Ask()
    {
        List<(ChunkPeer Peer, uint Index)> requests = [];
        IReadOnlyList<ChunkPeer> peers = peersOf(this);

        // One that fails again and again is asked when there is nobody else.
        IReadOnlyList<ChunkPeer> good = [.. peers.Where(peer => peer.FailuresInRow < MostFailuresInRow)];
        peers = good.Count > 0 ? good : peers;
        lock (_gate)
        {
            for (uint index = _next; index < snapshot.Chunks && index - _next < options.Window; index++)
            {
                if (_come.ContainsKey(index) || _asked.ContainsKey(index) || TriesOf(index) >= options.TriesPerChunk)
                {
                    continue;
                }

                HashSet<NodeId>? failed = _tries.TryGetValue(index, out (int, HashSet<NodeId> Failed) tries) ? tries.Failed : null;

                // Who has failed with this chunk is asked again only when there is nobody else at all.
                ChunkPeer[] others = [.. peers.Where(peer => failed?.Contains(peer.Peer.Id) != true)];
                ChunkPeer? free = (others.Length > 0 ? others : peers).Where(peer => peer.InFlight < options.ChunksPerPeer)
                    .MinBy(peer => (peer.Failures, peer.InFlight));
                if (free is not null)
                {
                    free.AddInFlight(1);
                    _asked.Add(index, (free, options.TimeProvider.GetTimestamp()));
                    requests.Add((free, index));
                }
            }
        }

        foreach ((ChunkPeer peer, uint index) in requests)
        {
            peer.Expect();
            Message request = new() { ChunkRequest = new ChunkRequest { Height = snapshot.Height, Format = snapshot.Format, Index = index } };

            // One that cannot be sent is one that is not answered in time.
            _ = peer.Peer.TrySend(StandardChannels.StateSyncChunks, request);
        }
    }

    private int TriesOf(uint index) => _tries.TryGetValue(index, out (int Tries, HashSet<NodeId>) tries) ? tries.Tries : 0;

    // Called with the gate held.
    private void Fail(uint index, ChunkPeer peer)
    {
        peer.Failed();
        (int tries, HashSet<NodeId> failed) = _tries.TryGetValue(index, out (int, HashSet<NodeId>) known) ? known : (0, []);
        failed.Add(peer.Peer.Id);
        _tries[index] = (tries + 1, failed);
    }

    private async Task WaitAsync(Task changed, CancellationToken cancellationToken)
    {
        bool isNobodyThere = peersOf(this).Count == 0;
        TimeSpan? first;
        lock (_gate)
        {
            if (TriesOf(_next) >= options.TriesPerChunk)
            {
                throw new StateSyncException($"Chunk {_next} of the snapshot of height {snapshot.Height} could not be had in {options.TriesPerChunk} tries.");
            }

            if (isNobodyThere && _asked.Count == 0 && !_come.ContainsKey(_next))
            {
                throw new StateSyncException($"No connected peer offers the snapshot of height {snapshot.Height} and format {snapshot.Format} any more; chunk {_next} is missing.");
            }

            first = _asked.Count == 0 ? null : _asked.Values.Min(asked => options.ChunkTimeout - options.TimeProvider.GetElapsedTime(asked.Since));
        }

        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task expiry = Task.Delay(first is { } time ? time > TimeSpan.Zero ? time : TimeSpan.Zero : Timeout.InfiniteTimeSpan, options.TimeProvider, stop.Token);
        await Task.WhenAny(changed, expiry).ConfigureAwait(false);
        await stop.CancelAsync().ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
    }

    private void Wake()
    {
        lock (_gate)
        {
            _changed.SetResult();
            _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    private void Expire()
    {
        lock (_gate)
        {
            foreach ((uint index, (ChunkPeer peer, long since)) in _asked.ToArray())
            {
                if (options.TimeProvider.GetElapsedTime(since) >= options.ChunkTimeout)
                {
                    _asked.Remove(index);
                    peer.AddInFlight(-1);
                    Fail(index, peer);
                }
            }
        }
    }
}

/// <summary>A connected peer as one that snapshots and chunks come from.</summary>
internal sealed class ChunkPeer(IPeer peer)
{
    private int _inFlight;
    private int _failures;
    private int _failuresInRow;
    private int _chunks;
    private int _expected;

    public IPeer Peer => peer;

    /// <summary>What it offers. Guarded by the reactor.</summary>
    public HashSet<Snapshot> Offers { get; } = [];

    /// <summary>When it was told which snapshots there are here. Of its own messages, which come one after the other.</summary>
    public long? AnsweredAt { get; set; }

    public int InFlight => Volatile.Read(ref _inFlight);

    public int Failures => Volatile.Read(ref _failures);

    public int FailuresInRow => Volatile.Read(ref _failuresInRow);

    public int Chunks => Volatile.Read(ref _chunks);

    public void AddInFlight(int change) => Interlocked.Add(ref _inFlight, change);

    public void Failed()
    {
        Interlocked.Increment(ref _failures);
        Interlocked.Increment(ref _failuresInRow);
    }

    public void Accepted()
    {
        Interlocked.Increment(ref _chunks);
        Volatile.Write(ref _failuresInRow, 0);
    }

    /// <summary>It is asked for a chunk, and may answer once, however late.</summary>
    public void Expect() => Interlocked.Increment(ref _expected);

    /// <returns>False when it answers more than it was asked.</returns>
    public bool TryAnswer() => Interlocked.Decrement(ref _expected) >= 0;
}
