using System.Collections.Immutable;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Discovery;
using Pipeline.Discovery.Crawling;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Cli.Tests.Commands;

/// <summary><c>pipeline crawl</c>, on networks of this process over TCP.</summary>
[TestFixture, FixtureLifeCycle(LifeCycle.InstancePerTestCase), CancelAfter(60_000)]
public sealed class CrawlCommandTests : IAsyncDisposable
{
    private static readonly NodeId Nobody = NodeId.Parse("0123456789abcdef0123456789abcdef01234567");

    private readonly string _folder = Directory.CreateTempSubdirectory("pipeline-crawl-").FullName;
    private readonly List<(Switch Node, NodeKey Key)> _nodes = [];

    public async ValueTask DisposeAsync()
    {
        foreach ((Switch node, NodeKey key) in _nodes)
        {
            await node.DisposeAsync();
            key.Dispose();
        }

        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public async Task A_crawl_finds_whom_the_first_node_knows_and_says_what_they_are(CancellationToken cancellationToken)
    {
        NetAddress second = await StartAsync("second", [], cancellationToken);
        NetAddress gone = new(Nobody, "127.0.0.1", 1);
        NetAddress first = await StartAsync("first", [second, gone], cancellationToken);

        Run run = await Run.CommandAsync(cancellationToken, "crawl", first.ToString());

        using (Assert.EnterMultipleScope())
        {
            Assert.That(run.ExitCode, Is.Zero, run.Error);
            Assert.That(run.Error, Is.Empty);
            Assert.That(run.Output, Does.Match($@"(?m)^{first.Id}  first .*  {first.DialString} +reached +\d+\.\d +2$"));
            Assert.That(run.Output, Does.Match($@"(?m)^{Nobody}  - .*  127\.0\.0\.1:1 +unreachable +- +-$"));
            Assert.That(run.Output, Does.Contain("3 nodes of network test in ").And.Contain("2 reached, 1 unreachable").And.Contain("Connection refused"));
        }
    }

    [Test]
    public async Task The_map_goes_to_as_many_files_as_are_asked_for_in_the_form_that_their_endings_say(CancellationToken cancellationToken)
    {
        NetAddress node = await StartAsync("=cmd", [], cancellationToken);
        string[] files = [.. new[] { "map.json", "map.CSV", "map.dot", "map.gv" }.Select(name => Path.Combine(_folder, name))];
        await File.WriteAllTextAsync(files[0], "old", cancellationToken);

        Run run = await Run.CommandAsync(cancellationToken, ["crawl", node.ToString(), "--json", .. files.SelectMany(file => new[] { "-o", file })]);

        string[] contents = await Task.WhenAll(files.Select(file => File.ReadAllTextAsync(file, cancellationToken)));
        NetworkMap printed = NetworkMap.FromJson(run.Output);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(run.ExitCode, Is.Zero, run.Error);
            Assert.That(run.ErrorLines, Is.EqualTo(files.Select(file => $"Written: {file}")));
            Assert.That(printed.Nodes.Single().Reachability, Is.EqualTo(Reachability.Reached));
            Assert.That(NetworkMap.FromJson(contents[0]).Nodes.Single().Info, Is.EqualTo(printed.Nodes.Single().Info));
            Assert.That(contents[1], Does.StartWith("id,address,").And.Contain(",'=cmd,"));
            Assert.That(contents[2], Does.StartWith("digraph").And.EqualTo(contents[3]));
        }
    }

    [Test]
    public async Task Without_an_address_it_begins_with_those_of_the_configuration(CancellationToken cancellationToken)
    {
        NetAddress seed = await StartAsync("seed", [], cancellationToken);
        NetAddress persistent = await StartAsync("persistent", [], cancellationToken);
        Directory.CreateDirectory(Path.Combine(_folder, "config"));
        await File.WriteAllTextAsync(
            Path.Combine(_folder, "config", "config.toml"),
            $"network = \"test\"\n[p2p]\nseeds = \"{seed}\"\npersistent_peers = \"{persistent},{seed}\"\n",
            cancellationToken);

        Run run = await Run.CommandAsync(cancellationToken, "crawl", "--home", _folder, "--json");

        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(NetworkMap.FromJson(run.Output).Nodes.Select(node => node.Info?.Moniker), Is.EquivalentTo(["seed", "persistent"]));
    }

    [Test]
    public async Task A_network_of_which_nobody_is_there_is_a_failure_with_its_reason(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "crawl", $"{Nobody}@127.0.0.1:1");

        Assert.That(run.ExitCode, Is.EqualTo(ExitCode.Failure));
        Assert.That(run.Output, Does.Contain("1 node of an unknown network").And.Contain("Connection refused"));
    }

    [Test]
    public async Task What_is_interrupted_gives_what_was_found(CancellationToken cancellationToken)
    {
        NetAddress node = await StartAsync("node", [], cancellationToken);
        using CancellationTokenSource interrupted = new();
        await interrupted.CancelAsync();

        Run run = await Run.CommandAsync(interrupted.Token, "crawl", node.ToString(), "--json");

        Assert.That(run.ExitCode, Is.EqualTo(ExitCode.Interrupted));
        Assert.That(NetworkMap.FromJson(run.Output).End, Is.EqualTo(CrawlEnd.Cancelled));
    }

    [TestCase(new[] { "nonsense" }, "'nonsense' is not the address of a node")]
    [TestCase(new[] { "--nonsense" }, "no option '--nonsense'")]
    [TestCase(new[] { "0123456789abcdef0123456789abcdef01234567@127.0.0.1:1", "-o", "map.txt" }, ".json, .csv")]
    [TestCase(new[] { "0123456789abcdef0123456789abcdef01234567@127.0.0.1:1", "-o", "/no/such/folder/map.csv" }, "does not exist")]
    [TestCase(new[] { "0123456789abcdef0123456789abcdef01234567@127.0.0.1:1", "--max-nodes", "0" }, "--max-nodes '0'")]
    [TestCase(new[] { "0123456789abcdef0123456789abcdef01234567@127.0.0.1:1", "--timeout", "soon" }, "--timeout 'soon'")]
    public async Task What_is_asked_for_wrongly_is_said_in_one_line(string[] args, string what, CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, ["crawl", .. args]);

        Assert.That(run.ExitCode, Is.EqualTo(ExitCode.Usage));
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        Assert.That(run.Error, Does.Contain(what));
    }

    [Test]
    public async Task A_home_that_names_nobody_says_what_would_help(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "crawl", "--home", _folder);

        Assert.That(run.ExitCode, Is.EqualTo(ExitCode.Usage));
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        Assert.That(run.Error, Does.Contain("ID@HOST:PORT"));
    }

    private async Task<NetAddress> StartAsync(string moniker, ImmutableArray<NetAddress> known, CancellationToken cancellationToken)
    {
        NodeKey key = NodeKey.Create();
        AddressBook book = new(new AddressBookOptions { OwnIds = [key.Id], IsStrict = false });
        foreach (NetAddress address in known)
        {
            book.Add(address, address);
        }

        Switch node = new(
            key,
            new SwitchOptions
            {
                Network = "test",
                Moniker = moniker,
                ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0),
                AllowDuplicateIp = true,
            });
        _nodes.Add((node, key));
        node.AddReactor(new PeerExchangeReactor(book, new PeerExchangeOptions { MaxOutboundPeers = 0 }));
        await node.StartAsync(cancellationToken);
        return node.ListenAddress;
    }
}
