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
    private readonly Lazy<BufferBlock<Envelope>> _source;
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Guarded by _gate, which is taken before the gate of a PeerLanes, never after. Not used when there is a handler without a limit.
    // Invariant: _ready holds the peers that have messages, each once, the one that was served least first; without those that have a turn
    // of the handler, which are _running, and at most MaxConcurrency.
    private readonly Lock _gate = new();
    private readonly PriorityQueue<PeerLanes, long> _ready = new();
    private TaskCompletionSource<bool>? _waiting;
    private bool _isCompleted;
    private long _now;
    private int _running;

    internal ReactorInbox(IReadOnlyList<ChannelDescriptor> channels, Func<Envelope, CancellationToken, ValueTask>? handler = null)
    {
        Channels = channels;
        _handler = handler;
        _source = new Lazy<BufferBlock<Envelope>>(StartSource);
    }

    /// <summary>The channels whose messages come here.</summary>
    public IReadOnlyList<ChannelDescriptor> Channels { get; }

    /// <summary>Completes when the reactor has stopped and all that was here has been read.</summary>
    public override Task Completion => _completion.Task;

    internal bool HasHandler => _handler is not null;

    /// <summary>For how many peers the handler runs at once. Set before anything comes.</summary>
    internal int MaxConcurrency { get; set; } = int.MaxValue;

    /// <summary>Whether turns of the handler have to wait for one another.</summary>
    internal bool IsLimited => MaxConcurrency != int.MaxValue;

    /// <inheritdoc />
    public override bool TryRead([MaybeNullWhen(false)] out Envelope item)
    {
        bool isLast = false;
        lock (_gate)
        {
            while (_ready.TryDequeue(out PeerLanes? next, out long served))
            {
                if (next.TryTake(out item))
                {
                    _now = served;
                    next.Served = served + item.Data.Length + 1;
                    _ready.Enqueue(next, next.Served);
                    return true;
                }
            }

            isLast = _isCompleted;
        }

        if (isLast)
        {
            _completion.TrySetResult();
        }

        item = default;
        return false;
    }

    /// <inheritdoc />
    public override ValueTask<bool> WaitToReadAsync(CancellationToken cancellationToken = default)
    {
        TaskCompletionSource<bool> waiting;
        lock (_gate)
        {
            if (_ready.Count > 0)
            {
                return new ValueTask<bool>(true);
            }

            if (_isCompleted)
            {
                return new ValueTask<bool>(false);
            }

            waiting = _waiting ??= new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        return new ValueTask<bool>(waiting.Task.WaitAsync(cancellationToken));
    }

    /// <inheritdoc />
    public IDisposable LinkTo(ITargetBlock<Envelope> target, DataflowLinkOptions linkOptions) => _source.Value.LinkTo(target, linkOptions);

    /// <summary>Takes no more messages in; those that are here can still be read.</summary>
    public void Complete() => Finish();

    /// <inheritdoc />
    public void Fault(Exception exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        _completion.TrySetException(exception);
        if (_source.IsValueCreated)
        {
            ((IDataflowBlock)_source.Value).Fault(exception);
        }

        Finish();
    }

    Envelope ISourceBlock<Envelope>.ConsumeMessage(DataflowMessageHeader messageHeader, ITargetBlock<Envelope> target, out bool messageConsumed) =>
        ((ISourceBlock<Envelope>)_source.Value).ConsumeMessage(messageHeader, target, out messageConsumed);

    bool ISourceBlock<Envelope>.ReserveMessage(DataflowMessageHeader messageHeader, ITargetBlock<Envelope> target) =>
        ((ISourceBlock<Envelope>)_source.Value).ReserveMessage(messageHeader, target);

    void ISourceBlock<Envelope>.ReleaseReservation(DataflowMessageHeader messageHeader, ITargetBlock<Envelope> target) =>
        ((ISourceBlock<Envelope>)_source.Value).ReleaseReservation(messageHeader, target);

    /// <summary>Makes lanes for a peer, one for each channel of the inbox.</summary>
    /// <param name="allowance">What the peer's lanes may hold beyond their bounds.</param>
    /// <param name="cancellationToken">Cancelled when the handler should not go on with what the peer sent.</param>
    internal PeerLanes Open(ReceiveAllowance allowance, CancellationToken cancellationToken) =>
        new(this, Channels, allowance, cancellationToken);

    internal void OnReady(PeerLanes lanes)
    {
        if (_handler is not null && !IsLimited)
        {
            ThreadPool.UnsafeQueueUserWorkItem(lanes, preferLocal: false);
            return;
        }

        TaskCompletionSource<bool>? waiting = null;
        bool hasTurn = false;
        lock (_gate)
        {
            lanes.Served = Math.Max(lanes.Served, _now);
            hasTurn = _handler is not null && _running < MaxConcurrency;
            if (hasTurn)
            {
                _running++;
                _now = lanes.Served;
            }
            else
            {
                _ready.Enqueue(lanes, lanes.Served);
                waiting = _waiting;
                _waiting = null;
            }
        }

        waiting?.TrySetResult(true);
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

    private void Finish()
    {
        TaskCompletionSource<bool>? waiting;
        bool isEmpty;
        lock (_gate)
        {
            _isCompleted = true;
            isEmpty = _ready.Count == 0;
            waiting = _waiting;
            _waiting = null;
        }

        waiting?.TrySetResult(!isEmpty);
        if (isEmpty)
        {
            _completion.TrySetResult();
        }
    }

    // The framework's block speaks the dataflow protocol with the targets; with room for one message, the rest waits in the lanes.
    private BufferBlock<Envelope> StartSource()
    {
        BufferBlock<Envelope> block = new(new DataflowBlockOptions { BoundedCapacity = 1 });
        _ = PumpAsync(block);
        return block;
    }

    private async Task PumpAsync(BufferBlock<Envelope> block)
    {
        while (await WaitToReadAsync().ConfigureAwait(false))
        {
            while (TryRead(out Envelope envelope))
            {
                if (!await block.SendAsync(envelope).ConfigureAwait(false))
                {
                    envelope.Release();
                }
            }
        }

        block.Complete();
    }
}
