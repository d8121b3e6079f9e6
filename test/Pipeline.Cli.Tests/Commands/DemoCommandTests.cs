using System.Text.Json;
using Google.Protobuf;
using Pipeline.Cli.Tests.Traces;
using Pipeline.Cli.Traces;
using Spectre.Console;
using Mempool = Pipeline.Protocols.Mempool;
using StateSync = Pipeline.Protocols.StateSync;

namespace Pipeline.Cli.Tests.Commands;

[TestFixture]
public sealed class DemoCommandTests
{
    private static readonly string[] Names =
    [
        "pex", "consensus state", "consensus data", "consensus vote", "consensus vote set bits", "mempool", "evidence", "block sync",
        "state sync snapshots", "state sync chunks",
    ];

    private string _folder = "";

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("pipeline-demo-").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [Test, CancelAfter(60_000)]
    public async Task Every_message_of_the_bundled_trace_arrives_as_it_was_sent(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "demo", "--speed", "max", "--json");

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        Assert.That(run.Output.TrimEnd(), Does.Not.Contain('\n'));
        JsonElement json = JsonElement.Parse(run.Output);
        Assert.That(json.EnumerateObject().Select(property => property.Name), Is.EqualTo(new[]
        {
            "nodes", "messages_expected", "messages_received", "bytes_received", "out_of_order", "corrupt", "duration_s", "channels",
        }));
        Assert.That(json.GetProperty("nodes").GetInt32(), Is.EqualTo(5));
        Assert.That(json.GetProperty("messages_expected").GetInt32(), Is.EqualTo(9_725));
        Assert.That(json.GetProperty("messages_received").GetInt32(), Is.EqualTo(9_725));
        Assert.That(json.GetProperty("bytes_received").GetInt32(), Is.EqualTo(3_201_683));
        Assert.That(json.GetProperty("out_of_order").GetInt32(), Is.Zero);
        Assert.That(json.GetProperty("corrupt").GetInt32(), Is.Zero);
        Assert.That(json.GetProperty("duration_s").GetDouble(), Is.GreaterThan(0).And.LessThan(60));

        JsonElement[] channels = [.. json.GetProperty("channels").EnumerateArray()];
        Assert.That(Ints("id"), Is.EqualTo(new[] { 0x00, 0x20, 0x21, 0x22, 0x23, 0x30, 0x38, 0x40, 0x60, 0x61 }));
        Assert.That(channels.Select(channel => channel.GetProperty("name").GetString()), Is.EqualTo(Names));
        Assert.That(Ints("messages"), Is.EqualTo(new[] { 5, 1_291, 183, 713, 0, 7_361, 0, 172, 0, 0 }));
        Assert.That(Ints("bytes"), Is.EqualTo(new[] { 1_253, 13_534, 1_484_401, 133_501, 0, 1_428_034, 0, 140_960, 0, 0 }));
        foreach (JsonElement channel in channels)
        {
            JsonElement p50 = channel.GetProperty("p50_ms");
            JsonElement p99 = channel.GetProperty("p99_ms");
            if (channel.GetProperty("messages").GetInt32() == 0)
            {
                Assert.That(p50.ValueKind, Is.EqualTo(JsonValueKind.Null));
                Assert.That(p99.ValueKind, Is.EqualTo(JsonValueKind.Null));
            }
            else
            {
                Assert.That(p50.GetDouble(), Is.Positive);
                Assert.That(p99.GetDouble(), Is.GreaterThanOrEqualTo(p50.GetDouble()));
            }
        }

        int[] Ints(string property) => [.. channels.Select(channel => channel.GetProperty(property).GetInt32())];
    }

    [Test, CancelAfter(60_000)]
    public async Task The_summary_says_what_was_parsed_and_that_the_check_passed(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "demo", "--speed", "max");

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        string text = run.Output.Replace("\n  ", " ", StringComparison.Ordinal);
        Assert.That(text, Does.Contain("Parsed: 7,361 Txs, 729 HasVote, 713 Vote, ").And.Contain("; 7,361 transactions."));
        Assert.That(text, Does.Match(@"(?m)^0x21 consensus data +183 +1\.48 MB +[\d.,]+ +[\d.,]+$"));
        Assert.That(text, Does.Match(@"(?m)^peer 3 +2,433 +800 kB +[\d.,]+ +[\d.,]+$"));
        Assert.That(text, Does.EndWith("Check passed: all 9,725 messages arrived, in order and byte-identical.\n"));
    }

    [TestCase(true)]
    [TestCase(false)]
    [CancelAfter(60_000)]
    public async Task A_trace_may_use_every_channel_and_its_largest_messages(bool gzipped, CancellationToken cancellationToken)
    {
        byte[] evidence = new Protocols.Types.EvidenceList { Evidence = { new Protocols.Types.Evidence() } }.ToByteArray();
        byte[] chunk = new StateSync.Message
        {
            ChunkResponse = new StateSync.ChunkResponse { Height = 1, Chunk = ByteString.CopyFrom(new byte[15_999_900]) },
        }.ToByteArray();
        byte[] transaction = new Mempool.Message { Txs = new Mempool.Txs { Txs_ = { ByteString.CopyFrom(new byte[1 << 20]) } } }.ToByteArray();
        TraceBytes trace = new();
        for (byte peer = 0; peer < 4; peer++)
        {
            // Of a message without a field that is set nothing is left, and it arrives all the same.
            trace = StandardMessages.Channels.Keys.Aggregate(trace, (made, channel) => made.Record(0, peer, channel))
                .Record(0, peer, 0x38, evidence)
                .Record(0, peer, 0x30, transaction);
        }

        trace.Record(0, 0, 0x61, chunk);

        Run run = await RunOnAsync(gzipped ? trace.Gzipped : trace.Plain, cancellationToken, "--speed", "max", "--json");

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        JsonElement json = JsonElement.Parse(run.Output);
        Assert.That(json.GetProperty("messages_received").GetInt32(), Is.EqualTo((4 * 12) + 1));
        Assert.That(
            json.GetProperty("channels").EnumerateArray().Select(channel => channel.GetProperty("messages").GetInt32()),
            Is.EqualTo(new[] { 4, 4, 4, 4, 4, 8, 8, 4, 4, 5 }));
    }

    [Test, CancelAfter(60_000)]
    public async Task A_trace_is_sent_by_as_many_nodes_as_it_has_peers(CancellationToken cancellationToken)
    {
        TraceBytes all = new();
        for (byte peer = 0; peer < Trace.MaxPeers; peer++)
        {
            all.Record(0, peer, 0x30, [0x0a, 0x00]);
        }

        Run one = await RunOnAsync(new TraceBytes().Record(0, 0, 0x30, [0x0a, 0x00]).Plain, cancellationToken, "--json");
        Run most = await RunOnAsync(all.Plain, cancellationToken, "--json");

        Assert.That(one, Has.Property("ExitCode").Zero.And.Property("Output").StartsWith("""{"nodes":2,"messages_expected":1,"messages_received":1,"""));
        Assert.That(most, Has.Property("ExitCode").Zero.And.Property("Output").StartsWith("""{"nodes":17,"messages_expected":16,"messages_received":16,"""));
    }

    [Test, CancelAfter(60_000)]
    public async Task A_trace_that_was_cut_short_is_sent_as_far_as_it_is_whole_when_that_is_asked_for(CancellationToken cancellationToken)
    {
        byte[] cut = new TraceBytes().Record(0, 1, 0x30, [0x0a, 0x00]).Record(0, 1, 0x30, [0x0a, 0x00]).Plain[..^1];

        AssertBadUsage(await RunOnAsync(cut, cancellationToken), "record 2, at byte 6", "cut short", "--salvage");
        Run run = await RunOnAsync(cut, cancellationToken, "--salvage", "--json");

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Output").StartsWith("""{"nodes":3,"messages_expected":1,"messages_received":1,"""));
    }

    [Test, CancelAfter(60_000)]
    public async Task A_duration_ends_the_sending_of_what_was_due_until_then_which_is_checked(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "demo", "--speed", "5", "--duration", "300ms", "--json");

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        JsonElement json = JsonElement.Parse(run.Output);
        int due = Trace.ReadBundled().Messages.Count(message => message.At < TimeSpan.FromSeconds(1.5));
        Assert.That(json.GetProperty("messages_expected").GetInt32(), Is.GreaterThan(0).And.AtMost(due));
        Assert.That(json.GetProperty("messages_received").GetInt32(), Is.EqualTo(json.GetProperty("messages_expected").GetInt32()));
    }

    [Test, CancelAfter(60_000)]
    public async Task An_interrupt_stops_the_run_and_sums_up_how_far_it_came(CancellationToken cancellationToken)
    {
        using CancellationTokenSource interrupt = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using InterruptingWriter output = new(interrupt);

        int exitCode = await CommandLine.RunAsync(["demo", "--speed", "1"], new CommandHost(output, TextWriter.Null, Terminal: null), interrupt.Token);

        Assert.That(exitCode, Is.EqualTo(130));
        string[] lines = output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.That(lines[0], Does.Match(@"^ *\d\.\d\d s  [\d,]+ of 9,725 messages, .* messages/s, .*; waiting \d+ \+ \d+; p50 .* ms, p99 .* ms$"));
        Assert.That(lines[^1], Does.Match(@"^Interrupted: [1-9][\d,]* of 9,725 messages had arrived, in order and byte-identical\.$"));
    }

    [TestCase(80, 24)]
    [TestCase(120, 35)]
    [CancelAfter(60_000)]
    public async Task A_terminal_gets_a_live_view_that_fits_it(int width, int height, CancellationToken cancellationToken)
    {
        using StringWriter screen = new();
        IAnsiConsole terminal = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = AnsiSupport.Yes,
            ColorSystem = ColorSystemSupport.NoColors,
            Interactive = InteractionSupport.Yes,
            Out = new Screen(screen, width, height),
        });

        int exitCode = await CommandLine.RunAsync(
            ["demo", "--duration", "900ms"],
            new CommandHost(TextWriter.Null, TextWriter.Null, terminal),
            cancellationToken);

        Assert.That(exitCode, Is.Zero);
        string[] frames = screen.ToString().Split("5 nodes, 4 send to the last")[1..];
        Assert.That(frames, Has.Length.GreaterThan(1));
        string[] lines = [.. frames[^1].Split('\n').Select(Plain)];
        Assert.That(lines.TakeWhile(line => !line.Contains("Ctrl+C", StringComparison.Ordinal)).ToArray(), Has.Length.LessThan(height - 1));
        Assert.That(lines, Has.All.Length.LessThanOrEqualTo(width));
        Assert.That(lines, Has.Some.Match(@"^0x30 mempool +[1-9]").And.Some.Match(@"^peer 3 +[1-9]").And.Some.Match(@"^all +[1-9]"));

        static string Plain(string line) => System.Text.RegularExpressions.Regex.Replace(line, "\u001b\\[[0-9;?]*[A-Za-z]|\r", "");
    }

    [Test, CancelAfter(30_000)]
    public async Task A_file_that_is_not_there_or_no_file_is_bad_usage(CancellationToken cancellationToken)
    {
        AssertBadUsage(await Run.CommandAsync(cancellationToken, "demo", "--trace", Path.Combine(_folder, "none")), "There is no file", "none");
        AssertBadUsage(await Run.CommandAsync(cancellationToken, "demo", "--trace", Path.Combine(_folder, "none", "x")), "There is no file", "none");
        AssertBadUsage(await Run.CommandAsync(cancellationToken, "demo", "--trace", _folder), _folder, "is a folder");
        AssertBadUsage(await Run.CommandAsync(cancellationToken, "demo", "--trace", "a\0b"), "--trace");
        AssertBadUsage(await Run.CommandAsync(cancellationToken, "demo", "--trace", ""), "--trace");
    }

    [Test, CancelAfter(30_000)]
    public async Task A_damaged_trace_is_bad_usage_and_nothing_is_started(CancellationToken cancellationToken)
    {
        TraceBytes good = new TraceBytes().Record(0, 1, 0x00, [0x0a, 0x00]);

        AssertBadUsage(await RunOnAsync([], cancellationToken), "is empty");
        AssertBadUsage(await RunOnAsync("not a trace"u8.ToArray(), cancellationToken), "record 1, at byte 0", "peer 111");
        AssertBadUsage(await RunOnAsync(good.Gzipped[..^3], cancellationToken), "cut short");
        AssertBadUsage(await RunOnAsync(good.Record(0, 0, 0x22, 0x32, 0x05).Plain, cancellationToken, "--json"), "record 2", "not one of channel 0x22");
    }

    [TestCase("--speed", "0")]
    [TestCase("--speed", "-1")]
    [TestCase("--speed", "NaN")]
    [TestCase("--speed", "Infinity")]
    [TestCase("--speed", "1e9")]
    [TestCase("--speed", "fast")]
    [TestCase("--speed", "1,5")]
    [TestCase("--speed", "")]
    [TestCase("--duration", "0")]
    [TestCase("--duration", "-3s")]
    [TestCase("--duration", "soon")]
    [TestCase("--duraton", "3s")]
    [CancelAfter(30_000)]
    public async Task A_bad_option_is_bad_usage(string option, string value, CancellationToken cancellationToken) =>
        AssertBadUsage(await Run.CommandAsync(cancellationToken, "demo", option, value), option);

    private static void AssertBadUsage(Run run, params string[] named)
    {
        Assert.That(run, Has.Property("ExitCode").EqualTo(2).And.Property("Output").Empty);
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        foreach (string part in named)
        {
            Assert.That(run.Error, Does.Contain(part));
        }
    }

    private async Task<Run> RunOnAsync(byte[] trace, CancellationToken cancellationToken, params string[] options)
    {
        string path = Path.Combine(_folder, "trace");
        await File.WriteAllBytesAsync(path, trace, cancellationToken);
        return await Run.CommandAsync(cancellationToken, ["demo", "--trace", path, .. options]);
    }

    /// <summary>Is Ctrl+C as soon as somebody sees that messages arrive.</summary>
    private sealed class InterruptingWriter(CancellationTokenSource interrupt) : StringWriter
    {
        public override async Task WriteLineAsync(string? value)
        {
            await base.WriteLineAsync(value);
            if (value?.Contains(" s  0 of", StringComparison.Ordinal) is false)
            {
                await interrupt.CancelAsync();
            }
        }
    }
}
