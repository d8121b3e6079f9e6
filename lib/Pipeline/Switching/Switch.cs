using System.Net;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Reactors;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>
/// A node: it listens, dials, and turns every connection into a peer whose messages go to the reactors. See <see cref="Reactor"/> for what
/// they are told, and when.
/// </summary>
public sealed partial class Switch : ISwitch, IAsyncDisposable
{
    private static readonly TimeSpan AcceptRetryDelay = TimeSpan.FromMilliseconds(100);

    private readonly NodeKey _key;
    private readonly SwitchOptions _options;
    private readonly ILogger _logger;
    private readonly PeerSet _peers;
    private readonly KeepAlive _keepAlive;
    private readonly TaskGroup _tasks = new();
    private readonly CancellationTokenSource _stopping = new();
    private readonly SemaphoreSlim _inboundHandshakes;

    // Guarded by _gate. Invariant: reactors are added only before the start; the stop happens once, and nothing starts after it.
    // _channels, _nodeInfo and _listener are set by the start and do not change after it.
    private readonly Lock _gate = new();
    private readonly List<Reactor> _reactors = [];
    private Task? _start;
    private Task? _stop;
    private ChannelTable? _channels;
    private NodeInfo? _nodeInfo;
    private ITransportListener? _listener;
    private volatile bool _isStarted;

    /// <summary>Makes a node, which does nothing until it is started.</summary>
    /// <param name="key">The node's identity. Not disposed of by the switch.</param>
    /// <param name="options">Settings, or null for the defaults.</param>
    /// <param name="logger">Where the node says what it does, or null for nowhere.</param>
    public Switch(NodeKey key, SwitchOptions? options = null, ILogger<Switch>? logger = null)
    {
        ArgumentNullException.ThrowIfNull(key);
        _key = key;
        _options = options ?? new SwitchOptions();
        _logger = logger ?? NullLogger<Switch>.Instance;
        _peers = new PeerSet(_options.MaxInboundPeers, _options.AllowDuplicateIp);
        _keepAlive = new KeepAlive(_options.Connection);
        _inboundHandshakes = new SemaphoreSlim(_options.MaxInboundHandshakes);
    }

    /// <summary>The node's id.</summary>
    public NodeId Id => _key.Id;

    /// <inheritdoc />
    /// <exception cref="InvalidOperationException">The switch has not been started.</exception>
    public NodeInfo NodeInfo => _nodeInfo ?? throw new InvalidOperationException("The switch has not been started, so it cannot say yet where it listens.");

    /// <summary>Where the node can be dialled.</summary>
    /// <exception cref="InvalidOperationException">The switch has not been started, or does not listen.</exception>
    public NetAddress ListenAddress => _listener is null
        ? throw new InvalidOperationException("The switch has not been started, or does not listen.")
        : NetAddress.FromEndPoint(Id, _listener.LocalEndPoint);

    /// <inheritdoc />
    public IReadOnlyCollection<IPeer> Peers => _peers.Connected;

    /// <summary>Adds a reactor. Possible only before the start.</summary>
    /// <exception cref="InvalidOperationException">The switch has been started, or the reactor has been added to one.</exception>
    /// <exception cref="ArgumentException">Another reactor has the same name or one of its channels, or there are too many channels.</exception>
    public void AddReactor(Reactor reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        lock (_gate)
        {
            if (_start is not null || _stop is not null)
            {
                throw new InvalidOperationException($"Reactor '{reactor.Name}' cannot be added: the switch has been started or stopped.");
            }

            EnsureFits(reactor);
            reactor.SetSwitch(this, _options.Connection, (failed, where, e) => SwitchLog.ReactorFailed(_logger, failed.Name, where, e));
            _reactors.Add(reactor);
        }
    }

    /// <inheritdoc />
    public Reactor? GetReactor(string name)
    {
        lock (_gate)
        {
            return _reactors.Find(reactor => reactor.Name == name);
        }
    }

    /// <summary>Starts the reactors, in the order in which they were added, and then to listen.</summary>
    /// <exception cref="InvalidOperationException">The switch has been started or stopped before.</exception>
    /// <exception cref="ArgumentException">A setting makes no valid NodeInfo.</exception>
    /// <exception cref="IOException">Nothing can listen where it should.</exception>
    public Task StartAsync(CancellationToken cancellationToken = default)
    {
        lock (_gate)
        {
            if (_start is not null || _stop is not null)
            {
                throw new InvalidOperationException("A switch can be started once, and not after it was stopped.");
            }

            return _start = StartOnceAsync(cancellationToken);
        }
    }

    /// <summary>
    /// Stops everything, from any state: no more dials and connections, every peer removed from every reactor, every socket closed, every
    /// task ended, every reactor stopped. A second call waits for the first.
    /// </summary>
    public Task StopAsync()
    {
        lock (_gate)
        {
            return _stop ??= Task.Run(StopOnceAsync);
        }
    }

    /// <summary>Stops, see <see cref="StopAsync"/>.</summary>
    public async ValueTask DisposeAsync() => await StopAsync().ConfigureAwait(false);

    /// <inheritdoc />
    public async Task<IPeer> DialAsync(NetAddress address, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(address);
        if (!_tasks.TryEnter())
        {
            throw new HandshakeException(HandshakeFailure.SwitchStopped, "The switch has been stopped, so it dials no more.");
        }

        PeerSet.Place? place = null;
        try
        {
            NodeInfo localInfo = _isStarted
                ? NodeInfo
                : throw new InvalidOperationException("The switch cannot dial: it has not been started, or its reactors have not all started yet.");
            place = _peers.TakeForDial(address.Id);
            using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _stopping.Token);
            TransportConnection transport = await _options.Transport.ConnectAsync(address, either.Token).ConfigureAwait(false);
            AuthenticatedConnection connection = await ShakeHandsAsync(transport, localInfo, address.Id, either.Token).ConfigureAwait(false);
            try
            {
                _peers.Commit(place, transport.RemoteEndPoint.Address);
            }
            catch
            {
                await connection.DisposeAsync().ConfigureAwait(false);
                throw;
            }

            PeerSet.Place taken = place;
            place = null;
            return await RunPeerAsync(connection, transport.RemoteEndPoint, taken, address, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            if (place is not null)
            {
                _peers.Leave(place);
            }

            if (e is OperationCanceledException && _stopping.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
            {
                throw new HandshakeException(HandshakeFailure.SwitchStopped, "The switch stops, so it dials no more.", e);
            }

            throw;
        }
        finally
        {
            _tasks.Exit();
        }
    }

    /// <inheritdoc />
    public IReadOnlyList<BroadcastResult> TryBroadcast(SerializedMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        return [.. Having(message.Channel).Select(peer => new BroadcastResult(peer, peer.TrySend(message)))];
    }

    /// <inheritdoc />
    public async Task<IReadOnlyList<BroadcastResult>> BroadcastAsync(SerializedMessage message, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(message);

        // All sends begin at once, so that none waits for another.
        return await Task.WhenAll(Having(message.Channel).Select(SendAsync)).ConfigureAwait(false);

        async Task<BroadcastResult> SendAsync(Peer peer) =>
            new(peer, await peer.SendAsync(message, timeout: null, cancellationToken).ConfigureAwait(false));
    }

    /// <inheritdoc />
    public Task StopPeerGracefullyAsync(IPeer peer)
    {
        ArgumentNullException.ThrowIfNull(peer);
        return peer is Peer own && _peers.Connected.Contains(own)
            ? own.StopGracefullyAsync(new DisconnectReason(DisconnectKind.Stopped, "This node is done with the peer."))
            : Task.CompletedTask;
    }

    private IEnumerable<Peer> Having(ChannelDescriptor channel) => _peers.Connected.Where(peer => peer.HasChannel(channel.Id));

    // Called with the gate held.
    private void EnsureFits(Reactor reactor)
    {
        if (_reactors.Contains(reactor))
        {
            throw new InvalidOperationException($"Reactor '{reactor.Name}' has been added to this switch already.");
        }

        if (_reactors.Any(other => other.Name == reactor.Name))
        {
            throw new ArgumentException($"Two reactors have the same name, '{reactor.Name}'.", nameof(reactor));
        }

        foreach (ChannelDescriptor channel in reactor.Channels)
        {
            if (_reactors.Find(other => other.Channels.Any(used => used.Id == channel.Id)) is { } owner)
            {
                throw new ArgumentException(
                    $"Channel 0x{channel.Id:x2} is claimed by two reactors: '{owner.Name}' and '{reactor.Name}'.",
                    nameof(reactor));
            }
        }

        // Says what is wrong with the channels of the reactor itself, or that there are too many.
        _ = new ChannelTable(_reactors.Append(reactor).SelectMany(added => added.Channels));
    }

    private async Task StartOnceAsync(CancellationToken cancellationToken)
    {
        // Not under the gate, which the caller holds.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        List<Reactor> started = [];
        try
        {
            _channels = new ChannelTable(_reactors.SelectMany(reactor => reactor.Channels));
            ITransportListener? listener = _options.ListenEndPoint is { } endPoint ? _options.Transport.Listen(endPoint) : null;
            _listener = listener;
            _nodeInfo = MakeNodeInfo(listener?.LocalEndPoint);
            using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _stopping.Token);
            foreach (Reactor reactor in _reactors)
            {
                started.Add(reactor);
                if (!await ReturnsAsync(() => reactor.OnStartAsync(either.Token), either.Token).ConfigureAwait(false))
                {
                    SwitchLog.ReactorStuck(_logger, reactor.Name, nameof(Reactor.OnStartAsync));
                }

                either.Token.ThrowIfCancellationRequested();
            }

            // Not before: a peer must not come to a reactor that has not started.
            _isStarted = true;
            if (listener is not null)
            {
                SwitchLog.Listening(_logger, Id, listener.LocalEndPoint);
                _tasks.TryRun(() => AcceptAsync(listener));
            }
        }
        catch
        {
            await StopReactorsAsync(started).ConfigureAwait(false);
            await CloseListenerAsync().ConfigureAwait(false);
            throw;
        }
    }

    private NodeInfo MakeNodeInfo(IPEndPoint? endPoint)
    {
        NodeInfo info = new()
        {
            ProtocolVersions = _options.ProtocolVersions,
            Id = Id,
            ListenAddress = _options.ExternalAddress ?? $"tcp://{endPoint ?? new IPEndPoint(IPAddress.Any, 0)}",
            Network = _options.Network,
            Version = _options.Version,
            Channels = [.. _channels!.Select(channel => channel.Id)],
            Moniker = _options.Moniker,
        };
        int size = info.ToProto().CalculateSize();
        string? fault = info.FindFault() ?? (size > NodeInfo.MaxSize ? $"it has {size} bytes, and others read {NodeInfo.MaxSize}" : null);
        return fault is null ? info : throw new ArgumentException($"The switch's options make no valid NodeInfo: {fault}.");
    }

    private async Task StopOnceAsync()
    {
        Task? start;
        lock (_gate)
        {
            start = _start;
        }

        await _stopping.CancelAsync().ConfigureAwait(false);
        if (start is not null)
        {
            await start.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await CloseListenerAsync().ConfigureAwait(false);
        await _tasks.CloseAsync().ConfigureAwait(false);
        if (start is { IsCompletedSuccessfully: true })
        {
            await StopReactorsAsync(_reactors).ConfigureAwait(false);
        }
        else
        {
            // What is linked to them should end all the same.
            _reactors.ForEach(reactor => reactor.Inbox.Complete());
            _reactors.ForEach(reactor => reactor.Outbox.Complete());
        }

        await Task.WhenAll(_reactors.Select(reactor => reactor.Outbox.Completion))
            .WaitAsync(_options.ReactorGracePeriod, _options.TimeProvider)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _keepAlive.Dispose();
    }

    private async Task StopReactorsAsync(IEnumerable<Reactor> reactors)
    {
        foreach (Reactor reactor in reactors.Reverse())
        {
            reactor.Inbox.Complete();
            try
            {
                if (!await ReturnsAsync(reactor.OnStopAsync, isOver: new CancellationToken(true)).ConfigureAwait(false))
                {
                    SwitchLog.ReactorStuck(_logger, reactor.Name, nameof(Reactor.OnStopAsync));
                }
            }
            catch (Exception e)
            {
                // The others have to be stopped all the same.
                SwitchLog.ReactorFailed(_logger, reactor.Name, nameof(Reactor.OnStopAsync), e);
            }

            reactor.Outbox.Complete();
        }
    }

    private ValueTask CloseListenerAsync() => _listener?.DisposeAsync() ?? ValueTask.CompletedTask;

    private static DisconnectReason SwitchStopped => new(DisconnectKind.SwitchStopped, "This node stops.");
}
