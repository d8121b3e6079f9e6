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

    // Guarded by _gate, which is taken before the gate of a PeerLanes, never after. Not used when there is a handler.
    // Invariant: _ready holds the peers that have messages, each once, the one that was served least first.
    private readonly Lock _gate = new();
    private readonly PriorityQueue<PeerLanes, long> _ready = new();
    private TaskCompletionSource<bool>? _waiting;
    private bool _isCompleted;
    private long _now;

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
        if (_handler is not null)
        {
            ThreadPool.UnsafeQueueUserWorkItem(lanes, preferLocal: false);
            return;
        }

        TaskCompletionSource<bool>? waiting;
        lock (_gate)
        {
            lanes.Served = Math.Max(lanes.Served, _now);
            _ready.Enqueue(lanes, lanes.Served);
            waiting = _waiting;
            _waiting = null;
        }

        waiting?.TrySetResult(true);
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
