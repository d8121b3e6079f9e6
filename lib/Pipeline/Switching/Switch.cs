using System.Collections.Immutable;
using System.Net;
using System.Runtime.CompilerServices;
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
    private static readonly TimeSpan MinLazyPeriod = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan AcceptRetryDelay = TimeSpan.FromMilliseconds(100);

    private readonly NodeKey _key;
    private readonly SwitchOptions _options;
    private readonly ConnectionOptions _connectionOptions;
    private readonly ILogger _logger;
    private readonly PeerSet _peers;
    private readonly KeepAlive _keepAlive;
    private readonly TaskGroup _tasks = new();
    private readonly CancellationTokenSource _stopping = new();
    private readonly InboundGate _inbound;
    private readonly TaskCompletionSource _started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);

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
        _metrics = new PipelineMetrics(Id, _options.Network, () => Bans!.Count, _options.MeterFactory);
        _connectionOptions = _options.Connection with { TimeProvider = _options.TimeProvider, MessageCounter = _metrics };
        _peers = new PeerSet(_options);
        _keepAlive = new KeepAlive(_connectionOptions);
        _inbound = new InboundGate(
            _options.MaxInboundHandshakes,
            _options.MaxInboundHandshakesPerIp,
            _options.MaxInboundConnectionRatePerIp,
            _options.TimeProvider);
        _redials = new RedialSchedule(_options.PersistentPeersMaxDialPeriod, _options.NextDouble);
        _private = [.. _options.PrivatePeers];
        _accessRules = _options.AccessRules;
        Bans = _options.Bans ?? new BanList(timeProvider: _options.TimeProvider);
        Bans.Added += OnBanAdded;
        foreach (NetAddress address in _options.PersistentPeers)
        {
            AddPersistentPeer(address);
        }
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
    public Task Started => _started.Task;

    /// <inheritdoc />
    public IReadOnlyCollection<IPeer> Peers => _peers.Connected;

    /// <summary>Tasks of the switch that have not ended; for tests.</summary>
    internal int RunningTasks => _tasks.Running;

    /// <inheritdoc />
    public PeerCounts Counts => _peers.Counts;

    /// <summary>What the node counts.</summary>
    internal PipelineMetrics Metrics => _metrics;

    /// <inheritdoc />
    public bool IsConnectedOrDialling(NodeId id) => _peers.Find(id) is not null;

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
            reactor.SetSwitch(this, _connectionOptions, (failed, where, e) => SwitchLog.ReactorFailed(_logger, failed.Name, where, e));
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
    /// task ended, every reactor stopped. A second call waits for the first. A callback of a reactor that awaits it is one that does not
    /// return: it is waited for during <see cref="SwitchOptions.ReactorGracePeriod"/>, and then goes on when all the rest has stopped.
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
    public IReadOnlyList<BroadcastResult> TryBroadcast(SerializedMessage message, IEnumerable<IPeer>? recipients = null)
    {
        ArgumentNullException.ThrowIfNull(message);
        return [.. (recipients ?? Having(message.Channel)).Select(peer => new BroadcastResult(peer, peer.TrySend(message)))];
    }

    /// <inheritdoc />
    public async Task<IReadOnlyList<BroadcastResult>> BroadcastAsync(
        SerializedMessage message,
        IEnumerable<IPeer>? recipients = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(message);

        // All sends begin at once, so that none waits for another.
        return await Task.WhenAll((recipients ?? Having(message.Channel)).Select(SendAsync)).ConfigureAwait(false);

        async Task<BroadcastResult> SendAsync(IPeer peer) =>
            new(peer, await peer.SendAsync(message, timeout: null, cancellationToken).ConfigureAwait(false));
    }

    /// <inheritdoc />
    public async IAsyncEnumerable<PeerChange> WatchPeersAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ImmutableArray<Peer> seen = [];
        while (true)
        {
            // Before the peers are looked at: a switch that has stopped shows no more of them.
            bool isStopped = _stopped.Task.IsCompleted;
            (ImmutableArray<Peer> connected, Task changed) = _peers.Observe();
            foreach (Peer gone in seen.Except(connected))
            {
                yield return new PeerChange(gone, IsConnected: false);
            }

            foreach (Peer added in connected.Except(seen))
            {
                yield return new PeerChange(added, IsConnected: true);
            }

            seen = connected;
            if (isStopped)
            {
                yield break;
            }

            await Task.WhenAny(changed, _stopped.Task).WaitAsync(cancellationToken).ConfigureAwait(false);
        }
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
        try
        {
            _ = new ChannelTable(_reactors.Append(reactor).SelectMany(added => added.Channels));
        }
        catch (ArgumentException e)
        {
            string others = string.Join(", ", _reactors.Select(added => $"'{added.Name}'"));
            throw new ArgumentException(
                $"Reactor '{reactor.Name}' cannot be added{(others.Length > 0 ? $" to {others}" : "")}: {e.Message}",
                nameof(reactor),
                e);
        }
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
            _startTimestamp = _options.TimeProvider.GetTimestamp();
            _isStarted = true;
            if (listener is not null)
            {
                SwitchLog.Listening(_logger, Id, listener.LocalEndPoint);
                _tasks.TryRun(() => AcceptAsync(listener));
            }

            StartStayingConnected();
            if (_options.LazyPeerTime is { } time)
            {
                _tasks.TryRun(() => WatchForLazyPeersAsync(time));
            }

            _started.SetResult();
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
        _metrics.Dispose();
        Bans.Added -= OnBanAdded;
        if (_options.Bans is null)
        {
            await Bans.DisposeAsync().ConfigureAwait(false);
        }

        _stopped.SetResult();
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
