using System.Buffers;
using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Threading.Tasks.Dataflow;
using Pipeline.Wire;

namespace Pipeline.Dataflow;

/// <summary>
/// What waits to be sent to one peer: a bounded queue for each channel, merged into packets so that each busy channel gets bytes in
/// proportion to its priority. A dataflow target: a message it accepts is its own from then on, an offer without room is postponed.
/// </summary>
/// <remarks>
/// The merge is start-time fair queueing: each channel has a virtual time that grows by a packet's bytes over the priority, the channel
/// that is furthest behind goes next, and one that wakes up starts at the present, so that it neither saves up nor loses a share.
/// </remarks>
public sealed class PrioritySendBlock : ITargetBlock<SerializedMessage>
{
    // The longest time that a timer takes.
    private static readonly TimeSpan MaxTimeout = TimeSpan.FromMilliseconds(uint.MaxValue - 1);

    private const int MaxPacketsPerTurn = 32;

    // Who sends a small message after the taker has had nothing to do for so long sends it to the socket as well: to wake another thread takes longer, and the
    // message would wait for it. Who sends many does so for the first only; those behind it are better taken together.
    private static readonly TimeSpan MinIdleTime = TimeSpan.FromMilliseconds(1);

    private readonly ChannelTable _channels;
    private readonly SendQueue?[] _queues;
    private readonly int _maxPacketDataSize;
    private readonly TimeProvider _timeProvider;
    private readonly IMessageCounter? _counter;
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Guarded by _gate: the shared side of the queues and these.
    // Invariant: _waiting messages are in the queues, and sources are being asked for _consuming more. _something is armed while _takerWaits, which is only while there is nothing to take:
    // no message, or only messages that are held back.
    // No message is accepted once _completing; none is taken once _aborted; none is there once _closed; each implies the one before it.
    private readonly Lock _gate = new();
    private readonly SingleWaiterSignal _something = new();
    private long _waiting;
    private int _consuming;
    private bool _takerWaits;
    private long _takerWaitsSince;
    private bool _isHeld;
    private bool _completing;
    private bool _aborted;
    private bool _closed;
    private Exception? _fault;

    // The thread that a sender lends to the one who takes packets, while it does; 0 when none does.
    private int _lender;

    // Owned by the one who takes packets: the virtual time of the packet taken last.
    private double _now;

    // Set by anybody, taken by the one who takes packets. Pings and pongs are owed or not owed: a flood of pings gets no flood of pongs.
    private int _pingIsDue;
    private int _pongIsDue;

    internal PrioritySendBlock(
        ChannelTable channels,
        ImmutableArray<byte> remoteChannels,
        int maxPacketDataSize,
        TimeProvider timeProvider,
        IMessageCounter? counter = null,
        ArrayPool<byte>? pool = null)
    {
        _channels = channels;
        _maxPacketDataSize = maxPacketDataSize;
        _timeProvider = timeProvider;
        _counter = counter;
        _queues = [.. channels.Select(channel => remoteChannels.Contains(channel.Id) ? new SendQueue(channel, timeProvider, pool ?? ArrayPool<byte>.Shared) : null)];
    }

    /// <summary>Completes when everything was sent after <see cref="Complete"/>, or the connection ended; faults after <see cref="Fault"/>.</summary>
    public Task Completion => _completion.Task;

    /// <summary>Queues a message without waiting; the caller keeps its own hold on it.</summary>
    public SendResult TrySend(SerializedMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        if (FindQueue(message.Channel, message.Length, out SendResult refusal) is not { } queue)
        {
            return refusal;
        }

        bool wake;
        lock (_gate)
        {
            if (_completing || !queue.HasRoomFor(message.Length))
            {
                return _completing ? SendResult.PeerStopped : SendResult.QueueFull;
            }

            message.AddReference();
            queue.Add(message);
            wake = CountEnqueued();
        }

        Wake(wake);
        return SendResult.Queued;
    }

    /// <summary>
    /// Queues a copy of a message that is serialised already, without waiting. When nothing has waited for the peer for 1 ms, one of up to 2 KiB is also sealed
    /// and handed to the transport within the call.
    /// </summary>
    /// <param name="channel">The channel that the message is for.</param>
    /// <param name="message">The bytes of the message, which are the caller's again once this returns.</param>
    /// <returns><see cref="SendResult.Queued"/>, or why it is not.</returns>
    public SendResult TrySend(ChannelDescriptor channel, ReadOnlySpan<byte> message)
    {
        ArgumentNullException.ThrowIfNull(channel);
        if (FindQueue(channel, message.Length, out SendResult refusal) is not { } queue)
        {
            return refusal;
        }

        bool isCopied = message.Length <= MessageLog.MaxCopySize;
        bool wake = false;
        bool run = false;
        lock (_gate)
        {
            if (_completing || !queue.HasRoomFor(message.Length))
            {
                return _completing ? SendResult.PeerStopped : SendResult.QueueFull;
            }

            if (isCopied)
            {
                queue.Add(message);
                wake = CountEnqueued();
                run = wake && _waiting == 1 && IsIdle;
            }
        }

        if (!isCopied)
        {
            // There was room a moment ago, so the copy is worth it; under the gate it would keep everybody waiting.
            using SerializedMessage copy = SerializedMessage.Create(channel, message);
            return TrySend(copy);
        }

        Wake(wake, run);
        return SendResult.Queued;
    }

    /// <summary>Queues a message, waiting for room in the order of the callers; the caller keeps its own hold on it.</summary>
    public ValueTask<SendResult> SendAsync(SerializedMessage message, TimeSpan timeout, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(message);
        if (timeout != Timeout.InfiniteTimeSpan && (timeout < TimeSpan.Zero || timeout > MaxTimeout))
        {
            throw new ArgumentOutOfRangeException(nameof(timeout), timeout, $"A wait is infinite or has a length of zero to {MaxTimeout.Days} days.");
        }

        cancellationToken.ThrowIfCancellationRequested();
        if (FindQueue(message.Channel, message.Length, out SendResult refusal) is not { } queue)
        {
            return new ValueTask<SendResult>(refusal);
        }

        bool wake = false;
        SendWaiter? waiter = null;
        lock (_gate)
        {
            if (_completing)
            {
                return new ValueTask<SendResult>(SendResult.PeerStopped);
            }

            message.AddReference();
            if (queue.HasRoomFor(message.Length))
            {
                queue.Add(message);
                wake = CountEnqueued();
            }
            else
            {
                queue.Wait(waiter = new SendWaiter(this, queue, message));
            }
        }

        Wake(wake);
        return waiter is null ? new ValueTask<SendResult>(SendResult.Queued) : WaitForRoomAsync(waiter, timeout, _timeProvider, cancellationToken);
    }

    /// <inheritdoc />
    /// <remarks>
    /// A message for a channel that one of the two nodes lacks, or that is too large for its channel, is declined. One that is accepted
    /// must not be disposed of by the source.
    /// </remarks>
    public DataflowMessageStatus OfferMessage(
        DataflowMessageHeader messageHeader,
        SerializedMessage messageValue,
        ISourceBlock<SerializedMessage>? source,
        bool consumeToAccept)
    {
        if (!messageHeader.IsValid)
        {
            throw new ArgumentException("The header of the message is not valid.", nameof(messageHeader));
        }

        ArgumentNullException.ThrowIfNull(messageValue);
        if (source is null && consumeToAccept)
        {
            throw new ArgumentException("Only a source can be asked to hand over the message.", nameof(consumeToAccept));
        }

        if (FindQueue(messageValue.Channel, messageValue.Length, out _) is not { } queue)
        {
            return DataflowMessageStatus.Declined;
        }

        bool wake = false;
        lock (_gate)
        {
            if (_completing)
            {
                return DataflowMessageStatus.DecliningPermanently;
            }

            if (!queue.HasRoomFor(messageValue.Length) || queue.IsConsumingFrom(source))
            {
                if (source is null)
                {
                    return DataflowMessageStatus.Declined;
                }

                queue.Postpone(new Postponed(this, queue, messageHeader, source, messageValue.Length));
                return DataflowMessageStatus.Postponed;
            }

            if (consumeToAccept)
            {
                queue.Reserve(source!, messageValue.Length);
                _consuming++;
            }
            else
            {
                queue.Add(messageValue);
                wake = CountEnqueued();
            }
        }

        Wake(wake);
        return !consumeToAccept || TryConsume(new Postponed(this, queue, messageHeader, source!, messageValue.Length))
            ? DataflowMessageStatus.Accepted
            : DataflowMessageStatus.NotAvailable;
    }

    /// <summary>Accepts no more messages; those that are there are sent.</summary>
    public void Complete() => End(abort: false, fault: null);

    /// <inheritdoc />
    /// <remarks>The messages that are there are not sent.</remarks>
    public void Fault(Exception exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        End(abort: true, exception);
    }

    /// <summary>Accepts no more messages and sends none of those that are there.</summary>
    internal void Abort() => End(abort: true, fault: null);

    internal void RequestPing() => Request(ref _pingIsDue);

    internal void RequestPong() => Request(ref _pongIsDue);

    /// <summary>Lets only pings and pongs be taken until <see cref="ReleaseMessages"/>. Called by the one who takes packets.</summary>
    internal void HoldMessages()
    {
        lock (_gate)
        {
            _isHeld = true;
        }
    }

    internal void ReleaseMessages()
    {
        bool wake;
        lock (_gate)
        {
            _isHeld = false;
            wake = TakeTakerToWake();
        }

        Wake(wake);
    }

    /// <summary>Whether the channel can be sent to.</summary>
    internal bool HasChannel(byte channelId) => _channels.IndexOf(channelId) is >= 0 and int index && _queues[index] is not null;

    internal SendQueueStatus GetStatus(int index)
    {
        if (_queues[index] is not { } queue)
        {
            return default;
        }

        lock (_gate)
        {
            return queue.GetStatus();
        }
    }

    /// <summary>The bytes of all packets of a channel that have been taken.</summary>
    internal long GetPacketBytes(int index) => _queues[index] is { } queue ? Volatile.Read(ref queue.PacketBytes) : 0;

    /// <summary>Waits until there is something to take: true; or until there will be nothing any more: false. One caller at a time.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    internal async ValueTask<bool> WaitToTakeAsync()
    {
        while (true)
        {
            ValueTask something;
            lock (_gate)
            {
                if (_aborted)
                {
                    return false;
                }

                if ((_waiting > 0 && !_isHeld) || Volatile.Read(ref _pingIsDue) != 0 || Volatile.Read(ref _pongIsDue) != 0)
                {
                    return true;
                }

                if (_completing && _waiting == 0 && _consuming == 0)
                {
                    return false;
                }

                _takerWaits = true;
                _takerWaitsSince = _timeProvider.GetTimestamp();
                something = _something.Arm();
            }

            await something.ConfigureAwait(false);
        }
    }

    /// <summary>Whether the one who takes packets waits for something to take.</summary>
    internal bool IsTakerWaiting
    {
        get
        {
            lock (_gate)
            {
                return _takerWaits;
            }
        }
    }

    /// <summary>Whether the caller, who takes packets, runs on the thread of a sender that has just woken it, which should get its thread back soon.</summary>
    internal bool IsLent => Volatile.Read(ref _lender) == Environment.CurrentManagedThreadId;

    /// <summary>Writes as many packets as fit and are there, and returns their bytes. One caller at a time.</summary>
    internal int Take(Span<byte> destination)
    {
        int written = TakeControl(destination, ref _pingIsDue, Packet.Ping);
        written += TakeControl(destination[written..], ref _pongIsDue, Packet.Pong);
        bool finishedAny = false;
        while (!Volatile.Read(ref _isHeld) && FindNext(out double othersTurn) is { } queue)
        {
            int count = TakePackets(queue, destination[written..], othersTurn, out bool isFull, ref finishedAny);
            written += count;
            if (isFull)
            {
                break;
            }
        }

        if (finishedAny)
        {
            Settle();
        }

        return written;
    }

    /// <summary>Releases everything that waits. Called by the one who takes packets, as its last act, or instead of it.</summary>
    internal void Close()
    {
        List<Waiter> waiting = [];
        lock (_gate)
        {
            if (_closed)
            {
                return;
            }

            _closed = _aborted = _completing = true;
            foreach (SendQueue queue in _queues.OfType<SendQueue>())
            {
                queue.Clear();
                queue.DropWaiting(waiting);
            }

            _waiting = 0;
        }

        waiting.ForEach(waiter => waiter.Refuse());
        _ = _fault is null ? _completion.TrySetResult() : _completion.TrySetException(_fault);
    }

    private SendQueue? FindQueue(ChannelDescriptor channel, int length, out SendResult refusal)
    {
        int index = _channels.IndexOf(channel.Id);
        SendQueue? queue = index < 0 ? null : _queues[index];
        refusal = queue is null ? SendResult.UnknownChannel : SendResult.MessageTooLarge;
        return queue is not null && length <= queue.Channel.MaxMessageSize ? queue : null;
    }

    // Called with the gate held, for each message that was added to a queue. True: wake the taker after letting go of the gate.
    private bool CountEnqueued()
    {
        _waiting++;
        return TakeTakerToWake();
    }

    private bool TakeTakerToWake()
    {
        bool wake = _takerWaits;
        _takerWaits = false;
        return wake;
    }

    // Called with the gate held, by who is about to wake the taker.
    private bool IsIdle => _timeProvider.GetElapsedTime(_takerWaitsSince) >= MinIdleTime;

    private void Wake(bool wake, bool run = false)
    {
        if (run)
        {
            int thread = Environment.CurrentManagedThreadId;
            Volatile.Write(ref _lender, thread);
            _something.SetAndRun();
            Interlocked.CompareExchange(ref _lender, 0, thread);
        }
        else if (wake)
        {
            _something.Set();
        }
    }

    private void Request(ref int flag)
    {
        if (Interlocked.Exchange(ref flag, 1) != 0)
        {
            return;
        }

        bool wake;
        bool run;
        lock (_gate)
        {
            wake = TakeTakerToWake();
            run = wake && _waiting == 0 && IsIdle;
        }

        Wake(wake, run);
    }

    private static int TakeControl(Span<byte> destination, ref int flag, in Packet packet) =>
        Volatile.Read(ref flag) != 0 && destination.Length >= PacketCodec.Size(packet) && Interlocked.Exchange(ref flag, 0) != 0
            ? PacketCodec.Write(destination, packet)
            : 0;

    // The queue whose turn it is, and the virtual time at which it becomes another's.
    private SendQueue? FindNext(out double othersTurn)
    {
        SendQueue? next = null;
        othersTurn = double.PositiveInfinity;
        foreach (SendQueue? queue in _queues)
        {
            if (queue is null || !HasSomething(queue))
            {
                continue;
            }

            if (!queue.IsBusy)
            {
                queue.IsBusy = true;
                queue.VirtualTime = Math.Max(queue.VirtualTime, _now);
            }

            if (next is null || queue.VirtualTime < next.VirtualTime)
            {
                othersTurn = next?.VirtualTime ?? othersTurn;
                next = queue;
            }
            else
            {
                othersTurn = Math.Min(othersTurn, queue.VirtualTime);
            }
        }

        return next;
    }

    private bool HasSomething(SendQueue queue)
    {
        if (queue.Outgoing.Count > 0)
        {
            return true;
        }

        if (Volatile.Read(ref queue.IncomingCount) == 0)
        {
            queue.IsBusy = false;
            return false;
        }

        lock (_gate)
        {
            queue.Swap();
        }

        return queue.Outgoing.Count > 0;
    }

    // Takes packets of one queue until it has no more, others have their turn, or one does not fit. A few at most, so that those who wake up
    // meanwhile are not overlooked for long.
    private int TakePackets(SendQueue queue, Span<byte> destination, double othersTurn, out bool isFull, ref bool finishedAny)
    {
        byte channelId = queue.Channel.Id;
        int mostData = PacketCodec.MaxDataSizeFor(channelId, _maxPacketDataSize);
        int written = 0;
        isFull = false;
        for (int packets = 0; packets == 0 || (packets < MaxPacketsPerTurn && queue.Outgoing.Count > 0 && queue.VirtualTime < othersTurn); packets++)
        {
            ReadOnlySpan<byte> message = queue.Outgoing.First;
            int left = message.Length - queue.Taken;
            int count = Math.Min(left, mostData);
            bool finished = count == left;
            if (!PacketCodec.TryWrite(destination[written..], Packet.Message(channelId, finished, message.Slice(queue.Taken, count)), out int size))
            {
                isFull = true;
                break;
            }

            written += size;
            _now = queue.VirtualTime;
            queue.Taken += count;
            queue.VirtualTime += (double)size / queue.Channel.Priority;
            if (finished)
            {
                _counter?.Sent(queue.Channel, message);
                queue.FinishFirst();
                finishedAny = true;
            }
        }

        Volatile.Write(ref queue.PacketBytes, queue.PacketBytes + written);
        return written;
    }

    // Makes the room of what was taken available.
    private void Settle()
    {
        Admitted admitted = default;
        lock (_gate)
        {
            foreach (SendQueue? queue in _queues)
            {
                if (queue is { FinishedMessages: > 0 })
                {
                    _waiting -= queue.FinishedMessages;
                    queue.Settle();
                    Admit(queue, ref admitted);
                }
            }
        }

        if (admitted.Offers is { } offers && IsLent)
        {
            // The sender may hold a lock that such a source wants.
            admitted.Offers = null;
            _ = Task.Run(() => offers.ForEach(offer => TryConsume(offer)));
        }

        Finish(admitted);
    }

    // Called with the gate held, whenever there may be room for who waits first; in their order, and nobody overtakes.
    private void Admit(SendQueue queue, ref Admitted admitted)
    {
        while (queue.FirstWaiting is { } waiter && queue.CanAdmit(waiter))
        {
            queue.EndWait(waiter);
            if (waiter is Postponed offer)
            {
                queue.Reserve(offer.Source, offer.Length);
                _consuming++;
                (admitted.Offers ??= []).Add(offer);
            }
            else
            {
                SendWaiter send = (SendWaiter)waiter;
                queue.Add(send.Message);
                admitted.Wake |= CountEnqueued();
                (admitted.Sends ??= []).Add(send);
            }
        }
    }

    // Called without the gate: whoever is told may do anything.
    private void Finish(in Admitted admitted)
    {
        Wake(admitted.Wake);
        admitted.Sends?.ForEach(send => send.SetQueued());
        admitted.Offers?.ForEach(offer => TryConsume(offer));
    }

    // Room for the message has been reserved. The source may do anything when it is asked, so no lock is held.
    private bool TryConsume(Postponed offer)
    {
        SerializedMessage? message = null;
        try
        {
            message = offer.Source.ConsumeMessage(offer.Header, this, out bool consumed);
            return consumed;
        }
        finally
        {
            Admitted admitted = default;
            lock (_gate)
            {
                offer.Queue.Unreserve(offer.Source, offer.Length);
                _consuming--;
                if (message is not null && !_closed)
                {
                    offer.Queue.Add(message);
                    admitted.Wake = CountEnqueued();
                    message = null;
                }

                Admit(offer.Queue, ref admitted);
                admitted.Wake |= _completing && TakeTakerToWake();
            }

            message?.Release();
            Finish(admitted);
        }
    }

    private static ValueTask<SendResult> WaitForRoomAsync(SendWaiter waiter, TimeSpan timeout, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        return timeout == Timeout.InfiniteTimeSpan && !cancellationToken.CanBeCanceled
            ? new ValueTask<SendResult>(waiter.Outcome)
            : WaitAsync();

        async ValueTask<SendResult> WaitAsync()
        {
            using CancellationTokenSource? deadline = timeout == Timeout.InfiniteTimeSpan ? null : new(timeout, timeProvider);
            using CancellationTokenRegistration? late = deadline?.Token.UnsafeRegister(
                static w => ((SendWaiter)w!).GiveUp(CancellationToken.None),
                waiter);
            using CancellationTokenRegistration cancelled = cancellationToken.UnsafeRegister(
                static (w, token) => ((SendWaiter)w!).GiveUp(token),
                waiter);
            return await waiter.Outcome.ConfigureAwait(false);
        }
    }

    private void End(bool abort, Exception? fault)
    {
        bool wake;
        List<Waiter> waiting = [];
        lock (_gate)
        {
            // What ends the block first is what its completion shows.
            _fault ??= _completing ? null : fault;
            _completing = true;
            _aborted |= abort;
            foreach (SendQueue queue in _queues.OfType<SendQueue>())
            {
                queue.DropWaiting(waiting);
            }

            wake = TakeTakerToWake();
        }

        waiting.ForEach(waiter => waiter.Refuse());
        Wake(wake);
    }

    /// <summary>Those who got room, to be told without the gate.</summary>
    private struct Admitted
    {
        public List<SendWaiter>? Sends;
        public List<Postponed>? Offers;
        public bool Wake;
    }

    private sealed class SendQueue(ChannelDescriptor channel, TimeProvider timeProvider, ArrayPool<byte> pool)
    {
        public ChannelDescriptor Channel { get; } = channel;

        // Guarded by the gate. Invariant: Messages and Bytes are those of _incoming and Outgoing and what was taken but not settled;
        // _consuming are the sources that are being asked for a message each, for which _reservedBytes are kept; nobody waits while there is
        // room, except for a source that is being asked.
        public int Messages { get; private set; }

        public long Bytes { get; private set; }

        private readonly List<ISourceBlock<SerializedMessage>> _consuming = [];
        private long _reservedBytes;

        // Also guarded by the gate. Invariant: until _waitTimeAt, all who ever were in _waiting, _waits of them, waited _waitTime together. Only
        // those who wait pay for it.
        private readonly LinkedList<Waiter> _waiting = [];
        private long _waits;
        private TimeSpan _waitTime;
        private long _waitTimeAt;

        private long _messagesSent;
        private long _bytesSent;

        private MessageLog _incoming = new(pool);

        // Written under the gate; read without it to see whether taking it is worth while.
        public int IncomingCount;

        // Owned by the one who takes packets. Invariant: the first Taken bytes of the head of Outgoing have been taken.
        public MessageLog Outgoing { get; private set; } = new(pool);

        public int Taken { get; set; }

        public bool IsBusy { get; set; }

        public double VirtualTime { get; set; }

        // Also owned by the one who takes packets, and read by anybody.
        public long PacketBytes;

        public int FinishedMessages { get; private set; }

        private long _finishedBytes;

        // Nobody overtakes those who wait.
        public bool HasRoomFor(int length) => _waiting.Count == 0 && CanAdmit(length);

        public bool CanAdmit(Waiter waiter) => CanAdmit(waiter.Length) && !IsConsumingFrom((waiter as Postponed)?.Source);

        // A source may offer its next message as soon as it has handed one over, which then is not in the queue yet.
        public bool IsConsumingFrom(ISourceBlock<SerializedMessage>? source) => source is not null && _consuming.Contains(source);

        public void Reserve(ISourceBlock<SerializedMessage> source, int length)
        {
            _consuming.Add(source);
            _reservedBytes += length;
        }

        public void Unreserve(ISourceBlock<SerializedMessage> source, int length)
        {
            _consuming.Remove(source);
            _reservedBytes -= length;
        }

        private bool CanAdmit(int length)
        {
            int messages = Messages + _consuming.Count;
            return messages < Channel.SendQueueCapacity && (messages == 0 || Bytes + _reservedBytes + length <= Channel.SendQueueBytes);
        }

        public void Add(SerializedMessage message)
        {
            _incoming.Add(message);
            CountAdded(message.Length);
        }

        public void Add(ReadOnlySpan<byte> message)
        {
            _incoming.Add(message);
            CountAdded(message.Length);
        }

        // A source has at most one message on offer; a newer one takes the place of the former.
        public void Postpone(Postponed offer)
        {
            if (_waiting.FirstOrDefault(other => other is Postponed former && ReferenceEquals(former.Source, offer.Source)) is { } former)
            {
                EndWait(former);
                _waits--;
            }

            Wait(offer);
        }

        public Waiter? FirstWaiting => _waiting.First?.Value;

        public void Wait(Waiter waiter)
        {
            CountWaitTime();
            _waits++;
            _waiting.AddLast(waiter);
        }

        /// <summary>False when it does not wait any more.</summary>
        public bool EndWait(Waiter waiter)
        {
            CountWaitTime();
            return _waiting.Remove(waiter);
        }

        public SendQueueStatus GetStatus()
        {
            CountWaitTime();
            return new SendQueueStatus(Messages, Bytes, _messagesSent, _bytesSent, _waiting.Count, _waits, _waitTime);
        }

        // Before the number of those who wait changes.
        private void CountWaitTime()
        {
            long now = timeProvider.GetTimestamp();
            _waitTime += TimeSpan.FromTicks(_waiting.Count * timeProvider.GetElapsedTime(_waitTimeAt, now).Ticks);
            _waitTimeAt = now;
        }

        public void Swap()
        {
            (_incoming, Outgoing) = (Outgoing, _incoming);
            IncomingCount = 0;
        }

        public void FinishFirst()
        {
            FinishedMessages++;
            _finishedBytes += Outgoing.RemoveFirst();
            Taken = 0;
        }

        public void Settle()
        {
            Messages -= FinishedMessages;
            Bytes -= _finishedBytes;
            _messagesSent += FinishedMessages;
            _bytesSent += _finishedBytes;
            FinishedMessages = 0;
            _finishedBytes = 0;
        }

        public void Clear()
        {
            Outgoing.Clear();
            _incoming.Clear();
            IncomingCount = 0;
            Messages = 0;
            Bytes = 0;
        }

        public void DropWaiting(List<Waiter> waiting)
        {
            CountWaitTime();
            waiting.AddRange(_waiting);
            _waiting.Clear();
        }

        private void CountAdded(int length)
        {
            IncomingCount = _incoming.Count;
            Messages++;
            Bytes += length;
        }
    }

    /// <summary>Who waits for room in a queue.</summary>
    private abstract class Waiter(PrioritySendBlock block, SendQueue queue, int length)
    {
        public SendQueue Queue => queue;

        public int Length => length;

        protected PrioritySendBlock Block => block;

        /// <summary>Tells who waits that there will be no room. Called without the gate.</summary>
        public abstract void Refuse();
    }

    private sealed class SendWaiter(PrioritySendBlock block, SendQueue queue, SerializedMessage message) : Waiter(block, queue, message.Length)
    {
        private readonly TaskCompletionSource<SendResult> _result = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public SerializedMessage Message => message;

        public Task<SendResult> Outcome => _result.Task;

        public void SetQueued() => _result.TrySetResult(SendResult.Queued);

        public void GiveUp(CancellationToken cancelled)
        {
            Admitted admitted = default;
            lock (Block._gate)
            {
                if (!Queue.EndWait(this))
                {
                    return;
                }

                // It may have been too large for the room there is, and the next one is not.
                Block.Admit(Queue, ref admitted);
            }

            message.Release();
            _ = cancelled.IsCancellationRequested ? _result.TrySetCanceled(cancelled) : _result.TrySetResult(SendResult.QueueFull);
            Block.Finish(admitted);
        }

        public override void Refuse()
        {
            message.Release();
            _result.TrySetResult(SendResult.PeerStopped);
        }
    }

    private sealed class Postponed(
        PrioritySendBlock block,
        SendQueue queue,
        DataflowMessageHeader header,
        ISourceBlock<SerializedMessage> source,
        int length)
        : Waiter(block, queue, length)
    {
        public DataflowMessageHeader Header => header;

        public ISourceBlock<SerializedMessage> Source => source;

        // A source that takes a reservation back offers the message again, to other targets when this one declines. Not on the caller's
        // thread, which may hold locks: a peer can be stopped from anywhere.
        public override void Refuse() => Task.Run(() =>
        {
            if (source.ReserveMessage(header, Block))
            {
                source.ReleaseReservation(header, Block);
            }
        });
    }
}
