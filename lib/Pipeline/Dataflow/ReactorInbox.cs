using System.Diagnostics.CodeAnalysis;
using System.Threading.Channels;
using System.Threading.Tasks.Dataflow;

namespace Pipeline.Dataflow;

/// <summary>
/// Where the messages for one reactor wait: a bounded lane for each peer and channel. Peers, and the lanes of each, are served by bytes, so
/// that a busy one does not hold up the others; within a lane the order is kept.
/// </summary>
/// <remarks>
/// Whoever reads it, reads it in one of three ways: a handler, which runs for different peers at once and for one peer a message at a time;
/// as a <see cref="ChannelReader{T}"/>; or as a dataflow source, linked to blocks whose bounds then hold back the peers.
/// </remarks>
public sealed class ReactorInbox : ChannelReader<Envelope>, ISourceBlock<Envelope>
{
    private readonly Func<Envelope, CancellationToken, ValueTask>? _handler;
    private readonly InboxSource<Envelope> _envelopes;
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Guarded by _gate, which is taken before the gate of a PeerLanes, never after. Not used when there is a handler without a limit.
    // Invariant: _ready holds the peers that have messages, each once, the one that was served least first; without those that have a turn
    // of the handler, which are _running, and at most MaxConcurrency. Once _isCompleted no peer comes to _ready; when there is a _fault as well,
    // none is there.
    private readonly Lock _gate = new();
    private readonly PriorityQueue<PeerLanes, long> _ready = new();
    private TaskCompletionSource<bool>? _waiting;
    private bool _isCompleted;
    private Exception? _fault;
    private long _now;
    private int _running;

    internal ReactorInbox(IReadOnlyList<ChannelDescriptor> channels, Func<Envelope, CancellationToken, ValueTask>? handler = null)
    {
        Channels = channels;
        _handler = handler;
        _envelopes = new InboxSource<Envelope>(this, static (Envelope envelope, out Envelope item) =>
        {
            item = envelope;
            return true;
        });
        Source = _envelopes;
    }

    /// <summary>The channels whose messages come here.</summary>
    public IReadOnlyList<ChannelDescriptor> Channels { get; }

    /// <summary>
    /// Completes when the reactor has stopped and all that was here has been read, or handed over to linked blocks; faults after
    /// <see cref="Fault"/>.
    /// </summary>
    public override Task Completion => _completion.Task;

    internal bool HasHandler => _handler is not null;

    /// <summary>For how many peers the handler runs at once. Set before anything comes.</summary>
    internal int MaxConcurrency { get; set; } = int.MaxValue;

    /// <summary>Hands the messages to linked blocks. Another takes its place before anything comes, or never.</summary>
    internal IInboxSource Source { get; set; }

    /// <summary>Whether messages are not taken in any more.</summary>
    internal bool IsCompleted => Volatile.Read(ref _isCompleted);

    internal bool IsFaulted => Volatile.Read(ref _fault) is not null;

    /// <summary>Whether turns of the handler have to wait for one another.</summary>
    internal bool IsLimited => MaxConcurrency != int.MaxValue;

    /// <inheritdoc />
    public override bool TryRead([MaybeNullWhen(false)] out Envelope item)
    {
        bool isFound = Source.TryTakeHead(out item) || TryTake(out item);
        CompleteIfDone();
        return isFound;
    }

    /// <inheritdoc />
    public override ValueTask<bool> WaitToReadAsync(CancellationToken cancellationToken = default)
    {
        TaskCompletionSource<bool> waiting;
        lock (_gate)
        {
            if (_ready.Count > 0 || Source.HasFreeHead)
            {
                return new ValueTask<bool>(true);
            }

            if (_isCompleted)
            {
                return _fault is null ? new ValueTask<bool>(false) : ValueTask.FromException<bool>(_fault);
            }

            waiting = _waiting ??= new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        return new ValueTask<bool>(waiting.Task.WaitAsync(cancellationToken));
    }

    /// <inheritdoc />
    public IDisposable LinkTo(ITargetBlock<Envelope> target, DataflowLinkOptions linkOptions) => _envelopes.LinkTo(target, linkOptions);

    /// <summary>Takes no more messages in; those that are here can still be read.</summary>
    public void Complete() => Finish(fault: null);

    /// <inheritdoc />
    /// <remarks>The messages that are here are dropped. Does nothing after <see cref="Complete"/>.</remarks>
    public void Fault(Exception exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        Finish(exception);
    }

    Envelope ISourceBlock<Envelope>.ConsumeMessage(DataflowMessageHeader messageHeader, ITargetBlock<Envelope> target, out bool messageConsumed) =>
        _envelopes.ConsumeMessage(messageHeader, target, out messageConsumed);

    bool ISourceBlock<Envelope>.ReserveMessage(DataflowMessageHeader messageHeader, ITargetBlock<Envelope> target) =>
        _envelopes.ReserveMessage(messageHeader, target);

    void ISourceBlock<Envelope>.ReleaseReservation(DataflowMessageHeader messageHeader, ITargetBlock<Envelope> target) =>
        _envelopes.ReleaseReservation(messageHeader, target);

    /// <summary>Makes lanes for a peer, one for each channel of the inbox.</summary>
    /// <param name="allowance">What the peer's lanes may hold beyond their bounds.</param>
    /// <param name="cancellationToken">Cancelled when the handler should not go on with what the peer sent.</param>
    internal PeerLanes Open(ReceiveAllowance allowance, CancellationToken cancellationToken) =>
        new(this, Channels, allowance, cancellationToken);

    /// <summary>Takes the next message out of the lanes.</summary>
    internal bool TryTake(out Envelope envelope)
    {
        lock (_gate)
        {
            while (_ready.TryDequeue(out PeerLanes? next, out long served))
            {
                if (next.TryTake(out envelope))
                {
                    _now = served;
                    next.Served = served + Lane.CostOf(envelope);
                    _ready.Enqueue(next, next.Served);
                    return true;
                }
            }
        }

        envelope = default;
        return false;
    }

    internal void OnReady(PeerLanes lanes)
    {
        if (_handler is not null && !IsLimited)
        {
            // The receiving loop will be done with its thread before another has woken up, and whichever is first takes it.
            ThreadPool.UnsafeQueueUserWorkItem(lanes, preferLocal: true);
            return;
        }

        TaskCompletionSource<bool>? waiting = null;
        bool hasTurn = false;
        bool isLate;
        lock (_gate)
        {
            isLate = _isCompleted || lanes.IsClosed;
            lanes.Served = Math.Max(lanes.Served, _now);
            hasTurn = !isLate && _handler is not null && _running < MaxConcurrency;
            if (hasTurn)
            {
                _running++;
                _now = lanes.Served;
            }
            else if (!isLate)
            {
                _ready.Enqueue(lanes, lanes.Served);
                waiting = _waiting;
                _waiting = null;
            }
        }

        if (isLate)
        {
            lanes.Close();
            return;
        }

        waiting?.TrySetResult(true);
        if (_handler is null)
        {
            Source.Wake();
        }

        if (hasTurn)
        {
            ThreadPool.UnsafeQueueUserWorkItem(lanes, preferLocal: false);
        }
    }

    /// <summary>A turn of the handler is over.</summary>
    /// <param name="lanes">Whose turn it was.</param>
    /// <param name="bytes">What it has been served in its turn.</param>
    /// <param name="hasMore">Whether it wants another; when not, it says so by <see cref="OnReady"/> later.</param>
    internal void OnTurnEnd(PeerLanes lanes, long bytes, bool hasMore)
    {
        PeerLanes? next = hasMore ? lanes : null;
        if (IsLimited)
        {
            lock (_gate)
            {
                lanes.Served += bytes;
                if (hasMore)
                {
                    _ready.Enqueue(lanes, lanes.Served);
                }

                if (_ready.TryDequeue(out next, out long served))
                {
                    _now = served;
                }
                else
                {
                    _running--;
                }
            }
        }

        if (next is not null)
        {
            ThreadPool.UnsafeQueueUserWorkItem(next, preferLocal: false);
        }
    }

    internal ValueTask HandleAsync(in Envelope envelope, CancellationToken cancellationToken) => _handler!(envelope, cancellationToken);

    /// <summary>The lanes of a peer have been closed: they are not kept here, and may have been what completion waited for.</summary>
    internal void OnClosed(PeerLanes lanes)
    {
        lock (_gate)
        {
            _ready.Remove(lanes, out _, out _);
        }

        CompleteIfDone();
    }

    /// <summary>The source has done what there was to do: a head that it has no taker for is there for who reads.</summary>
    internal void OnSourceIdle()
    {
        CompleteIfDone();
        TaskCompletionSource<bool>? waiting = null;
        lock (_gate)
        {
            if (_waiting is not null && Source.HasFreeHead)
            {
                waiting = _waiting;
                _waiting = null;
            }
        }

        waiting?.TrySetResult(true);
    }

    /// <summary>A linked target threw, which faults the inbox also when it is completed already.</summary>
    internal void FaultOfTarget(Exception exception)
    {
        Finish(exception);
        List<PeerLanes> dropped;
        lock (_gate)
        {
            _fault ??= exception;
            dropped = TakeReady();
        }

        dropped.ForEach(lanes => lanes.Close());
    }

    private void Finish(Exception? fault)
    {
        TaskCompletionSource<bool>? waiting;
        List<PeerLanes> dropped = [];
        lock (_gate)
        {
            if (_isCompleted)
            {
                return;
            }

            _isCompleted = true;
            _fault = fault;
            waiting = _waiting;
            _waiting = null;
            if (fault is not null)
            {
                dropped = TakeReady();
            }
        }

        dropped.ForEach(lanes => lanes.Close());
        _ = fault is null ? waiting?.TrySetResult(false) : waiting?.TrySetException(fault);
        CompleteIfDone();
        Source.Wake();
    }

    // Called with the gate held.
    private List<PeerLanes> TakeReady()
    {
        List<PeerLanes> ready = [.. _ready.UnorderedItems.Select(item => item.Element)];
        _ready.Clear();
        return ready;
    }

    private void CompleteIfDone()
    {
        if (!IsCompleted || _completion.Task.IsCompleted)
        {
            return;
        }

        lock (_gate)
        {
            while (_ready.TryPeek(out PeerLanes? lanes, out _) && lanes.TryRest())
            {
                _ready.Dequeue();
            }

            if (_ready.Count > 0 || !Source.IsEmpty)
            {
                return;
            }
        }

        _ = _fault is null ? _completion.TrySetResult() : _completion.TrySetException(_fault);
        Source.Wake();
    }
}
