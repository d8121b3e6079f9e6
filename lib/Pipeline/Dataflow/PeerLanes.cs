using System.Diagnostics;
using System.Numerics;

namespace Pipeline.Dataflow;

/// <summary>
/// The lanes of one peer in one reactor's inbox, served by bytes: the lane that has been served least goes first. When the inbox has
/// a handler, this is also the work item that runs it, for one message of the peer at a time.
/// </summary>
internal sealed class PeerLanes : IThreadPoolWorkItem
{
    // Others get their turn after this many messages, or after the first that makes the turn longer than this; the clock is looked at
    // after 1, 2, 4 and 8, because it costs as much as a small message.
    private const int MessagesPerTurn = 16;
    private static readonly TimeSpan MaxTurn = TimeSpan.FromMicroseconds(100);

    private readonly ReactorInbox _inbox;
    private readonly Lane[] _lanes;
    private readonly CancellationToken _cancellationToken;

    // Guarded by _gate, with what the lanes say is guarded by it.
    // Invariant: _isReady from when the inbox is told that there are messages until a take finds none; at most one turn exists at a time.
    // _isRunning during a turn of the handler that has taken a message. Nothing is added once _isClosed, and nothing is there.
    private readonly Lock _gate = new();
    private bool _isReady;
    private bool _isClosed;
    private bool _isRunning;
    private long _now;
    private TaskCompletionSource? _atRest;

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

    public void Write(Lane lane, in Envelope envelope)
    {
        List<Envelope>? dropped = null;
        bool becameReady = false;
        bool isAllowed = true;
        lock (_gate)
        {
            if (_isClosed || _inbox.IsCompleted)
            {
                dropped = [envelope];
            }
            else
            {
                if (lane.Count == 0)
                {
                    lane.Served = Math.Max(lane.Served, _now);
                }

                isAllowed = lane.TryAdd(envelope, ref dropped);
                becameReady = !_isReady && lane.Count > 0;
                _isReady |= becameReady;
            }
        }

        dropped?.ForEach(drop => drop.Release());
        if (becameReady)
        {
            _inbox.OnReady(this);
        }

        if (!isAllowed)
        {
            envelope.Peer.Stop(new DisconnectReason(
                DisconnectKind.LaneFull,
                $"More messages of the peer wait on channel {lane.Channel} than the {lane.Channel.ReceiveQueueCapacity}, or {lane.Channel.ReceiveQueueBytes} bytes, that may."));
        }
    }

    /// <summary>Takes the next message. When there is none, the inbox is told again as soon as there is one.</summary>
    public bool TryTake(out Envelope envelope)
    {
        Lane? next = null;
        int charged = 0;
        TaskCompletionSource? atRest = null;
        lock (_gate)
        {
            foreach (Lane lane in _lanes)
            {
                if (lane.Count > 0 && (next is null || lane.Served < next.Served))
                {
                    next = lane;
                }
            }

            if (next is null)
            {
                _isReady = false;
                _isRunning = false;
                atRest = _atRest;
                envelope = default;
            }
            else
            {
                _now = next.Served;
                _isRunning = _inbox.HasHandler;
                envelope = next.Take(out charged);

                // Without a handler nobody says when it is done with a message, so to have handed it out is all there is to wait for.
                atRest = IsHandedOut ? _atRest : null;
            }
        }

        atRest?.TrySetResult();
        next?.ReleaseCharge(charged);
        return next is not null;
    }

    /// <summary>Says that there is nothing here, when that is so, as a take that finds none does.</summary>
    public bool TryRest()
    {
        TaskCompletionSource? atRest;
        lock (_gate)
        {
            if (_lanes.Any(lane => lane.Count > 0))
            {
                return false;
            }

            _isReady = false;
            _isRunning = false;
            atRest = _atRest;
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
    /// for the one that the handler may have at this moment.
    /// </summary>
    public int Close()
    {
        List<Envelope> dropped = [];
        long charged = 0;
        TaskCompletionSource? atRest = null;
        lock (_gate)
        {
            _isClosed = true;
            foreach (Lane lane in _lanes)
            {
                while (lane.Count > 0)
                {
                    dropped.Add(lane.Take(out int charge));
                    charged += charge;
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
        return dropped.Count;
    }

    /// <summary>One turn of the handler.</summary>
    public void Execute()
    {
        long start = Stopwatch.GetTimestamp();
        long served = 0;
        for (int handled = 0; handled < MessagesPerTurn;)
        {
            if (!TryTake(out Envelope envelope))
            {
                _inbox.OnTurnEnd(this, served, hasMore: false);
                return;
            }

            served += Lane.CostOf(envelope);
            ValueTask handling = _inbox.HandleAsync(envelope, _cancellationToken);
            if (!handling.IsCompletedSuccessfully)
            {
                _ = FinishTurnAsync(handling, served);
                return;
            }

            handled++;
            if (_inbox.IsLimited || (BitOperations.IsPow2(handled) && Stopwatch.GetElapsedTime(start) > MaxTurn))
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
}
