using System.Threading.Tasks.Dataflow;

namespace Pipeline.Dataflow;

/// <summary>
/// Where a reactor puts the messages that it sends: to one peer, some, or all. Each is serialised once. A peer without room is waited for,
/// up to the node's send timeout, while the messages for others go on; a peer for which too many wait misses further ones, so that it
/// cannot hold up the others.
/// </summary>
/// <remarks>To be held back by one peer instead, link to <see cref="IPeer.Outgoing"/>, or send with <see cref="IPeer.SendAsync(SerializedMessage, TimeSpan?, CancellationToken)"/>.</remarks>
public sealed class ReactorOutbox : ITargetBlock<OutboundEnvelope>
{
    // Messages that wait to be sent, and the most that wait for peers: more than the peers of a node bring about.
    private const int Capacity = 128;
    private const int MaxSendsInFlight = 64 * 1024;

    private readonly Func<IReadOnlyCollection<IPeer>> _peers;
    private readonly int _maxSendsInFlight;
    private readonly ActionBlock<OutboundEnvelope> _block;
    private long _undelivered;

    // Guarded by _gate. Invariant: _inFlight sends wait for room at their peers, as many as _waiting counts for the peers that have any. _fewer
    // is armed while _waitingFor is set, by the block's one worker or, when that is done, by the completion.
    private readonly Lock _gate = new();
    private readonly SingleWaiterSignal _fewer = new();
    private readonly Dictionary<IPeer, (int Sends, long Bytes)> _waiting = [];
    private int _inFlight;
    private int? _waitingFor;

    internal ReactorOutbox(Func<IReadOnlyCollection<IPeer>> peers, int capacity = Capacity, int maxSendsInFlight = MaxSendsInFlight)
    {
        _peers = peers;
        _maxSendsInFlight = maxSendsInFlight;
        _block = new ActionBlock<OutboundEnvelope>(SendAsync, new ExecutionDataflowBlockOptions { BoundedCapacity = capacity });
        Completion = CompleteAsync();
    }

    /// <summary>Completes, after <see cref="Complete"/>, when every message is in the queues of its peers or could not be put there.</summary>
    public Task Completion { get; }

    /// <summary>
    /// Deliveries that failed: the peer had no room in time, too many waited for it, it stopped, or the message was too large for its channel.
    /// </summary>
    public long Undelivered => Volatile.Read(ref _undelivered);

    /// <inheritdoc />
    public DataflowMessageStatus OfferMessage(
        DataflowMessageHeader messageHeader,
        OutboundEnvelope messageValue,
        ISourceBlock<OutboundEnvelope>? source,
        bool consumeToAccept) =>
        ((ITargetBlock<OutboundEnvelope>)_block).OfferMessage(
            messageHeader,
            messageValue,
            source is null ? null : new LinkedSource(source, this),
            consumeToAccept);

    /// <summary>Accepts no more messages.</summary>
    public void Complete() => _block.Complete();

    /// <inheritdoc />
    public void Fault(Exception exception) => ((IDataflowBlock)_block).Fault(exception);

    /// <summary>Says how much may wait for one peer. Set before anything comes.</summary>
    internal ConnectionOptions Options { get; set; } = new();

    /// <summary>Is told of messages that could not be serialised, and of peers that threw; such a message is not sent.</summary>
    internal Action<Exception>? OnError { get; set; }

    private async Task SendAsync(OutboundEnvelope envelope)
    {
        try
        {
            await SendToAllAsync(envelope).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // One message that cannot be sent must not be the end of all others.
            Interlocked.Increment(ref _undelivered);
            OnError?.Invoke(e);
        }
    }

    private async Task SendToAllAsync(OutboundEnvelope envelope)
    {
        using SerializedMessage message = SerializedMessage.Create(envelope.Channel, envelope.Message);
        foreach (IPeer peer in envelope.Recipients is { } recipients ? (IEnumerable<IPeer>)recipients : _peers())
        {
            if (ReferenceEquals(peer, envelope.Except) || !peer.HasChannel(envelope.Channel.Id))
            {
                continue;
            }

            if (IsTooFarBehind(peer, message.Length))
            {
                Count(SendResult.QueueFull);
                continue;
            }

            // Sends are begun in order and each peer's queue keeps it, so one that waits is not waited for here.
            ValueTask<SendResult> sending = peer.SendAsync(message);
            if (sending.IsCompletedSuccessfully)
            {
                Count(await sending.ConfigureAwait(false));
                continue;
            }

            await WaitForInFlightAsync(_maxSendsInFlight - 1).ConfigureAwait(false);
            Begin(peer, message.Length);
            _ = FinishAsync(peer, message.Length, sending);
        }
    }

    private bool IsTooFarBehind(IPeer peer, int length)
    {
        lock (_gate)
        {
            return _waiting.TryGetValue(peer, out (int Sends, long Bytes) waiting)
                && (waiting.Sends >= Options.OutboxMessagesPerPeer || waiting.Bytes + length > Options.OutboxBytesPerPeer);
        }
    }

    private void Begin(IPeer peer, int length)
    {
        lock (_gate)
        {
            _inFlight++;
            (int sends, long bytes) = _waiting.GetValueOrDefault(peer);
            _waiting[peer] = (sends + 1, bytes + length);
        }
    }

    private ValueTask WaitForInFlightAsync(int most)
    {
        lock (_gate)
        {
            if (_inFlight <= most)
            {
                return ValueTask.CompletedTask;
            }

            _waitingFor = most;
            return _fewer.Arm();
        }
    }

    private async Task FinishAsync(IPeer peer, int length, ValueTask<SendResult> sending)
    {
        try
        {
            Count(await sending.ConfigureAwait(false));
        }
        catch (Exception e)
        {
            Interlocked.Increment(ref _undelivered);
            OnError?.Invoke(e);
        }
        finally
        {
            bool wake;
            lock (_gate)
            {
                _inFlight--;
                (int sends, long bytes) = _waiting[peer];
                _ = sends == 1 ? _waiting.Remove(peer) : (_waiting[peer] = (sends - 1, bytes - length)).Sends > 0;
                wake = _inFlight <= _waitingFor;
                _waitingFor = wake ? null : _waitingFor;
            }

            if (wake)
            {
                _fewer.Set();
            }
        }
    }

    private void Count(SendResult result)
    {
        if (result != SendResult.Queued)
        {
            Interlocked.Increment(ref _undelivered);
        }
    }

    private async Task CompleteAsync()
    {
        await _block.Completion.ConfigureAwait(false);
        await WaitForInFlightAsync(0).ConfigureAwait(false);
    }

    // What the block takes for the source, so that the source is asked by the target that it is linked to: it counts what each has taken.
    // Two for one source are equal, because the block keeps what it has postponed by its source.
    private sealed record LinkedSource(ISourceBlock<OutboundEnvelope> Source, ReactorOutbox Outbox) : ISourceBlock<OutboundEnvelope>
    {
        public Task Completion => Source.Completion;

        public IDisposable LinkTo(ITargetBlock<OutboundEnvelope> target, DataflowLinkOptions linkOptions) => Source.LinkTo(target, linkOptions);

        public OutboundEnvelope? ConsumeMessage(
            DataflowMessageHeader messageHeader,
            ITargetBlock<OutboundEnvelope> target,
            out bool messageConsumed) => Source.ConsumeMessage(messageHeader, Outbox, out messageConsumed);

        public bool ReserveMessage(DataflowMessageHeader messageHeader, ITargetBlock<OutboundEnvelope> target) =>
            Source.ReserveMessage(messageHeader, Outbox);

        public void ReleaseReservation(DataflowMessageHeader messageHeader, ITargetBlock<OutboundEnvelope> target) =>
            Source.ReleaseReservation(messageHeader, Outbox);

        public void Complete() => Source.Complete();

        public void Fault(Exception exception) => Source.Fault(exception);
    }
}
