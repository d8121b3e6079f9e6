using System.Threading.Tasks.Dataflow;

namespace Pipeline.Dataflow;

/// <summary>
/// Where a reactor puts the messages that it sends: to one peer, some, or all. Each is serialised once. A peer without room is waited for,
/// up to the node's send timeout, while the messages for others go on; when too many wait, the outbox accepts no more and so holds back
/// the blocks before it.
/// </summary>
public sealed class ReactorOutbox : ITargetBlock<OutboundEnvelope>
{
    // Messages that wait in the outbox, and sends to single peers that wait for room.
    private const int Capacity = 128;
    private const int MaxSendsInFlight = 1024;

    private readonly Func<IReadOnlyCollection<IPeer>> _peers;
    private readonly ActionBlock<OutboundEnvelope> _block;
    private long _undelivered;

    // Guarded by _gate. Invariant: _inFlight sends wait for room at their peers. _fewer is armed while _waitingFor is set, by the block's
    // one worker or, when that is done, by the completion.
    private readonly Lock _gate = new();
    private readonly SingleWaiterSignal _fewer = new();
    private int _inFlight;
    private int? _waitingFor;

    internal ReactorOutbox(Func<IReadOnlyCollection<IPeer>> peers)
    {
        _peers = peers;
        _block = new ActionBlock<OutboundEnvelope>(SendAsync, new ExecutionDataflowBlockOptions { BoundedCapacity = Capacity });
        Completion = CompleteAsync();
    }

    /// <summary>Completes, after <see cref="Complete"/>, when every message is in the queues of its peers or could not be put there.</summary>
    public Task Completion { get; }

    /// <summary>Deliveries that failed because a peer had no room in time, stopped, or the message was too large for its channel.</summary>
    public long Undelivered => Volatile.Read(ref _undelivered);

    /// <inheritdoc />
    public DataflowMessageStatus OfferMessage(
        DataflowMessageHeader messageHeader,
        OutboundEnvelope messageValue,
        ISourceBlock<OutboundEnvelope>? source,
        bool consumeToAccept) =>
        ((ITargetBlock<OutboundEnvelope>)_block).OfferMessage(messageHeader, messageValue, source, consumeToAccept);

    /// <summary>Accepts no more messages.</summary>
    public void Complete() => _block.Complete();

    /// <inheritdoc />
    public void Fault(Exception exception) => ((IDataflowBlock)_block).Fault(exception);

    private async Task SendAsync(OutboundEnvelope envelope)
    {
        using SerializedMessage message = SerializedMessage.Create(envelope.Channel, envelope.Message);
        foreach (IPeer peer in envelope.Recipients is { } recipients ? (IEnumerable<IPeer>)recipients : _peers())
        {
            if (ReferenceEquals(peer, envelope.Except) || !peer.HasChannel(envelope.Channel.Id))
            {
                continue;
            }

            // Sends are begun in order and each peer's queue keeps it, so one that waits is not waited for here.
            ValueTask<SendResult> sending = peer.SendAsync(message);
            if (sending.IsCompletedSuccessfully)
            {
                Count(await sending.ConfigureAwait(false));
                continue;
            }

            await WaitForInFlightAsync(MaxSendsInFlight - 1).ConfigureAwait(false);
            lock (_gate)
            {
                _inFlight++;
            }

            _ = FinishAsync(sending);
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

    private async Task FinishAsync(ValueTask<SendResult> sending)
    {
        try
        {
            Count(await sending.ConfigureAwait(false));
        }
        finally
        {
            bool wake;
            lock (_gate)
            {
                _inFlight--;
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
}
