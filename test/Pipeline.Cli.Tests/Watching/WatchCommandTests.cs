using System.Text.Json;
using System.Xml.Linq;
using Google.Protobuf;
using Microsoft.Extensions.Logging.Abstractions;
using Pipeline.Cli.Tests.Commands;
using Pipeline.Cli.Tests.Tap;
using Pipeline.Cli.Traces;
using Pipeline.Cli.Watching;
using Pipeline.Cryptography;
using Pipeline.Protocols;
using Pipeline.Protocols.Consensus;
using Pipeline.Protocols.Types;
using Pipeline.Reactors;
using Pipeline.Transport;
using Spectre.Console;

namespace Pipeline.Cli.Tests.Watching;

[TestFixture]
public sealed class WatchCommandTests
{
    private static readonly XNamespace Svg = "http://www.w3.org/2000/svg";

    private string _folder = "";

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("pipeline-watch-").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [Test, CancelAfter(60_000)]
    public async Task The_trace_shows_its_heights_one_after_the_other(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "watch", "--trace", "demo", "--json");

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        JsonElement[] heights = Events(run, "height");
        Assert.That(heights.Select(height => height.GetProperty("height").GetInt64()), Is.EqualTo(Enumerable.Range(77, 23)));
        Assert.That(heights.Select(height => height.GetProperty("validators").GetInt32()), Is.All.EqualTo(4));
        Assert.That(heights.Select(height => height.GetProperty("rounds")[0].GetProperty("precommits").GetArrayLength()), Is.All.InRange(3, 4));
        Assert.That(heights[0].GetProperty("proposal_to_commit_us").GetInt64(), Is.EqualTo(231_739));
        Assert.That(Events(run, "summary").Single().GetProperty("heights").GetInt32(), Is.EqualTo(23));
    }

    [Test, CancelAfter(60_000)]
    public async Task Text_has_a_line_for_each_height_and_one_at_the_end(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "watch", "--trace", "demo", "--count", "2");

        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output.TrimEnd().Split('\n'), Has.Length.EqualTo(3));
        Assert.That(run.Output, Does.StartWith("height 77, round 0: block e4939e72 of 1 part, prevotes 4 and precommits 4 of 4, committed 232 ms after its proposal\n"));
        Assert.That(run.Output, Does.EndWith("2 heights in 2.22 s; from proposal to commit 232 to 300 ms, half of them within 232 ms.\n"));
    }

    [Test, CancelAfter(60_000)]
    public async Task The_drawing_of_the_trace_has_every_vote_and_commit(CancellationToken cancellationToken)
    {
        string path = Path.Combine(_folder, "rounds.svg");

        Run run = await Run.CommandAsync(cancellationToken, "watch", "--trace", "demo", "--svg", path, "--svg-heights", "5");

        Assert.That(run.ExitCode, Is.Zero);
        XElement drawing = XElement.Load(path);
        string[] texts = [.. drawing.Elements(Svg + "text").Select(text => text.Value)];
        Assert.That(texts.Where(text => text.StartsWith("height ", StringComparison.Ordinal)), Is.EqualTo(["height 95", "height 96", "height 97", "height 98", "height 99"]));
        Assert.That(texts, Has.Member("348 ms to commit").And.Member("285 ms to commit"));

        // A proposal, a part and four validators' two votes for each; the four commits are lines with an opacity.
        Assert.That(drawing.Elements(Svg + "circle").Count(), Is.EqualTo(5 * 10));
        Assert.That(drawing.Elements(Svg + "line").Count(line => line.Attribute("stroke-opacity") is not null), Is.EqualTo(5 * 4));
        double width = double.Parse(drawing.Attribute("width")!.Value, System.Globalization.CultureInfo.InvariantCulture);
        Assert.That(
            drawing.Elements(Svg + "circle").Select(circle => double.Parse(circle.Attribute("cx")!.Value, System.Globalization.CultureInfo.InvariantCulture)),
            Is.All.InRange(0, width));
    }

    [TestCase("A", "trace", "--trace", "demo", "0123456789abcdef0123456789abcdef01234567@h:1")]
    [TestCase("Expected is either nodes", "nothing")]
    [TestCase("There is no option '--nope'", "unknown", "--nope")]
    [TestCase("is not a whole number from 1 to 100", "too many", "--trace", "demo", "--svg-heights", "101")]
    [TestCase("is in a folder that does not exist", "no folder", "--trace", "demo", "--svg", "/nowhere/at/all.svg")]
    [TestCase("There is no file", "no trace", "--trace", "/nowhere/at/all")]
    [CancelAfter(30_000)]
    public async Task What_cannot_be_done_as_it_is_asked_says_so_in_a_line(string expected, string name, params string[] args)
    {
        Run run = await Run.CommandAsync(TestContext.CurrentContext.CancellationToken, ["watch", .. args]);

        Assert.That(run.ExitCode, Is.EqualTo(2), name);
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        Assert.That(run.Error, Does.Contain(expected == "A" ? "Expected is either nodes" : expected));
        Assert.That(run.Output, Is.Empty);
    }

    [Test, CancelAfter(60_000)]
    public async Task A_node_is_watched_and_told_its_own_steps_and_nothing_else(CancellationToken cancellationToken)
    {
        RecordedMessage[] recorded = Consensus(3);
        byte[][] steps = [.. recorded.Where(message => message.Kind == "new_round_step").Select(message => message.Bytes)];
        await using RecordedNode node = await RecordedNode.StartAsync(recorded, cancellationToken: cancellationToken);
        using CancellationTokenSource interrupt = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);

        Task<Run> watch = Run.CommandAsync(interrupt.Token, "watch", node.Address.ToString(), "--json");
        await Task.WhenAny(node.WhenToldAsync(steps.Length, cancellationToken), watch);
        await interrupt.CancelAsync();
        Run run = await watch;

        Assert.That(run.ExitCode, Is.EqualTo(130));
        Assert.That(node.Told.Select(told => told.Bytes), Is.EqualTo(steps));
        Assert.That(Events(run, "peer_connected").Single().GetProperty("moniker").GetString(), Is.EqualTo("validator"));
        JsonElement summary = Events(run, "summary").Single();
        Assert.That(summary.GetProperty("peers")[0].GetProperty("id").GetString(), Is.EqualTo(node.Id.ToString()));
        Assert.That(Events(run, "height").Length, Is.EqualTo(summary.GetProperty("heights").GetInt32()));
    }

    [Test, CancelAfter(60_000)]
    public async Task Watching_ends_after_as_many_heights_as_were_asked_for(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync(Consensus(3), cancellationToken: cancellationToken);

        Run run = await Run.CommandAsync(cancellationToken, "watch", node.Address.ToString(), "--network", "chain-1", "--count", "3", "--json");

        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(Events(run, "height"), Has.Length.EqualTo(3));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_node_that_is_not_there_is_a_failure(CancellationToken cancellationToken)
    {
        RecordedNode node = await RecordedNode.StartAsync(Array.Empty<RecordedMessage>(), cancellationToken: cancellationToken);
        string address = node.Address.ToString();
        await node.DisposeAsync();

        Run run = await Run.CommandAsync(cancellationToken, "watch", address);

        Assert.That(run.ExitCode, Is.EqualTo(1));
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
    }

    [TestCase(80, 24)]
    [TestCase(120, 40)]
    [TestCase(200, 60)]
    public void The_table_fits_the_screen(int width, int height)
    {
        using StringWriter screen = new();
        IAnsiConsole terminal = AnsiConsole.Create(new AnsiConsoleSettings { Out = new Screen(screen, width, height), Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors });
        ConsensusView view = ConsensusReplay.Run(Trace.ReadBundled(), WatchOptions.Observer).View;

        terminal.Write(ConsensusTable.Render(view, "The consensus", ["news " + new string('x', 250)], width, height));

        string[] lines = [.. screen.ToString().Split('\n').Select(line => line.TrimEnd())];
        Assert.That(lines, Has.Length.LessThan(height));
        Assert.That(lines, Has.All.Length.LessThanOrEqualTo(width));
        Assert.That(lines, Has.Some.Match(@"^  0 694362\S* +(■ ■ +)+· ·$").And.Some.Match(@"^commit after ms .*285$").And.Some.Match("^0{8} +peer 0 +100 +0 +new height"));
    }

    [Test]
    public void What_one_liar_invents_is_neither_in_the_line_nor_in_the_table_nor_in_the_drawing()
    {
        HeightView alone = Watch(liar: null).Find(10)!;
        ConsensusView view = Watch(liar: 3);
        HeightView height = view.Find(10)!;

        TextWatchFormat format = new(TextWriter.Null);
        Assert.That(format.Of(height), Is.EqualTo(format.Of(alone)).And.Contain("prevotes 4 and precommits 4 of 4"));

        XElement drawing = XElement.Parse(RoundChart.Draw([height], 1, "one"));
        Assert.That(drawing.Elements(Svg + "text").Select(text => text.Value), Is.EqualTo(XElement.Parse(RoundChart.Draw([alone], 1, "one")).Elements(Svg + "text").Select(text => text.Value)));
        double bottom = Number(drawing, "height");
        Assert.That(drawing.Elements(Svg + "circle").Select(circle => Number(circle, "cy")), Is.All.InRange(0, bottom - 44));
        Assert.That(drawing.Elements(Svg + "circle").Select(circle => Number(circle, "cx")), Is.All.InRange(150, 880));

        using StringWriter screen = new();
        IAnsiConsole terminal = AnsiConsole.Create(new AnsiConsoleSettings { Out = new Screen(screen, 80, 24), Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors });
        terminal.Write(ConsensusTable.Render(view, "The consensus", [], 80, 24));
        Assert.That(screen.ToString(), Does.Not.Contain("more").And.Contain("10/0").And.Not.Contain("10/1"));

        static double Number(XElement element, string name) => double.Parse(element.Attribute(name)!.Value, System.Globalization.CultureInfo.InvariantCulture);
    }

    /// <summary>A height that three of four peers tell of, and one that invents whatever there is to invent when <paramref name="liar"/> says which.</summary>
    private static ConsensusView Watch(int? liar)
    {
        ConsensusObserver observer = new(WatchOptions.Observer);
        DateTimeOffset now = DateTimeOffset.UnixEpoch + TimeSpan.FromHours(1);
        for (int peer = 0; peer < 4; peer++)
        {
            observer.Join(IdOf(peer), $"peer {peer}");
        }

        Lie(new Message { NewRoundStep = new NewRoundStep { Height = 5, Step = 3 } });
        Lie(new Message { HasVote = new HasVote { Height = 5, Index = 9_999, Type = SignedMsgType.Prevote } });

        // An hour before, one that it cannot know of yet.
        Lie(new Message { HasVote = new HasVote { Height = 10, Index = 2, Type = SignedMsgType.Prevote } });
        now += TimeSpan.FromHours(1);
        Each(new Message { NewRoundStep = new NewRoundStep { Height = 10, Step = 3 } });
        Lie(new Message { NewRoundStep = new NewRoundStep { Height = 10, Step = 3 } });
        Each(new Message { Proposal = new Pipeline.Protocols.Consensus.Proposal { Proposal_ = MakeProposal() } }, StandardChannels.ConsensusData);
        Each(new Message { HasProposalBlockPart = new HasProposalBlockPart { Height = 10, Index = 1 } });
        foreach (SignedMsgType type in (SignedMsgType[])[SignedMsgType.Prevote, SignedMsgType.Precommit])
        {
            for (int validator = 0; validator < 4; validator++)
            {
                Each(new Message { HasVote = new HasVote { Height = 10, Index = validator, Type = type } });
            }

            for (int validator = 0; validator < 10_000; validator++)
            {
                Lie(new Message { HasVote = new HasVote { Height = 10, Index = validator, Type = type } });
            }

            for (int round = 1; round < 10; round++)
            {
                Lie(new Message { HasVote = new HasVote { Height = 10, Round = round, Index = 1, Type = type } });
            }
        }

        Each(new Message { NewRoundStep = new NewRoundStep { Height = 11, Step = 1 } });
        now += TimeSpan.FromHours(1);
        Lie(new Message { HasVote = new HasVote { Height = 10, Round = 1, Index = 3, Type = SignedMsgType.Prevote } });
        Lie(new Message { HasProposalBlockPart = new HasProposalBlockPart { Height = 10, Index = 0 } });
        Lie(new Message { NewRoundStep = new NewRoundStep { Height = 11, Step = 1 } });
        return observer.View;

        void Each(Message message, ChannelDescriptor<Message>? channel = null)
        {
            now += TimeSpan.FromMilliseconds(20);
            for (int peer = 0; peer < 3; peer++)
            {
                Assert.That(observer.Observe(IdOf(peer), channel ?? StandardChannels.ConsensusState, message, now), Is.Null);
            }
        }

        void Lie(Message message)
        {
            if (liar is { } peer)
            {
                Assert.That(observer.Observe(IdOf(peer), StandardChannels.ConsensusState, message, now), Is.Null);
            }
        }

        static NodeId IdOf(int peer) => NodeId.Parse($"{peer:x40}");

        static Pipeline.Protocols.Types.Proposal MakeProposal()
        {
            ByteString hash = ByteString.CopyFrom(new byte[32]);
            return new()
            {
                Type = SignedMsgType.Proposal,
                Height = 10,
                PolRound = -1,
                BlockId = new BlockID { Hash = hash, PartSetHeader = new PartSetHeader { Total = 2, Hash = hash } },
                Signature = ByteString.CopyFrom(new byte[64]),
            };
        }
    }

    /// <summary>One that takes the connection and then says nothing would be waited for for 20 s.</summary>
    [Test, CancelAfter(30_000)]
    public async Task A_node_that_never_answers_does_not_delay_the_others(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync(Consensus(3), cancellationToken: cancellationToken);
        await using RemoteNode silent = RemoteNode.That((stream, stopped) => stream.CopyToAsync(Stream.Null, stopped));
        long begin = TimeProvider.System.GetTimestamp();

        Run counted = await Run.CommandAsync(cancellationToken, "watch", silent.Address.ToString(), node.Address.ToString(), "--network", "chain-1", "--count", "1", "--json");
        Run timed = await Run.CommandAsync(cancellationToken, "watch", silent.Address.ToString(), node.Address.ToString(), "--network", "chain-1", "--duration", "1s", "--json");

        Assert.That(new[] { counted.ExitCode, timed.ExitCode }, Is.All.Zero, counted.Error + timed.Error);
        Assert.That(Events(timed, "summary").Single().GetProperty("duration_s").GetDouble(), Is.InRange(0.9, 8));
        Assert.That(TimeProvider.System.GetElapsedTime(begin), Is.LessThan(TimeSpan.FromSeconds(15)));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_mistake_in_what_shows_the_heights_is_not_taken_for_the_end(CancellationToken cancellationToken)
    {
        await using RecordedNode node = await RecordedNode.StartAsync(Consensus(3), cancellationToken: cancellationToken);
        WatchRun run = new(new WatchOptions(), new MistakenView(), TimeProvider.System);

        Assert.That(
            async () => await run.RunAsync([node.Address], "chain-1", new ProtocolVersions(), NullLoggerFactory.Instance, cancellationToken),
            Throws.InvalidOperationException.With.Message.EqualTo("a mistake"));
    }

    [Test]
    public void What_a_remote_writes_cannot_command_a_terminal()
    {
        WatchNews news = new(TimeSpan.Zero, "peer_disconnected", default, "\u001b[2J", "disconnected. \u001b]0;title\u0007\r\n\u009b31m\u202e");
        using StringWriter output = new();
        ConsensusObserver observer = new();
        observer.Join(NodeId.Parse(new string('a', 40)), "\u001b[31mred[bold]\u009b");
        IAnsiConsole terminal = AnsiConsole.Create(new AnsiConsoleSettings { Out = new Screen(output, 120, 40), Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors });
        news = news with { Node = observer.View.Peers[0].Id };
        TextWatchFormat text = new(output);
        JsonWatchFormat json = new(output);
        foreach (IWatchFormat format in (IWatchFormat[])[text, json])
        {
            output.WriteLine(format.Of(news));
            foreach (string line in format.Of(new WatchResult(observer.View, TimeSpan.Zero, 0, 0)))
            {
                output.WriteLine(line);
            }
        }

        terminal.Write(ConsensusTable.Render(observer.View, "The consensus", [text.Of(news)], 120, 40));

        Assert.That(output.ToString().Where(c => char.IsControl(c) && c != '\n'), Is.Empty);
        Assert.That(output.ToString(), Does.Not.Contain("\u202e").And.Contain("\\u001b"));
    }

    private sealed class MistakenView : IWatchView
    {
        public void Show(HeightView height) => throw new InvalidOperationException("a mistake");

        public void Tell(WatchNews news)
        {
            // It is about the heights.
        }

        public Task RunAsync(Func<ConsensusView> read, Task ended) => ended;
    }

    // A peer that only watches has no other channels.
    private static RecordedMessage[] Consensus(int session) => [.. RecordedMessage.Session(session).Where(message => message.Channel is >= 0x20 and <= 0x23)];

    private static JsonElement[] Events(Run run, string name) =>
    [
        .. run.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonElement.Parse(line))
            .Where(line => line.GetProperty("event").GetString() == name),
    ];
}
