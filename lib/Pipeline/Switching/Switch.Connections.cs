using System.Diagnostics;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Reactors;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <content>From a stream of bytes to a peer, and what happens to the peer until it is gone.</content>
public sealed partial class Switch
{
    private async Task AcceptAsync(ITransportListener listener)
    {
        while (!_stopping.IsCancellationRequested)
        {
            TransportConnection transport;
            try
            {
                transport = await listener.AcceptAsync(_stopping.Token).ConfigureAwait(false);
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (IOException e)
            {
                // Out of file descriptors, for instance; there may be some again soon.
                SwitchLog.AcceptFailed(_logger, e.Message);
                await Task.Delay(AcceptRetryDelay, _options.TimeProvider, _stopping.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                continue;
            }

            // At once, never later: a connection that waits to be accepted takes a socket, and the place of one that is honest.
            IPAddress ip = transport.RemoteEndPoint.Address;
            InboundGate.Slot? slot = null;
            (HandshakeFailure Failure, string Message)? refusal = FindRefusal(ip);
            if (refusal is null && !_inbound.TryEnter(ip, out slot, out string? tooMany))
            {
                refusal = (HandshakeFailure.TooManyConnections, tooMany);
            }

            if (refusal is { } reason)
            {
                _metrics.InboundRefused(reason.Failure);
                SwitchLog.InboundRefused(_logger, transport.RemoteEndPoint, reason.Message);
                await transport.DisposeAsync().ConfigureAwait(false);
            }
            else if (!_tasks.TryRun(() => AddInboundAsync(transport, slot!)))
            {
                slot!.Dispose();
                await transport.DisposeAsync().ConfigureAwait(false);
            }

            // While connections pour in, each waits its turn behind what the peers have sent.
            await Task.Yield();
        }
    }

    private async Task AddInboundAsync(TransportConnection transport, InboundGate.Slot slot)
    {
        try
        {
            Admitted admitted;
            PeerSet.Place place;
            using (slot)
            {
                long start = _options.TimeProvider.GetTimestamp();
                using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(slot.Token, _stopping.Token);
                admitted = await AdmitAsync(transport, NodeInfo, dialled: null, either.Token).ConfigureAwait(false);
                place = await TakeInboundPlaceAsync(admitted.Connection, transport.RemoteEndPoint.Address, start, either.Token).ConfigureAwait(false);
            }

            await RunPeerAsync(admitted, transport.RemoteEndPoint, place, dialledAddress: null, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // Nobody is there to catch it, and a remote must not be able to do more than to be refused.
            await transport.DisposeAsync().ConfigureAwait(false);
            bool isEvicted = e is OperationCanceledException && slot.Token.IsCancellationRequested;
            SwitchLog.InboundRefused(_logger, transport.RemoteEndPoint, isEvicted ? "It made room for another, which came while all places were taken." : e.Message);
        }
    }

    /// <summary>Takes a place for a node that has dialled; one that comes back while it is still being removed is not sent away.</summary>
    private async Task<PeerSet.Place> TakeInboundPlaceAsync(AuthenticatedConnection connection, IPAddress ip, long start, CancellationToken cancellationToken)
    {
        NodeId id = connection.RemoteInfo.Id;
        try
        {
            PeerSet.Place place;
            while (!_peers.TryTakeForInbound(id, ip, Id, out place))
            {
                TimeSpan left = _options.HandshakeTimeout - _options.TimeProvider.GetElapsedTime(start);
                await place.Left.WaitAsync(left > TimeSpan.Zero ? left : TimeSpan.Zero, _options.TimeProvider, cancellationToken).ConfigureAwait(false);
            }

            return place;
        }
        catch (Exception e)
        {
            Exception refusal = e is TimeoutException ? PeerSet.IsTaken(id) : e;
            _metrics.HandshakeRefused(isOutbound: false, refusal);
            await connection.DisposeAsync().ConfigureAwait(false);
            throw refusal;
        }
    }

    private async Task<AuthenticatedConnection> ShakeHandsAsync(
        TransportConnection transport,
        NodeInfo localInfo,
        NodeId? dialled,
        Activity? activity,
        CancellationToken cancellationToken)
    {
        long start = _options.TimeProvider.GetTimestamp();
        HandshakeOptions options = new()
        {
            Timeout = _options.HandshakeTimeout,
            TimeProvider = _options.TimeProvider,

            // Who dials sends its key at once, so that an honest one loses no time by it.
            RemoteBegins = dialled is null,
        };
        try
        {
            AuthenticatedConnection connection = await Handshake.PerformAsync(transport.Stream, _key, localInfo, dialled, options, cancellationToken)
                .ConfigureAwait(false);
            _metrics.HandshakeEnded(dialled is not null, connection.HandshakeTime, failure: null);
            PipelineActivities.EndHandshake(activity, connection.RemoteInfo, failure: null);
            return connection;
        }
        catch (Exception e)
        {
            _metrics.HandshakeEnded(dialled is not null, _options.TimeProvider.GetElapsedTime(start), e);
            PipelineActivities.EndHandshake(activity, remote: null, e);
            throw;
        }
    }

    /// <summary>Makes a peer of a connection; its life goes on in a task of the switch, which then owns its place, when this returns.</summary>
    private async Task<IPeer> RunPeerAsync(
        Admitted admitted,
        IPEndPoint remoteEndPoint,
        PeerSet.Place place,
        NetAddress? dialledAddress,
        CancellationToken cancellationToken)
    {
        AuthenticatedConnection connection = admitted.Connection;
        MultiplexedConnection multiplexed = new(
            _connectionOptions,
            connection.Connection,
            _channels!,
            connection.RemoteInfo.Channels,
            _keepAlive);
        Peer peer = new(this, _connectionOptions, multiplexed, connection.RemoteInfo, remoteEndPoint, dialledAddress);
        _peers.Settle(place, peer);
        TaskCompletionSource added = new(TaskCreationOptions.RunContinuationsAsynchronously);
        if (!_tasks.TryRun(() => LiveToTheEndAsync(peer, multiplexed, admitted, place, added)))
        {
            await connection.DisposeAsync().ConfigureAwait(false);
            _peers.Leave(place);
            throw new HandshakeException(HandshakeFailure.SwitchStopped, "The switch stops, so it takes no more peers.");
        }

        try
        {
            await added.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            peer.Stop(new DisconnectReason(DisconnectKind.Stopped, "The dial was cancelled before all reactors knew the peer."));
            throw;
        }

        if (!peer.Stopped.IsCancellationRequested)
        {
            return peer;
        }

        // So that it can be dialled again by whoever hears of it.
        DisconnectReason reason = await peer.Completion.ConfigureAwait(false);
        await place.Left.WaitAsync(cancellationToken).ConfigureAwait(false);
        throw new HandshakeException(
            reason.Kind == DisconnectKind.SwitchStopped ? HandshakeFailure.SwitchStopped : HandshakeFailure.PeerStopped,
            $"Node {peer.Id} was connected for a moment. {reason.Message}",
            reason.Exception)
        {
            RemoteId = peer.Id,
            RemoteInfo = peer.NodeInfo,
        };
    }

    // Whatever goes wrong, a logger that throws for instance: the socket is closed, the place given back, and nobody waits for ever.
    private async Task LiveToTheEndAsync(
        Peer peer,
        MultiplexedConnection multiplexed,
        Admitted admitted,
        PeerSet.Place place,
        TaskCompletionSource added)
    {
        Activity? activity = PipelineActivities.StartConnection(peer, admitted.Handshake);
        try
        {
            await LiveAsync(peer, multiplexed, place, added).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            peer.Stop(new DisconnectReason(DisconnectKind.Stopped, $"This node failed to deal with the peer: {e.Message}", e));
        }
        finally
        {
            await admitted.Connection.DisposeAsync().ConfigureAwait(false);
            _peers.Leave(place);
            added.TrySetResult();
            if (peer.Completion.IsCompletedSuccessfully)
            {
                _metrics.PeerRemoved(peer, peer.Completion.Result);
                PipelineActivities.EndConnection(activity, peer, peer.Completion.Result);
            }
        }
    }

    /// <summary>The life of a peer, in the order of the grammar of reactor calls.</summary>
    private async Task LiveAsync(Peer peer, MultiplexedConnection connection, PeerSet.Place place, TaskCompletionSource added)
    {
        using CancellationTokenSource receiving = new();

        // From here on, so that a reactor that does not return from its first callback cannot keep the switch from stopping.
        using CancellationTokenRegistration stop = _stopping.Token.UnsafeRegister(static p => ((Peer)p!).Stop(SwitchStopped), peer);
        List<PeerLanes> lanes = [.. _reactors.Select(reactor => reactor.Inbox.Open(connection.Allowance, receiving.Token))];
        List<Reactor> initialised = [];
        foreach (Reactor reactor in _reactors)
        {
            initialised.Add(reactor);
            if (!await CallAsync(reactor, nameof(Reactor.InitPeerAsync), peer, () => reactor.InitPeerAsync(peer, peer.Stopped)).ConfigureAwait(false))
            {
                break;
            }
        }

        // Some reactors do not know the peer, so none gets what may have come with the handshake.
        if (peer.Stopped.IsCancellationRequested)
        {
            lanes.ForEach(lane => lane.Close());
        }

        _metrics.PeerAdded(peer);
        connection.Start(peer, lanes);
        if (!peer.Stopped.IsCancellationRequested)
        {
            _peers.Show(place);
            SwitchLog.PeerAdded(_logger, peer.Id, peer.RemoteEndPoint, peer.IsOutbound);

            // A ban of before finds only the peers that are shown.
            StopIfRefused(peer);
            foreach (Reactor reactor in _reactors)
            {
                if (!await CallAsync(reactor, nameof(Reactor.AddPeerAsync), peer, () => reactor.AddPeerAsync(peer, peer.Stopped)).ConfigureAwait(false))
                {
                    break;
                }
            }
        }

        added.SetResult();
        DisconnectReason reason = await peer.Completion.ConfigureAwait(false);
        await EndReceivingAsync(peer, connection, reason, lanes, receiving).ConfigureAwait(false);
        _metrics.PeerRemoved(peer, reason);

        // At once, so that a reactor that takes its time does not keep the others from hearing of it.
        await Task.WhenAll(initialised.Select(reactor =>
            CallAsync(reactor, nameof(Reactor.RemovePeerAsync), peer, () => reactor.RemovePeerAsync(peer, reason)))).ConfigureAwait(false);
        if (reason.Kind == DisconnectKind.Misbehaved && !peer.IsBanned)
        {
            Ban(AccessTarget.Of(peer.Id), string.IsNullOrWhiteSpace(reason.Message) ? "It misbehaved." : reason.Message);
        }

        _peers.Leave(place);
        SwitchLog.PeerRemoved(_logger, peer.Id, peer.RemoteEndPoint, reason.ToString(), reason.Exception);
    }

    // What a peer sent before it left is dealt with, also when this node was about to stop it gracefully: the peer's sends were acknowledged, and
    // only the threads decide how much of it was dealt with before the end was read. When this node stopped it at once, what it sent does not count
    // any more.
    private async Task EndReceivingAsync(Peer peer, MultiplexedConnection connection, DisconnectReason reason, List<PeerLanes> lanes, CancellationTokenSource receiving)
    {
        bool counts = reason.Kind is DisconnectKind.RemoteClosed or DisconnectKind.ConnectionLost || connection.HasEndedGracefully;
        if (counts)
        {
            await WaitForRestAsync(lanes, _stopping.Token).ConfigureAwait(false);
        }

        await receiving.CancelAsync().ConfigureAwait(false);
        int dropped = lanes.Sum(lane => lane.Close());
        if (counts && dropped > 0)
        {
            SwitchLog.MessagesLeft(_logger, dropped, peer.Id);
        }

        await WaitForRestAsync(lanes, CancellationToken.None).ConfigureAwait(false);
    }

    private async Task WaitForRestAsync(List<PeerLanes> lanes, CancellationToken cancellationToken) =>
        await Task.WhenAll(lanes.Select(lane => lane.WhenAtRestAsync()))
            .WaitAsync(_options.ReactorGracePeriod, _options.TimeProvider, cancellationToken)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    /// <summary>Calls a reactor about a peer. What it throws stops the peer.</summary>
    /// <returns>Whether it returned, within the grace period once the peer has stopped, and did not throw.</returns>
    private async Task<bool> CallAsync(Reactor reactor, string callback, Peer peer, Func<ValueTask> call)
    {
        try
        {
            bool returned = await ReturnsAsync(call, peer.Stopped).ConfigureAwait(false);
            if (!returned)
            {
                SwitchLog.ReactorStuck(_logger, reactor.Name, callback, peer.Id);
            }

            return returned;
        }
        catch (OperationCanceledException) when (peer.Stopped.IsCancellationRequested)
        {
            return false;
        }
        catch (Exception e)
        {
            SwitchLog.ReactorFailed(_logger, reactor.Name, callback, e);
            peer.Stop(ReactorFailure.Of(reactor, callback, e));
            return false;
        }
    }

    /// <summary>
    /// Runs a callback of a reactor, which may take its time until <paramref name="isOver"/> is cancelled; after that, the grace period.
    /// False when it has not returned by then.
    /// </summary>
    private async Task<bool> ReturnsAsync(Func<ValueTask> call, CancellationToken isOver)
    {
        // Not on this thread, which a callback may block. Its time begins when it does, however long the pool takes to get to it.
        TaskCompletionSource begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task running = Task.Run(
            () =>
            {
                begun.SetResult();
                return call().AsTask();
            },
            CancellationToken.None);
        await begun.Task.ConfigureAwait(false);
        await running.WaitAsync(isOver).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        try
        {
            await running.WaitAsync(_options.ReactorGracePeriod, _options.TimeProvider, CancellationToken.None).ConfigureAwait(false);
            return true;
        }
        catch (TimeoutException)
        {
            if (running.IsCompleted)
            {
                // At the last moment, or it was the callback that timed out.
                await running.ConfigureAwait(false);
                return true;
            }

            return false;
        }
    }

    /// <summary>A node that may be a peer, and the handshake in which it came to be known; null when nobody listens to that.</summary>
    private readonly record struct Admitted(AuthenticatedConnection Connection, Activity? Handshake);
}
