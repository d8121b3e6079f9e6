using System.Collections.Frozen;
using System.Diagnostics;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <content>Who may be a peer, and who not any more.</content>
public sealed partial class Switch
{
    private readonly FrozenSet<NodeId> _private;
    private volatile AccessRules _accessRules;

    /// <summary>Who is banned. A ban that is added here stops the peers that it is about.</summary>
    public BanList Bans { get; }

    /// <summary>Who may be a peer, and who not, by the configuration.</summary>
    public AccessRules AccessRules => _accessRules;

    /// <summary>Replaces the rules of who may be a peer, and stops the peers that may not any more.</summary>
    public void SetAccessRules(AccessRules rules)
    {
        ArgumentNullException.ThrowIfNull(rules);
        _accessRules = rules;
        foreach (Peer peer in _peers.Connected)
        {
            StopIfRefused(peer);
        }
    }

    /// <inheritdoc />
    public bool IsPrivate(NodeId id) => _private.Contains(id);

    /// <inheritdoc />
    public void MarkGood(IPeer peer)
    {
        ArgumentNullException.ThrowIfNull(peer);
        if (_options.AddressBook is { } book && peer.FindAddress() is { } address)
        {
            book.MarkGood(address);
        }
    }

    /// <inheritdoc />
    public void MarkBad(IPeer peer, string why, TimeSpan? duration = null)
    {
        ArgumentNullException.ThrowIfNull(peer);
        Ban ban = MakeBan(AccessTarget.Of(peer.Id), why, duration);
        if (peer is Peer own)
        {
            own.IsBanned = true;
        }

        // First, so that this is the reason which counts.
        peer.Stop(new DisconnectReason(DisconnectKind.Misbehaved, why));
        Bans.Add(ban);
    }

    /// <inheritdoc />
    public void Ban(AccessTarget target, string why, TimeSpan? duration = null)
    {
        ArgumentNullException.ThrowIfNull(target);
        Bans.Add(MakeBan(target, why, duration));
    }

    private Ban MakeBan(AccessTarget target, string why, TimeSpan? duration)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(why);
        TimeSpan time = duration ?? _options.BanTime;
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(time, TimeSpan.Zero, nameof(duration));
        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        return new Ban(target, why, now, time < DateTimeOffset.MaxValue - now ? now + time : null);
    }

    private void OnBanAdded(Ban ban)
    {
        _metrics.BanAdded();
        SwitchLog.BanAdded(_logger, ban.Target.ToString(), ban.Until, ban.Reason);
        foreach (Peer peer in _peers.Connected)
        {
            if (ban.Target.Matches(peer.Id) || ban.Target.Matches(peer.RemoteEndPoint.Address))
            {
                StopIfRefused(peer);
            }
        }
    }

    private void StopIfRefused(Peer peer)
    {
        if (FindRefusal(peer.Id, peer.RemoteEndPoint.Address) is { } refusal)
        {
            peer.Stop(new DisconnectReason(DisconnectKind.Banned, refusal.Message));
        }
    }

    /// <summary>Why a node may not be a peer; null when it may. The address is null when only the name of a host is known.</summary>
    private (HandshakeFailure Failure, string Message)? FindRefusal(NodeId id, IPAddress? ip) =>
        _accessRules.FindRefusal(id, ip) is { } denied ? (HandshakeFailure.Denied, denied)
        : (Bans.Find(id) ?? (ip is null ? null : Bans.Find(ip))) is { } ban ? (HandshakeFailure.Banned, ban.ToString())
        : null;

    /// <summary>Why a connection from an address may not go on, whoever it is; null when it may. Costs little, because a flood costs no more.</summary>
    private (HandshakeFailure Failure, string Message)? FindRefusal(IPAddress ip) =>
        _accessRules.FindRefusal(ip) is { } denied ? (HandshakeFailure.Denied, denied)
        : Bans.Find(ip) is { } ban ? (HandshakeFailure.Banned, ban.ToString())
        : _peers.FindRefusal(ip);

    private void EnsureIsAdmitted(NodeId id, IPAddress? ip)
    {
        if (FindRefusal(id, ip) is { } refusal)
        {
            throw new HandshakeException(refusal.Failure, refusal.Message) { RemoteId = id };
        }
    }

    /// <summary>From a stream of bytes to a node that may be a peer: what costs least comes first.</summary>
    private async Task<Admitted> AdmitAsync(
        TransportConnection transport,
        NodeInfo localInfo,
        NetAddress? dialled,
        CancellationToken cancellationToken)
    {
        try
        {
            IPEndPoint remote = transport.RemoteEndPoint;
            if (dialled is not null)
            {
                EnsureIsAdmitted(dialled.Id, remote.Address);
            }

            ConnectionCandidate connecting = new(remote, dialled);
            await AskAsync(_options.ConnectionFilters.Select(filter => Asking(token => filter(connecting, token))), dialled?.Id ?? default, cancellationToken).ConfigureAwait(false);
            Activity? handshake = PipelineActivities.StartHandshake(remote, dialled?.Id);
            AuthenticatedConnection connection = await ShakeHandsAsync(transport, localInfo, dialled?.Id, handshake, cancellationToken).ConfigureAwait(false);
            connection.EnsureCompatible(localInfo);
            EnsureIsAdmitted(connection.RemoteInfo.Id, remote.Address);
            PeerCandidate candidate = new(connection.RemoteInfo, remote, dialled);
            await AskAsync(_options.PeerFilters.Select(filter => Asking(token => filter(candidate, token))), candidate.NodeInfo.Id, cancellationToken).ConfigureAwait(false);
            return new Admitted(connection, handshake);
        }
        catch (Exception e)
        {
            _metrics.HandshakeRefused(dialled is not null, e);
            await transport.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        static Func<CancellationToken, ValueTask<string?>> Asking(Func<CancellationToken, ValueTask<string?>> filter) => filter;
    }

    /// <summary>Asks filters until one says no. They are the user's code: one may throw, block, or never answer.</summary>
    private async Task AskAsync(IEnumerable<Func<CancellationToken, ValueTask<string?>>> filters, NodeId id, CancellationToken cancellationToken)
    {
        using CancellationTokenSource deadline = new(_options.FilterTimeout, _options.TimeProvider);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        foreach (Func<CancellationToken, ValueTask<string?>> filter in filters)
        {
            Exception? failure = null;
            string? refusal;
            try
            {
                refusal = await Task.Run(() => filter(either.Token).AsTask(), CancellationToken.None).WaitAsync(either.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException e) when (either.IsCancellationRequested)
            {
                cancellationToken.ThrowIfCancellationRequested();
                refusal = $"It did not answer within {_options.FilterTimeout.TotalSeconds:0.###} s.";
                failure = e;
            }
            catch (Exception e)
            {
                refusal = $"It failed: {e.Message}";
                failure = e;
            }

            if (refusal is not null)
            {
                throw new HandshakeException(HandshakeFailure.Filtered, $"A filter of this node keeps the remote out. {refusal}", failure) { RemoteId = id };
            }
        }
    }

    /// <summary>Looks, often enough, for peers that do nothing useful.</summary>
    private async Task WatchForLazyPeersAsync(TimeSpan time)
    {
        TimeSpan period = time / 4;
        using PeriodicTimer timer = new(period < MinLazyPeriod ? MinLazyPeriod : period, _options.TimeProvider);
        try
        {
            while (await timer.WaitForNextTickAsync(_stopping.Token).ConfigureAwait(false))
            {
                foreach (Peer peer in _peers.Connected)
                {
                    Judge(peer, time);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The switch stops.
        }
    }

    private void Judge(Peer peer, TimeSpan time)
    {
        TimeSpan idle = peer.SinceUseful;
        if (idle < time)
        {
            peer.IsLazy = false;
        }
        else if (!peer.IsLazy)
        {
            peer.IsLazy = true;
            SwitchLog.PeerIsLazy(_logger, peer.Id, peer.RemoteEndPoint, idle.TotalSeconds);
            if (_options.WhenLazy == LazyPeerPolicy.Disconnect && !peer.IsPersistent && !_options.UnconditionalPeers.Contains(peer.Id))
            {
                peer.Stop(new DisconnectReason(DisconnectKind.Lazy, $"The peer did nothing useful for {time.TotalSeconds:0.###} s."));
            }
        }
    }
}
