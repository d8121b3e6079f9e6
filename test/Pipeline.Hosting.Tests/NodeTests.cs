using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Discovery;
using Pipeline.Hosting.Configuration;
using Pipeline.Reactors;
using Pipeline.Transport;

namespace Pipeline.Hosting.Tests;

/// <summary>Nodes of home folders, over TCP on this machine.</summary>
public sealed class NodeTests
{
    private readonly List<string> _homes = [];

    [TearDown]
    public void DeleteHomes()
    {
        _homes.ForEach(home => Directory.Delete(home, recursive: true));
        _homes.Clear();
    }

    [Test, CancelAfter(30_000)]
    public async Task A_node_is_the_same_when_it_comes_back_and_knows_whom_it_knew_and_banned(CancellationToken cancellationToken)
    {
        string home = MakeHome();
        NetAddress known = NetAddress.Parse("fd5b3089b224419c963b4be692c9134cb24e5174@203.0.114.7:26656");
        NodeId id;
        await using (Node node = await StartAsync(home, cancellationToken))
        {
            id = node.Switch.Id;
            Assert.That(node.Addresses.Add(known, known), Is.EqualTo(AddressVerdict.Added));
            node.Bans.Add(AccessTarget.Parse("198.51.100.0/24"), "It was rude.", TimeSpan.FromHours(1));
        }

        await using Node again = await StartAsync(home, cancellationToken);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(again.Switch.Id, Is.EqualTo(id));
            Assert.That(again.Addresses.Find(known.Id)?.Address, Is.EqualTo(known));
            Assert.That(again.Bans.Bans.Select(ban => ban.Target.ToString()), Is.EqualTo(["198.51.100.0/24"]));
        }
    }

    [Test, CancelAfter(30_000)]
    public async Task A_home_is_that_of_one_running_node(CancellationToken cancellationToken)
    {
        string home = MakeHome();
        await using (Node node = await StartAsync(home, cancellationToken))
        {
            Assert.That(
                async () => await Node.OpenAsync(Load(home), cancellationToken: cancellationToken),
                Throws.InstanceOf<IOException>().With.Message.Contains(home).And.Message.Contains("another process"));
        }

        await using Node next = await Node.OpenAsync(Load(home), cancellationToken: cancellationToken);
        Assert.That(next.Configuration.Home.Path, Is.EqualTo(home));
    }

    [Test, CancelAfter(30_000)]
    public async Task What_cannot_be_opened_leaves_the_home_free(CancellationToken cancellationToken)
    {
        string home = MakeHome();
        string key = Path.Combine(home, "config", "node_key.json");
        await File.WriteAllTextAsync(key, "{}", cancellationToken);
        Assert.That(async () => await Node.OpenAsync(Load(home), cancellationToken: cancellationToken), Throws.InstanceOf<NodeKeyFileException>());
        File.Delete(key);

        await using Node node = await Node.OpenAsync(Load(home), cancellationToken: cancellationToken);
        Assert.That(File.Exists(key), Is.True);
    }

    [Test, CancelAfter(60_000)]
    public async Task Nodes_that_know_one_seed_find_each_other(CancellationToken cancellationToken)
    {
        await using Node seed = await StartAsync(MakeHome(), cancellationToken, ("p2p.seed_mode", "true"));
        string seeds = seed.Switch.ListenAddress.ToString();
        await using Node first = await StartAsync(MakeHome(), cancellationToken, ("p2p.seeds", seeds));

        // So that the seed knows the first before the second asks: it visits and answers who dials it, one after the other.
        await UntilAsync(() => seed.Addresses.Count > 0, seed, cancellationToken);
        await using Node second = await StartAsync(MakeHome(), cancellationToken, ("p2p.seeds", seeds));

        await foreach (PeerChange change in second.Switch.WatchPeersAsync(cancellationToken))
        {
            if (change.IsConnected && change.Peer.Id == first.Switch.Id)
            {
                break;
            }
        }

        Assert.That(second.Addresses.Find(first.Switch.Id)?.Address, Is.EqualTo(first.Switch.ListenAddress));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_reload_stops_whoever_is_denied_or_banned_now_and_names_what_has_to_wait(CancellationToken cancellationToken)
    {
        string home = MakeHome();
        await using Node node = await StartAsync(home, cancellationToken);
        await using Node denied = await StartAsync(MakeHome(), cancellationToken);
        await using Node banned = await StartAsync(MakeHome(), cancellationToken);
        IPeer toDenied = await node.Switch.DialAsync(denied.Switch.ListenAddress, cancellationToken);
        IPeer toBanned = await node.Switch.DialAsync(banned.Switch.ListenAddress, cancellationToken);
        await File.WriteAllTextAsync(
            Path.Combine(home, "config", "bans.json"),
            $$"""{"version": 1, "bans": [{"target": "{{banned.Switch.Id}}"}]}""",
            cancellationToken);

        ReloadResult result = await node.ReloadAsync(Load(home, ("p2p.deny", denied.Switch.Id.ToString()), ("p2p.send_rate", "1000000")));

        DisconnectReason[] reasons = await Task.WhenAll(toDenied.Completion, toBanned.Completion).WaitAsync(cancellationToken);
        Assert.That(reasons.Select(reason => reason.Kind), Is.All.EqualTo(DisconnectKind.Banned));
        Assert.That(result.NeedRestart, Is.EqualTo(["p2p.send_rate"]));
        Assert.That(result.BanProblem, Is.Null);
    }

    private static NodeConfiguration Load(string home, params IEnumerable<(string Key, string Value)> options) => NodeConfiguration.Load(
        new HomeFolder(home),
        new Dictionary<string, string>(),
        new Dictionary<string, string>(options.Select(option => KeyValuePair.Create(option.Key, option.Value)))
        {
            ["network"] = "test",
            ["p2p.laddr"] = "tcp://127.0.0.1:0",
            ["p2p.addr_book_strict"] = "false",
            ["p2p.allow_duplicate_ip"] = "true",
        });

    private static async Task<Node> StartAsync(string home, CancellationToken cancellationToken, params IEnumerable<(string Key, string Value)> options)
    {
        Node node = await Node.OpenAsync(Load(home, options), cancellationToken: cancellationToken);
        await node.StartAsync(cancellationToken);
        return node;
    }

    /// <summary>Waits for what is true at the latest when a peer of a node has gone.</summary>
    private static async Task UntilAsync(Func<bool> isTrue, Node node, CancellationToken cancellationToken)
    {
        await foreach (PeerChange _ in node.Switch.WatchPeersAsync(cancellationToken))
        {
            if (isTrue())
            {
                return;
            }
        }
    }

    private string MakeHome()
    {
        string home = Directory.CreateTempSubdirectory("pipeline-node-").FullName;
        Directory.CreateDirectory(Path.Combine(home, "config"));
        _homes.Add(home);
        return home;
    }
}
