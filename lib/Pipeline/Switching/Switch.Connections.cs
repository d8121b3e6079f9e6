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
                await _inboundHandshakes.WaitAsync(_stopping.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return;
            }

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
                _inboundHandshakes.Release();
                await Task.Delay(AcceptRetryDelay, _options.TimeProvider, _stopping.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                continue;
            }

            if (!_tasks.TryRun(() => AddInboundAsync(transport)))
            {
                await transport.Stream.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    private async Task AddInboundAsync(TransportConnection transport)
    {
        try
        {
            AuthenticatedConnection connection;
            PeerSet.Place place;
            try
            {
                connection = await ShakeHandsAsync(transport, NodeInfo, dialled: null, _stopping.Token).ConfigureAwait(false);
            }
            finally
            {
                _inboundHandshakes.Release();
            }

            try
            {
                place = _peers.TakeForInbound(connection.RemoteInfo.Id, transport.RemoteEndPoint.Address, Id);
            }
            catch
            {
                await connection.DisposeAsync().ConfigureAwait(false);
                throw;
            }

            await RunPeerAsync(connection, transport.RemoteEndPoint, place, dialledAddress: null).ConfigureAwait(false);
        }
        catch (Exception e) when (e is HandshakeException or OperationCanceledException)
        {
            SwitchLog.InboundRefused(_logger, transport.RemoteEndPoint, e.Message);
        }
    }

    private async Task<AuthenticatedConnection> ShakeHandsAsync(
        TransportConnection transport,
        NodeInfo localInfo,
        NodeId? dialled,
        CancellationToken cancellationToken)
    {
        HandshakeOptions options = new() { Timeout = _options.HandshakeTimeout, TimeProvider = _options.TimeProvider };
        AuthenticatedConnection connection = await Handshake.PerformAsync(transport.Stream, _key, localInfo, dialled, options, cancellationToken)
            .ConfigureAwait(false);
        try
        {
            connection.EnsureCompatible(localInfo);
            return connection;
        }
        catch
        {
            await connection.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Makes a peer of a connection; its life goes on in a task of the switch when this returns.</summary>
    private async Task<IPeer> RunPeerAsync(AuthenticatedConnection connection, IPEndPoint remoteEndPoint, PeerSet.Place place, NetAddress? dialledAddress)
    {
        MultiplexedConnection multiplexed = new(
            _options.Connection,
            connection.Connection,
            _channels!,
            connection.RemoteInfo.Channels,
            _keepAlive);
        Peer peer = new(_options.Connection, multiplexed, connection.RemoteInfo, remoteEndPoint, dialledAddress);
        TaskCompletionSource added = new(TaskCreationOptions.RunContinuationsAsynchronously);
        if (!_tasks.TryRun(() => LiveAsync(peer, multiplexed, place, added)))
        {
            await connection.DisposeAsync().ConfigureAwait(false);
            _peers.Leave(place);
            throw new HandshakeException(HandshakeFailure.SwitchStopped, "The switch stops, so it takes no more peers.");
        }

        await added.Task.ConfigureAwait(false);
        return peer;
    }

    /// <summary>The life of a peer, in the order of the grammar of reactor calls.</summary>
    private async Task LiveAsync(Peer peer, MultiplexedConnection connection, PeerSet.Place place, TaskCompletionSource added)
    {
        using CancellationTokenSource receiving = new();
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

        connection.Start(peer, lanes);
        if (!peer.Stopped.IsCancellationRequested)
        {
            _peers.Show(place, peer);
            if (_stopping.IsCancellationRequested)
            {
                peer.Stop(SwitchStopped);
            }

            SwitchLog.PeerAdded(_logger, peer.Id, peer.RemoteEndPoint, peer.IsOutbound);
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
        await EndReceivingAsync(reason, lanes, receiving).ConfigureAwait(false);
        foreach (Reactor reactor in initialised)
        {
            await CallAsync(reactor, nameof(Reactor.RemovePeerAsync), peer, () => reactor.RemovePeerAsync(peer, reason)).ConfigureAwait(false);
        }

        _peers.Leave(place);
        SwitchLog.PeerRemoved(_logger, peer.Id, peer.RemoteEndPoint, reason.ToString());
    }

    // What a peer sent before it left is dealt with; when this node stopped it, what it sent does not count any more.
    private async Task EndReceivingAsync(DisconnectReason reason, List<PeerLanes> lanes, CancellationTokenSource receiving)
    {
        if (reason.Kind is DisconnectKind.RemoteClosed or DisconnectKind.ConnectionLost)
        {
            await WaitForRestAsync(lanes, _stopping.Token).ConfigureAwait(false);
        }

        await receiving.CancelAsync().ConfigureAwait(false);
        lanes.ForEach(lane => lane.Close());
        await WaitForRestAsync(lanes, CancellationToken.None).ConfigureAwait(false);
    }

    private async Task WaitForRestAsync(List<PeerLanes> lanes, CancellationToken cancellationToken) =>
        await Task.WhenAll(lanes.Select(lane => lane.WhenAtRestAsync()))
            .WaitAsync(_options.ReactorGracePeriod, _options.TimeProvider, cancellationToken)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    /// <summary>
    /// Calls a reactor about a peer. What it throws stops the peer. It may take its time while the peer is connected; after that, the
    /// grace period.
    /// </summary>
    private async Task<bool> CallAsync(Reactor reactor, string callback, Peer peer, Func<ValueTask> call)
    {
        try
        {
            ValueTask calling = call();
            if (!calling.IsCompletedSuccessfully)
            {
                Task running = calling.AsTask();
                await Task.WhenAny(running, peer.Completion).ConfigureAwait(false);
                await running.WaitAsync(_options.ReactorGracePeriod, _options.TimeProvider).ConfigureAwait(false);
            }

            return true;
        }
        catch (TimeoutException) when (peer.Completion.IsCompleted)
        {
            SwitchLog.ReactorStuck(_logger, reactor.Name, callback, peer.Id);
            return false;
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
}
