using System.Globalization;
using System.Text.Json;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Cli.Tests.Commands;
using Pipeline.Cli.Traces;
using Pipeline.Cryptography;
using Pipeline.Protocols;
using Pipeline.Protocols.Bits;
using Pipeline.Transport;
using BlockSync = Pipeline.Protocols.BlockSync;
using Consensus = Pipeline.Protocols.Consensus;
using Mempool = Pipeline.Protocols.Mempool;
using PeerExchange = Pipeline.Wire.Protos.P2P;

namespace Pipeline.Cli.Tests.Tap;

[TestFixture]
public sealed class TapCommandTests
{
    private static readonly byte[] RoundStep = Convert.FromHexString("0a0408371803");
    private static readonly byte[] Transactions = [0x0a, 0x03, 0x0a, 0x01, 0x07];

    private string _folder = "";

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("pipeline-tap-").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [TestCase(1, 197)]
    [TestCase(2, 137)]
    [TestCase(3, 1275)]
    [CancelAfter(60_000)]
    public async Task Json_is_what_the_reference_says_of_each_message_of_a_recorded_session(int session, int count, CancellationToken cancellationToken)
    {
        RecordedMessage[] recorded = [.. RecordedMessage.Session(session)];
        await using RecordedNode node = await RecordedNode.StartAsync(recorded, cancellationToken: cancellationToken);

        Run run = await TapAsync(node, cancellationToken, "--json", "--count", $"{count}");

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        JsonElement[] messages = Events(run, "message");
        Assert.That(messages, Has.Length.EqualTo(count));
        foreach (byte channel in recorded.Select(message => message.Channel).Distinct())
        {
            RecordedMessage[] wanted = [.. recorded.Where(message => message.Channel == channel)];
            JsonElement[] heard = [.. messages.Where(message => message.GetProperty("channel").GetByte() == channel)];
            Assert.That(heard.Select(Kind), Is.EqualTo(wanted.Select(message => message.Kind)));
            Assert.That(heard.Select(message => message.GetProperty("bytes").GetInt32()), Is.EqualTo(wanted.Select(message => message.Bytes.Length)));
            Assert.That(heard.Zip(wanted).All(pair => JsonElement.DeepEquals(pair.First.GetProperty("message"), pair.Second.Json)), Is.True);
        }

        Assert.That(messages, Has.All.Matches<JsonElement>(message =>
            message.GetProperty("peer").GetString() == node.Id.ToString() && message.GetProperty("moniker").GetString() == "validator"));
        Assert.That(messages.Select(message => message.GetProperty("t_us").GetInt64()), Is.Ordered);
        JsonElement summary = Events(run, "summary").Single();
        Assert.That(run.Output.TrimEnd().Split('\n')[^1], Is.EqualTo(summary.GetRawText()));
        Assert.That(summary.GetProperty("messages").GetInt32(), Is.EqualTo(count));
        Assert.That(summary.GetProperty("bytes").GetInt32(), Is.EqualTo(recorded.Sum(message => message.Bytes.Length)));
    }

    [Test, CancelAfter(60_000)]
    public async Task Text_has_a_line_for_each_message_and_a_summary(CancellationToken cancellationToken)
    {
        RecordedMessage[] recorded = [.. RecordedMessage.Session(1)];
        await using RecordedNode node = await RecordedNode.StartAsync(recorded, cancellationToken: cancellationToken);

        Run run = await TapAsync(node, cancellationToken, "--count", "197");

        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        Assert.That(run.Error, Does.EndWith($"{node.Id.ToString()[..8]} validator: connected at {node.Address.DialString}, network chain-1, version 0.38.25.\n"));
        string[] lines = run.Output.Split('\n');
        int end = Array.IndexOf(lines, "");
        Assert.That(lines[..end], Has.Length.EqualTo(197).And.All.StartsWith("    "));
        Assert.That(
            lines[..end].Select(line => line[55..72].Trim()).CountBy(kind => kind),
            Is.EquivalentTo(recorded.CountBy(message => message.Kind)));
        Assert.That(lines, Has.Some.Match(@"^ +\d+\.\d{3}  [0-9a-f]{8} validator +consensus state  new_round_step + 6 B  height 55, round 0, propose, last commit of round 0$"));
        Assert.That(lines, Has.Some.Match(@"^0x20 consensus state +[1-9]\d* +.* k?B$").And.Some.Match(@"^  has_vote +[1-9]").And.Some.Match(@"^[0-9a-f]{8} validator +197 "));
        Assert.That(run.Output, Does.Match(@"\n197 messages, [\d.]+ kB in \d+\.\d\d s: [\d,]+ messages/s, .*/s\.\n$"));
    }

    [Test, CancelAfter(60_000)]
    public async Task Each_round_step_is_told_back_as_it_came_and_nothing_else_is_said(CancellationToken cancellationToken)
    {
        RecordedMessage[] recorded = [.. RecordedMessage.Session(3)];
        byte[][] steps = [.. recorded.Where(message => message.Kind == "new_round_step").Select(message => message.Bytes)];
        await using RecordedNode node = await RecordedNode.StartAsync(recorded, cancellationToken: cancellationToken);

        Run run = await TapUntilAsync(node, node.WhenToldAsync(steps.Length, cancellationToken), cancellationToken, "--json");

        Assert.That(run.ExitCode, Is.EqualTo(130));
        Assert.That(node.Told.Select(told => told.Channel), Is.All.EqualTo(0x20));
        Assert.That(node.Told.Select(told => told.Bytes), Is.EqualTo(steps));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_request_for_addresses_gets_none_and_what_would_mislead_a_node_that_catches_up_is_not_said(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync(
            [
                (0x40, new BlockSync.Message { StatusRequest = new() }.ToByteArray()),
                (0x40, new BlockSync.Message { BlockRequest = new() { Height = 1 } }.ToByteArray()),
                (0x60, Protocols.StateSync.Message.Parser.ParseFrom([0x0a, 0x00]).ToByteArray()),
                (0x00, new PeerExchange.Message { PexRequest = new() }.ToByteArray()),
                (0x20, [.. RoundStep, .. new byte[] { 0x7a, 100 }, .. new byte[100]]),
                (0x20, RoundStep),
            ],
            cancellationToken: cancellationToken);

        Run run = await TapUntilAsync(node, node.WhenToldAsync(2, cancellationToken), cancellationToken, "--json");

        Assert.That(run.ExitCode, Is.EqualTo(130));
        Assert.That(node.Told.Order(ByChannel), Is.EqualTo(new[] { ((byte)0x00, new byte[] { 0x12, 0x00 }), ((byte)0x20, RoundStep) }));
    }

    [TestCase("trace")]
    [TestCase("trace.gz")]
    [CancelAfter(60_000)]
    public async Task A_recording_has_what_came_and_the_demo_plays_it(string name, CancellationToken cancellationToken)
    {
        RecordedMessage[] recorded = [.. RecordedMessage.Session(1)];
        await using RecordedNode node = await RecordedNode.StartAsync(recorded, cancellationToken: cancellationToken);
        string path = Path.Combine(_folder, name);

        Run run = await TapAsync(node, cancellationToken, "--count", "197", "--record", path);
        Run demo = await Run.CommandAsync(cancellationToken, "demo", "--trace", path, "--speed", "max", "--json");

        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output, Does.Match($@"Recorded 197 messages, [\d.]+ kB, to {path}\.\n$"));
        Trace trace = Trace.ReadFile(path);
        AssertHas(trace, peer: 0, recorded);
        Assert.That(trace.Peers, Is.EqualTo(1));
        Assert.That(demo, Has.Property("ExitCode").Zero.And.Property("Output").StartsWith("""{"nodes":2,"messages_expected":197,"messages_received":197,"""));
    }

    [Test, CancelAfter(60_000)]
    public async Task Nodes_are_recorded_in_the_order_of_their_addresses_and_can_be_told_apart(CancellationToken cancellationToken)
    {
        RecordedMessage[][] recorded = [[.. RecordedMessage.Session(1)], [.. RecordedMessage.Session(2)]];
        await using RecordedNode first = await RecordedNode.StartAsync(recorded[0], "first", cancellationToken);
        await using RecordedNode second = await RecordedNode.StartAsync(recorded[1], "second", cancellationToken);
        string both = Path.Combine(_folder, "both");
        string one = Path.Combine(_folder, "one");

        Run all = await TapAsync(first, cancellationToken, $"{second.Address}", "--count", $"{197 + 137}", "--record", both, "--json");
        Run filtered = await TapAsync(first, cancellationToken, $"{second.Address}", "--count", "137", "--record", one, "--peer", second.Id.ToString(), "--json");

        Assert.That(all.ExitCode, Is.Zero);
        Trace trace = Trace.ReadFile(both);
        AssertHas(trace, 0, recorded[0]);
        AssertHas(trace, 1, recorded[1]);
        Assert.That(
            Events(all, "summary").Single().GetProperty("peers").EnumerateArray().Select(peer => peer.GetProperty("traffic").GetProperty("messages").GetInt32()),
            Is.EqualTo(new[] { 197, 137 }));
        Assert.That(filtered.ExitCode, Is.Zero);
        Assert.That(Events(filtered, "message").Select(message => message.GetProperty("moniker").GetString()), Is.All.EqualTo("second"));
        AssertHas(Trace.ReadFile(one), 1, recorded[1]);
    }

    [Test, CancelAfter(60_000)]
    public async Task Filters_say_what_is_shown_and_recorded_and_the_rest_is_counted(CancellationToken cancellationToken)
    {
        RecordedMessage[] recorded = [.. RecordedMessage.Session(1)];
        RecordedMessage[] wanted = [.. recorded.Where(message => message.Channel is >= 0x20 and <= 0x23 && message.Kind is "vote" or "proposal")];
        RecordedMessage[] last = [.. recorded, new RecordedMessage(0x22, "vote", recorded.First(message => message.Kind == "vote").Bytes, default)];
        await using RecordedNode node = await RecordedNode.StartAsync(last, cancellationToken: cancellationToken);
        string path = Path.Combine(_folder, "votes");

        Run run = await TapAsync(
            node,
            cancellationToken,
            "--channel",
            "consensus",
            "--kind",
            "vote,proposal",
            "--record",
            path,
            "--json",
            "--count",
            $"{wanted.Length}",
            "--network",
            "chain-1");

        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(Events(run, "message").Select(Kind), Has.Exactly(wanted.Length).Items.And.All.AnyOf("vote", "proposal"));
        Assert.That(Events(run, "summary").Single().GetProperty("filtered").GetInt32(), Is.GreaterThan(0).And.AtMost(recorded.Length - wanted.Length));
        Assert.That(Trace.ReadFile(path).Messages, Has.Count.EqualTo(wanted.Length).And.All.Matches<TraceMessage>(message => message.Channel.Id is 0x21 or 0x22));
    }

    [Test, CancelAfter(30_000)]
    public async Task What_is_no_message_is_shown_as_that_and_not_recorded_and_the_rest_comes_as_ever(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync(
            [(0x22, [0x32, 0x05]), (0x22, [0xff, 0xff, 0xff]), (0x22, Convert.FromHexString("5a0408011001")), (0x22, [])],
            cancellationToken: cancellationToken);
        string path = Path.Combine(_folder, "trace");

        Run run = await TapAsync(node, cancellationToken, "--count", "4", "--json", "--record", path);
        Run text = await TapAsync(node, cancellationToken, "--count", "1", "--kind", "malformed");

        Assert.That(Events(run, "message").Select(Kind), Is.EqualTo(new[] { "malformed", "malformed", "unknown", "unknown" }));
        Assert.That(Events(run, "message")[0].TryGetProperty("message", out _), Is.False);
        Assert.That(Events(run, "summary").Single().GetProperty("malformed").GetInt32(), Is.EqualTo(2));
        Assert.That(Trace.ReadFile(path).Messages, Has.Count.EqualTo(2));
        Assert.That(text.Output, Does.Contain("malformed").And.Contain("not a message of channel 0x22 consensus vote").And.Contain("1 could not be read."));
    }

    [Test, CancelAfter(30_000)]
    public async Task What_a_remote_writes_cannot_command_a_terminal(CancellationToken cancellationToken)
    {
        PeerExchange.PexAddrs addresses = new();
        addresses.Addrs.Add(new PeerExchange.NetAddress { Id = "\u001b[2J\r\n\u009b31m", Ip = "\u202eevil\u0000", Port = uint.MaxValue });
        BlockSync.Message block = new() { BlockResponse = new() { Block = new() { Header = new() { ChainId = "\u001b]0;\u0007\u009d" } } } };
        await using RecordedNode node = await RecordedNode.StartAsync(
            [(0x00, new PeerExchange.Message { PexAddrs = addresses }.ToByteArray()), (0x40, block.ToByteArray())],
            cancellationToken: cancellationToken);

        Run text = await TapAsync(node, cancellationToken, "--count", "2");
        Run json = await TapAsync(node, cancellationToken, "--count", "2", "--json");

        foreach (string output in new[] { text.Output, text.Error, json.Output, json.Error })
        {
            Assert.That(output.Where(c => c is not (>= ' ' and <= '~' or '\n' or '…')), Is.Empty);
        }

        JsonElement said = Events(json, "message").Single(message => Kind(message) == "pex_addrs").GetProperty("message");
        Assert.That(said.GetProperty("pex_addrs").GetProperty("addrs")[0].GetProperty("ip").GetString(), Is.EqualTo("\u202eevil\u0000"));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_network_with_a_name_like_a_command_is_refused_in_words_fit_for_a_terminal(CancellationToken cancellationToken)
    {
        await using RemoteNode node = RemoteNode.Proper(new NodeInfo { Moniker = "remote", Network = "evil\u001b[2J\r\nnet", Channels = [0x20] });

        Run run = await Run.CommandAsync(cancellationToken, "tap", node.Address.ToString(), "--network", "chain-1");

        Assert.That(run, Has.Property("ExitCode").EqualTo(1).And.Property("Output").Empty);
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        Assert.That(run.Error, Does.Contain(@"evil\u001b[2J\u000d\u000anet"));
    }

    [Test, CancelAfter(60_000)]
    public async Task Huge_numbers_and_lists_are_shown_in_a_line_and_as_json(CancellationToken cancellationToken)
    {
        Mempool.Message many = new() { Txs = new() };
        many.Txs.Txs_.AddRange(Enumerable.Repeat(ByteString.Empty, 500_000));
        Consensus.Message bits = new()
        {
            NewValidBlock = new() { Height = long.MinValue, Round = int.MinValue, BlockParts = new BitArray { Bits = long.MaxValue, Elems = { ulong.MaxValue } } },
        };
        Consensus.Message late = new() { Vote = new() { Vote_ = new() { Timestamp = new Timestamp { Seconds = long.MaxValue, Nanos = -1 } } } };
        Consensus.Message step = new() { NewRoundStep = new() { Step = uint.MaxValue } };
        Consensus.Message part = new() { BlockPart = new() { Part = new() { Index = uint.MaxValue } } };
        await using RecordedNode node = await RecordedNode.StartAsync(
            [(0x30, many.ToByteArray()), (0x20, bits.ToByteArray()), (0x22, late.ToByteArray()), (0x20, step.ToByteArray()), (0x21, part.ToByteArray())],
            cancellationToken: cancellationToken);

        Run text = await TapAsync(node, cancellationToken, "--count", "5");
        Run json = await TapAsync(node, cancellationToken, "--count", "5", "--json");

        Assert.That(text.Output.Split('\n'), Has.All.Length.LessThan(400));
        Assert.That(text.Output, Does.Contain("500000 transactions, 0 B").And.Contain("64 of 9223372036854775807").And.Contain("step 4294967295").And.Contain("part 4294967296 of 0"));
        JsonElement[] messages = Events(json, "message");
        Assert.That(messages.Single(message => Kind(message) == "txs").GetProperty("message").GetProperty("txs").GetProperty("txs").GetArrayLength(), Is.EqualTo(500_000));
        Assert.That(messages.Single(message => Kind(message) == "vote").TryGetProperty("message", out _), Is.False, "JSON has no form for such a time");
    }

    [Test, CancelAfter(30_000)]
    public async Task A_block_that_nobody_asked_for_ends_the_connection_when_it_is_large_and_listening_goes_on(CancellationToken cancellationToken)
    {
        BlockSync.Message block = new() { BlockResponse = new() { Block = new() { Data = new() { Txs = { ByteString.CopyFrom(new byte[5 << 20]) } } } } };
        await using RecordedNode bad = await RecordedNode.StartAsync([(0x40, block.ToByteArray())], "bad", cancellationToken: cancellationToken);
        await using RecordedNode good = await RecordedNode.StartAsync([], "good", cancellationToken: cancellationToken);
        using WatchingWriter error = new(text => text.Contains("bad: disconnected.", StringComparison.Ordinal));
        using StringWriter output = new();

        Task<int> tap = CommandLine.RunAsync(
            ["tap", $"{bad.Address}", $"{good.Address}", "--count", "1"],
            new CommandHost(output, TextWriter.Synchronized(error), Terminal: null),
            cancellationToken);
        await error.Seen.WaitAsync(cancellationToken);
        await good.SendAsync(0x30, Transactions, cancellationToken);

        Assert.That(await tap, Is.Zero);
        Assert.That(error.ToString(), Does.Contain("4,194,304").Or.Contain("4194304"));
        Assert.That(output.ToString(), Does.Match("good +mempool +txs"));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_duration_ends_it_well(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync([(0x30, Transactions)], cancellationToken: cancellationToken);

        Run run = await TapAsync(node, cancellationToken, "--duration", "300ms", "--json");

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        Assert.That(Events(run, "summary").Single().GetProperty("duration_s").GetDouble(), Is.GreaterThan(0.25).And.LessThan(10));
        Assert.That(Events(run, "peer_disconnected"), Is.Empty, "that this node stops is no news");
    }

    [Test, CancelAfter(30_000)]
    public async Task An_interrupt_sums_up_and_leaves_a_whole_recording(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync([(0x30, Transactions), (0x20, RoundStep)], cancellationToken: cancellationToken);
        string path = Path.Combine(_folder, "trace.gz");

        Run run = await TapUntilAsync(node, node.WhenToldAsync(1, cancellationToken), cancellationToken, "--record", path);

        Assert.That(run.ExitCode, Is.EqualTo(130));
        Assert.That(run.Output, Does.Contain($"messages, ").And.Contain($"to {path}."));
        Assert.That(Trace.ReadFile(path).Messages.Select(message => message.Channel.Id), Has.Member(0x20));
    }

    [Test, CancelAfter(30_000)]
    public async Task An_interrupt_before_a_node_is_reached_says_so_and_leaves_no_file(CancellationToken cancellationToken)
    {
        using CancellationTokenSource interrupt = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        TaskCompletionSource dialled = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using RemoteNode node = RemoteNode.That((_, stop) =>
        {
            dialled.TrySetResult();
            return Task.Delay(Timeout.Infinite, stop);
        });
        string path = Path.Combine(_folder, "trace");

        Task<Run> tap = Run.CommandAsync(interrupt.Token, "tap", node.Address.ToString(), "--network", "chain-1", "--record", path);
        await dialled.Task.WaitAsync(cancellationToken);
        await interrupt.CancelAsync();

        Assert.That(await tap, Is.EqualTo(new Run(130, "", "Interrupted before a node was reached.\n")));
        Assert.That(path, Does.Not.Exist);
    }

    [Test, CancelAfter(30_000)]
    public async Task When_no_node_can_be_reached_each_has_a_line_that_says_why(CancellationToken cancellationToken)
    {
        await using RecordedNode other = await RecordedNode.StartAsync(Array.Empty<(byte, byte[])>(), network: "chain-2", cancellationToken: cancellationToken);
        await using RemoteNode silent = RemoteNode.That(static (_, _) => Task.CompletedTask);
        string nobody = new NetAddress(other.Id, "127.0.0.1", 1).ToString();
        string path = Path.Combine(_folder, "trace");

        Run run = await Run.CommandAsync(cancellationToken, "tap", $"{other.Address}", $"{silent.Address}", "--network", "chain-1", "--record", path, "--json");
        Run unlearnt = await Run.CommandAsync(cancellationToken, "tap", nobody, $"{silent.Address}");

        Assert.That(run, Has.Property("ExitCode").EqualTo(1).And.Property("Output").Empty);
        Assert.That(run.ErrorLines, Has.Length.EqualTo(2));
        Assert.That(run.ErrorLines[0], Does.StartWith($"{other.Address}: ").And.Contain("'chain-2'").And.Contain("'chain-1'"));
        Assert.That(run.ErrorLines[1], Does.StartWith($"{silent.Address}: "));
        Assert.That(path, Does.Not.Exist);
        Assert.That(unlearnt, Has.Property("ExitCode").EqualTo(1).And.Property("Output").Empty);
        Assert.That(unlearnt.ErrorLines, Has.Length.EqualTo(2));
        Assert.That(unlearnt.ErrorLines[0], Does.StartWith($"{nobody}: ").And.Contain("cannot be reached"));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_node_that_cannot_be_reached_does_not_keep_the_others_from_being_heard(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync([(0x20, RoundStep)], cancellationToken: cancellationToken);
        using NodeKey key = NodeKey.Create();
        string nobody = new NetAddress(key.Id, "127.0.0.1", 1).ToString();
        using WatchingWriter output = new(text => text.Contains("peer_unreachable", StringComparison.Ordinal));
        using CancellationTokenSource interrupt = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);

        Task<int> tap = CommandLine.RunAsync(
            ["tap", nobody, $"{node.Address}", "--json"],
            new CommandHost(output, TextWriter.Null, Terminal: null),
            interrupt.Token);
        await Task.WhenAll(output.Seen, node.WhenToldAsync(1, cancellationToken)).WaitAsync(cancellationToken);
        await interrupt.CancelAsync();

        Run run = new(await tap, output.ToString(), "");
        Assert.That(run.ExitCode, Is.EqualTo(130));
        Assert.That(Events(run, "peer_unreachable").Single().GetProperty("peer").GetString(), Is.EqualTo(key.Id.ToString()));
        Assert.That(Events(run, "message"), Has.Length.EqualTo(1));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_node_that_closes_the_first_connection_is_dialled_once_more(CancellationToken cancellationToken)
    {
        int connections = 0;
        await using RemoteNode node = RemoteNode.That((_, _) =>
        {
            connections++;
            return Task.CompletedTask;
        });

        Run run = await Run.CommandAsync(cancellationToken, "tap", node.Address.ToString(), "--network", "chain-1");

        Assert.That(run.ExitCode, Is.EqualTo(1));
        Assert.That(connections, Is.EqualTo(2));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_file_that_cannot_be_recorded_to_is_bad_usage_before_anything_is_dialled(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync([(0x30, Transactions)], cancellationToken: cancellationToken);
        string path = Path.Combine(_folder, "trace");
        await File.WriteAllTextAsync(path, "a former recording", cancellationToken);

        AssertBadUsage(await TapAsync(node, cancellationToken, "--record", path), path, "--force");
        AssertBadUsage(await TapAsync(node, cancellationToken, "--record", _folder), "is a folder");
        AssertBadUsage(await TapAsync(node, cancellationToken, "--record", Path.Combine(_folder, "none", "trace")), "There is no folder");
        AssertBadUsage(await TapAsync(node, cancellationToken, "--record", ""), "--record");
        Assert.That(node.Peers, Is.Zero);
        Run forced = await TapAsync(node, cancellationToken, "--record", path, "--force", "--count", "1");

        Assert.That(forced.ExitCode, Is.Zero);
        Assert.That(Trace.ReadFile(path).Messages, Has.Count.EqualTo(1));
    }

    [Test, Platform("Linux"), CancelAfter(30_000)]
    public async Task A_full_disk_ends_it_with_what_is_wrong(CancellationToken cancellationToken)
    {
        byte[] large = new Mempool.Message { Txs = new() { Txs_ = { ByteString.CopyFrom(new byte[70_000]) } } }.ToByteArray();
        await using RecordedNode node = await RecordedNode.StartAsync([(0x30, large)], cancellationToken: cancellationToken);

        Run run = await TapAsync(node, cancellationToken, "--record", "/dev/full", "--force", "--json");

        Assert.That(run.ExitCode, Is.EqualTo(1));
        Assert.That(run.Error, Is.EqualTo("'/dev/full' cannot be written: No space left on device : '/dev/full'.\n"));
        JsonElement summary = Events(run, "summary").Single();
        Assert.That(summary.GetProperty("error").GetString(), Does.Contain("No space left"));
        Assert.That(summary.GetProperty("recording").GetProperty("messages").GetInt32(), Is.Zero);
    }

    [Test, CancelAfter(30_000)]
    public async Task An_output_that_cannot_be_written_ends_it_and_the_recording_is_whole(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync([(0x30, Transactions)], cancellationToken: cancellationToken);
        string path = Path.Combine(_folder, "trace");
        using BrokenWriter output = new();
        using StringWriter error = new();

        int exitCode = await CommandLine.RunAsync(
            ["tap", $"{node.Address}", "--record", path, "--json"],
            new CommandHost(output, TextWriter.Synchronized(error), Terminal: null),
            cancellationToken);

        Assert.That(exitCode, Is.EqualTo(1));
        Assert.That(error.ToString(), Is.EqualTo("The output cannot be written: It is broken.\n"));
    }

    [TestCase("--channel", "memepool", "0x30 mempool")]
    [TestCase("--channel", "0x99", "0x30 mempool")]
    [TestCase("--channel", "", "0x30 mempool")]
    [TestCase("--kind", "votes", "has_vote")]
    [TestCase("--kind", "vote,", "has_vote")]
    [TestCase("--peer", "zz", "beginning of the id")]
    [TestCase("--peer", "", "beginning of the id")]
    [TestCase("--count", "0", "--count")]
    [TestCase("--count", "-1", "--count")]
    [TestCase("--count", "9999999999999999999", "--count")]
    [TestCase("--duration", "0", "--duration")]
    [TestCase("--network", " ", "--network")]
    [TestCase("--jsn", "x", "--json")]
    [CancelAfter(30_000)]
    public async Task A_bad_option_is_bad_usage_and_the_right_ones_are_named(string option, string value, string named, CancellationToken cancellationToken) =>
        AssertBadUsage(await Run.CommandAsync(cancellationToken, "tap", "0123456789012345678901234567890123456789@127.0.0.1:1", option, value), named);

    [Test, CancelAfter(30_000)]
    public async Task Bad_addresses_are_bad_usage(CancellationToken cancellationToken)
    {
        string[] many = [.. Enumerable.Range(0, 17).Select(i => string.Create(CultureInfo.InvariantCulture, $"{i:d40}@127.0.0.1:1"))];

        AssertBadUsage(await Run.CommandAsync(cancellationToken, "tap"), "ID@HOST:PORT");
        AssertBadUsage(await Run.CommandAsync(cancellationToken, "tap", "127.0.0.1:1"), "'127.0.0.1:1'");
        AssertBadUsage(await Run.CommandAsync(cancellationToken, "tap", many[0], many[0]), "named twice");
        AssertBadUsage(await Run.CommandAsync(cancellationToken, ["tap", .. many]), "17 addresses");
        AssertBadUsage(await Run.CommandAsync(cancellationToken, "tap", many[0], "--kind", "vote", "--channel", "mempool"), "on the channels asked for");
    }

    private static readonly Comparer<(byte Channel, byte[] Bytes)> ByChannel = Comparer<(byte Channel, byte[] Bytes)>.Create(static (a, b) => a.Channel.CompareTo(b.Channel));

    private static Task<Run> TapAsync(RecordedNode node, CancellationToken cancellationToken, params string[] options) =>
        Run.CommandAsync(cancellationToken, ["tap", node.Address.ToString(), .. options]);

    /// <summary>Taps a node until something has happened, which is Ctrl+C.</summary>
    private static async Task<Run> TapUntilAsync(RecordedNode node, Task happened, CancellationToken cancellationToken, params string[] options)
    {
        using CancellationTokenSource interrupt = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<Run> tap = TapAsync(node, interrupt.Token, options);
        await Task.WhenAny(happened, tap);
        await interrupt.CancelAsync();
        return await tap;
    }

    private static JsonElement[] Events(Run run, string name) =>
    [
        .. run.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonElement.Parse(line))
            .Where(line => line.GetProperty("event").GetString() == name),
    ];

    private static string Kind(JsonElement message) => message.GetProperty("kind").GetString()!;

    private static void AssertHas(Trace trace, int peer, RecordedMessage[] recorded)
    {
        foreach (byte channel in StandardChannels.All.Select(known => known.Id))
        {
            Assert.That(
                trace.Messages.Where(message => message.Peer == peer && message.Channel.Id == channel).Select(message => message.Data.ToArray()),
                Is.EqualTo(recorded.Where(message => message.Channel == channel).Select(message => message.Bytes)),
                $"channel 0x{channel:x2}");
        }
    }

    private static void AssertBadUsage(Run run, params string[] named)
    {
        Assert.That(run, Has.Property("ExitCode").EqualTo(2).And.Property("Output").Empty);
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        foreach (string part in named)
        {
            Assert.That(run.Error, Does.Contain(part));
        }
    }

    /// <summary>Says when something has been written.</summary>
    private sealed class WatchingWriter(Func<string, bool> isIt) : StringWriter
    {
        private readonly TaskCompletionSource _seen = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task Seen => _seen.Task;

        public override void WriteLine(string? value)
        {
            base.WriteLine(value);
            if (isIt(value ?? ""))
            {
                _seen.TrySetResult();
            }
        }

        public override Task WriteLineAsync(string? value)
        {
            WriteLine(value);
            return Task.CompletedTask;
        }
    }

    private sealed class BrokenWriter : StringWriter
    {
        public override Task WriteLineAsync(string? value) => throw new IOException("It is broken.");
    }
}
