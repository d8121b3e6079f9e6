namespace Pipeline.Discovery;

/// <summary>Who has asked whom for addresses, between this node and one peer.</summary>
internal sealed class PeerExchangeState(TimeProvider time)
{
    /// <summary>How many requests of a peer are free, before they may not come too often.</summary>
    private const int FreeRequests = 2;

    /// <summary>A peer is not asked again sooner: the reference bans who asks three times within 10 s, or a third of its own period.</summary>
    private static readonly TimeSpan MinPause = TimeSpan.FromSeconds(30);

    // Guarded by _gate. Invariant: at most one request of ours is open.
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource _answered = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly long _since = time.GetTimestamp();
    private bool _isAsked;
    private long? _askedAt;
    private int _requests;
    private long _requestedAt;

    /// <summary>Completes when the peer has answered a request, and the answer has been dealt with.</summary>
    public Task Answered => _answered.Task;

    /// <summary>How long the peer has been there.</summary>
    public TimeSpan Age => time.GetElapsedTime(_since);

    /// <summary>Opens a request. False when one is open, or the last was too recent.</summary>
    public bool TryAsk()
    {
        lock (_gate)
        {
            if (_isAsked || (_askedAt is { } last && time.GetElapsedTime(last) < MinPause))
            {
                return false;
            }

            _askedAt = time.GetTimestamp();
            return _isAsked = true;
        }
    }

    /// <summary>Says that the open request could not be sent.</summary>
    public void Unask()
    {
        lock (_gate)
        {
            _isAsked = false;
            _askedAt = null;
        }
    }

    /// <summary>Closes the open request, because there is an answer. False when there is none: nobody has asked.</summary>
    public bool TryTakeAnswer()
    {
        lock (_gate)
        {
            bool wasAsked = _isAsked;
            _isAsked = false;
            return wasAsked;
        }
    }

    public void SetAnswered() => _answered.TrySetResult();

    /// <summary>Counts a request of the peer. False when it comes too soon after the one before.</summary>
    public bool TryTakeRequest(TimeSpan minPause)
    {
        lock (_gate)
        {
            if (_requests >= FreeRequests && time.GetElapsedTime(_requestedAt) < minPause)
            {
                return false;
            }

            _requests++;
            _requestedAt = time.GetTimestamp();
            return true;
        }
    }

    /// <summary>Counts a request of the peer. False when it is not the first.</summary>
    public bool TryTakeOnlyRequest()
    {
        lock (_gate)
        {
            return _requests++ == 0;
        }
    }
}
