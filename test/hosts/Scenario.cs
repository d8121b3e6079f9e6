using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;
using Pipeline.Cryptography;
using Pipeline.Diagnostics;

namespace Pipeline.Hosts;

/// <summary>What happens to the hosts, and what is expected of their nodes.</summary>
internal sealed class Scenario
{
    /// <summary>How many outbound peers each node looks for.</summary>
    private const int Outbound = 4;

    private static readonly TimeSpan PingInterval = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan PongTimeout = TimeSpan.FromSeconds(3);

    // A ping may have been answered a moment before; the rest is for a machine with much to do.
    private static readonly TimeSpan NoticeLimit = PingInterval + PongTimeout + TimeSpan.FromSeconds(7);

    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(40);
    private static readonly TimeSpan DiscoveryLimit = TimeSpan.FromSeconds(60);
    // Whoever misses something at first looks again after the period of 30 s, and once more when that is bad luck too.
    private static readonly TimeSpan JoinLimit = TimeSpan.FromSeconds(75);
    private static readonly TimeSpan StopLimit = TimeSpan.FromSeconds(20);

    private readonly Report _report;
    private readonly Host _seed;
    private readonly ImmutableArray<Host> _left;
    private readonly ImmutableArray<Host> _right;
    private readonly Host _newcomer;

    // Replaced whenever a host has something new to see.
    private TaskCompletionSource _changed = NewSignal();

    /// <summary>Makes hosts, which are not connected yet.</summary>
    public Scenario(Report report)
    {
        _report = report;
        _seed = new Host("seed", 1, OnChanged);
        _left = [.. Enumerable.Range(1, 4).Select(i => new Host($"left{i}", 10 + i, OnChanged))];
        _right = [.. Enumerable.Range(1, 4).Select(i => new Host($"right{i}", 200 + i, OnChanged))];
        _newcomer = new Host("newcomer", 240, OnChanged);
    }

    /// <summary>All hosts.</summary>
    public ImmutableArray<Host> Hosts => [_seed, .. Nodes, _newcomer];

    // Those that are not the seed, and there from the begin.
    private ImmutableArray<Host> Nodes => [.. _left, .. _right];

    /// <summary>Runs from the begin to the end.</summary>
    /// <param name="partition">How long the network is in halves after these have noticed.</param>
    /// <exception cref="ExpectationException">Something was not as expected.</exception>
    public async Task RunAsync(TimeSpan partition)
    {
        Network network = await Network.CreateAsync();
        foreach (Host host in Hosts)
        {
            await network.AddAsync(host);
        }

        await DiscoverAsync();
        await DivideAsync(partition);
        await SlowDownAsync(network);
        await KillAsync();
        await StopAsync();
    }

    private async Task DiscoverAsync()
    {
        _report.Say("The seed starts, then eight nodes that know of nobody else.");
        _seed.Start("seed", ("NETWORK", "hosts"));
        await UntilAsync("the seed is up", StartLimit, () => _seed.View is null ? "It is not." : null);
        foreach (Host node in Nodes)
        {
            Start(node);
        }

        await UntilAsync("the nodes are up", StartLimit, () => AllOf(Nodes, node => node.View is null ? "is not up" : null));
        await Task.WhenAll(
            UntilAsync("each node has its outbound peers", DiscoveryLimit, () => AllOf(Nodes, node => FindMissing(node, Nodes))),
            UntilAsync("each node knows seven addresses", DiscoveryLimit, () =>
                AllOf(Nodes, node => node.View!.Addresses >= Nodes.Length - 1 ? null : $"knows {node.View.Addresses} addresses")));
    }

    private async Task DivideAsync(TimeSpan duration)
    {
        ImmutableHashSet<Connection> before = SomeOf(ConnectionsOf(_left, _left)).Union(SomeOf(ConnectionsOf(_right, _right)));
        _report.Say("Nothing gets from the left half to the right any more, nor back.");
        await Network.PartitionAsync();
        await UntilAsync("the halves have noticed", NoticeLimit, () =>
            AllOf(Nodes, node => PeersAmong(node, HalfAcross(node)) is { Count: > 0 } peers ? $"has {peers.Count} peers on the other side" : null));
        await ForAsync("each half stays as it is", duration, () =>
            before.Except(ConnectionsOf(Nodes, Nodes)) is { Count: > 0 } lost ? $"Lost connections: {string.Join(", ", lost)}." : null);

        _report.Say("The line between the halves is mended.");
        await Network.HealAsync();

        // Who could not be reached is tried after times that double.
        TimeSpan limit = TimeSpan.FromSeconds(30) + (duration * 2);
        await Task.WhenAll(
            UntilAsync("the halves are connected", limit, () => ConnectionsOf(_left, _right).IsEmpty ? "There is no connection from one to the other." : null),
            UntilAsync("each node has its outbound peers again", limit, () => AllOf(Nodes, node => FindMissing(node, Nodes))));
    }

    private async Task SlowDownAsync(Network network)
    {
        ImmutableHashSet<Connection> before = SomeOf(ConnectionsOf(Nodes, Nodes));
        TimeSpan fast = await Network.MeasureRoundTripAsync(_left[0], _right[0]);
        await network.SlowDownAsync();
        TimeSpan slow = await Network.MeasureRoundTripAsync(_left[0], _right[0]);

        // Timers count in milliseconds, and may be one short each way.
        TimeSpan expected = (2 * Network.Delay) - TimeSpan.FromMilliseconds(4);
        if (slow < expected || fast >= expected)
        {
            throw new ExpectationException(
                $"expected a round trip below {expected.TotalMilliseconds} ms before the lines are slow, and of as much at least when they are; it took {fast.TotalMilliseconds} ms and {slow.TotalMilliseconds} ms.");
        }

        _report.Say(string.Create(CultureInfo.InvariantCulture, $"ok: a round trip takes {slow.TotalMilliseconds:0.0} ms, where it was {fast.TotalMilliseconds:0.0}"));
        _report.Say($"Each line is {Network.Delay.TotalMilliseconds} ms slower and loses {Network.LossPercent} % of all packets, each way (by {network.SlowedBy}). A ninth node comes.");
        Start(_newcomer);
        await Task.WhenAll(
            ForAsync("all stay connected", TimeSpan.FromSeconds(12), () =>
                before.Except(ConnectionsOf(Nodes, Nodes)) is { Count: > 0 } lost ? $"Lost connections: {string.Join(", ", lost)}." : null),
            UntilAsync("the newcomer has its outbound peers", JoinLimit, () => AllOf([_newcomer], node => FindMissing(node, Nodes))));
        await network.SpeedUpAsync();
    }

    private async Task KillAsync()
    {
        Host victim = _right[0];
        NodeId id = victim.View!.Id;
        ImmutableArray<Host> others = [.. Nodes.Remove(victim), _newcomer];
        _report.Say($"The host {victim.Name} loses its power.");
        await Network.CutAsync(victim);
        await victim.KillAsync();
        await UntilAsync("the others have noticed", NoticeLimit, () =>
            AllOf(others, node => PeersOf(node).Any(peer => peer.Id == id) ? $"has {victim.Name} as a peer" : null));

        _report.Say($"The host {victim.Name} is back.");
        await Network.MendAsync(victim);
        Start(victim);
        await Task.WhenAll(
            UntilAsync("it is a peer again", JoinLimit, () => others.Any(node => PeersOf(node).Any(peer => peer.Id == id)) ? null : "Nobody has it as a peer."),
            UntilAsync("it has its outbound peers again", JoinLimit, () => AllOf([victim], node => FindMissing(node, others))));
        if (victim.View!.Id != id)
        {
            throw new ExpectationException($"{victim.Name} is back as {victim.View.Id}; expected {id}, which it was before.");
        }
    }

    private async Task StopAsync()
    {
        _report.Say("All are told to stop.");
        ImmutableArray<Host> all = [_newcomer, .. Nodes, _seed];
        ImmutableArray<NodeId> ids = [.. Nodes.Select(host => host.View!.Id)];
        long begin = TimeProvider.System.GetTimestamp();
        using CancellationTokenSource limit = new(StopLimit);
        int[] codes;
        try
        {
            codes = await Task.WhenAll(all.Select(host => host.StopAsync(limit.Token)));
        }
        catch (OperationCanceledException)
        {
            throw new ExpectationException($"Not all nodes have stopped within {StopLimit.TotalSeconds:0} s.");
        }

        if (codes.Any(code => code != 0))
        {
            throw new ExpectationException($"The exit codes are {string.Join(", ", codes)}; expected is 0.");
        }

        _report.Measured("all have stopped with exit code 0", TimeProvider.System.GetElapsedTime(begin), StopLimit);
        foreach (Host node in Nodes)
        {
            string path = Path.Combine(node.Home, "config", "addrbook.json");
            IEnumerable<string> known = JsonNode.Parse(await File.ReadAllTextAsync(path))!["addrs"]!.AsArray().Select(entry => (string)entry!["addr"]!["id"]!);
            string[] missing = [.. ids.Select(id => id.ToString()).Where(id => id != node.View!.Id.ToString()).Except(known)];
            if (missing.Length > 0)
            {
                throw new ExpectationException($"The address book of {node.Name} lacks {string.Join(", ", missing)}.");
            }
        }

        _report.Say("ok: the address book of each of the eight has the seven others");
    }

    private void Start(Host node) => node.Start(
        "start",
        ("NETWORK", "hosts"),
        ("P2P_SEEDS", _seed.View!.Address),
        ("P2P_MAX_NUM_OUTBOUND_PEERS", $"{Outbound}"),
        ("P2P_PING_INTERVAL", $"{PingInterval.TotalSeconds}s"),
        ("P2P_PONG_TIMEOUT", $"{PongTimeout.TotalSeconds}s"));

    private ImmutableArray<Host> HalfAcross(Host node) => _left.Contains(node) ? _right : _left;

    private static ImmutableArray<PeerStatus> PeersOf(Host node) => node.View?.Status?.Peers ?? [];

    private static List<PeerStatus> PeersAmong(Host node, IEnumerable<Host> others)
    {
        HashSet<NodeId> ids = [.. others.Where(other => other != node).Select(other => other.View?.Id).OfType<NodeId>()];
        return [.. PeersOf(node).Where(peer => ids.Contains(peer.Id))];
    }

    // Who is connected to all others cannot have more, whoever has dialled.
    private static string? FindMissing(Host node, ImmutableArray<Host> others)
    {
        List<PeerStatus> peers = PeersAmong(node, others);
        int outbound = peers.Count(peer => peer.IsOutbound);
        return outbound >= Outbound || peers.Count == others.Count(other => other != node)
            ? null
            : $"has {outbound} outbound peers of {Outbound}, and {peers.Count} peers of {others.Count(other => other != node)}";
    }

    private static ImmutableHashSet<Connection> ConnectionsOf(IEnumerable<Host> some, ImmutableArray<Host> others) =>
        [.. from node in some from peer in PeersAmong(node, others) select new Connection(node.Name, peer.NodeInfo.Moniker, peer.RemoteEndPoint)];

    // Of no connections at all, none can be lost.
    private static ImmutableHashSet<Connection> SomeOf(ImmutableHashSet<Connection> connections) =>
        connections.IsEmpty ? throw new ExpectationException("There are no connections that could be kept.") : connections;

    private static string? AllOf(IEnumerable<Host> hosts, Func<Host, string?> findFault)
    {
        string[] faults = [.. from host in hosts let fault = findFault(host) where fault is not null select $"{host.Name} {fault}"];
        return faults.Length == 0 ? null : string.Join("; ", faults) + ".";
    }

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private void OnChanged() => Interlocked.Exchange(ref _changed, NewSignal()).SetResult();

    /// <summary>Waits until something is so, and says how long that took.</summary>
    /// <param name="what">What is expected.</param>
    /// <param name="limit">How long it may take.</param>
    /// <param name="findFault">Says what is not so; null when all is.</param>
    private async Task UntilAsync(string what, TimeSpan limit, Func<string?> findFault)
    {
        long begin = TimeProvider.System.GetTimestamp();
        while (true)
        {
            Task changed = Volatile.Read(ref _changed).Task;
            ThrowIfBroken();
            if (findFault() is not { } fault)
            {
                _report.Measured(what, TimeProvider.System.GetElapsedTime(begin), limit);
                return;
            }

            TimeSpan left = limit - TimeProvider.System.GetElapsedTime(begin);
            try
            {
                await changed.WaitAsync(left > TimeSpan.Zero ? left : TimeSpan.Zero);
            }
            catch (TimeoutException)
            {
                throw new ExpectationException($"expected within {limit.TotalSeconds:0} s: {what}. {fault}");
            }
        }
    }

    /// <summary>Expects that something stays so, in all that the nodes say for a time.</summary>
    private async Task ForAsync(string what, TimeSpan duration, Func<string?> findFault)
    {
        long begin = TimeProvider.System.GetTimestamp();
        TimeSpan left = duration;
        for (; left > TimeSpan.Zero; left = duration - TimeProvider.System.GetElapsedTime(begin))
        {
            Task changed = Volatile.Read(ref _changed).Task;
            ThrowIfBroken();
            if (findFault() is { } fault)
            {
                throw new ExpectationException($"expected for {duration.TotalSeconds:0} s: {what}. {fault}");
            }

            await changed.WaitAsync(left).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        _report.Say($"ok: {what}, for {duration.TotalSeconds:0} s");
    }

    private void ThrowIfBroken()
    {
        if (Hosts.FirstOrDefault(host => host.Fault is not null) is { } host)
        {
            throw new ExpectationException(host.Fault!);
        }
    }

    private sealed record Connection(string Node, string Peer, IPEndPoint EndPoint)
    {
        public override string ToString() => $"{Node} with {Peer} ({EndPoint})";
    }
}
