using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Reactors;
using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <content>Enough outbound peers.</content>
public sealed partial class PeerExchangeReactor
{
    /// <summary>How many picks there are for each address that is wanted, because some are connected already, or not to be dialled yet.</summary>
    private const int PicksPerAddress = 3;

    /// <summary>
    /// But so many at least: in a small network nearly all that are picked are connected already, and the one that is not would be missed for many rounds.
    /// </summary>
    private const int MinPicks = 100;

    /// <summary>A round for whose pause is over comes so much later, because the pauses are measured from a moment after the begin of the round.</summary>
    private static readonly TimeSpan Margin = TimeSpan.FromMilliseconds(100);

    /// <summary>One round: dials as many as are missing; asks for more addresses when the book has few.</summary>
    private void EnsurePeers()
    {
        _backoffs.Prune(IsInBook);
        PeerCounts counts = Switch.Counts;
        int wanted = _options.MaxOutboundPeers - counts.Outbound - counts.Dialling;
        if (wanted <= 0)
        {
            return;
        }

        // Who has few peers needs ones that were of use before; who has many can try others.
        List<NetAddress> chosen = Pick(wanted, (Math.Min(counts.Outbound, 8) * 10) + 10);
        PeerExchangeLog.Dialling(_logger, counts.Outbound, _options.MaxOutboundPeers, counts.Dialling, chosen.Count);
        foreach (NetAddress address in chosen)
        {
            Run(() => TryDialAsync(address));
        }

        if (chosen.Count < wanted && _backoffs.UntilNext() is { } pause)
        {
            ComeEarly(pause > MinGap ? pause + Margin : MinGap);
        }

        if (!_book.NeedsMore)
        {
            return;
        }

        AskSomebody();
        if (chosen.Count == 0)
        {
            DialSeeds();
        }
    }

    private List<NetAddress> Pick(int wanted, int bias)
    {
        List<NetAddress> chosen = [];
        int picks = Math.Max(wanted * PicksPerAddress, MinPicks);
        for (int i = 0; i < picks && chosen.Count < wanted; i++)
        {
            if (_book.Pick(bias) is not { } address)
            {
                break;
            }

            if (CanDial(address) && chosen.TrueForAll(other => other.Id != address.Id))
            {
                chosen.Add(address);
            }
        }

        return chosen;
    }

    // The switch dials persistent peers by itself, in its own time.
    private bool CanDial(NetAddress address) =>
        address.Id != Switch.NodeInfo.Id
        && !Switch.IsConnectedOrDialling(address.Id)
        && !Switch.IsPersistent(address.Id)
        && !_backoffs.IsWaiting(address);

    private bool IsInBook(NetAddress address) => _book.Find(address.Id)?.Address == address;

    /// <summary>Asks a random one of the peers that may be asked: else a round would be lost to one that was asked a moment ago.</summary>
    private void AskSomebody()
    {
        IPeer[] peers = [.. Switch.Peers];
        _options.Random.Shuffle(peers);
        Array.Exists(peers, Ask);
    }

    /// <summary>Dials the seeds, at most once a period, however many rounds come early.</summary>
    private void DialSeeds()
    {
        bool isTooSoon = _seedsDialledAt is { } last && _time.GetElapsedTime(last) < _options.Period;
        if (_options.Seeds.IsEmpty || isTooSoon || Interlocked.Exchange(ref _isDiallingSeeds, 1) == 1)
        {
            return;
        }

        _seedsDialledAt = _time.GetTimestamp();
        Run(DialSeedsAsync);
    }

    private async Task DialSeedsAsync()
    {
        try
        {
            NetAddress[] seeds = [.. _options.Seeds.Where(seed => seed.Id != Switch.NodeInfo.Id)];
            _options.Random.Shuffle(seeds);
            foreach (NetAddress seed in seeds)
            {
                if (Switch.IsConnectedOrDialling(seed.Id) || await TryDialSeedAsync(seed).ConfigureAwait(false) || _rounds.Ended.IsCancellationRequested)
                {
                    return;
                }
            }

            if (seeds.Length > 0)
            {
                PeerExchangeLog.NoSeedReached(_logger, seeds.Length);
            }
        }
        finally
        {
            Volatile.Write(ref _isDiallingSeeds, 0);
        }
    }

    private async Task<bool> TryDialSeedAsync(NetAddress seed)
    {
        try
        {
            IPeer peer = await Switch.DialAsync(seed, _rounds.Ended).ConfigureAwait(false);
            if (_options.IsSeed)
            {
                await LeaveWhenAnsweredAsync(peer).ConfigureAwait(false);
            }

            return true;
        }
        catch (Exception e)
        {
            if (!_rounds.Ended.IsCancellationRequested)
            {
                PeerExchangeLog.SeedFailed(_logger, seed, e.Message);
            }

            return false;
        }
    }

    /// <summary>Dials an address of the book. Null when nobody is there, or not who should be.</summary>
    private async Task<IPeer?> TryDialAsync(NetAddress address)
    {
        try
        {
            IPeer peer = await Switch.DialAsync(address, _rounds.Ended).ConfigureAwait(false);
            _book.MarkReached(address);
            long since = _time.GetTimestamp();
            Run(() => JudgeWhenLeftAsync(peer, address, since));
            Run(() => MarkWhenItStaysAsync(peer, address));
            return peer;
        }
        catch (Exception e)
        {
            // A transport of the user's may throw anything.
            if (!_rounds.Ended.IsCancellationRequested)
            {
                OnDialFailed(address, e);
            }

            return null;
        }
    }

    private void OnDialFailed(NetAddress address, Exception failure)
    {
        PeerExchangeLog.DialFailed(_logger, address, failure.Message);
        switch ((failure as HandshakeException)?.Failure)
        {
            case HandshakeFailure.AlreadyConnected or HandshakeFailure.SwitchStopped:
                return;

            // Somebody else is there, or a node that cannot be a peer: to try again is of no use, nor to tell others.
            case HandshakeFailure.Self
                or HandshakeFailure.WrongNode
                or HandshakeFailure.BadSignature
                or HandshakeFailure.InvalidAuthentication
                or HandshakeFailure.NodeInfoIdMismatch
                or HandshakeFailure.DifferentNetwork
                or HandshakeFailure.DifferentBlockVersion
                or HandshakeFailure.NoCommonChannel:
                KeepOut(address, failure.Message);
                break;

            // Nothing that the address can help: this node does not want it, for now.
            case HandshakeFailure.Banned or HandshakeFailure.Denied or HandshakeFailure.Filtered or HandshakeFailure.DuplicateIp:
                _backoffs.Failed(address);
                break;

            // It was reached, and has no room for this node, or no use.
            case HandshakeFailure.PeerStopped:
                if (_options.IsSeed)
                {
                    _book.MarkGood(address);
                }

                CountFailure(address, failure.Message);
                break;

            default:
                _book.MarkAttempt(address);
                CountFailure(address, failure.Message);
                break;
        }

        ComeEarly(MinGap);
    }

    private void CountFailure(NetAddress address, string reason)
    {
        if (_backoffs.Failed(address) > DialBackoffs.MaxFailures)
        {
            KeepOut(address, reason);
        }
    }

    // The address, never the node: anyone can say that an honest node is where it is not.
    private void KeepOut(NetAddress address, string reason)
    {
        _backoffs.Forget(address);
        _book.KeepOut(address, KeepOutTime);
        PeerExchangeLog.KeptOut(_logger, address, KeepOutTime.TotalHours, reason);
    }

    /// <summary>Who stays is of use, and its address a good one.</summary>
    private async Task MarkWhenItStaysAsync(IPeer peer, NetAddress address)
    {
        await ((Task)peer.Completion).WaitAsync(ShortConnection, _time, _rounds.Ended).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (!peer.Completion.IsCompleted && !_rounds.Ended.IsCancellationRequested)
        {
            _book.MarkGood(address);
        }
    }

    /// <summary>Many a node that is full takes a connection and ends it at once: it is not to be dialled all the time.</summary>
    private async Task JudgeWhenLeftAsync(IPeer peer, NetAddress address, long since)
    {
        DisconnectReason reason = await peer.Completion.WaitAsync(_rounds.Ended).ConfigureAwait(false);
        bool isTurnedAway = reason.Kind is DisconnectKind.RemoteClosed or DisconnectKind.ConnectionLost && _time.GetElapsedTime(since) < ShortConnection;
        if (isTurnedAway)
        {
            CountFailure(address, reason.Message);
        }
        else
        {
            _backoffs.Forget(address);
        }
    }
}
