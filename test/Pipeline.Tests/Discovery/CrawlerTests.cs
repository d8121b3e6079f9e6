using System.Collections.Concurrent;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Discovery;
using Pipeline.Discovery.Crawling;
using Pipeline.Reactors;
using Pipeline.Testing;
using Pipeline.Transport;
using Pipeline.Wire.Protos.P2P;
using NetAddress = Pipeline.Transport.NetAddress;

namespace Pipeline.Tests.Discovery;

/// <summary>A crawl finds what is there, whatever nodes tell.</summary>
[CancelAfter(60_000)]
public sealed class CrawlerTests
{
    private static readonly IPAddress Here = IPAddress.Parse("99.1.1.1");

    private readonly List<NetworkNode> _nodes = [];
    private MemoryNetwork _network = new();

    [SetUp]
    public void NewNetwork() => _network = new MemoryNetwork();

    [TearDown]
    public async Task StopAsync()
    {
        await Task.WhenAll(_nodes.Select(node => node.DisposeAsync().AsTask()));
        _nodes.Clear();
        Assert.That(_network.OpenStreams, Is.Zero, "Every connection of a crawl is closed.");
    }

    [Test]
    public async Task The_map_of_fifty_nodes_is_the_truth(CancellationToken cancellationToken)
    {
        NetworkNode[] nodes = await StartAsync(50, cancellationToken);
        for (int i = 0; i < nodes.Length; i++)
        {
            Know(nodes[i], Address(nodes[(i + 1) % 50]), Address(nodes[(i + 7) % 50]));
        }

        NetAddress gone = ExchangeNode.Address(900), closed = Address(nodes[3]) with { Id = ExchangeNode.Id(901), Port = 1 };
        NetAddress impostor = Address(nodes[4]) with { Id = ExchangeNode.Id(902) };
        NetworkNode other = await StartOneAsync(60, "other", instead: null, cancellationToken);
        Know(nodes[10], gone, closed, impostor, Address(other));

        ConcurrentQueue<CrawlProgress> progress = [];
        NetworkMap map = await CrawlAsync([Address(nodes[0])], cancellationToken: cancellationToken, progress: progress);
        Assert.That((map.Network, map.End, map.LeftOut), Is.EqualTo(("test", CrawlEnd.Complete, 0)));
        Assert.That(map.Nodes.Select(node => node.Id), Is.Ordered.And.EquivalentTo(nodes.Select(node => node.Key.Id).Append(gone.Id).Append(closed.Id).Append(impostor.Id).Append(other.Key.Id)));
        foreach (NetworkNode node in nodes)
        {
            CrawledNode found = map.Nodes.Single(entry => entry.Id == node.Key.Id);
            Assert.That(found.Reachability, Is.EqualTo(Reachability.Reached));
            Assert.That(found.Info, Is.EqualTo(node.Switch.NodeInfo));
            Assert.That(found.Addresses, Is.EqualTo([Address(node)]));
            Assert.That(found.Told, Is.EquivalentTo(node.Book.Entries.Select(entry => entry.Address.Id)));
            Assert.That(found.AddressesTold, Is.EqualTo(node.Book.Count));
            Assert.That(found.ConnectTime, Is.Not.Null.And.GreaterThanOrEqualTo(TimeSpan.Zero));
            Assert.That(found.HandshakeTime, Is.Not.Null.And.GreaterThan(TimeSpan.Zero));
            Assert.That(found.IsSeed, Is.EqualTo(node == nodes[0]));
        }

        Assert.That(Find(map, gone.Id).Reachability, Is.EqualTo(Reachability.Unreachable));
        Assert.That(Find(map, closed.Id).Reachability, Is.EqualTo(Reachability.Unreachable));
        Assert.That(Find(map, impostor.Id).Reachability, Is.EqualTo(Reachability.WrongIdentity));
        Assert.That(Find(map, other.Key.Id).Reachability, Is.EqualTo(Reachability.OtherNetwork));
        Assert.That(Find(map, other.Key.Id).Info!.Network, Is.EqualTo("other"));
        Assert.That(progress.Last(), Has.Property(nameof(CrawlProgress.Known)).EqualTo(54).And.Property(nameof(CrawlProgress.Reached)).EqualTo(50));
        Assert.That(progress.Select(step => step.Visiting), Is.All.LessThanOrEqualTo(32));
        AssertWritten(map);
    }

    [Test]
    public async Task One_that_invents_nodes_for_ever_neither_keeps_the_crawl_going_nor_hides_the_others(CancellationToken cancellationToken)
    {
        NetworkNode[] nodes = await StartAsync(10, cancellationToken);
        for (int i = 0; i < nodes.Length - 1; i++)
        {
            Know(nodes[i], Address(nodes[i + 1]));
        }

        // Twenty nodes of one network, each of which is real, and tells of the others and of as many as it may that are not.
        Liar[] lies = [.. Enumerable.Range(0, 20).Select(number => new Liar(number))];
        List<NetworkNode> liars = [];
        foreach (Liar lie in lies)
        {
            liars.Add(await StartOneAsync(1000 + liars.Count, "test", lie, cancellationToken));
        }

        Array.ForEach(lies, lie => lie.Friends = [.. liars.Select(Address)]);
        Know(nodes[0], Address(liars[0]));
        NetworkMap map = await CrawlAsync(
            [Address(nodes[0])],
            new CrawlOptions { MaxNodes = 600, MaxNodesPerReporterGroup = 300, Rounds = 3, MaxVisits = 4 },
            cancellationToken: cancellationToken);
        Assert.That(map.End, Is.EqualTo(CrawlEnd.Complete));
        Assert.That(map.Nodes, Has.Length.LessThanOrEqualTo(10 + 1 + 300));
        Assert.That(map.LeftOut, Is.GreaterThan(1000));
        Assert.That(nodes.Select(node => Find(map, node.Key.Id).Reachability), Is.All.EqualTo(Reachability.Reached));
    }

    [Test]
    public async Task One_that_tells_its_address_under_a_thousand_ids_is_visited_there_once(CancellationToken cancellationToken)
    {
        NetworkNode[] nodes = await StartAsync(1, cancellationToken);
        Liar lie = new(1);
        NetworkNode liar = await StartOneAsync(1000, "test", lie, cancellationToken);
        lie.Invent = number => Address(liar) with { Id = ExchangeNode.Id(100_000 + number) };
        Know(nodes[0], Address(liar));
        int before = _network.Connections.Length;
        NetworkMap map = await CrawlAsync([Address(nodes[0])], new CrawlOptions { Network = "test" }, cancellationToken: cancellationToken);
        Assert.That(map.Nodes, Has.Length.EqualTo(252));
        Assert.That(map.Nodes.Count(node => node.Reachability == Reachability.WrongIdentity), Is.EqualTo(250));
        Assert.That(_network.Connections.Length - before, Is.EqualTo(2));
    }

    [Test]
    public async Task Of_one_machine_only_so_many_doors_are_tried(CancellationToken cancellationToken)
    {
        Liar lie = new(1) { Invent = number => new NetAddress(ExchangeNode.Id(100_000 + number), "11.3.9.1", (ushort)(number + 1)) };
        NetworkNode liar = await StartOneAsync(1000, "test", lie, cancellationToken);
        NetworkMap map = await CrawlAsync([Address(liar)], new CrawlOptions { MaxPortsPerIp = 16 }, cancellationToken: cancellationToken);
        Assert.That(map.Nodes.Count(node => node.Reachability == Reachability.Unreachable), Is.EqualTo(16));
        Assert.That(map.Nodes.Count(node => node.Reachability == Reachability.NotTried), Is.EqualTo(234));
    }

    [Test]
    public async Task Who_is_in_the_internet_cannot_send_the_crawl_into_the_network_that_it_runs_in(CancellationToken cancellationToken)
    {
        NetAddress[] inside = [.. new[] { "127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254" }.Select((ip, i) => new NetAddress(ExchangeNode.Id(700 + i), ip, 22))];
        NetworkNode node = await StartOneAsync(1, "test", new Teller(inside), cancellationToken);

        NetworkMap map = await CrawlAsync([Address(node)], cancellationToken: cancellationToken);

        Assert.That(map.Nodes.Select(found => found.Id), Is.EqualTo([node.Key.Id]));
    }

    [Test]
    public async Task Who_never_answers_and_who_answers_with_garbage_is_reached_and_said_to(CancellationToken cancellationToken)
    {
        NetworkNode silent = await StartOneAsync(1, "test", new Liar(1) { IsSilent = true }, cancellationToken);
        NetworkNode garbage = await StartOneAsync(2, "test", new Liar(2) { Invent = _ => new NetAddress(default, "1.2.3.4", 1) }, cancellationToken);
        NetworkMap map = await CrawlAsync([Address(silent), Address(garbage)], new CrawlOptions { VisitTimeout = TimeSpan.FromMilliseconds(500) }, cancellationToken: cancellationToken);
        Assert.That(map.Nodes.Select(node => node.Reachability), Is.All.EqualTo(Reachability.Reached));
        Assert.That(map.Nodes.Select(node => node.AddressesTold), Is.All.Null);
        Assert.That(Find(map, silent.Key.Id).Detail, Does.Contain("not answered in time"));
        Assert.That(Find(map, garbage.Key.Id).Detail, Does.Contain("no node id"));
    }

    [Test]
    public async Task Who_accepts_and_says_nothing_or_speaks_no_protocol_is_told_apart(CancellationToken cancellationToken)
    {
        await using ITransportListener mute = _network.CreateTransport(IPAddress.Parse("11.9.9.1")).Listen(new IPEndPoint(IPAddress.Any, 1));
        await using ITransportListener web = _network.CreateTransport(IPAddress.Parse("11.9.9.2")).Listen(new IPEndPoint(IPAddress.Any, 1));
        Task<TransportConnection> accepted = mute.AcceptAsync(cancellationToken).AsTask();
        Task serving = ServeAsync();
        NetworkMap map = await CrawlAsync(
            [new NetAddress(ExchangeNode.Id(1), "11.9.9.1", 1), new NetAddress(ExchangeNode.Id(2), "11.9.9.2", 1)],
            new CrawlOptions { Network = "test", VisitTimeout = TimeSpan.FromMilliseconds(500) },
            cancellationToken: cancellationToken);
        Assert.That(map.Nodes.Select(node => node.Reachability), Is.EqualTo([Reachability.TimedOut, Reachability.Refused]));
        await (await accepted).DisposeAsync();
        await serving;

        async Task ServeAsync()
        {
            await using TransportConnection connection = await web.AcceptAsync(cancellationToken);
            await connection.Stream.WriteAsync("HTTP/1.1 400 Bad Request\r\n\r\n"u8.ToArray(), cancellationToken);
        }
    }

    [Test]
    public async Task A_node_whose_first_addresses_are_lies_is_found_at_the_one_that_is_not(CancellationToken cancellationToken)
    {
        NetworkNode[] nodes = await StartAsync(3, cancellationToken);
        Know(nodes[0], Address(nodes[2]) with { Host = "11.8.8.8" }, Address(nodes[1]));
        Know(nodes[1], Address(nodes[2]));
        NetworkMap map = await CrawlAsync([Address(nodes[0])], new CrawlOptions { MaxAddressesPerNode = 2, MaxVisits = 1 }, cancellationToken: cancellationToken);
        Assert.That(Find(map, nodes[2].Key.Id).Reachability, Is.EqualTo(Reachability.Reached));
        Assert.That(Find(map, nodes[2].Key.Id).Addresses[0], Is.EqualTo(Address(nodes[2])));
    }

    [Test]
    public async Task A_crawl_that_is_cancelled_or_runs_out_of_time_gives_what_it_has_found(CancellationToken cancellationToken)
    {
        NetworkNode[] nodes = await StartAsync(20, cancellationToken);
        for (int i = 0; i < nodes.Length - 1; i++)
        {
            Know(nodes[i], Address(nodes[i + 1]));
        }

        using CancellationTokenSource stop = new();
        NetworkMap cancelled = await Crawler.CrawlAsync([Address(nodes[0])], Options(), new Reports(step =>
        {
            if (step.Reached == 5)
            {
                stop.Cancel();
            }
        }), stop.Token).WaitAsync(cancellationToken);
        Assert.That(cancelled.End, Is.EqualTo(CrawlEnd.Cancelled));
        Assert.That(cancelled.Nodes.Count(node => node.Reachability == Reachability.Reached), Is.EqualTo(5));
        Assert.That(cancelled.Nodes.Single(node => node.Id == nodes[5].Key.Id).Reachability, Is.EqualTo(Reachability.NotTried));

        NetworkNode silent = await StartOneAsync(1, "test", new Liar(1) { IsSilent = true }, cancellationToken);
        NetworkMap late = await CrawlAsync([Address(silent)], new CrawlOptions { MaxTime = TimeSpan.FromMilliseconds(300) }, cancellationToken: cancellationToken);
        Assert.That(late.End, Is.EqualTo(CrawlEnd.TimeLimit));
    }

    [Test]
    public async Task Seeds_that_cannot_be_reached_make_a_map_of_seeds(CancellationToken cancellationToken)
    {
        NetworkMap map = await CrawlAsync([ExchangeNode.Address(1), ExchangeNode.Address(2)], cancellationToken: cancellationToken);
        Assert.That(map.Network, Is.Null);
        Assert.That(map.Nodes.Select(node => (node.IsSeed, node.Reachability)), Is.All.EqualTo((true, Reachability.Unreachable)));
        Assert.That(() => Crawler.CrawlAsync([], cancellationToken: cancellationToken), Throws.ArgumentException);
        Assert.That(() => CrawlAsync([ExchangeNode.Address(1)], new CrawlOptions { Moniker = "" }, cancellationToken: cancellationToken), Throws.ArgumentException);
    }

    [TestCase("=1+1", "'=1+1")]
    [TestCase(" =1+1", "' =1+1")]
    [TestCase("@sum", "'@sum")]
    [TestCase("-x", "'-x")]
    [TestCase("+x", "'+x")]
    [TestCase("a,b", "\"a,b\"")]
    [TestCase("say \"hi\"", "\"say \"\"hi\"\"\"")]
    [TestCase("plain", "plain")]
    public void A_moniker_cannot_break_the_table_nor_run_in_a_spreadsheet(string moniker, string written)
    {
        NetworkMap map = MapOf(moniker);
        Assert.That(Csv(map).Split("\r\n")[1], Does.Contain($",,{written},net,"));
        Assert.That(ReadCsv(Csv(map)), Has.Count.EqualTo(2).And.All.Count.EqualTo(20));
        AssertWritten(map);
    }

    [TestCase("\\")]
    [TestCase("\"];evil [label=\"")]
    [TestCase("\\n\\\"")]
    public void A_moniker_cannot_break_the_graph(string moniker) => AssertWritten(MapOf(moniker));

    private static NetworkMap MapOf(string moniker) => new(
        "net",
        DateTimeOffset.UnixEpoch,
        TimeSpan.FromSeconds(1.5),
        CrawlEnd.Complete,
        0,
        [new CrawledNode(ExchangeNode.Id(1), [ExchangeNode.Address(1)], true, Reachability.Reached, null, new NodeInfo { Id = ExchangeNode.Id(1), Moniker = moniker, Network = "net" }, TimeSpan.FromMilliseconds(3), TimeSpan.FromMilliseconds(4), 1, [ExchangeNode.Id(1)])]);

    private static void AssertWritten(NetworkMap map)
    {
        string json = map.ToJson();
        Assert.That(NetworkMap.FromJson(json).ToJson(isIndented: true), Is.EqualTo(map.ToJson(isIndented: true)));
        Assert.That(json, Does.Contain("\"reachability\":\"reached\"").And.Contain("\"handshake_time\":").And.Contain("\"end\":\"complete\""));
        List<List<string>> rows = ReadCsv(Csv(map));
        Assert.That(rows, Has.Count.EqualTo(map.Nodes.Length + 1).And.All.Count.EqualTo(rows[0].Count));
        Assert.That(rows.Skip(1).Select(row => row[0]), Is.EqualTo(map.Nodes.Select(node => node.Id.ToString())));

        StringWriter dot = new();
        map.WriteDot(dot);
        (int nodes, int edges) = ReadDot(dot.ToString());
        Assert.That((nodes, edges), Is.EqualTo((map.Nodes.Length, map.Nodes.Sum(node => node.Told.Length))));
    }

    private static string Csv(NetworkMap map)
    {
        StringWriter csv = new();
        map.WriteCsv(csv);
        return csv.ToString();
    }

    // RFC 4180, as strictly as it is written.
    private static List<List<string>> ReadCsv(string text)
    {
        List<List<string>> rows = [];
        List<string> row = [];
        int at = 0;
        while (at < text.Length)
        {
            System.Text.StringBuilder field = new();
            if (text[at] == '"')
            {
                for (at++; text[at] != '"' || (at + 1 < text.Length && text[at + 1] == '"'); at++)
                {
                    field.Append(text[at]);
                    at += text[at] == '"' ? 1 : 0;
                }

                at++;
            }
            else
            {
                for (; text[at] is not (',' or '\r'); at++)
                {
                    Assert.That(text[at], Is.Not.EqualTo('"').And.Not.EqualTo('\n'));
                    field.Append(text[at]);
                }
            }

            row.Add(field.ToString());
            if (text[at] == ',')
            {
                at++;
                continue;
            }

            Assert.That(text.Substring(at, 2), Is.EqualTo("\r\n"));
            at += 2;
            rows.Add(row);
            row = [];
        }

        return rows;
    }

    // The part of the DOT language that there is: statements that end with ';' outside of quotes.
    private static (int Nodes, int Edges) ReadDot(string text)
    {
        Assert.That(text, Does.StartWith("digraph network {\n").And.EndsWith("}\n"));
        List<string> statements = [];
        System.Text.StringBuilder statement = new();
        bool isQuoted = false;
        for (int at = text.IndexOf('{') + 1; at < text.Length - 2; at++)
        {
            if (isQuoted && text[at] == '\\')
            {
                at++;
            }
            else if (text[at] == '"')
            {
                isQuoted = !isQuoted;
                statement.Append('"');
            }
            else if (!isQuoted && text[at] == ';')
            {
                statements.Add(statement.ToString().Trim());
                statement.Clear();
            }
            else if (!isQuoted)
            {
                statement.Append(text[at]);
            }
        }

        Assert.That(isQuoted, Is.False);
        Assert.That(statement.ToString().Trim(), Is.Empty);
        Assert.That(statements.Where(line => !line.Contains("->")).Skip(3).Select(line => line[..line.LastIndexOf('"')]), Is.All.StartsWith("\"\" [label=\"\", fillcolor=\"\", tooltip=\""));
        return (statements.Count(line => line.StartsWith("\"\" [", StringComparison.Ordinal)), statements.Count(line => line == "\"\" -> \"\""));
    }

    private static CrawledNode Find(NetworkMap map, NodeId id) => map.Nodes.Single(node => node.Id == id);

    private static NetAddress Address(NetworkNode node) => node.Switch.ListenAddress;

    private static void Know(NetworkNode node, params NetAddress[] addresses) =>
        Assert.That(addresses.Select(address => node.Book.Add(address, address)), Is.All.EqualTo(AddressVerdict.Added));

    private CrawlOptions Options(CrawlOptions? options = null) => (options ?? new CrawlOptions()) with { Transport = _network.CreateTransport(Here) };

    private Task<NetworkMap> CrawlAsync(NetAddress[] seeds, CrawlOptions? options = null, ConcurrentQueue<CrawlProgress>? progress = null, CancellationToken cancellationToken = default) =>
        Crawler.CrawlAsync(seeds, Options(options), progress is null ? null : new Reports(progress.Enqueue), CancellationToken.None).WaitAsync(cancellationToken);

    private async Task<NetworkNode[]> StartAsync(int count, CancellationToken cancellationToken)
    {
        // Each in a network of its own, as far as an address book goes.
        List<NetworkNode> nodes = [];
        for (int i = 0; i < count; i++)
        {
            nodes.Add(await StartOneAsync(2000 + (i * 250), "test", instead: null, cancellationToken));
        }

        return [.. nodes];
    }

    private async Task<NetworkNode> StartOneAsync(int number, string chain, Reactor? instead, CancellationToken cancellationToken)
    {
        NetworkNode node = new(_network, number, options => options with { MaxOutboundPeers = 0 }, chain, instead);
        _nodes.Add(node);
        await node.Switch.StartAsync(cancellationToken);
        return node;
    }

    private sealed class Reports(Action<CrawlProgress> report) : IProgress<CrawlProgress>
    {
        public void Report(CrawlProgress value) => report(value);
    }

    /// <summary>Answers each request with as many nodes as it may that do not exist, others each time.</summary>
    private sealed class Teller(NetAddress[] addresses) : Reactor<Message>("PEX", PeerExchange.Channel)
    {
        protected internal override async ValueTask ReceiveAsync(Envelope<Message> envelope, CancellationToken cancellationToken)
        {
            Message answer = new() { PexAddrs = new PexAddrs() };
            answer.PexAddrs.Addrs.AddRange(addresses.Select(address => new Pipeline.Wire.Protos.P2P.NetAddress { Id = $"{address.Id}", Ip = address.Host, Port = address.Port }));
            await envelope.Peer.SendAsync(PeerExchange.Channel, answer, cancellationToken: cancellationToken);
        }
    }

    private sealed class Liar(int number) : Reactor<Message>("PEX", PeerExchange.Channel)
    {
        private int _next = number * 100_000;

        public IReadOnlyList<NetAddress> Friends { get; set; } = [];

        public bool IsSilent { get; init; }

        public Func<int, NetAddress> Invent { get; set; } = invented => new NetAddress(ExchangeNode.Id(1_000_000 + invented), $"12.{invented % 200}.{invented / 200 % 200}.{1 + (invented / 40_000 % 200)}", 26656);

        protected internal override ValueTask ReceiveAsync(Envelope<Message> envelope, CancellationToken cancellationToken)
        {
            if (!IsSilent && envelope.Message.PexRequest is not null)
            {
                int first = Friends.Count == 0 ? 0 : _next;
                _next += 250 - Friends.Count;
                Message answer = ExchangeNode.Addresses([.. Friends, .. Enumerable.Range(first, 250 - Friends.Count).Select(Invent)]);
                envelope.Peer.TrySend(PeerExchange.Channel, answer);
            }

            return ValueTask.CompletedTask;
        }
    }
}
