using System.Collections.Immutable;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Discovery.Crawling;

/// <summary>A crawl that runs. Everything but the visits themselves is done by one task, so that nothing here needs a lock.</summary>
internal sealed class Crawl
{
    private readonly CrawlOptions _options;
    private readonly Visitor _visitor;
    private readonly IProgress<CrawlProgress>? _progress;
    private readonly DateTimeOffset _startedAt;
    private readonly long _start;
    private readonly Frontier _frontier = new();
    private readonly Dictionary<NodeId, Node> _nodes = [];
    private readonly Dictionary<Task<Visit>, Node> _running = [];

    // What was found at an end point that was tried: nobody has to be told by it twice, under however many ids it is told of.
    private readonly Dictionary<string, Visit?> _endPoints = [];
    private readonly Dictionary<string, List<Node>> _waiting = [];
    private readonly Dictionary<string, int> _ports = [];
    private readonly Dictionary<NodeId, int> _broughtBy = [];
    private readonly Dictionary<AddressGroup, int> _broughtByGroup = [];
    private int _leftOut;
    private int _visited;
    private int _reached;

    public Crawl(NetAddress[] seeds, CrawlOptions options, Visitor visitor, IProgress<CrawlProgress>? progress)
    {
        _options = options;
        _visitor = visitor;
        _visitor.Network = options.Network;
        _progress = progress;
        _startedAt = options.TimeProvider.GetUtcNow();
        _start = options.TimeProvider.GetTimestamp();
        foreach (NetAddress seed in seeds)
        {
            if (!_nodes.TryGetValue(seed.Id, out Node? node))
            {
                _nodes[seed.Id] = node = new Node(seed.Id) { IsSeed = true };
            }

            node.Addresses.Add(seed);
            _frontier.Add(seed.Id, default, seenAt: null);
        }
    }

    private TimeSpan Elapsed => _options.TimeProvider.GetElapsedTime(_start);

    public async Task<NetworkMap> RunAsync(CancellationToken cancellationToken)
    {
        using CancellationTokenSource deadline = new(_options.MaxTime, _options.TimeProvider);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        for (int round = 1; round <= _options.Rounds && !either.IsCancellationRequested; round++)
        {
            if (round > 1)
            {
                AskAgain();
            }

            await VisitAllAsync(either.Token).ConfigureAwait(false);
        }

        CrawlEnd end = cancellationToken.IsCancellationRequested ? CrawlEnd.Cancelled : deadline.IsCancellationRequested ? CrawlEnd.TimeLimit : CrawlEnd.Complete;
        return new NetworkMap(
            _visitor.Network,
            _startedAt,
            Elapsed,
            end,
            _leftOut,
            [.. _nodes.Values.OrderBy(node => node.Id).Select(node => node.Show())]);
    }

    private async Task VisitAllAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            // The network is learned from the first that answers, so until then they come one by one.
            int most = _visitor.Network is null ? 1 : _options.MaxVisits;
            while (!cancellationToken.IsCancellationRequested && _running.Count < most && _frontier.TryTake(out NodeId id))
            {
                Begin(_nodes[id], cancellationToken);
            }

            if (_running.Count == 0)
            {
                return;
            }

            Task<Visit> done = await Task.WhenAny(_running.Keys).ConfigureAwait(false);
            _running.Remove(done, out Node? node);
            if (done.IsCompletedSuccessfully)
            {
                End(node!, done.Result);
            }
            else if (!cancellationToken.IsCancellationRequested)
            {
                await done.ConfigureAwait(false);
            }

            _progress?.Report(new CrawlProgress(_nodes.Count, _visited, _reached, _running.Count, Elapsed));
        }
    }

    private void AskAgain()
    {
        foreach (Node node in _nodes.Values.Where(node => node.Result?.Reachability == Reachability.Reached))
        {
            // The same door, once more.
            _endPoints.Remove(node.At!.DialString);
            _ports[node.At.Host] = Math.Max(0, _ports.GetValueOrDefault(node.At.Host) - 1);
            _frontier.Add(node.Id, default, seenAt: null);
            node.IsToBeAsked = true;
        }
    }

    /// <summary>Visits a node at the next of its addresses that may be tried, unless it is being visited, was found, or has no such address.</summary>
    private void Begin(Node node, CancellationToken cancellationToken)
    {
        while (!node.IsBeingVisited && node.NextAddress() is { } address)
        {
            string endPoint = address.DialString;
            // Who was found there while somebody else was looked for is really there, and is visited all the same: else a lie could hide it.
            bool isTried = _endPoints.TryGetValue(endPoint, out Visit? known);
            if (isTried && (known is null || known.AnsweredBy != node.Id))
            {
                if (known is null)
                {
                    // Somebody is being visited there; what comes of it will be known soon.
                    Wait(node, endPoint);
                    return;
                }

                Conclude(node, address, known.AnsweredBy.IsEmpty
                    ? known with { Info = null, Told = null, Detail = known.Detail ?? "Another visit there failed." }
                    : new Visit(Reachability.WrongIdentity, $"Node {known.AnsweredBy} is there."));
                continue;
            }

            int ports = _ports.GetValueOrDefault(address.Host);
            if (!isTried && ports >= _options.MaxPortsPerIp)
            {
                Conclude(node, address, new Visit(Reachability.NotTried, $"{ports} ports of {address.Host} have been tried, which is the most."));
                continue;
            }

            _ports[address.Host] = ports + (isTried ? 0 : 1);
            _endPoints[endPoint] = null;
            node.At = address;
            node.IsBeingVisited = true;
            _running.Add(_visitor.VisitAsync(address, cancellationToken), node);
        }
    }

    private void Wait(Node node, string endPoint)
    {
        if (!_waiting.TryGetValue(endPoint, out List<Node>? waiting))
        {
            _waiting[endPoint] = waiting = [];
        }

        waiting.Add(node);
    }

    private void End(Node node, Visit visit)
    {
        NetAddress address = node.At!;
        node.IsBeingVisited = false;
        _endPoints[address.DialString] = visit with { Told = null };
        bool wasReached = node.Result?.Reachability == Reachability.Reached;
        Conclude(node, address, visit);
        _reached += !wasReached && visit.Reachability == Reachability.Reached ? 1 : 0;
        if (visit.Told is { } told)
        {
            Learn(node, visit.EndPoint!.Address, told);
        }

        // It may have other addresses.
        _frontier.Add(node.Id, default, seenAt: null);
        if (_waiting.Remove(address.DialString, out List<Node>? waiting))
        {
            waiting.ForEach(other => _frontier.Add(other.Id, default, seenAt: null));
        }
    }

    private void Conclude(Node node, NetAddress address, Visit visit)
    {
        _visited += node.Result is null ? 1 : 0;
        node.Conclude(address, visit);
    }

    private void Learn(Node teller, IPAddress seenAt, ImmutableArray<NetAddress> told)
    {
        teller.AddressesTold = (teller.AddressesTold ?? 0) + told.Length;
        AddressGroup group = AddressGroup.Of(seenAt, isStrict: false);
        foreach (NetAddress address in told.DistinctBy(address => address.Id))
        {
            // Who is out in the internet cannot send the crawl into the network that it runs in.
            bool isInside = !address.IsRoutable && seenAt.IsRoutable();
            if (!address.IsValid || address.Port == 0 || isInside)
            {
                continue;
            }

            if (!_nodes.TryGetValue(address.Id, out Node? node) && (node = TryAdd(address.Id, teller, group)) is null)
            {
                _leftOut++;
                continue;
            }

            teller.Told.Add(address.Id);
            if (node.TryAddAddress(address, _options.MaxAddressesPerNode))
            {
                _frontier.Add(address.Id, teller.Id, seenAt);
            }
        }
    }

    private Node? TryAdd(NodeId id, Node teller, AddressGroup group)
    {
        int byTeller = _broughtBy.GetValueOrDefault(teller.Id), byGroup = _broughtByGroup.GetValueOrDefault(group);
        bool isWithinLimits = _nodes.Count < _options.MaxNodes
            && (teller.IsSeed || byGroup < _options.MaxNodesPerReporterGroup)
            && byTeller < _options.MaxNodesPerReporter;
        if (!isWithinLimits)
        {
            return null;
        }

        _broughtBy[teller.Id] = byTeller + 1;
        _broughtByGroup[group] = byGroup + (teller.IsSeed ? 0 : 1);
        return _nodes[id] = new Node(id);
    }

    /// <summary>A node that was heard of.</summary>
    private sealed class Node(NodeId id)
    {
        // Invariant: _failed are those of Addresses that were tried and where the node is not.
        private readonly HashSet<NetAddress> _failed = [];

        public NodeId Id => id;

        public bool IsSeed { get; init; }

        public List<NetAddress> Addresses { get; } = [];

        public HashSet<NodeId> Told { get; } = [];

        public int? AddressesTold { get; set; }

        /// <summary>Where it is being visited, or was last.</summary>
        public NetAddress? At { get; set; }

        public bool IsBeingVisited { get; set; }

        /// <summary>Whether it is to be visited although it was reached.</summary>
        public bool IsToBeAsked { get; set; }

        /// <summary>The visit that says most: that at which it was reached, or else that at which most happened.</summary>
        public Visit? Result { get; private set; }

        public NetAddress? NextAddress() =>
            Result?.Reachability is not (Reachability.Reached or Reachability.OtherNetwork) ? Addresses.Find(address => !_failed.Contains(address))
            : IsToBeAsked ? At
            : null;

        /// <summary>Remembers an address that was told. False when that brings nothing new, or there is no room and none has failed.</summary>
        public bool TryAddAddress(NetAddress address, int most)
        {
            if (Addresses.Contains(address) || Result?.Reachability is Reachability.Reached or Reachability.OtherNetwork)
            {
                return false;
            }

            if (Addresses.Count >= most)
            {
                int failed = Addresses.FindIndex(_failed.Contains);
                if (failed < 0)
                {
                    return false;
                }

                _failed.Remove(Addresses[failed]);
                Addresses.RemoveAt(failed);
            }

            Addresses.Add(address);
            return true;
        }

        public void Conclude(NetAddress address, Visit visit)
        {
            IsToBeAsked = false;
            if (visit.Reachability is Reachability.Reached or Reachability.OtherNetwork)
            {
                Addresses.Remove(address);
                Addresses.Insert(0, address);
                At = address;
                Result = visit;
            }
            else
            {
                _failed.Add(address);
                Result = Result is null || Rank(visit) > Rank(Result) ? visit : Result;
            }
        }

        public CrawledNode Show() => new(
            id,
            [.. Addresses],
            IsSeed,
            Result?.Reachability ?? Reachability.NotTried,
            Result?.Detail,
            Result?.Info,
            Result?.ConnectTime,
            Result?.HandshakeTime,
            AddressesTold,
            [.. Told.Order()]);

        private static int Rank(Visit visit) => visit.Reachability switch
        {
            Reachability.NotTried => 0,
            Reachability.Unreachable => 1,
            Reachability.WrongIdentity => 2,
            Reachability.TimedOut => 3,
            Reachability.Refused => 4,
            _ => 5,
        };
    }
}
