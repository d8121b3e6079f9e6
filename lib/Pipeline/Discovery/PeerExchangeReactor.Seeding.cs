using System.Diagnostics.CodeAnalysis;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <content>Seed mode: the nodes of the book are visited, so that the book tells which of them can be reached.</content>
public sealed partial class PeerExchangeReactor
{
    // Guarded by _visits. Invariant: _visitors is how many tasks take from _toVisit, at most MaxVisits; nobody is in _visitedAt for much longer than
    // RevisitPeriod.
    private readonly Lock _visits = new();
    private readonly Dictionary<NodeId, long> _visitedAt = [];
    private Queue<NetAddress> _toVisit = [];
    private int _visitors;

    /// <summary>One round of a seed.</summary>
    private void Crawl()
    {
        _backoffs.Prune(IsInBook);
        foreach (IPeer peer in Switch.Peers)
        {
            if (!peer.IsPersistent && StateOf(peer).Age >= _options.SeedDisconnectWaitPeriod)
            {
                Run(() => peer.StopGracefullyAsync(new DisconnectReason(DisconnectKind.Stopped, "This node is a seed, which stays connected to nobody for long.")));
            }
        }

        // Those that are left of the round before are as likely to be in this one as all others.
        int visitors, count;
        NetAddress[] selection = [.. _book.Select().Where(CanDial)];
        lock (_visits)
        {
            foreach (NodeId id in _visitedAt.Where(visit => _time.GetElapsedTime(visit.Value) >= _options.RevisitPeriod).Select(visit => visit.Key).ToArray())
            {
                _visitedAt.Remove(id);
            }

            _toVisit = new Queue<NetAddress>(selection.Where(address => !_visitedAt.ContainsKey(address.Id)));
            count = _toVisit.Count;
            visitors = Math.Min(count, _options.MaxVisits - _visitors);
            _visitors += visitors;
        }

        PeerExchangeLog.Visiting(_logger, count);
        for (int i = 0; i < visitors; i++)
        {
            Run(VisitAllAsync);
        }

        if (count == 0 && _book.NeedsMore)
        {
            DialSeeds();
        }
    }

    private async Task VisitAllAsync()
    {
        while (TryTake(out NetAddress? address))
        {
            if (await TryDialAsync(address).ConfigureAwait(false) is { } peer)
            {
                // It is where others say that it is: for a seed, what there is to know of a node.
                _book.MarkGood(address);
                await LeaveWhenAnsweredAsync(peer).ConfigureAwait(false);
            }
        }
    }

    private bool TryTake([NotNullWhen(true)] out NetAddress? address)
    {
        lock (_visits)
        {
            if (!_rounds.Ended.IsCancellationRequested && _toVisit.TryDequeue(out address))
            {
                _visitedAt[address.Id] = _time.GetTimestamp();
                return true;
            }

            _visitors--;
            address = null;
            return false;
        }
    }

    /// <summary>Waits until a peer has told what it knows, or has had the time to, and gives its place back to those who need it.</summary>
    private async Task LeaveWhenAnsweredAsync(IPeer peer)
    {
        if (peer.IsPersistent)
        {
            return;
        }

        if (peer.HasChannel(PeerExchange.Channel.Id))
        {
            await StateOf(peer).Answered.WaitAsync(_options.CrawlPeriod, _time, peer.Stopped).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await peer.StopGracefullyAsync(new DisconnectReason(DisconnectKind.Stopped, "This node is a seed, and the visit is over.")).ConfigureAwait(false);
    }
}
