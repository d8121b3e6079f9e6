using System.Net;
using CsCheck;
using Microsoft.Extensions.Logging;
using Pipeline.Cryptography;
using Pipeline.Hosting.Configuration;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Hosting.Tests.Configuration;

[TestFixture]
public sealed class NodeConfigurationTests
{
    private static readonly string IdOf1 = new('1', 40);
    private static readonly string IdOf2 = new('2', 40);

    private static readonly string[] Pieces =
        ["[p2p]\n", "p2p.", "send_rate", "moniker", " = ", "{", "}", "[[", "]", "\"", "'''", "\n", "1", "true", "#", ",", "\\u", "laddr"];

    [Test]
    public void Without_a_file_all_is_as_the_defaults_say()
    {
        using TestHome home = new();

        NodeConfiguration configuration = home.Load();

        Assert.That(configuration.HasFile, Is.False);
        Assert.That(configuration.Warnings, Is.Empty);
        Assert.That(configuration.Values.Select(value => value.Key), Is.EqualTo(ConfigurationKey.All));
        Assert.That(configuration.Values.Select(value => value.Text), Is.EqualTo(ConfigurationKey.All.Select(key => key.Default)));
        Assert.That(configuration.Values.Select(value => value.Origin.ToString()), Is.All.EqualTo("default"));
        Assert.That(configuration.ListenAddress, Is.EqualTo(new DnsEndPoint("0.0.0.0", 26656)));
        Assert.That(configuration.NodeKeyFile, Is.EqualTo(Path.Combine(home.Home.Path, "config", "node_key.json")));
    }

    [Test, CancelAfter(30_000)]
    public async Task The_defaults_are_those_of_a_switch(CancellationToken cancellationToken)
    {
        using TestHome home = new("network = 'n'");
        SwitchOptions plain = new();

        SwitchOptions options = await home.Load().ToSwitchOptionsAsync(NodeId.Parse(IdOf1), cancellationToken);

        Assert.That(options.PersistentPeers.Length + options.UnconditionalPeers.Length + options.PrivatePeers.Length, Is.Zero);
        Assert.That(
            options with
            {
                Network = plain.Network,
                Moniker = plain.Moniker,
                Transport = plain.Transport,
                // Arrays are equal when they are the same.
                PersistentPeers = plain.PersistentPeers,
                UnconditionalPeers = plain.UnconditionalPeers,
                PrivatePeers = plain.PrivatePeers,
            },
            Is.EqualTo(plain));
        Assert.That(((TcpTransport)options.Transport).DialTimeout, Is.EqualTo(((TcpTransport)plain.Transport).DialTimeout));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_file_of_the_reference_works_as_it_is(CancellationToken cancellationToken)
    {
        using TestHome home = new(File.ReadAllText(Path.Combine(TestContext.CurrentContext.TestDirectory, "data", "comet-v0.38-config.toml")));
        home.Write("config/genesis.json", """{"genesis_time":"2026-01-01T00:00:00Z","chain_id":"comet-1","initial_height":"0"}""");

        NodeConfiguration configuration = home.Load();
        SwitchOptions options = await configuration.ToSwitchOptionsAsync(NodeId.Parse(IdOf2), cancellationToken);

        Assert.That(configuration.Warnings, Is.Empty);
        Assert.That(configuration.LogLevel, Is.EqualTo(LogLevel.Error));
        Assert.That(configuration.LogFormat, Is.EqualTo(LogFormat.Json));
        Assert.That(configuration.Seeds.Single().Host, Is.EqualTo("seed.example.com"));
        Assert.That(configuration.AddressBookStrict, Is.False);
        Assert.That(configuration.MaxOutboundPeers, Is.EqualTo(20));
        Assert.That(configuration.PeerExchange, Is.False);
        Assert.That(options.Network, Is.EqualTo("comet-1"));
        Assert.That(options.Moniker, Is.EqualTo("sentry-3"));
        Assert.That(options.ExternalAddress, Is.EqualTo("203.0.113.9:26656"));
        Assert.That(options.PersistentPeers.Select(peer => peer.Id.ToString()), Is.EqualTo(new[] { IdOf1 }), "the node itself is left out");
        Assert.That(options.UnconditionalPeers.Single().ToString(), Is.EqualTo(IdOf1));
        Assert.That(options.PrivatePeers.Single().ToString(), Is.EqualTo(IdOf2));
        Assert.That(options.PersistentPeersMaxDialPeriod, Is.EqualTo(TimeSpan.FromMinutes(1)));
        Assert.That(options.MaxInboundPeers, Is.EqualTo(60));
        Assert.That(options.AllowDuplicateIp, Is.True);
        Assert.That(options.Connection.ReceiveRate, Is.EqualTo(10_240_000));
    }

    [Test]
    public void Keys_that_the_reference_has_or_had_are_no_mistake()
    {
        using TestHome home = new(
            """
            fast_sync = true
            [p2p]
            upnp = false
            test_fuzz = false
            test_dial_fail = false
            [p2p.test_fuzz_config]
            mode = 0
            max_delay = "3s"
            [p2p.libp2p.scaler]
            min_workers = 4
            [[p2p.libp2p.scaler.overrides]]
            reactor = "MEMPOOL"
            [fastsync]
            version = "v0"
            [grpc.version_service]
            enabled = true
            """);

        Assert.That(home.Warnings(), Is.Empty);
    }

    [Test]
    public void An_option_counts_more_than_a_variable_and_that_more_than_the_file()
    {
        using TestHome home = new("moniker = 'file'\nlog_level = 'error'\n[p2p]\nsend_rate = 1\nrecv_rate = 1\n");
        Dictionary<string, string> environment = new()
        {
            ["PIPELINE_MONIKER"] = "variable",
            ["PIPELINE_P2P_SEND_RATE"] = "2",
            ["PIPELINE_P2P_RECV_RATE"] = "",
        };

        NodeConfiguration configuration = home.Load(environment, new() { ["p2p.send_rate"] = "3" });

        Assert.That(
            configuration.Values.Where(value => value.Origin.Source != ConfigurationSource.Default).Select(value => $"{value.Key}={value.Text} {value.Origin}"),
            Is.EqualTo(new[]
            {
                "moniker=variable PIPELINE_MONIKER",
                $"log_level=error {home.Home.ConfigurationFile}:2",
                "p2p.send_rate=3 --p2p.send_rate",
                $"p2p.recv_rate=1 {home.Home.ConfigurationFile}:5",
            }));
        Assert.That((configuration.Moniker, configuration.SendRate, configuration.ReceiveRate), Is.EqualTo(("variable", 3L, 1L)));
    }

    [Test]
    public void Quoted_numbers_and_truth_values_and_keys_of_either_case_are_taken_as_the_reference_takes_them()
    {
        using TestHome home = new("Moniker = 7\n[P2P]\nmax_num_inbound_peers = \"41\"\npex = \"F\"\nAllow_Duplicate_IP = 1\n");

        NodeConfiguration configuration = home.Load();

        Assert.That(
            (configuration.Moniker, configuration.MaxInboundPeers, configuration.PeerExchange, configuration.AllowDuplicateIp),
            Is.EqualTo(("7", 41, false, true)));
    }

    [TestCase("\uFEFFmoniker = \"a\"\r\n\r\n[p2p]\r\nsend_rate = 9\r\n", TestName = "A_byte_order_mark_and_lines_that_end_as_those_of_Windows_do_are_read")]
    [TestCase("moniker = 'a'\np2p.send_rate = 9", TestName = "A_dotted_key_is_read")]
    [TestCase("moniker = 'a'\np2p = { send_rate = 9 }", TestName = "An_inline_table_is_read")]
    [TestCase("\"moniker\" = 'a'\n['p2p']\n\"send_rate\" = 0x9", TestName = "Quoted_keys_are_read")]
    public void Toml_is_read(string text)
    {
        using TestHome home = new(text);

        Assert.That((home.Load().Moniker, home.Load().SendRate), Is.EqualTo(("a", 9L)));
    }

    [Test]
    public void No_listening_no_limits_and_no_ban_file_can_be_said()
    {
        using TestHome home = new(
            """
            [p2p]
            laddr = ""
            send_rate = 0
            recv_rate = 0
            ban_file = ""
            max_inbound_handshakes_per_ip = 0
            max_inbound_connection_rate_per_ip = 0
            persistent_peers_max_dial_period = "0s"
            lazy_peer_time = "0s"
            """);

        NodeConfiguration configuration = home.Load();

        Assert.That(
            new object?[]
            {
                configuration.ListenAddress, configuration.SendRate, configuration.ReceiveRate, configuration.BanFile, configuration.MaxInboundHandshakesPerIp,
                configuration.MaxInboundConnectionRatePerIp, configuration.PersistentPeersMaxDialPeriod, configuration.LazyPeerTime,
            },
            Is.All.Null);
    }

    [Test]
    public void Access_rules_are_lists_of_ids_addresses_and_subnets()
    {
        using TestHome home = new($"[p2p]\nallow = ' {IdOf1} , 203.0.113.7 ,'\ndeny = '198.51.100.0/24'");

        AccessRules rules = home.Load().AccessRules;

        Assert.That(rules.Allow.Select(target => target.ToString()), Is.EqualTo(new[] { IdOf1, "203.0.113.7" }));
        Assert.That(rules.FindRefusal(IPAddress.Parse("198.51.100.9")), Does.Contain("deny list"));
    }

    [TestCase("tcp://127.0.0.1:0", "127.0.0.1:0")]
    [TestCase("0.0.0.0:26656", "0.0.0.0:26656")]
    [TestCase("TCP://[::1]:1", "[::1]:1")]
    [CancelAfter(30_000)]
    public async Task Where_to_listen_is_an_address_of_either_family(string text, string endPoint, CancellationToken cancellationToken)
    {
        using TestHome home = new($"network = 'n'\n[p2p]\nladdr = '{text}'");

        SwitchOptions options = await home.Load().ToSwitchOptionsAsync(NodeId.Parse(IdOf1), cancellationToken);

        Assert.That(options.ListenEndPoint, Is.EqualTo(IPEndPoint.Parse(endPoint)));
    }

    [Test, CancelAfter(30_000)]
    public async Task The_host_to_listen_at_may_be_a_name(CancellationToken cancellationToken)
    {
        using TestHome home = new("network = 'n'\n[p2p]\nladdr = 'localhost:26656'");

        SwitchOptions options = await home.Load().ToSwitchOptionsAsync(NodeId.Parse(IdOf1), cancellationToken);

        Assert.That(options.ListenEndPoint!.Port, Is.EqualTo(26656));
        Assert.That(IPAddress.IsLoopback(options.ListenEndPoint.Address), Is.True);
    }

    [Test, CancelAfter(30_000)]
    public async Task A_host_to_listen_at_that_is_nobodys_is_refused_with_its_place(CancellationToken cancellationToken)
    {
        using TestHome home = new("network = 'n'\n[p2p]\nladdr = 'nobody.invalid:26656'");

        ConfigurationException? e = await Assert.ThrowsAsync<ConfigurationException>(() =>
            home.Load().ToSwitchOptionsAsync(NodeId.Parse(IdOf1), cancellationToken));

        Assert.That(e!.Errors.Single(), Does.StartWith($"{home.Home.ConfigurationFile}:3: p2p.laddr is \"nobody.invalid:26656\"; the host nobody.invalid has no address"));
    }

    [TestCase("[p2p]\nsend_rate = \"fast\"", "config.toml:2: p2p.send_rate is \"fast\"; expected is a number of bytes a second, at least 0, such as 5120000.")]
    [TestCase("[p2p]\nsend_rate = -1", "config.toml:2: p2p.send_rate is \"-1\"; expected is a number of bytes a second, at least 0, such as 5120000.")]
    [TestCase("[p2p]\nsend_rate = 1.5", "config.toml:2: p2p.send_rate is \"1.5\"; expected is a number of bytes a second, at least 0, such as 5120000.")]
    [TestCase("[p2p]\nmax_packet_msg_payload_size = 1", "config.toml:2: p2p.max_packet_msg_payload_size is \"1\"; expected is a number of bytes from 2 to 4194304, such as 1024.")]
    [TestCase("[p2p]\npex = 2", "config.toml:2: p2p.pex is \"2\"; expected is true or false.")]
    [TestCase("[p2p]\n\ndial_timeout = 3", "config.toml:3: p2p.dial_timeout is \"3\"; expected is a duration of more than 0s and at most 1000h, such as 3s.")]
    [TestCase("[p2p]\ndial_timeout = '0s'", "config.toml:2: p2p.dial_timeout is \"0s\"; expected is a duration of more than 0s and at most 1000h, such as 3s.")]
    [TestCase("[p2p]\nban_time = '10y'", "config.toml:2: p2p.ban_time is \"10y\"; expected is a duration of more than 0s and at most 87600h, such as 24h.")]
    [TestCase("[p2p]\nseeds = ['a']", "config.toml:2: p2p.seeds is an array; expected is a list of addresses of nodes (id@host:port) with commas between them.")]
    [TestCase("[p2p.seeds]\na = 1", "config.toml:1: p2p.seeds is a table; expected is a list of addresses of nodes (id@host:port) with commas between them.")]
    [TestCase("moniker = 1979-05-27", "config.toml:1: moniker is a date or time; expected is printable ASCII, 1 to 1000 characters.")]
    [TestCase("moniker = ''", "config.toml:1: moniker is \"\"; expected is printable ASCII, 1 to 1000 characters, such as node-1.")]
    [TestCase("log_format = 'xml'", "config.toml:1: log_format is \"xml\"; expected is plain or json.")]
    [TestCase("log_level = 'loud'", "config.toml:1: log_level is \"loud\"; expected is trace, debug, info, warn, error or none, or such levels by module, such as p2p:debug,*:error.")]
    [TestCase("node_key_file = ''", "config.toml:1: node_key_file is \"\"; expected is the path of a file, such as config/node_key.json.")]
    [TestCase("[p2p]\nladdr = 'tcp://:26656'", "config.toml:2: p2p.laddr is \"tcp://:26656\"; it has no host; expected is empty or host:port, after tcp:// or not, such as tcp://0.0.0.0:26656.")]
    [TestCase("p2p = 5", "config.toml:1: p2p is \"5\"; expected is the table [p2p].")]
    [TestCase("[[p2p]]\nsend_rate = 'fast'", "config.toml:1: p2p is an array of tables; expected is the table [p2p].")]
    [TestCase("moniker = 'a'\nMoniker = 'b'", "config.toml:2: moniker is there a second time, after line 1; expected is one of them.")]
    public void A_wrong_value_is_refused_with_its_line_and_what_would_be_right(string text, string error)
    {
        using TestHome home = new(text);

        Assert.That(home.Errors(), Is.EqualTo(new[] { error }));
    }

    [TestCase("p2p.persistent_peers", "1.2.3.4:26656", "names no node id")]
    [TestCase("p2p.persistent_peers", "1111111111111111111111111111111111111111@1.2.3.4:0", "port is 0")]
    [TestCase("p2p.deny", "203.0.113.7/24", "first address of a subnet")]
    [TestCase("p2p.private_peer_ids", "me", "'me' is not a node id")]
    [TestCase("p2p.external_address", "example.com", "no port")]
    [TestCase("network", "evil\u001b[2J", "\"evil\\u001b[2J\"; expected is empty or the id")]
    public void A_wrong_value_on_the_command_line_is_refused_with_the_options_name(string key, string text, string reason)
    {
        using TestHome home = new();

        Assert.That(home.Errors(options: new() { [key] = text }).Single(), Does.StartWith($"--{key} is \"").And.Contain(reason));
    }

    [Test]
    public void All_that_is_wrong_is_said_at_once_also_what_would_be_overruled()
    {
        using TestHome home = new("moniker = ''\n[p2p]\nsend_rate = 'fast'\n");

        string[] errors = home.Errors(new() { ["PIPELINE_P2P_SEND_RATE"] = "faster" }, new() { ["p2p.send_rate"] = "1", ["p2p.pex"] = "maybe" });

        Assert.That(
            errors.Select(error => error[..error.IndexOf(" is ", StringComparison.Ordinal)]),
            Is.EqualTo(new[] { "config.toml:1: moniker", "config.toml:3: p2p.send_rate", "PIPELINE_P2P_SEND_RATE", "--p2p.pex" }));
    }

    [Test]
    public void Keys_that_are_not_known_are_warned_about()
    {
        using TestHome home = new(
            """
            monicker = "a"
            seeds = ""
            completely_else = 1
            [p2p]
            persistent-peers = ""
            sendrate = 1
            zzz = { a = 1 }
            [p2p2]
            laddr = "x"
            [weather]
            sunny = true
            """);

        Assert.That(
            home.Warnings(new() { ["PIPELINE_P2P_LADR"] = "x", ["PIPELINE_P2P_SND"] = "x", ["PIPELINE_ACCEPT"] = "1" }),
            Is.EqualTo(new[]
            {
                "config.toml:1: monicker is not known and has no effect; did you mean moniker?",
                "config.toml:2: seeds is not known and has no effect; did you mean p2p.seeds?",
                "config.toml:3: completely_else is not known and has no effect.",
                "config.toml:5: p2p.persistent-peers is not known and has no effect; did you mean p2p.persistent_peers?",
                "config.toml:6: p2p.sendrate is not known and has no effect; did you mean p2p.send_rate?",
                "config.toml:7: the table [p2p.zzz] is not known and has no effect.",
                "config.toml:8: the table [p2p2] is not known and has no effect; did you mean p2p?",
                "config.toml:10: the table [weather] is not known and has no effect.",
                "The environment variable PIPELINE_P2P_LADR is not known and has no effect; did you mean PIPELINE_P2P_LADDR?",
                "The environment variable PIPELINE_P2P_SND is not known and has no effect.",
            }));
    }

    [Test]
    public void A_seed_without_peer_exchange_is_warned_about()
    {
        using TestHome home = new("[p2p]\nseed_mode = true\npex = false");

        Assert.That(home.Warnings(), Is.EqualTo(new[] { "p2p.seed_mode has no effect, because p2p.pex is false." }));
    }

    [TestCase("moniker = \"a\n[p2p]\n", "config.toml:1:")]
    [TestCase("a = 1\nb = = 2\n", "config.toml:2:5: ")]
    [TestCase("[p2p]\nx = 1\n[p2p]\n", "config.toml:")]
    [TestCase("a = 1\na = 2\n", "config.toml:2:1: ")]
    [TestCase("\0\u0001\u0002", "config.toml:1:1: ")]
    [TestCase("a = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "config.toml")]
    public void Broken_toml_is_refused_with_line_and_column(string text, string place)
    {
        using TestHome home = new(text);

        string[] errors = home.Errors();

        Assert.That(errors[0], Does.StartWith(place).And.EndWith("."));
        Assert.That(errors.SelectMany(error => error), Has.None.Matches<char>(char.IsControl));
        Assert.That(errors, Has.Length.LessThanOrEqualTo(10));
    }

    [Test]
    public void Bytes_that_are_no_text_are_refused_with_their_line()
    {
        using TestHome home = new();
        File.WriteAllBytes(home.Home.ConfigurationFile, [.. "# a\n# b\n"u8, 0xff, 0xfe, 0x00]);

        Assert.That(home.Errors(), Is.EqualTo(new[] { "config.toml:3: This is not UTF-8; expected is a text file." }));
    }

    [Test]
    public void An_empty_file_is_one_without_keys()
    {
        using TestHome home = new("");

        Assert.That(home.Load().HasFile, Is.True);
    }

    [Test]
    public void A_huge_file_is_refused_without_reading_all_of_it()
    {
        using TestHome home = new();
        using (FileStream file = File.Create(home.Home.ConfigurationFile))
        {
            file.SetLength(1L << 30);
        }

        Assert.That(home.Errors(), Is.EqualTo(new[] { "config.toml is larger than 1 MiB, which is too large for a configuration." }));
    }

    [Test]
    public void A_folder_in_place_of_the_file_is_refused()
    {
        using TestHome home = new();
        Directory.CreateDirectory(home.Home.ConfigurationFile);

        Assert.That(home.Errors(), Is.EqualTo(new[] { "config.toml is a folder; expected is a file." }));
    }

    [Test]
    public void An_option_that_is_no_keys_is_a_mistake_of_the_caller()
    {
        using TestHome home = new();

        Assert.That(() => home.Load(options: new() { ["p2p.nothing"] = "1" }), Throws.ArgumentException);
    }

    [TestCase("info", LogLevel.Information)]
    [TestCase("DEBUG", LogLevel.Debug)]
    [TestCase("none", LogLevel.None)]
    [TestCase("consensus:debug,*:error", LogLevel.Error)]
    [TestCase("p2p:debug, *:error", LogLevel.Debug)]
    [TestCase("*:error,p2p:trace", LogLevel.Trace)]
    [TestCase("main:debug,state:warn", LogLevel.Information)]
    public void The_level_is_that_of_the_peer_to_peer_layer(string text, LogLevel level)
    {
        using TestHome home = new($"log_level = '{text}'");

        Assert.That(home.Load().LogLevel, Is.EqualTo(level));
    }

    [TestCase("node-7", "node-7")]
    [TestCase("Käthes Mac", "K-thes-Mac")]
    [TestCase("日本", "pipeline")]
    public void The_moniker_of_a_machine_is_printable_ASCII(string machine, string moniker) =>
        Assert.That(ConfigurationKeys.MonikerOf(machine), Is.EqualTo(moniker));

    [Test]
    public void Nothing_in_a_file_does_more_than_be_refused() =>
        Gen.OneOf(
            Gen.String,
            Gen.String[Gen.Char["abp2.[]{}=\"'#\n\r\t\\ ,0_-"], 0, 60],
            Gen.Int[0, Pieces.Length - 1].Select(index => Pieces[index]).Array[0, 30].Select(string.Concat))
        .Sample(
            text =>
            {
                TomlFile file = TomlFile.Parse("f", text);
                Assert.That(file.Errors.IsEmpty || file.Entries.IsEmpty, Is.True);
                Assert.That(file.Errors, Is.All.StartsWith("f"));
            },
            iter: 20_000);

    [Test]
    public void No_text_makes_a_key_do_more_than_refuse_it()
    {
        using TestHome home = new();
        NodeConfiguration configuration = home.Load();
        Gen.Select(Gen.Int[0, ConfigurationKey.All.Length - 1].Select(index => ConfigurationKey.All[index]), Gen.OneOf(Gen.String, Gen.String[Gen.Char["0123456789abcdef.:@/,smh-[]"], 0, 60]))
            .Sample(
                (key, text) =>
                {
                    try
                    {
                        key.Apply(configuration, text);
                    }
                    catch (FormatException e)
                    {
                        Assert.That(e.Message, Is.Not.Empty);
                    }
                },
                iter: 20_000);
    }
}
