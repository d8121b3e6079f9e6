using System.Threading.Tasks.Dataflow;

namespace Pipeline.Dataflow;

/// <summary>What an inbox sees of the source that hands its messages to linked blocks.</summary>
internal interface IInboxSource
{
    /// <summary>Whether it has no message that it took out of the lanes.</summary>
    bool IsEmpty { get; }

    /// <summary>Whether it has a message that no target has reserved or is being offered.</summary>
    bool HasFreeHead { get; }

    /// <summary>Takes that message back for who reads the inbox as a channel.</summary>
    bool TryTakeHead(out Envelope envelope);

    /// <summary>Says that there may be something to do: a message came, or the inbox is completed or faulted.</summary>
    void Wake();
}

/// <summary>Makes an item of a message; one that cannot be converted has been released and dealt with.</summary>
internal delegate bool EnvelopeConverter<T>(Envelope envelope, out T item);

/// <summary>
/// Speaks the dataflow protocol of a source for an inbox, as the framework's <see cref="BufferBlock{T}"/> does. One message at a time is out
/// of the lanes, the head, and only while a target is linked; the others wait where they are bounded and fair.
/// </summary>
/// <remarks>
/// The framework offers under a lock, so that nobody consumes a message, and gives its buffer back, while another target looks at it. Here no
/// lock is held while calling out: while the head is on offer to one target it is that target's alone. Another that asks for it, because
/// it had postponed it, is refused and offered it again.
/// </remarks>
internal sealed class InboxSource<T>(ReactorInbox inbox, EnvelopeConverter<T> convert) : ISourceBlock<T>, IInboxSource, IThreadPoolWorkItem
{
    // Two for each message that is taken out of the lanes and accepted.
    private const int StepsPerTurn = 64;

    // What targets know as the source: the inbox when it is one of such items.
    private readonly ISourceBlock<T>? _owner = inbox as ISourceBlock<T>;

    // Guarded by _gate, which is taken after the inbox's and never held while calling out.
    // Invariant: at most one work item exists, while _isWorking; it alone sets the head and offers it, and looks again before it rests
    // when _isAsked. While _hasHead, _id is the head's header, and links whose Round is not _round have yet to be offered it. It is on offer
    // to _offeredTo, by _offeringThread, or reserved by _reservedBy, or neither, or by the one both.
    private readonly Lock _gate = new();
    private readonly List<Link> _links = [];
    private bool _isWorking;
    private bool _isAsked;
    private bool _isLoading;
    private bool _hasHead;
    private Envelope _head;
    private T _item = default!;
    private long _id;
    private long _round;
    private ITargetBlock<T>? _reservedBy;
    private Link? _offeredTo;
    private int _offeringThread;
    private bool _hasRefused;

    public Task Completion => inbox.Completion;

    public bool IsEmpty
    {
        get
        {
            lock (_gate)
            {
                return !_hasHead && !_isLoading;
            }
        }
    }

    public bool HasFreeHead
    {
        get
        {
            lock (_gate)
            {
                return IsHeadFree;
            }
        }
    }

    private bool IsHeadFree => _hasHead && _reservedBy is null && _offeredTo is null;

    public void Complete() => inbox.Complete();

    public void Fault(Exception exception) => inbox.Fault(exception);

    public IDisposable LinkTo(ITargetBlock<T> target, DataflowLinkOptions linkOptions)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(linkOptions);
        Link link = new(this, target, linkOptions);
        lock (_gate)
        {
            _links.Insert(linkOptions.Append ? _links.Count : 0, link);
        }

        Wake();
        return link;
    }

    public T? ConsumeMessage(DataflowMessageHeader messageHeader, ITargetBlock<T> target, out bool messageConsumed)
    {
        CheckArguments(messageHeader, target);
        T item;
        lock (_gate)
        {
            messageConsumed = IsAvailable(messageHeader, target) && (_reservedBy is null || ReferenceEquals(_reservedBy, target));
            if (!messageConsumed)
            {
                return default;
            }

            item = _item;
            RemoveHead();
            if (_offeredTo is { } offered && ReferenceEquals(offered.Target, target))
            {
                offered.HasConsumed = true;
            }
            else if (_links.Find(link => ReferenceEquals(link.Target, target)) is { } link)
            {
                CountTaken(link);
            }
        }

        Wake();
        return item;
    }

    public bool ReserveMessage(DataflowMessageHeader messageHeader, ITargetBlock<T> target)
    {
        CheckArguments(messageHeader, target);
        lock (_gate)
        {
            if (!IsAvailable(messageHeader, target) || _reservedBy is not null)
            {
                return false;
            }

            _reservedBy = target;
            return true;
        }
    }

    public void ReleaseReservation(DataflowMessageHeader messageHeader, ITargetBlock<T> target)
    {
        CheckArguments(messageHeader, target);
        lock (_gate)
        {
            if (!_hasHead || messageHeader.Id != _id || !ReferenceEquals(_reservedBy, target))
            {
                throw new InvalidOperationException("The target has not reserved the message.");
            }

            _reservedBy = null;
            _round++;
        }

        Wake();
    }

    public bool TryTakeHead(out Envelope envelope)
    {
        lock (_gate)
        {
            envelope = _head;
            if (!IsHeadFree)
            {
                return false;
            }

            RemoveHead();
        }

        Wake();
        return true;
    }

    public void Wake()
    {
        lock (_gate)
        {
            if (_isWorking)
            {
                _isAsked = true;
                return;
            }

            _isWorking = true;
        }

        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    public void Execute()
    {
        do
        {
            for (int steps = 0; TryStep(); steps++)
            {
                if (steps == StepsPerTurn)
                {
                    // While there is always more to offer, this loop would keep its thread from everybody else.
                    ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
                    return;
                }
            }

            inbox.OnSourceIdle();
            if (Completion.IsCompleted)
            {
                PropagateCompletion();
            }
        }
        while (!TryRest());
    }

    private static void CheckArguments(DataflowMessageHeader messageHeader, ITargetBlock<T> target)
    {
        if (!messageHeader.IsValid)
        {
            throw new ArgumentException("The header of the message is not valid.", nameof(messageHeader));
        }

        ArgumentNullException.ThrowIfNull(target);
    }

    private bool TryRest()
    {
        lock (_gate)
        {
            _isWorking = _isAsked;
            _isAsked = false;
            return !_isWorking;
        }
    }

    // Takes a message out of the lanes, offers it to one target, or drops it; false when there is nothing to do.
    private bool TryStep()
    {
        Link? link = null;
        Envelope? dropped = null;
        T item = default!;
        lock (_gate)
        {
            if (_hasHead && _reservedBy is not null)
            {
                return false;
            }

            if (_hasHead && inbox.IsFaulted)
            {
                dropped = _head;
                RemoveHead();
            }
            else if (_hasHead)
            {
                link = FindNextLink();
                if (link is null)
                {
                    return false;
                }

                link.Round = _round;
                link.HasConsumed = false;
                _offeredTo = link;
                _offeringThread = Environment.CurrentManagedThreadId;
                item = _item;
            }
            else if (_links.Count > 0)
            {
                _isLoading = true;
            }
            else
            {
                return false;
            }
        }

        if (link is not null)
        {
            Offer(link, item);
            return true;
        }

        dropped?.Release();
        return dropped is not null || TryLoad();
    }

    private Link? FindNextLink()
    {
        foreach (Link link in _links)
        {
            if (link.Round != _round)
            {
                return link;
            }
        }

        return null;
    }

    private bool TryLoad()
    {
        Envelope envelope;
        T item;
        bool isFound;
        do
        {
            item = default!;
            isFound = inbox.TryTake(out envelope);
        }
        while (isFound && !convert(envelope, out item));

        lock (_gate)
        {
            _isLoading = false;
            _hasHead = isFound;
            _head = envelope;
            _item = item;
            if (isFound)
            {
                _id++;
                _round++;
            }
        }

        return isFound;
    }

    private void Offer(Link link, T item)
    {
        DataflowMessageStatus status = DataflowMessageStatus.Declined;
        Exception? failure = null;
        try
        {
            status = link.Target.OfferMessage(new DataflowMessageHeader(_id), item, _owner ?? this, consumeToAccept: false);
        }
        catch (Exception e)
        {
            // A target may throw anything; the framework's sources fault then.
            failure = e;
        }

        lock (_gate)
        {
            _offeredTo = null;
            if (status == DataflowMessageStatus.Accepted)
            {
                RemoveHead();
            }

            if (status == DataflowMessageStatus.Accepted || link.HasConsumed)
            {
                CountTaken(link);
            }

            if (status == DataflowMessageStatus.DecliningPermanently)
            {
                _links.Remove(link);
            }

            if (_hasRefused)
            {
                _hasRefused = false;
                _round++;
            }
        }

        if (failure is not null)
        {
            inbox.FaultOfTarget(failure);
        }
    }

    private bool IsAvailable(DataflowMessageHeader header, ITargetBlock<T> target)
    {
        if (!_hasHead || header.Id != _id)
        {
            return false;
        }

        // A target that stands before others, as one of DataflowBlock.Encapsulate does, is not who asks; but it asks on the same thread.
        bool isOfAnother = _offeredTo is not null
            && !ReferenceEquals(_offeredTo.Target, target)
            && _offeringThread != Environment.CurrentManagedThreadId;
        _hasRefused |= isOfAnother;
        return !isOfAnother;
    }

    private void RemoveHead()
    {
        _hasHead = false;
        _head = default;
        _item = default!;
        _reservedBy = null;
    }

    private void CountTaken(Link link)
    {
        if (link.Remaining > 0 && --link.Remaining == 0)
        {
            _links.Remove(link);
        }
    }

    private void PropagateCompletion()
    {
        Link[] links;
        lock (_gate)
        {
            links = [.. _links];
            _links.Clear();
        }

        foreach (Link link in links.Where(link => link.PropagatesCompletion))
        {
            if (Completion.Exception is { } exception)
            {
                link.Target.Fault(exception);
            }
            else
            {
                link.Target.Complete();
            }
        }
    }

    private void Unlink(Link link)
    {
        lock (_gate)
        {
            _links.Remove(link);
        }
    }

    private sealed class Link(InboxSource<T> source, ITargetBlock<T> target, DataflowLinkOptions options) : IDisposable
    {
        public ITargetBlock<T> Target => target;

        public bool PropagatesCompletion => options.PropagateCompletion;

        // Guarded by the source's gate. Remaining is negative when there is no limit.
        public int Remaining { get; set; } = options.MaxMessages;

        public long Round { get; set; } = -1;

        public bool HasConsumed { get; set; }

        public void Dispose() => source.Unlink(this);
    }
}
