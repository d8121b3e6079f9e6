using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Cli.Tests.Commands;

[TestFixture]
public sealed class DialCommandTests
{
    private static readonly NodeInfo Validator = new()
    {
        ProtocolVersions = new ProtocolVersions(App: 7),
        ListenAddress = "tcp://0.0.0.0:26656",
        Network = "chain-1",
        Version = "0.38.25",
        Channels = [0x40, 0x20, 0x30],
        Moniker = "validator",
        TxIndex = "on",
        RpcAddress = "tcp://127.0.0.1:26657",
    };

    [Test, CancelAfter(30_000)]
    public async Task A_node_of_an_unknown_network_is_asked_what_it_is(CancellationToken cancellationToken)
    {
        await using RemoteNode node = RemoteNode.Proper(Validator);

        Run run = await Run.CommandAsync(cancellationToken, "dial", node.Address.ToString());

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        string[] wanted =
        [
            node.Key.Id.ToString(), "validator", "chain-1", "0.38.25", "p2p 8, block 11, app 7", "0x40 0x20 0x30", "tcp://0.0.0.0:26656",
            "tcp://127.0.0.1:26657", "on", node.Address.DialString,
        ];
        string[] values = [.. run.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line[14..])];
        Assert.That(values[..10], Is.EqualTo(wanted));
        Assert.That(values[10..], Has.Length.EqualTo(2).And.All.Match(@"^\d+\.\d\d ms$"));
    }

    [Test, CancelAfter(30_000)]
    public async Task Json_holds_all_that_the_node_says_and_both_times(CancellationToken cancellationToken)
    {
        await using RemoteNode node = RemoteNode.Proper(Validator);

        Run run = await Run.CommandAsync(cancellationToken, "dial", "tcp://" + node.Address, "--network", "chain-1", "--json");

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        JsonElement json = JsonElement.Parse(run.Output);
        Assert.That(json.GetProperty("address").GetString(), Is.EqualTo(node.Address.ToString()));
        Assert.That(json.GetProperty("end_point").GetString(), Is.EqualTo(node.Address.DialString));
        Assert.That(json.GetProperty("connect_ms").GetDouble(), Is.Positive);
        Assert.That(json.GetProperty("handshake_ms").GetDouble(), Is.Positive);
        Assert.That(
            json.GetProperty("node").GetRawText(),
            Is.EqualTo(
                $$"""{"id":"{{node.Key.Id}}","moniker":"validator","network":"chain-1","version":"0.38.25","protocol_version":"""
                + """{"p2p":8,"block":11,"app":7},"channels":[64,32,48],"listen_addr":"tcp://0.0.0.0:26656","rpc_address":"""
                + "\"tcp://127.0.0.1:26657\",\"tx_index\":\"on\"}"));
        Assert.That(json.TryGetProperty("error", out _), Is.False);
    }

    [Test, CancelAfter(30_000)]
    public async Task The_steps_are_logged_when_that_is_asked_for(CancellationToken cancellationToken)
    {
        await using RemoteNode node = RemoteNode.Proper(Validator);

        Run run = await Run.CommandAsync(cancellationToken, "dial", node.Address.ToString(), "--log-level", "info");

        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.ErrorLines, Has.Length.EqualTo(2));
        Assert.That(run.ErrorLines[0], Does.Contain($"Connected to {node.Address.DialString}"));
        Assert.That(run.ErrorLines[1], Does.Contain($"Node {node.Key.Id} answered"));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_node_of_another_network_than_asked_for_is_shown_but_is_a_failure(CancellationToken cancellationToken)
    {
        await using RemoteNode node = RemoteNode.Proper(Validator);

        Run run = await Run.CommandAsync(cancellationToken, "dial", node.Address.ToString(), "--network", "chain-2");

        Assert.That(run.ExitCode, Is.EqualTo(1));
        Assert.That(run.Output, Does.Contain("chain-1").And.Contain("validator"));
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        Assert.That(run.Error, Does.Contain("'chain-1'").And.Contain("'chain-2'"));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_node_without_a_standard_channel_is_a_failure_only_when_it_should_be_a_peer(CancellationToken cancellationToken)
    {
        NodeInfo strange = Validator with { Channels = [0x99] };
        await using RemoteNode first = RemoteNode.Proper(strange);
        await using RemoteNode second = RemoteNode.Proper(strange);

        Run asked = await Run.CommandAsync(cancellationToken, "dial", first.Address.ToString(), "--json");
        Run peer = await Run.CommandAsync(cancellationToken, "dial", second.Address.ToString(), "--json", "--network", "chain-1");

        Assert.That(asked.ExitCode, Is.Zero);
        Assert.That(peer.ExitCode, Is.EqualTo(1));
        Assert.That(JsonElement.Parse(peer.Output).GetProperty("code").GetString(), Is.EqualTo("no_common_channel"));
        Assert.That(JsonElement.Parse(peer.Output).GetProperty("node").GetProperty("channels")[0].GetInt32(), Is.EqualTo(0x99));
    }

    [Test, CancelAfter(30_000)]
    public async Task Another_node_than_the_one_dialled_is_refused(CancellationToken cancellationToken)
    {
        await using RemoteNode node = RemoteNode.Proper(Validator);
        using NodeKey other = NodeKey.Create();

        await AssertFailsAsync(node.Address with { Id = other.Id }, "wrong_node", [other.Id.ToString(), node.Key.Id.ToString()], cancellationToken);
    }

    [Test, CancelAfter(30_000)]
    public async Task A_node_that_accepts_and_says_nothing_is_given_up_in_time(CancellationToken cancellationToken)
    {
        await using RemoteNode node = RemoteNode.That(static (stream, stop) => Task.Delay(Timeout.Infinite, stop));

        await AssertFailsAsync(node.Address, "timeout", [node.Address.DialString, "handshake within 0.2 s"], cancellationToken, "--timeout", "200ms");
    }

    [Test, CancelAfter(30_000)]
    public async Task A_node_that_hangs_up_is_a_failure(CancellationToken cancellationToken)
    {
        await using RemoteNode node = RemoteNode.That(static (stream, stop) => Task.CompletedTask);

        await AssertFailsAsync(node.Address, "connection_closed", [" during the handshake"], cancellationToken);
    }

    [Test, CancelAfter(30_000)]
    public async Task Something_that_is_no_node_is_a_failure(CancellationToken cancellationToken)
    {
        await using RemoteNode node = RemoteNode.That(static async (stream, stop) =>
        {
            await stream.WriteAsync("SSH-2.0-OpenSSH_9.6\r\n"u8.ToArray(), stop);
            await stream.CopyToAsync(Stream.Null, stop);
        });

        await AssertFailsAsync(node.Address, "invalid_ephemeral_key", ["ephemeral key"], cancellationToken);
    }

    [Test, CancelAfter(30_000)]
    public async Task A_closed_port_is_a_failure(CancellationToken cancellationToken)
    {
        using NodeKey key = NodeKey.Create();
        using Socket bound = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        // Bound and not listening: nobody else can take the port in the meantime.
        bound.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        NetAddress address = NetAddress.FromEndPoint(key.Id, (IPEndPoint)bound.LocalEndPoint!);

        await AssertFailsAsync(address, "unreachable", [address.DialString, "refused"], cancellationToken);
    }

    [Test, CancelAfter(30_000)]
    public async Task A_name_that_nobody_has_is_a_failure(CancellationToken cancellationToken)
    {
        using NodeKey key = NodeKey.Create();

        await AssertFailsAsync(new NetAddress(key.Id, "nobody.invalid", 26656), "unreachable", ["nobody.invalid"], cancellationToken);
    }

    [Test, CancelAfter(30_000)]
    public async Task What_a_node_says_cannot_command_the_terminal(CancellationToken cancellationToken)
    {
        await using RemoteNode node = RemoteNode.Proper(Validator with { Network = "evil\u001b[2J\r\nnet" });

        Run run = await Run.CommandAsync(cancellationToken, "dial", node.Address.ToString());

        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output, Does.Contain(@"evil\u001b[2J\u000d\u000anet"));
        Assert.That(run.Output.Where(c => c < ' ' && c != '\n'), Is.Empty);
    }

    [Test, CancelAfter(30_000)]
    public async Task An_interrupted_dial_ends_at_once_with_its_own_exit_code(CancellationToken cancellationToken)
    {
        using CancellationTokenSource interrupt = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await using RemoteNode node = RemoteNode.That(async (stream, stop) =>
        {
            await interrupt.CancelAsync();
            await Task.Delay(Timeout.Infinite, stop);
        });

        Run run = await Run.CommandAsync(interrupt.Token, "dial", node.Address.ToString(), "--timeout", "1h");

        Assert.That(run.ExitCode, Is.EqualTo(130));
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
    }

    [TestCase("abc", "names no node id")]
    [TestCase("@127.0.0.1:26656", "''")]
    [TestCase("0123@127.0.0.1:26656", "'0123'")]
    [TestCase("0123456789012345678901234567890123456789@127.0.0.1", "no port")]
    [TestCase("0123456789012345678901234567890123456789@127.0.0.1:0", "port is 0")]
    [TestCase("0123456789012345678901234567890123456789@127.0.0.1:65536", "'65536'")]
    [TestCase("0123456789012345678901234567890123456789@127.0.0.1:port", "'port'")]
    [TestCase("0123456789012345678901234567890123456789@::1:26656", "brackets")]
    [TestCase("0123456789012345678901234567890123456789@no host:26656", "'no host'")]
    [TestCase("http://0123456789012345678901234567890123456789@127.0.0.1:26656", "'http'")]
    [CancelAfter(30_000)]
    public async Task A_malformed_address_is_bad_usage(string address, string named, CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "dial", address);

        Assert.That(run, Has.Property("ExitCode").EqualTo(2).And.Property("Output").Empty);
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        Assert.That(run.Error, Does.Contain(named));
    }

    [TestCase("--timeout", "0s")]
    [TestCase("--timeout", "-1s")]
    [TestCase("--timeout", "5 parsecs")]
    [TestCase("--timeout", "1.2.3s")]
    [TestCase("--timeout", "25h")]
    [TestCase("--timeout", "99999999999999999999999999999999s")]
    [TestCase("--timeout", "")]
    [TestCase("--network", " ")]
    [TestCase("--log-level", "loud")]
    [CancelAfter(30_000)]
    public async Task A_bad_option_is_bad_usage(string option, string value, CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "dial", "0123456789012345678901234567890123456789@127.0.0.1:1", option, value);

        Assert.That(run, Has.Property("ExitCode").EqualTo(2).And.Property("Output").Empty);
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        Assert.That(run.Error, Does.Contain(option));
    }

    /// <summary>Dials twice, for people and for programs: the same reason both times.</summary>
    private static async Task AssertFailsAsync(NetAddress address, string code, string[] named, CancellationToken cancellationToken, params string[] options)
    {
        Run text = await Run.CommandAsync(cancellationToken, ["dial", address.ToString(), .. options]);
        Run json = await Run.CommandAsync(cancellationToken, ["dial", address.ToString(), "--json", .. options]);

        Assert.That(text, Has.Property("ExitCode").EqualTo(1).And.Property("Output").Empty);
        Assert.That(text.ErrorLines, Has.Length.EqualTo(1));
        Assert.That(json, Has.Property("ExitCode").EqualTo(1).And.Property("Error").Empty);
        JsonElement report = JsonElement.Parse(json.Output);
        Assert.That(report.GetProperty("code").GetString(), Is.EqualTo(code));
        foreach (string part in named)
        {
            Assert.That(text.Error, Does.Contain(part));
            Assert.That(report.GetProperty("error").GetString(), Does.Contain(part));
        }
    }
}
