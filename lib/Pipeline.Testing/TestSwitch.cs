using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Testing;

/// <summary>
/// A switch without a network, for tests of reactors: a test says who connects, sends and leaves; the reactors are called in the order of
/// the grammar, with their real inboxes and outboxes. Not safe for use by several threads at once, but for what reactors call.
/// </summary>
/// <param name="info">What the node says of itself; null: a new id.</param>
public sealed class TestSwitch(NodeInfo? info = null) : ISwitch, IAsyncDisposable
{
    // Guarded by _gate, and replaced, never changed. Invariant: _present are the peers that reactors have been told of and that not all of
    // them have removed; _shown are those of them that the switch shows.
    private readonly Lock _gate = new();
    private readonly List<Reactor> _reactors = [];
    private ImmutableDictionary<TestPeer, Presence> _present = ImmutableDictionary<TestPeer, Presence>.Empty;
    private ImmutableArray<TestPeer> _shown = [];
    private ImmutableHashSet<NodeId> _dialling = [];
    private ImmutableArray<IPeer> _good = [];
    private ImmutableArray<(AccessTarget Target, string Why, TimeSpan? Duration)> _bans = [];
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _isStopping;
    private bool _isStopped;

    // What waits for the start goes on within it, so that a test need not wait for that.
    private readonly TaskCompletionSource _started = new();

    /// <inheritdoc />
    public NodeInfo NodeInfo { get; } = info ?? new TestPeer().NodeInfo with { Moniker = "test switch" };

    /// <inheritdoc />
    public Task Started => _started.Task;

    /// <inheritdoc />
    public IReadOnlyCollection<IPeer> Peers => Shown.Shown;

    /// <inheritdoc />
    public PeerCounts Counts
    {
        get
        {
            ImmutableDictionary<TestPeer, Presence> present;
            int dialling;
            lock (_gate)
            {
                present = _present;
                dialling = _dialling.Count(id => present.Keys.All(peer => peer.Id != id));
            }

            int outbound = present.Keys.Count(peer => peer.IsOutbound);
            return new PeerCounts(present.Count - outbound, outbound, dialling, Unconditional: 0);
        }
    }

    /// <summary>Nodes whose addresses must not be passed on. Default none.</summary>
    public ImmutableArray<NodeId> PrivatePeers { get; init; } = [];

    /// <summary>Nodes that the switch is to be connected to at all times; it does not dial them by itself. Default none.</summary>
    public ImmutableArray<NodeId> PersistentPeers { get; init; } = [];

    /// <summary>What is there when a reactor dials; what it throws, the dial throws. Null, the default: nobody can be reached.</summary>
    public Func<NetAddress, TestPeer?>? Reachable { get; init; }

    /// <summary>The peers that were marked as good, in order.</summary>
    public ImmutableArray<IPeer> Good
    {
        get
        {
            lock (_gate)
            {
                return _good;
            }
        }
    }

    /// <summary>Who was banned, by <see cref="Ban"/> or <see cref="MarkBad"/>, in order.</summary>
    public ImmutableArray<(AccessTarget Target, string Why, TimeSpan? Duration)> Bans
    {
        get
        {
            lock (_gate)
            {
                return _bans;
            }
        }
    }

    private (ImmutableArray<TestPeer> Shown, bool IsStopped, Task Changed) Shown
    {
        get
        {
            lock (_gate)
            {
                return (_shown, _isStopped, _changed.Task);
            }
        }
    }

    /// <summary>Adds a reactor, before the start.</summary>
    public void AddReactor(Reactor reactor)
    {
        ArgumentNullException.ThrowIfNull(reactor);
        reactor.SetSwitch(this, new ConnectionOptions(), (_, _, _) => { });
        _reactors.Add(reactor);
    }

    /// <summary>Starts the reactors. What one throws is thrown.</summary>
    public async Task StartAsync(CancellationToken cancellationToken = default)
    {
        foreach (Reactor reactor in _reactors)
        {
            await reactor.OnStartAsync(cancellationToken).ConfigureAwait(false);
        }

        _started.TrySetResult();
    }

    /// <summary>Removes all peers and stops the reactors. What one throws is thrown.</summary>
    public async Task StopAsync()
    {
        lock (_gate)
        {
            _isStopping = true;
        }

        foreach (TestPeer peer in _present.Keys)
        {
            await DisconnectAsync(peer, new DisconnectReason(DisconnectKind.SwitchStopped, "This node stops.")).ConfigureAwait(false);
        }

        lock (_gate)
        {
            if (_isStopped)
            {
                return;
            }

            _isStopped = true;
        }

        Change();
        foreach (Reactor reactor in Enumerable.Reverse(_reactors))
        {
            reactor.Inbox.Complete();
            await reactor.OnStopAsync().ConfigureAwait(false);
            reactor.Outbox.Complete();
        }
    }

    /// <inheritdoc />
    public async ValueTask DisposeAsync() => await StopAsync().ConfigureAwait(false);

    /// <summary>Makes a peer known to all reactors. What one of them throws stops the peer, as it does in a real switch.</summary>
    /// <param name="peer">The peer; null: a new one, which has dialled and has all channels.</param>
    public async Task<TestPeer> ConnectAsync(TestPeer? peer = null)
    {
        peer ??= new TestPeer();
        Presence presence = new([.. _reactors.Select(reactor => reactor.Inbox.Open(new ReceiveAllowance(long.MaxValue), peer.Stopped))]);
        lock (_gate)
        {
            if (_present.Keys.Any(other => other.Id == peer.Id))
            {
                throw new InvalidOperationException($"{peer} is connected already.");
            }

            _present = _present.Add(peer, presence);
        }

        _ = RemoveWhenStoppedAsync(peer, presence);
        if (await CallAllAsync(peer, nameof(Reactor.InitPeerAsync), reactor => reactor.InitPeerAsync(peer, peer.Stopped), presence).ConfigureAwait(false))
        {
            lock (_gate)
            {
                _shown = _shown.Add(peer);
            }

            Change();
            await CallAllAsync(peer, nameof(Reactor.AddPeerAsync), reactor => reactor.AddPeerAsync(peer, peer.Stopped), initialised: null).ConfigureAwait(false);
        }

        presence.Added.SetResult();
        return peer;
    }

    /// <summary>A peer sends a message; completes when the reactor has dealt with it, or handed it to a linked block.</summary>
    /// <exception cref="ArgumentException">No reactor has the channel.</exception>
    /// <exception cref="InvalidOperationException">The peer is not connected.</exception>
    public Task ReceiveAsync(TestPeer peer, ChannelDescriptor channel, ReadOnlyMemory<byte> message)
    {
        ArgumentNullException.ThrowIfNull(peer);
        ArgumentNullException.ThrowIfNull(channel);
        Presence presence = _present.GetValueOrDefault(peer) ?? throw new InvalidOperationException($"{peer} is not connected.");
        int index = _reactors.FindIndex(reactor => reactor.Channels.Any(own => own.Id == channel.Id));
        if (index < 0)
        {
            throw new ArgumentException($"No reactor has the channel {channel}.", nameof(channel));
        }

        Lane lane = presence.Lanes[index].Lanes.First(lane => lane.Channel.Id == channel.Id);
        lane.Write(new Envelope(peer, lane.Channel, message));
        return presence.Lanes[index].WhenAtRestAsync();
    }

    /// <summary>A peer sends a message, see <see cref="ReceiveAsync(TestPeer, ChannelDescriptor, ReadOnlyMemory{byte})"/>.</summary>
    public Task ReceiveAsync<TMessage>(TestPeer peer, ChannelDescriptor<TMessage> channel, TMessage message)
        where TMessage : class, IMessage<TMessage> => ReceiveAsync(peer, (ChannelDescriptor)channel, message.ToByteArray());

    /// <summary>A peer leaves; completes when all reactors have removed it.</summary>
    /// <param name="peer">The peer.</param>
    /// <param name="reason">Why; null: it closed the connection.</param>
    public async Task DisconnectAsync(TestPeer peer, DisconnectReason? reason = null)
    {
        ArgumentNullException.ThrowIfNull(peer);
        peer.Stop(reason ?? new DisconnectReason(DisconnectKind.RemoteClosed, "The remote closed the connection."));
        if (_present.GetValueOrDefault(peer) is { } presence)
        {
            await presence.Removed.Task.ConfigureAwait(false);
        }
    }

    /// <inheritdoc />
    public async IAsyncEnumerable<PeerChange> WatchPeersAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ImmutableArray<TestPeer> seen = [];
        while (true)
        {
            (ImmutableArray<TestPeer> shown, bool isStopped, Task changed) = Shown;
            foreach (PeerChange change in seen.Except(shown).Select(gone => new PeerChange(gone, IsConnected: false))
                .Concat(shown.Except(seen).Select(added => new PeerChange(added, IsConnected: true))))
            {
                yield return change;
            }

            seen = shown;
            if (isStopped)
            {
                yield break;
            }

            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc />
    public Reactor? GetReactor(string name) => _reactors.Find(reactor => reactor.Name == name);

    /// <inheritdoc />
    public bool IsPrivate(NodeId id) => PrivatePeers.Contains(id);

    /// <inheritdoc />
    public bool IsPersistent(NodeId id) => PersistentPeers.Contains(id);

    /// <inheritdoc />
    public bool IsConnectedOrDialling(NodeId id)
    {
        lock (_gate)
        {
            return _dialling.Contains(id) || _present.Keys.Any(peer => peer.Id == id);
        }
    }

    /// <inheritdoc />
    public IReadOnlyList<BroadcastResult> TryBroadcast(SerializedMessage message, IEnumerable<IPeer>? recipients = null)
    {
        ArgumentNullException.ThrowIfNull(message);
        return [.. (recipients ?? Peers.Where(peer => peer.HasChannel(message.Channel.Id))).Select(peer => new BroadcastResult(peer, peer.TrySend(message)))];
    }

    /// <inheritdoc />
    public Task<IReadOnlyList<BroadcastResult>> BroadcastAsync(
        SerializedMessage message,
        IEnumerable<IPeer>? recipients = null,
        CancellationToken cancellationToken = default) => Task.FromResult(TryBroadcast(message, recipients));

    /// <inheritdoc />
    public async Task<IPeer> DialAsync(NetAddress address, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(address);
        cancellationToken.ThrowIfCancellationRequested();
        lock (_gate)
        {
            if (_isStopping)
            {
                throw new HandshakeException(HandshakeFailure.SwitchStopped, "The switch has been stopped, so it dials no more.");
            }

            if (_dialling.Contains(address.Id) || _present.Keys.Any(peer => peer.Id == address.Id))
            {
                throw PeerSet.IsTaken(address.Id);
            }

            _dialling = _dialling.Add(address.Id);
        }

        try
        {
            TestPeer peer = Reachable?.Invoke(address) ?? throw new IOException($"{address.DialString} cannot be reached: nobody is there in this test.");
            return await ConnectAsync(peer).ConfigureAwait(false);
        }
        finally
        {
            lock (_gate)
            {
                _dialling = _dialling.Remove(address.Id);
            }
        }
    }

    /// <inheritdoc />
    public async Task<IReadOnlyList<DialResult>> DialAllAsync(IEnumerable<NetAddress> addresses, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(addresses);
        List<DialResult> results = [];
        foreach (NetAddress address in addresses)
        {
            try
            {
                results.Add(new DialResult(address, await DialAsync(address, cancellationToken).ConfigureAwait(false), Failure: null));
            }
            catch (IOException e)
            {
                results.Add(new DialResult(address, Peer: null, e));
            }
        }

        return results;
    }

    /// <inheritdoc />
    public void MarkGood(IPeer peer)
    {
        lock (_gate)
        {
            _good = _good.Add(peer);
        }
    }

    /// <inheritdoc />
    public void MarkBad(IPeer peer, string why, TimeSpan? duration = null)
    {
        ArgumentNullException.ThrowIfNull(peer);
        peer.Stop(new DisconnectReason(DisconnectKind.Misbehaved, why));
        Ban(AccessTarget.Of(peer.Id), why, duration);
    }

    /// <inheritdoc />
    public void Ban(AccessTarget target, string why, TimeSpan? duration = null)
    {
        ArgumentNullException.ThrowIfNull(target);
        ImmutableArray<TestPeer> shown;
        lock (_gate)
        {
            _bans = _bans.Add((target, why, duration));
            shown = _shown;
        }

        foreach (TestPeer peer in shown.Where(peer => target.Matches(peer.Id) || target.Matches(peer.RemoteEndPoint.Address)))
        {
            peer.Stop(new DisconnectReason(DisconnectKind.Banned, why));
        }
    }

    private async Task<bool> CallAllAsync(TestPeer peer, string callback, Func<Reactor, ValueTask> call, Presence? initialised)
    {
        foreach (Reactor reactor in _reactors)
        {
            initialised?.Initialised.Add(reactor);
            try
            {
                await call(reactor).ConfigureAwait(false);
            }
            catch (Exception e)
            {
                peer.Stop(ReactorFailure.Of(reactor, callback, e));
            }

            if (peer.Stopped.IsCancellationRequested)
            {
                return false;
            }
        }

        return true;
    }

    private async Task RemoveWhenStoppedAsync(TestPeer peer, Presence presence)
    {
        DisconnectReason reason = await peer.Completion.ConfigureAwait(false);
        await presence.Added.Task.ConfigureAwait(false);
        foreach (PeerLanes lanes in presence.Lanes)
        {
            lanes.Close();
            await lanes.WhenAtRestAsync().ConfigureAwait(false);
        }

        Exception? failure = null;
        foreach (Reactor reactor in presence.Initialised)
        {
            try
            {
                await reactor.RemovePeerAsync(peer, reason).ConfigureAwait(false);
            }
            catch (Exception e)
            {
                failure ??= e;
            }
        }

        lock (_gate)
        {
            _present = _present.Remove(peer);
            _shown = _shown.Remove(peer);
        }

        Change();
        _ = failure is null ? presence.Removed.TrySetResult() : presence.Removed.TrySetException(failure);
    }

    private void Change()
    {
        TaskCompletionSource changed;
        lock (_gate)
        {
            changed = _changed;
            _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        changed.SetResult();
    }

    // What reactors are told of a peer so far; the lanes of all of them, in their order.
    private sealed class Presence(ImmutableArray<PeerLanes> lanes)
    {
        public ImmutableArray<PeerLanes> Lanes => lanes;

        public List<Reactor> Initialised { get; } = [];

        public TaskCompletionSource Added { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TaskCompletionSource Removed { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
