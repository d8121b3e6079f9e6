using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Discovery;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Cli.Tests.Commands;

/// <summary><c>pipeline start</c> and <c>pipeline seed</c>, in processes of their own where signals are sent.</summary>
[TestFixture, FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
public sealed class StartCommandTests : IDisposable
{
    private static readonly Dictionary<string, string> NoVariables = [];

    private readonly string _home = Directory.CreateTempSubdirectory("pipeline-start-").FullName;

    public void Dispose() => Directory.Delete(_home, recursive: true);

    [TestCase("INT")]
    [TestCase("TERM")]
    [CancelAfter(60_000), Platform(Include = "Unix", Reason = "Sends signals with kill(1).")]
    public async Task A_node_that_is_told_to_stop_ends_well_and_leaves_its_files(string signal, CancellationToken cancellationToken)
    {
        await using RunningCommand node = RunningCommand.Start(NoVariables, Arguments("start", "--json"));
        NetAddress address = await ReadAddressAsync(node, cancellationToken);

        await node.SignalAsync(signal, cancellationToken);
        (int exitCode, string error) = await node.WaitAsync(cancellationToken);

        using NodeKey key = NodeKey.Load(Path.Combine(_home, "config", "node_key.json"));
        Assert.That(exitCode, Is.Zero, error);
        Assert.That(key.Id, Is.EqualTo(address.Id));
    }

    [Test, CancelAfter(60_000), Platform(Include = "Linux", Reason = "Listens where systemd would.")]
    public async Task Systemd_is_told_when_the_node_is_up_reloads_and_stops(CancellationToken cancellationToken)
    {
        using Socket systemd = ListenAsSystemd(out Dictionary<string, string> environment);
        await using RunningCommand node = RunningCommand.Start(environment, Arguments("start", "--json"));

        string ready = await ReceiveAsync(systemd, cancellationToken);
        NetAddress address = await ReadAddressAsync(node, cancellationToken);
        await node.SignalAsync("HUP", cancellationToken);
        string[] reloading = [await ReceiveAsync(systemd, cancellationToken), await ReceiveAsync(systemd, cancellationToken)];
        await node.SignalAsync("TERM", cancellationToken);
        string stopping = await ReceiveAsync(systemd, cancellationToken);
        (int exitCode, string error) = await node.WaitAsync(cancellationToken);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(ready, Does.StartWith("READY=1").And.Contain(address.ToString()));
            Assert.That(reloading, Is.EqualTo([reloading[0], "READY=1"]));
            Assert.That(reloading[0], Does.Match(@"^RELOADING=1\nMONOTONIC_USEC=\d+$"));
            Assert.That(stopping, Is.EqualTo("STOPPING=1"));
            Assert.That(exitCode, Is.Zero, error);
        }
    }

    [Test, CancelAfter(60_000), Platform(Include = "Unix", Reason = "Sends signals with kill(1).")]
    public async Task Lists_are_read_again_on_SIGHUP_and_whoever_is_on_them_has_to_go(CancellationToken cancellationToken)
    {
        await using RunningCommand node = RunningCommand.Start(NoVariables, Arguments("start", "--json"));
        NetAddress address = await ReadAddressAsync(node, cancellationToken);
        using NodeKey key = NodeKey.Create();
        await using Switch other = await StartSwitchAsync(key, cancellationToken);
        IPeer peer = await other.DialAsync(address, cancellationToken);

        Directory.CreateDirectory(Path.Combine(_home, "config"));
        await File.WriteAllTextAsync(Path.Combine(_home, "config", "config.toml"), $"[p2p]\ndeny = \"{key.Id}\"\nsend_rate = 1000\n", cancellationToken);
        await node.SignalAsync("HUP", cancellationToken);
        DisconnectReason reason = await peer.Completion.WaitAsync(cancellationToken);
        await node.SignalAsync("TERM", cancellationToken);
        (int exitCode, string error) = await node.WaitAsync(cancellationToken);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(reason.Kind, Is.EqualTo(DisconnectKind.RemoteClosed).Or.EqualTo(DisconnectKind.ConnectionLost));
            Assert.That(error, Does.Contain("is on the deny list").And.Contain("p2p.send_rate has changed"));
            Assert.That(exitCode, Is.Zero);
        }
    }

    [Test, CancelAfter(60_000), Platform(Include = "Linux", Reason = "Listens where systemd would.")]
    public async Task A_configuration_that_is_wrong_on_SIGHUP_is_said_and_changes_nothing(CancellationToken cancellationToken)
    {
        using Socket systemd = ListenAsSystemd(out Dictionary<string, string> environment);
        await using RunningCommand node = RunningCommand.Start(environment, Arguments("start", "--json", "--watch", "--interval", "100ms"));
        await ReadAddressAsync(node, cancellationToken);
        Directory.CreateDirectory(Path.Combine(_home, "config"));
        await File.WriteAllTextAsync(Path.Combine(_home, "config", "config.toml"), "[p2p]\nsend_rate = \"fast\"\n", cancellationToken);

        await ReceiveAsync(systemd, cancellationToken);
        await node.SignalAsync("HUP", cancellationToken);
        string[] reloading = [await ReceiveAsync(systemd, cancellationToken), await ReceiveAsync(systemd, cancellationToken)];
        JsonElement status = JsonElement.Parse((await node.ReadLineAsync(cancellationToken))!);
        await node.SignalAsync("TERM", cancellationToken);
        (int exitCode, string error) = await node.WaitAsync(cancellationToken);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(reloading[1], Is.EqualTo("READY=1"));
            Assert.That(status.GetProperty("event").GetString(), Is.EqualTo("status"));
            Assert.That(status.GetProperty("addresses").GetProperty("new").GetInt32(), Is.Zero);
            Assert.That(error, Does.Contain("config.toml:2").And.Contain("p2p.send_rate"));
            Assert.That(exitCode, Is.Zero);
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task A_seed_answers_who_asks_and_hangs_up(CancellationToken cancellationToken)
    {
        await using RunningCommand seed = RunningCommand.Start(NoVariables, Arguments("seed", "--json"));
        NetAddress address = await ReadAddressAsync(seed, cancellationToken);
        using NodeKey key = NodeKey.Create();
        AddressBook book = new(new AddressBookOptions { OwnIds = [key.Id], IsStrict = false });
        PeerExchangeReactor exchange = new(book, new PeerExchangeOptions { Seeds = [address] });
        await using Switch other = await StartSwitchAsync(key, cancellationToken, exchange);

        DisconnectReason? reason = null;
        await foreach (var change in other.WatchPeersAsync(cancellationToken))
        {
            if (!change.IsConnected && change.Peer.Id == address.Id)
            {
                reason = await change.Peer.Completion;
                break;
            }
        }

        Assert.That(reason?.Kind, Is.EqualTo(DisconnectKind.RemoteClosed));
    }

    [Test, CancelAfter(60_000)]
    public async Task What_keeps_a_node_from_starting_is_said_in_one_line(CancellationToken cancellationToken)
    {
        using TcpListener taken = new(IPAddress.Loopback, 0);
        taken.Start();

        Run port = await Run.CommandAsync(cancellationToken, "start", "--home", _home, "--network", "test", "--p2p.laddr", $"tcp://{taken.LocalEndpoint}");
        Run network = await Run.CommandAsync(cancellationToken, "start", "--home", _home);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(port.ExitCode, Is.EqualTo(ExitCode.Failure));
            Assert.That(port.ErrorLines, Has.Length.EqualTo(1));
            Assert.That(port.Error, Does.Contain(taken.LocalEndpoint.ToString()));
            Assert.That(network.ExitCode, Is.EqualTo(ExitCode.Usage));
            Assert.That(network.ErrorLines, Has.Length.EqualTo(1));
            Assert.That(network.Error, Does.Contain("--network"));
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task What_a_seed_always_is_cannot_be_said_otherwise(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, [.. Arguments("seed"), "--p2p.seed_mode", "false"]);

        Assert.That(run.ExitCode, Is.EqualTo(ExitCode.Usage));
        Assert.That(run.Error, Does.Contain("--p2p.seed_mode"));
    }

    /// <summary>A socket as that of systemd, which is told how the service is, and the variable that says where it is.</summary>
    private Socket ListenAsSystemd(out Dictionary<string, string> environment)
    {
        string path = Path.Combine(_home, "notify");
        environment = new() { ["NOTIFY_SOCKET"] = path };
        Socket socket = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    private static async Task<string> ReceiveAsync(Socket socket, CancellationToken cancellationToken)
    {
        byte[] buffer = new byte[4096];
        return Encoding.UTF8.GetString(buffer, 0, await socket.ReceiveAsync(buffer, cancellationToken));
    }

    private static async Task<NetAddress> ReadAddressAsync(RunningCommand node, CancellationToken cancellationToken)
    {
        string line = await node.ReadLineAsync(cancellationToken) ?? throw new AssertionException((await node.WaitAsync(cancellationToken)).Error);
        JsonElement started = JsonElement.Parse(line);
        Assert.That(started.GetProperty("event").GetString(), Is.EqualTo("started"));
        return NetAddress.Parse(started.GetProperty("address").GetString()!);
    }

    private static async Task<Switch> StartSwitchAsync(NodeKey key, CancellationToken cancellationToken, PeerExchangeReactor? exchange = null)
    {
        Switch node = new(key, new SwitchOptions { Network = "test", ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0), AllowDuplicateIp = true });
        node.AddReactor(exchange ?? new PeerExchangeReactor(new AddressBook(new AddressBookOptions { OwnIds = [key.Id] })));
        await node.StartAsync(cancellationToken);
        return node;
    }

    private string[] Arguments(string command, params string[] more) =>
    [
        command, "--home", _home, "--network", "test", "--p2p.laddr", "tcp://127.0.0.1:0", "--p2p.addr_book_strict", "false", "--p2p.allow_duplicate_ip", "true", .. more,
    ];
}
