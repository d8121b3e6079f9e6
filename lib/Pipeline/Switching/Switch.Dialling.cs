using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Reactors;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <content>Dials, and the peers that are dialled again and again.</content>
public sealed partial class Switch
{
    private readonly RedialSchedule _redials;

    // Guarded by _gate. Invariant: each node is here at most once; its loop runs from the start of the switch until it is given up.
    private readonly Dictionary<NodeId, PersistentPeer> _persistent = [];

    /// <inheritdoc />
    public async Task<IPeer> DialAsync(NetAddress address, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(address);
        if (!_tasks.TryEnter())
        {
            throw new HandshakeException(HandshakeFailure.SwitchStopped, "The switch has been stopped, so it dials no more.");
        }

        try
        {
            NodeInfo localInfo = _isStarted
                ? NodeInfo
                : throw new InvalidOperationException("The switch cannot dial: it has not been started, or its reactors have not all started yet.");
            using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _stopping.Token);
            IPeer peer = await DialAsync(address, localInfo, either.Token, cancellationToken).ConfigureAwait(false);
            _metrics.DialEnded(failure: null);
            return peer;
        }
        catch (Exception e)
        {
            bool stops = e is OperationCanceledException && _stopping.IsCancellationRequested && !cancellationToken.IsCancellationRequested;
            Exception failure = stops ? new HandshakeException(HandshakeFailure.SwitchStopped, "The switch stops, so it dials no more.", e) : e;
            _metrics.DialEnded(failure);
            if (stops)
            {
                throw failure;
            }

            throw;
        }
        finally
        {
            _tasks.Exit();
        }
    }

    /// <inheritdoc />
    public async Task<IReadOnlyList<DialResult>> DialAllAsync(IEnumerable<NetAddress> addresses, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(addresses);
        return await Task.WhenAll(addresses.Select(TryDialAsync)).ConfigureAwait(false);

        async Task<DialResult> TryDialAsync(NetAddress address)
        {
            ArgumentNullException.ThrowIfNull(address);
            try
            {
                await Task.Delay(_redials.Jitter(), _options.TimeProvider, cancellationToken).ConfigureAwait(false);
                return new DialResult(address, await DialAsync(address, cancellationToken).ConfigureAwait(false), Failure: null);
            }
            catch (IOException e)
            {
                return new DialResult(address, Peer: null, e);
            }
        }
    }

    /// <summary>
    /// Makes a node one to be connected to at all times, from the start of the switch on. An address that the node has here already is
    /// replaced.
    /// </summary>
    /// <exception cref="ArgumentException">The address is this node's own.</exception>
    public void AddPersistentPeer(NetAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        if (address.Id == Id)
        {
            throw new ArgumentException($"This node cannot be a persistent peer of its own: {address}.", nameof(address));
        }

        PersistentPeer added = new(address);
        PersistentPeer? former;
        lock (_gate)
        {
            former = _persistent.GetValueOrDefault(address.Id);
            _persistent[address.Id] = added;
        }

        former?.Dispose();
        if (_isStarted)
        {
            Begin(added);
        }
    }

    /// <summary>Dials a node no more by itself. A connection to it stays. False when it was no persistent peer.</summary>
    public bool RemovePersistentPeer(NodeId id)
    {
        PersistentPeer? removed;
        lock (_gate)
        {
            _persistent.Remove(id, out removed);
        }

        removed?.Dispose();
        return removed is not null;
    }

    /// <inheritdoc />
    public bool IsPersistent(NodeId id)
    {
        lock (_gate)
        {
            return _persistent.ContainsKey(id);
        }
    }

    private async Task<IPeer> DialAsync(NetAddress address, NodeInfo localInfo, CancellationToken eitherToken, CancellationToken cancellationToken)
    {
        if (address.Id == Id)
        {
            throw new HandshakeException(HandshakeFailure.Self, $"{address} is this node itself.") { RemoteId = Id };
        }

        EnsureIsAdmitted(address.Id, address.Ip);
        PeerSet.Place? place = _peers.TakeForDial(address.Id);
        try
        {
            TransportConnection transport = await _options.Transport.ConnectAsync(address, eitherToken).ConfigureAwait(false);
            Admitted admitted = await AdmitAsync(transport, localInfo, address, eitherToken).ConfigureAwait(false);
            try
            {
                _peers.Commit(place, transport.RemoteEndPoint.Address);
            }
            catch (HandshakeException e)
            {
                _metrics.HandshakeRefused(isOutbound: true, e);
                await admitted.Connection.DisposeAsync().ConfigureAwait(false);
                throw;
            }

            PeerSet.Place taken = place;
            place = null;
            return await RunPeerAsync(admitted, transport.RemoteEndPoint, taken, address, cancellationToken).ConfigureAwait(false);
        }
        catch when (place is not null)
        {
            _peers.Leave(place);
            throw;
        }
    }

    private void StartStayingConnected()
    {
        PersistentPeer[] all;
        lock (_gate)
        {
            all = [.. _persistent.Values];
        }

        foreach (PersistentPeer peer in all)
        {
            Begin(peer);
        }
    }

    private void Begin(PersistentPeer peer)
    {
        if (peer.TryBegin())
        {
            _tasks.TryRun(() => StayConnectedAsync(peer));
        }
    }

    /// <summary>Dials a persistent peer whenever it is not there, until it is given up or the switch stops.</summary>
    private async Task StayConnectedAsync(PersistentPeer persistent)
    {
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(persistent.GivenUp, _stopping.Token);
        try
        {
            await WaitToDialAsync(persistent, _redials.Jitter(), either.Token).ConfigureAwait(false);
            while (await TryStayConnectedAsync(persistent, either.Token).ConfigureAwait(false))
            {
                TimeSpan pause = persistent.Failures == 0 ? _redials.Jitter() : _redials.After(persistent.Failures);
                await WaitToDialAsync(persistent, pause, either.Token).ConfigureAwait(false);
            }
        }
        catch (Exception) when (either.IsCancellationRequested)
        {
            // Given up, or the switch stops.
        }
    }

    /// <summary>Dials a persistent peer, unless it is there already, and waits until it has left. False when it is not to be dialled again.</summary>
    private async Task<bool> TryStayConnectedAsync(PersistentPeer persistent, CancellationToken cancellationToken)
    {
        NetAddress address = persistent.Address;
        if (FindRefusal(address.Id, address.Ip) is not null)
        {
            // A ban ends by itself, or is lifted; it is no failure of the peer's.
            persistent.Failures = 0;
            await WaitToDialAsync(persistent, RedialSchedule.Interval, cancellationToken).ConfigureAwait(false);
            return true;
        }

        PeerSet.Place? place = _peers.Find(address.Id);
        Peer? peer = null;
        if (place is null)
        {
            try
            {
                peer = (Peer)await DialAsync(address, cancellationToken).ConfigureAwait(false);
                place = _peers.Find(address.Id);
            }
            catch (HandshakeException e) when (e.Failure == HandshakeFailure.AlreadyConnected)
            {
                // It dialled this node, or somebody else dials it.
                return true;
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                // A transport of the user's may throw anything.
                persistent.Failures++;
                persistent.LastFailure = e.Message;
                SwitchLog.RedialFailed(_logger, address, persistent.Failures, e.Message);
                return true;
            }
        }

        if (place is not null && (peer ?? place.Peer) == place.Peer)
        {
            await place.Left.WaitAsync(cancellationToken).ConfigureAwait(false);
            peer = place.Peer;
        }

        if (peer is null)
        {
            return true;
        }

        // A remote that takes every connection and ends it at once is not to be dialled all the time.
        persistent.Failures = peer.GetStatus().Duration < RedialSchedule.Interval ? persistent.Failures + 1 : 0;
        DisconnectReason reason = await peer.Completion.ConfigureAwait(false);
        persistent.LastFailure = reason.Message;
        if (reason.Kind != DisconnectKind.Stopped)
        {
            return true;
        }

        lock (_gate)
        {
            if (_persistent.GetValueOrDefault(address.Id) == persistent)
            {
                _persistent.Remove(address.Id);
            }
        }

        return false;
    }

    private async Task WaitToDialAsync(PersistentPeer persistent, TimeSpan pause, CancellationToken cancellationToken)
    {
        persistent.NextDial = _options.TimeProvider.GetUtcNow() + pause;
        await Task.Delay(pause, _options.TimeProvider, cancellationToken).ConfigureAwait(false);
        persistent.NextDial = null;
    }
}
