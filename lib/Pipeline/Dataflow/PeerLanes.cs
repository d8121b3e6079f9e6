using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Pipeline.Dataflow;

/// <summary>
/// The lanes of one peer in one reactor's inbox, served by bytes: the lane that has been served least goes first. When the inbox has
/// a handler, this is also the work item that runs it, for one message of the peer at a time.
/// </summary>
internal sealed class PeerLanes : IThreadPoolWorkItem
{
    /// <summary>How many bytes of messages a turn takes out of the lanes at once, unless the first alone is larger.</summary>
    public const int MaxBatchBytes = 64 * 1024;

    // Others get their turn after this many messages, or when the turn has lasted longer than this. The handler's messages are taken out of the lanes in
    // batches, because a lock and a look at the clock cost as much as a small message. As what has been taken goes before what is more urgent, a batch
    // grows only while the handler is fast.
    private const int MaxMessagesPerTurn = 256;
    private const int MaxBatch = 16;
    private static readonly TimeSpan MaxTurn = TimeSpan.FromMicroseconds(100);

    private readonly ReactorInbox _inbox;
    private readonly Lane[] _lanes;
    private readonly CancellationToken _cancellationToken;

    // Guarded by _gate, with what the lanes say is guarded by it.
    // Invariant: _isReady from when the inbox is told that there are messages until a take finds none; at most one turn exists at a time.
    // _isRunning during a turn of the handler that has taken a message. Nothing is added once _isClosed, and nothing is there.
    // _inHand is how many messages a turn has taken and not begun. It takes each by counting down; who closes takes all that are left at once. Set under
    // the gate.
    private readonly Lock _gate = new();
    private bool _isReady;
    private bool _isClosed;
    private bool _isRunning;
    private int _inHand;
    private long _now;
    private TaskCompletionSource? _atRest;

    // Owned by the turn.
    private int _batchSize = 1;

    public PeerLanes(ReactorInbox inbox, IReadOnlyList<ChannelDescriptor> channels, ReceiveAllowance allowance, CancellationToken cancellationToken)
    {
        _inbox = inbox;
        _cancellationToken = cancellationToken;
        _lanes = [.. channels.Select(channel => new Lane(this, channel, allowance))];
    }

    public IReadOnlyList<Lane> Lanes => _lanes;

    /// <summary>Whether nothing is handed out any more.</summary>
    public bool IsClosed => Volatile.Read(ref _isClosed);

    private bool IsHandedOut => !_inbox.HasHandler && _lanes.All(lane => lane.Count == 0);

    /// <summary>How much the inbox has served this peer; guarded by the inbox.</summary>
    public long Served { get; set; }

    /// <summary>Puts messages into their lanes, which are all of this owner, or does with them what their channels say.</summary>
    public void Write(ReadOnlySpan<Arrival> arrivals)
    {
        List<Envelope>? dropped = null;
        Lane? refusing = null;
        bool becameReady = false;
        lock (_gate)
        {
            bool isOpen = !_isClosed && !_inbox.IsCompleted;
            foreach (ref readonly Arrival arrival in arrivals)
            {
                if (!isOpen)
                {
                    (dropped ??= []).Add(arrival.Envelope);
                    continue;
                }

                Lane lane = arrival.Lane;
                if (lane.Count == 0)
                {
                    lane.Served = Math.Max(lane.Served, _now);
                }

                if (!lane.TryAdd(arrival.Envelope, ref dropped))
                {
                    refusing ??= lane;
                }

                becameReady |= !_isReady && lane.Count > 0;
            }

            _isReady |= becameReady;
        }

        dropped?.ForEach(drop => drop.Release());
        if (becameReady)
        {
            _inbox.OnReady(this);
        }

        if (refusing is not null)
        {
            arrivals[0].Envelope.Peer.Stop(new DisconnectReason(
                DisconnectKind.LaneFull,
                $"More messages of the peer wait on channel {refusing.Channel} than the {refusing.Channel.ReceiveQueueCapacity}, or {refusing.Channel.ReceiveQueueBytes} bytes, that may."));
        }
    }

    /// <summary>Takes the next message. When there is none, the inbox is told again as soon as there is one.</summary>
    public bool TryTake(out Envelope envelope)
    {
        Lane? next;
        Lane.Item item = default;
        TaskCompletionSource? atRest = null;
        lock (_gate)
        {
            next = FindNext();
            if (next is null)
            {
                atRest = Rest();
            }
            else
            {
                _now = next.Served;
                item = next.Take();

                // Without a handler nobody says when it is done with a message, so to have handed it out is all there is to wait for.
                atRest = IsHandedOut ? _atRest : null;
            }
        }

        envelope = item.Envelope;
        atRest?.TrySetResult();
        next?.ReleaseCharge(item.Charge);
        return next is not null;
    }

    /// <summary>Says that there is nothing here, when that is so, as a take that finds none does.</summary>
    public bool TryRest()
    {
        TaskCompletionSource? atRest;
        lock (_gate)
        {
            if (FindNext() is not null)
            {
                return false;
            }

            atRest = Rest();
        }

        atRest?.TrySetResult();
        return true;
    }

    public (int Messages, long Bytes, long MessagesReceived, long BytesReceived, long MessagesDropped) GetStatus(Lane lane)
    {
        lock (_gate)
        {
            return (lane.Count, lane.Bytes, lane.MessagesReceived, lane.BytesReceived, lane.MessagesDropped);
        }
    }

    /// <summary>Waits until the reactor has dealt with everything that is here, as it should when the peer has left by itself.</summary>
    public Task WhenAtRestAsync()
    {
        lock (_gate)
        {
            if (!_isReady || IsHandedOut)
            {
                return Task.CompletedTask;
            }

            if (_atRest is null or { Task.IsCompleted: true })
            {
                _atRest = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            }

            return _atRest.Task;
        }
    }

    /// <summary>
    /// Drops what is here and returns how many messages that were; none is handed out from now on. <see cref="WhenAtRestAsync"/> then waits
    /// for the one that the handler may have at this moment; those that a turn has taken besides count among the dropped.
    /// </summary>
    public int Close()
    {
        List<Envelope> dropped = [];
        long charged = 0;
        int inHand;
        TaskCompletionSource? atRest = null;
        lock (_gate)
        {
            _isClosed = true;
            inHand = Math.Max(0, Interlocked.Exchange(ref _inHand, 0));
            foreach (Lane lane in _lanes)
            {
                while (lane.Count > 0)
                {
                    Lane.Item item = lane.Take();
                    dropped.Add(item.Envelope);
                    charged += item.Charge;
                }
            }

            if (!_isRunning)
            {
                _isReady = false;
                atRest = _atRest;
            }
        }

        dropped.ForEach(envelope => envelope.Release());
        _lanes.FirstOrDefault()?.ReleaseCharge(charged);
        atRest?.TrySetResult();
        _inbox.OnClosed(this);
        return dropped.Count + inHand;
    }

    /// <summary>One turn of the handler.</summary>
    public void Execute()
    {
        Batch batch = default;
        long start = Stopwatch.GetTimestamp();
        long served = 0;
        for (int handled = 0; handled < MaxMessagesPerTurn;)
        {
            Span<Taken> taken = batch;
            taken = taken[..TakeBatch(taken)];
            if (taken.IsEmpty)
            {
                _inbox.OnTurnEnd(this, served, hasMore: false);
                return;
            }

            for (int i = 0; i < taken.Length; i++)
            {
                if (Interlocked.Decrement(ref _inHand) < 0)
                {
                    Drop(taken[i..]);
                    EndTurn(served);
                    return;
                }

                ref readonly Taken next = ref taken[i];
                served += next.Item.Cost;
                next.Lane.ReleaseCharge(next.Item.Charge);
                ValueTask handling = _inbox.HandleAsync(next.Item.Envelope, _cancellationToken);
                if (!handling.IsCompletedSuccessfully)
                {
                    _batchSize = 1;
                    PutBack(taken[(i + 1)..]);
                    _ = FinishTurnAsync(handling, served);
                    return;
                }
            }

            handled += taken.Length;
            TimeSpan elapsed = Stopwatch.GetElapsedTime(start);
            _batchSize = elapsed > MaxTurn / 2 ? Math.Max(1, _batchSize / 2) : Math.Min(MaxBatch, 2 * _batchSize);
            if (_inbox.IsLimited || elapsed > MaxTurn)
            {
                break;
            }
        }

        EndTurn(served);
    }

    private async Task FinishTurnAsync(ValueTask handling, long served)
    {
        await handling.ConfigureAwait(false);
        EndTurn(served);
    }

    // Called with the gate held: the lane whose turn it is; null when there is nothing.
    private Lane? FindNext()
    {
        Lane? next = null;
        foreach (Lane lane in _lanes)
        {
            if (lane.Count > 0 && (next is null || lane.Served < next.Served))
            {
                next = lane;
            }
        }

        return next;
    }

    // Called with the gate held when there is nothing.
    private TaskCompletionSource? Rest()
    {
        _isReady = false;
        _isRunning = false;
        return _atRest;
    }

    private int TakeBatch(Span<Taken> batch)
    {
        int most = _inbox.IsLimited ? 1 : _batchSize;
        int count = 0;
        int bytes = 0;
        TaskCompletionSource? atRest = null;
        lock (_gate)
        {
            while (count < most && FindNext() is { } next && (count == 0 || bytes + next.NextCost <= MaxBatchBytes))
            {
                // The present is that of the first, so that what comes meanwhile on another lane goes before those that are put back.
                _now = count == 0 ? next.Served : _now;
                Lane.Item item = next.Take();
                bytes += item.Cost;
                batch[count++] = new Taken(next, item);
            }

            if (count == 0)
            {
                atRest = Rest();
            }
            else
            {
                _isRunning = true;
                _inHand = count;
            }
        }

        atRest?.TrySetResult();
        return count;
    }

    private void PutBack(ReadOnlySpan<Taken> taken)
    {
        lock (_gate)
        {
            if (!_isClosed)
            {
                _inHand = 0;
                for (int i = taken.Length - 1; i >= 0; i--)
                {
                    taken[i].Lane.PutBack(taken[i].Item);
                }

                return;
            }
        }

        Drop(taken);
    }

    private static void Drop(ReadOnlySpan<Taken> taken)
    {
        foreach (ref readonly Taken drop in taken)
        {
            drop.Item.Envelope.Release();
            drop.Lane.ReleaseCharge(drop.Item.Charge);
        }
    }

    // There may be more. When it was closed meanwhile, nobody needs to wait for a next turn, which others may keep from coming.
    private void EndTurn(long served)
    {
        TaskCompletionSource? atRest = null;
        bool isClosed;
        lock (_gate)
        {
            _isRunning = false;
            isClosed = _isClosed;
            if (isClosed)
            {
                _isReady = false;
                atRest = _atRest;
            }
        }

        atRest?.TrySetResult();
        _inbox.OnTurnEnd(this, served, hasMore: !isClosed);
    }

    private readonly record struct Taken(Lane Lane, Lane.Item Item);

    [InlineArray(MaxBatch)]
    private struct Batch
    {
        private Taken _first;
    }
}
