using System.Collections.Concurrent;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Testing;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

/// <summary>Lets a history happen, and looks at what comes of it.</summary>
internal sealed class HistoryRun : IDisposable
{
    private const int Port = 26656;

    // Long enough for everything that takes time in a node, one after the other.
    private static readonly TimeSpan StopLimit = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan AgreementLimit = TimeSpan.FromMinutes(20);
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan BanTime = TimeSpan.FromSeconds(20);
    private static readonly DisconnectReason Enough = new(DisconnectKind.Stopped, "Enough.");

    private static readonly ChannelDescriptor[] Channels =
    [
        new(0x70, "first") { SendQueueCapacity = 10 },
        new(0x71, "second") { Priority = 5, SendQueueCapacity = 3, ReceiveQueueCapacity = 3 },
    ];

    // Which of two nodes has the lower id matters; beyond that, keys do not.
    private static readonly NodeKey[] Keys = [.. Enumerable.Range(0, 5).Select(i => NodeKey.FromSeed([.. Enumerable.Repeat((byte)(i + 1), 32)]))];

    private readonly History _history;
    private readonly Simulation _time = new();
    private readonly CountingPool _pool = new();
    private readonly MemoryNetwork _network;
    private readonly Node[] _nodes;
    private readonly List<Task> _going = [];
    private readonly TaskCompletionSource _released = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ConcurrentQueue<string> _violations = [];

    // Guarded by _gate. Once _isEnding no node comes back.
    private readonly Lock _gate = new();
    private readonly Random _random;
    private bool _isEnding;

    public HistoryRun(History history)
    {
        _history = history;
        _random = new Random(history.Seed);
        _network = new MemoryNetwork(new MemoryNetworkOptions { TimeProvider = _time, Latency = TimeSpan.FromMilliseconds(history.Latency), Faults = history.FaultPlan });
        _nodes = [.. Enumerable.Range(0, history.Nodes).Select(index => new Node(this, index))];
    }

    /// <summary>What came about, to see that histories hold what they are for.</summary>
    public HistoryTally Tally { get; } = new();

    public void Execute()
    {
        foreach (Node node in _nodes)
        {
            node.Begin();
        }

        _time.Settle();
        foreach (Step step in _history.Steps)
        {
            Do(step);
        }

        LookAtSets();
        _network.Heal();
        if (_history.End == HistoryEnd.Released)
        {
            Release();
        }

        if (_history.End != HistoryEnd.Sudden)
        {
            ComeToTerms();
        }

        Stop();
        Assert.That(_violations, Is.Empty);
    }

    public void Dispose()
    {
        _released.TrySetResult();
        _time.Dispose();
    }

    private void Do(Step step)
    {
        Node node = _nodes[step.NodeOf(_history.Nodes)], other = _nodes[step.OtherOf(_history.Nodes)];
        MemoryLink link = _network.Link(node.Host, other.Host);
        Life life = node.Life;
        switch (step.Kind)
        {
            case StepKind.Dial:
                _going.Add(DialAsync(life, other.Address));
                break;
            case StepKind.CrossingDials:
                _going.Add(Task.Run(() => DialAsync(life, other.Address)));
                _going.Add(Task.Run(() => DialAsync(other.Life, node.Address)));
                break;
            case StepKind.AddPersistentPeer:
                life.Switch.AddPersistentPeer(other.Address);
                break;
            case StepKind.RemovePersistentPeer:
                life.Switch.RemovePersistentPeer(other.Address.Id);
                break;
            case StepKind.Send:
                _going.Add(Task.WhenAll(life.Switch.Peers.Select(peer => SendAsync(peer))));
                break;
            case StepKind.StopPeer:
                life.Find(other)?.Stop(Enough);
                break;
            case StepKind.StopPeerGracefully:
                _going.Add(life.Find(other)?.StopGracefullyAsync() ?? Task.CompletedTask);
                break;
            case StepKind.MarkBad when life.Find(other) is { } bad:
                life.Switch.MarkBad(bad, "It is bad.", step.Time);
                break;
            case StepKind.Ban:
                life.Switch.Ban(step.Reactor == 0 ? AccessTarget.Of(other.Address.Id) : AccessTarget.Of(other.Host), "It may be bad.", step.Time);
                break;
            case StepKind.Misbehave:
                node.Misbehaviours[(step.Reactor, step.Callback)] = step.Misbehaviour;
                break;
            case StepKind.Cut:
                link.CutConnections();
                break;
            case StepKind.Sever:
                link.Sever();
                break;
            case StepKind.Part:
                _network.Partition([node.Host], [other.Host]);
                break;
            case StepKind.Heal:
                _network.Heal();
                break;
            case StepKind.StopSwitch:
                _going.Add(life.StopAsync());
                break;
            case StepKind.StopSwitchTwice:
                _going.Add(Task.Run(life.StopAsync));
                _going.Add(Task.Run(life.StopAsync));
                break;
            case StepKind.Restart:
                _going.Add(node.RestartAsync());
                break;
            case StepKind.Settle:
                _time.Settle();
                LookAtSets();
                break;
            case StepKind.Advance:
                _time.Advance(step.Time);
                LookAtSets();
                break;
        }
    }

    // From now on nobody misbehaves.
    private void Release()
    {
        foreach (Node node in _nodes)
        {
            node.Misbehaviours.Clear();
        }

        _released.TrySetResult();
        _time.Unblock();
    }

    /// <summary>Waits until all is as it will be, and sees that it is as it should be then.</summary>
    private void ComeToTerms()
    {
        // What reactors do late can still end a connection.
        _time.Advance(4 * Grace);
        if (_history.End == HistoryEnd.Released)
        {
            Require(_going, AgreementLimit, "What was begun does not end.");
        }

        if (!_time.AdvanceUntil(() => Disagreements().Count == 0, AgreementLimit))
        {
            Assert.Fail($"Nodes do not come to terms: {string.Join("; ", Disagreements())}.");
        }

        LookAtSets();
        Tally.Pairs += _nodes.Sum(node => node.Life.Switch.Peers.Count(peer => peer.IsOutbound));
        if (_history.Faults == FaultLevel.Harmful || _history.End == HistoryEnd.Stuck)
        {
            return;
        }

        // What both sides call a connection is one.
        (Life Life, IPeer Peer)[] ends = [.. _nodes.SelectMany(node => node.Life.Switch.Peers.Select(peer => (node.Life, peer)))];
        foreach ((Life life, IPeer peer) in ends)
        {
            _going.Add(SendAsync(peer, 1 + life.Node.Index));
        }

        bool areReached = _time.AdvanceUntil(
            () => ends.All(end => end.Life.Reactors.All(reactor => reactor.From(end.Peer).Any(data => data.Length == 1 + _nodes.Single(node => node.Address.Id == end.Peer.Id).Index))),
            StopLimit);
        Assert.That(areReached, $"A message does not reach a peer that both sides have: {string.Join(", ", ends.Select(end => $"{end.Life.Node.Index} {(end.Peer.Completion.IsCompleted ? end.Peer.Completion.Result : end.Peer.GetStatus())}"))}");
    }

    private void Stop()
    {
        lock (_gate)
        {
            _isEnding = true;
        }

        Life[] lives = [.. _nodes.SelectMany(node => node.Lives)];
        Task[] stops = [.. lives.Select(life => life.StopAsync())];
        Require(stops, StopLimit, "A switch does not stop.");
        Require(_going, StopLimit, "What was begun does not end when all has stopped.");
        Assert.That(stops.Concat(_going).Select(task => task.Exception?.InnerException), Has.All.Null);
        foreach (Life life in lives)
        {
            life.LookBack(Tally);
        }

        Assert.That((_network.OpenStreams, _network.OpenListeners), Is.EqualTo((0, 0)), "open streams and listeners");

        // What a reactor holds that has not returned is its own matter, until it returns.
        Release();
        Assert.That(_time.AdvanceUntil(() => _pool.Outstanding == 0, StopLimit), $"{_pool.Outstanding} buffers are not returned.");
        Assert.That(_time.AdvanceUntil(() => _time.Timers == 0, StopLimit), $"{_time.Timers} timers run on.");
        Assert.That(lives.SelectMany(life => life.Switch.Peers), Is.Empty);
        Tally.Connections += _network.Connections.Length;
        Tally.Simulated += _time.Elapsed;
    }

    private void Require(IReadOnlyList<Task> done, TimeSpan limit, string what) =>
        Assert.That(_time.AdvanceUntil(() => done.All(task => task.IsCompleted), limit), what);

    // At any moment.
    private void LookAtSets()
    {
        foreach (Life life in _nodes.Select(node => node.Life))
        {
            NodeId[] ids = [.. life.Switch.Peers.Select(peer => peer.Id)];
            if (ids.Distinct().Count() < ids.Length)
            {
                _violations.Enqueue($"Node {life.Node.Index} has a peer twice.");
            }
        }
    }

    /// <summary>In what both sides of each pair differ; and who wants to be connected, and is not, although nothing keeps it from it.</summary>
    private List<string> Disagreements()
    {
        List<string> found = [];
        MemoryConnection[] open = [.. _network.Connections.Where(connection => connection.IsOpen)];
        for (int i = 0; i < _nodes.Length; i++)
        {
            for (int j = 0; j < i; j++)
            {
                Node one = _nodes[i], other = _nodes[j];
                if (one.Life.IsStuckBefore(other) || other.Life.IsStuckBefore(one))
                {
                    continue;
                }

                IPeer? there = one.Life.Find(other), here = other.Life.Find(one);
                MemoryConnection[] between = [.. open.Where(connection => connection.Link == _network.Link(one.Host, other.Host))];
                bool agree = (there, here) switch
                {
                    (null, null) => between.Length == 0,
                    ({ IsOutbound: true }, { IsOutbound: false }) => AreEnds(between, there, here),
                    ({ IsOutbound: false }, { IsOutbound: true }) => AreEnds(between, here, there),
                    _ => false,
                };
                bool isWanted = there is null && (one.Wants(other) || other.Wants(one)) && one.Life.IsUp && other.Life.IsUp;
                if (!agree || isWanted)
                {
                    found.Add($"{i} has {Describe(there)} of {j}, which has {Describe(here)}; {between.Length} connections are open{(isWanted ? ", one is wanted" : "")}");
                }
            }
        }

        return found;

        static string Describe(IPeer? peer) => peer is null ? "no peer" : $"an {(peer.IsOutbound ? "outbound" : "inbound")} peer{(peer.Stopped.IsCancellationRequested ? ", stopped," : "")}";

        static bool AreEnds(MemoryConnection[] between, IPeer outbound, IPeer inbound) =>
            between is [{ IsDiallerOpen: true, IsListenerOpen: true } only]
            && inbound.RemoteEndPoint.Equals(only.DiallerEndPoint)
            && outbound.RemoteEndPoint.Equals(only.ListenerEndPoint)
            && !outbound.Stopped.IsCancellationRequested
            && !inbound.Stopped.IsCancellationRequested;
    }

    private static async Task DialAsync(Life life, NetAddress address, CancellationToken cancellationToken = default)
    {
        bool hasStarted = life.Start.IsCompletedSuccessfully;
        try
        {
            await life.Switch.DialAsync(address, cancellationToken);
        }
        catch (Exception e) when (e is IOException || (e is InvalidOperationException && !hasStarted))
        {
            // It cannot be reached, or may not be a peer; or the node has not started.
        }
    }

    private async Task SendAsync(IPeer peer, int size = 5000)
    {
        foreach (ChannelDescriptor channel in Channels)
        {
            using SerializedMessage message = SerializedMessage.Create(channel, new byte[size], _pool);
            for (int i = 0; i < 5; i++)
            {
                await peer.SendAsync(message);
            }
        }
    }

    private double NextDouble()
    {
        lock (_gate)
        {
            return _random.NextDouble();
        }
    }

    private async ValueTask MisbehaveAsync(Misbehaviour misbehaviour, Life life, IPeer? peer, CancellationToken cancellationToken)
    {
        switch (misbehaviour)
        {
            case Misbehaviour.ThrowLate:
                await Task.Delay(TimeSpan.FromMilliseconds(20), _time, CancellationToken.None);
                throw new InvalidOperationException("It is ill.");
            case Misbehaviour.ThrowWhenGivenUp:
                await Task.Delay(3 * Grace, _time, CancellationToken.None);
                throw new InvalidOperationException("It is ill.");
            case Misbehaviour.ReturnLate:
                await Task.Delay(Grace / 2, _time, CancellationToken.None);
                break;
            case Misbehaviour.ReturnWhenGivenUp:
                await Task.Delay(3 * Grace, _time, CancellationToken.None);
                break;
            case Misbehaviour.NeverReturn:
                await _released.Task;
                break;
            case Misbehaviour.WaitForToken:
                await _released.Task.WaitAsync(cancellationToken);
                break;
            case Misbehaviour.Send when peer is not null:
                await SendAsync(peer);
                break;
            case Misbehaviour.Dial:
                await DialAsync(life, _nodes[(life.Node.Index + 1) % _nodes.Length].Address, cancellationToken);
                break;
            case Misbehaviour.StopPeer:
                peer?.Stop(Enough);
                break;
            case Misbehaviour.StopPeerGracefully when peer is not null:
                await peer.StopGracefullyAsync();
                break;
            case Misbehaviour.MarkBad when peer is not null:
                life.Switch.MarkBad(peer, "It is bad.", BanTime);
                break;
            case Misbehaviour.StopSwitch:
                _ = life.StopAsync();
                break;
            case Misbehaviour.WaitForStopOfSwitch:
                await life.StopAsync();
                break;
        }
    }

    /// <summary>A host, with one switch after another.</summary>
    private sealed class Node
    {
        private readonly HistoryRun _run;
        private readonly NodeKey _key;
        private volatile Life _life;

        public Node(HistoryRun run, int index)
        {
            _run = run;
            _key = Keys[index];
            Index = index;
            Host = HostOf(index);
            Address = AddressOf(index);
            _life = MakeLife();
        }

        public int Index { get; }

        public IPAddress Host { get; }

        public NetAddress Address { get; }

        /// <summary>What its reactors do the next time in a callback.</summary>
        public ConcurrentDictionary<(int Reactor, Callback Callback), Misbehaviour> Misbehaviours { get; } = [];

        public Life Life => _life;

        /// <summary>All that were, and the last, which is.</summary>
        public ConcurrentQueue<Life> Lives { get; } = [];

        public void Begin() => _life.Begin();

        /// <summary>Stops, and comes back as a new switch with the same key, once.</summary>
        public async Task RestartAsync()
        {
            Life former = _life;
            await former.StopAsync();
            lock (_run._gate)
            {
                if (_run._isEnding || _life != former)
                {
                    return;
                }

                _life = MakeLife();
                _life.Begin();
            }
        }

        public bool Wants(Node other) => Life.Switch.IsPersistent(other.Address.Id);

        private static IPAddress HostOf(int index) => new([10, 0, 0, (byte)(index + 1)]);

        private static NetAddress AddressOf(int index) => NetAddress.FromEndPoint(Keys[index].Id, new IPEndPoint(HostOf(index), Port));

        private Life MakeLife()
        {
            SwitchOptions options = new()
            {
                Network = "history",
                Moniker = $"node-{Index}",
                ListenEndPoint = new IPEndPoint(Host, Port),
                Transport = _run._network.CreateTransport(Host),
                TimeProvider = _run._time,
                PersistentPeers = _run._history.IsMesh ? [.. Enumerable.Range(0, _run._history.Nodes).Where(other => other != Index).Select(AddressOf)] : [],
                MaxInboundConnectionRatePerIp = null,
                MaxInboundHandshakesPerIp = null,
                PersistentPeersMaxDialPeriod = TimeSpan.FromSeconds(10),
                BanTime = BanTime,
                ReactorGracePeriod = Grace,
                NextDouble = _run.NextDouble,
                Connection = new ConnectionOptions { Pool = _run._pool },
            };
            Life life = new(this, new Switch(_key, options), _run);
            Lives.Enqueue(life);
            return life;
        }
    }

    /// <summary>A switch, from its making to its stop.</summary>
    private sealed class Life
    {
        private readonly HistoryRun _run;
        private volatile bool _isStopped;

        public Life(Node node, Switch @switch, HistoryRun run)
        {
            _run = run;
            Node = node;
            Switch = @switch;
            Grammar first = new(null, run._time, Grace), second = new(first, run._time, Grace);
            Reactors = [new RecordingReactor("first", Channels[0]) { Grammar = first }, new RecordingReactor("second", Channels[1]) { Grammar = second }];
            for (int i = 0; i < Reactors.Length; i++)
            {
                int index = i;
                Reactors[i].During = (callback, peer, cancellationToken) => OnCall(index, callback, peer, cancellationToken);
                Switch.AddReactor(Reactors[i]);
            }
        }

        public Node Node { get; }

        public Switch Switch { get; }

        public RecordingReactor[] Reactors { get; }

        public Task Start { get; private set; } = Task.CompletedTask;

        /// <summary>Whether it has started, and nobody has told it to stop.</summary>
        public bool IsUp => Start.IsCompletedSuccessfully && !_isStopped;

        /// <summary>Whether a reactor has not let it begin, or keeps it from being connected to a node: nothing but the stop is waited for then.</summary>
        public bool IsStuckBefore(Node other) => !Start.IsCompleted || Array.Exists(Reactors, reactor => reactor.Grammar.IsInitialising(other.Address.Id));

        public void Begin() => Start = Switch.StartAsync();

        public Task StopAsync()
        {
            _isStopped = true;
            return Switch.StopAsync();
        }

        public IPeer? Find(Node other) => Switch.Peers.SingleOrDefault(peer => peer.Id == other.Address.Id);

        /// <summary>Checks, when it is over, that it was as it had to be.</summary>
        public void LookBack(HistoryTally tally)
        {
            Assert.That(Switch.Peers, Is.Empty);
            Assert.That(Switch.Counts, Is.EqualTo(default(PeerCounts)));
            foreach (RecordingReactor reactor in Reactors)
            {
                Grammar grammar = reactor.Grammar;
                Assert.That(grammar.Violations, Is.Empty);
                Assert.That(grammar.Removing, Is.EqualTo(grammar.Initialised), "Every peer that was initialised is removed.");
                foreach (IPeer peer in grammar.Peers)
                {
                    Assert.That(peer.Completion.IsCompletedSuccessfully);
                    Assert.That(reactor.Reasons[peer], Is.SameAs(peer.Completion.Result));
                    Assert.That(reactor.Reasons[peer].Message, Is.Not.Empty);
                    tally.Add(reactor.Reasons[peer].Kind);
                }

                tally.Add(grammar);
            }
        }

        private ValueTask OnCall(int reactor, Callback callback, IPeer? peer, CancellationToken cancellationToken)
        {
            // A peer is there from before it is added until the last reactor has removed it, and never while a former self of it is.
            bool isShown = peer is not null && Switch.Peers.Any(shown => ReferenceEquals(shown, peer));
            bool isWrong = callback switch
            {
                Callback.InitPeer => Switch.Peers.Any(shown => shown.Id == peer!.Id),
                Callback.AddPeer => !isShown,
                Callback.RemovePeer => !isShown && Reactors.Any(other => other.Grammar.HasBegunToAdd(peer!)),
                _ => false,
            };
            if (isWrong)
            {
                _run._violations.Enqueue($"In {callback} the set of peers is wrong: {(isShown ? "the peer is there" : "the peer is not there")}.");
            }

            if (!Node.Misbehaviours.TryRemove((reactor, callback), out Misbehaviour misbehaviour))
            {
                return ValueTask.CompletedTask;
            }

            switch (misbehaviour)
            {
                case Misbehaviour.ThrowAtOnce:
                    throw new InvalidOperationException("It is ill.");
                case Misbehaviour.ThrowTimeout:
                    throw new TimeoutException("It took too long.");
                case Misbehaviour.ThrowCancelled:
                    throw new OperationCanceledException("It was not meant.");
                case Misbehaviour.Block:
                    _run._time.Block();
                    return ValueTask.CompletedTask;
                default:
                    return _run.MisbehaveAsync(misbehaviour, this, peer, cancellationToken);
            }
        }
    }
}
