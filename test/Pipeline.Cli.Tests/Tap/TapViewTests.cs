using System.Collections.Immutable;
using System.Text.Json;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cli.Tap;
using Pipeline.Cli.Tap.Views;
using Pipeline.Cli.Traces;
using Pipeline.Protocols;
using Pipeline.Transport;
using Pipeline.Wire;
using Spectre.Console;

namespace Pipeline.Cli.Tests.Tap;

[TestFixture]
public sealed class TapViewTests
{
    [TestCase(80, 24, 1)]
    [TestCase(80, 24, 16)]
    [TestCase(120, 40, 4)]
    [TestCase(200, 130, 16)]
    public void A_screen_of_all_there_is_fits_the_terminal(int width, int height, int nodes)
    {
        using StringWriter screen = new();
        IAnsiConsole terminal = MakeTerminal(screen, width, height);
        RateScreen view = new(terminal, new TextFormat(TextWriter.Null), "Listening", TimeProvider.System);
        TapCounts counts = CountsOfAll(nodes);
        for (int i = 0; i < 10; i++)
        {
            view.Tell(new TapNews(TimeSpan.Zero, "news", null, $"news {i} " + new string('x', 250)));
        }

        RateWindow<TapSnapshot> rates = new(static snapshot => snapshot.Elapsed);
        rates.Add(counts.Take(TimeSpan.Zero));
        TapSnapshot now = counts.Take(TimeSpan.FromSeconds(1));
        rates.Add(now);
        terminal.Write(view.Render(now, rates));

        string[] lines = [.. screen.ToString().Split('\n').Select(line => line.TrimEnd())];
        Assert.That(lines, Has.Length.LessThan(height));
        Assert.That(lines, Has.All.Length.LessThanOrEqualTo(width));
        Assert.That(lines, Has.Some.Match(@"^0x30 mempool +\d").And.Some.Match(@"^all +\d").And.Some.Contains("news 9").And.None.Contains("news 6").And.Some.Contains("Ctrl+C"));
        Assert.That(lines.Any(line => line.StartsWith("  has_vote", StringComparison.Ordinal)), Is.EqualTo(height == 130));
        Assert.That(lines.Any(line => line.Contains("nodes more", StringComparison.Ordinal)), Is.EqualTo(nodes == 16 && height == 24));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_screen_is_drawn_until_the_end(CancellationToken cancellationToken)
    {
        using StringWriter screen = new();
        FakeTimeProvider time = new();
        TaskCompletionSource ended = new();
        TaskCompletionSource drawn = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TapCounts counts = CountsOfAll(1);
        int reads = 0;
        Task view = new RateScreen(MakeTerminal(screen, 80, 24), new TextFormat(TextWriter.Null), "Listening", time).RunAsync(Read, ended.Task);

        while (!drawn.Task.IsCompleted)
        {
            cancellationToken.ThrowIfCancellationRequested();
            time.Advance(TimeSpan.FromMilliseconds(200));
            await Task.Yield();
        }

        ended.SetResult();
        await view.WaitAsync(cancellationToken);
        Assert.That(screen.ToString(), Does.Contain("Listening, 3.00 s").And.Contain("0x30 mempool"));

        TapSnapshot Read()
        {
            if (++reads == 5)
            {
                drawn.TrySetResult();
            }

            return counts.Take(TimeSpan.FromSeconds(reads));
        }
    }

    [TestCase(false)]
    [TestCase(true)]
    [CancelAfter(30_000)]
    public async Task Elsewhere_a_line_a_second_says_how_much_comes(bool json, CancellationToken cancellationToken)
    {
        using StringWriter output = new();
        FakeTimeProvider time = new();
        TaskCompletionSource ended = new();
        ImmutableArray<TappedNode> nodes = Nodes(1);
        TapCounts counts = new(nodes);
        long start = time.GetTimestamp();
        ITapFormat format = json ? new JsonFormat(output) : new TextFormat(TextWriter.Null);
        TaskCompletionSource[] reads = [new(TaskCreationOptions.RunContinuationsAsynchronously), new(TaskCreationOptions.RunContinuationsAsynchronously)];
        int read = 0;
        Task view = new RateLines(format, output, time).RunAsync(Read, ended.Task);

        for (int i = 0; i < 30; i++)
        {
            counts.Add(new HeardMessage(TimeSpan.Zero, nodes[0], StandardChannels.Mempool, "txs", 1_000, null));
        }

        time.Advance(TimeSpan.FromSeconds(1));
        await reads[1].Task.WaitAsync(cancellationToken);
        ended.SetResult();
        await view.WaitAsync(cancellationToken);

        string line = output.ToString().TrimEnd();
        if (json)
        {
            JsonElement all = JsonElement.Parse(line).GetProperty("all");
            Assert.That(all.GetRawText(), Is.EqualTo("""{"messages":30,"bytes":30000,"messages_per_s":30,"bytes_per_s":30000}"""));
            Assert.That(JsonElement.Parse(line).GetProperty("channels")[0].GetProperty("kinds").GetProperty("txs").GetRawText(), Is.EqualTo(all.GetRawText()));
        }
        else
        {
            Assert.That(line, Is.EqualTo("    1.000  30 messages, 30.0 kB; 30 messages/s, 30.0 kB/s: mempool 30"));
        }

        TapSnapshot Read()
        {
            TapSnapshot snapshot = counts.Take(time.GetElapsedTime(start));
            reads[Math.Min(read++, 1)].TrySetResult();
            return snapshot;
        }
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    public void Each_recorded_message_has_a_short_line_fit_for_a_terminal(int session)
    {
        string[] withoutFields = ["pex_request", "status_request"];
        foreach (RecordedMessage recorded in RecordedMessage.Session(session))
        {
            string summary = MessageSummary.Of(StandardMessages.TryParse(recorded.Channel, recorded.Bytes)!);
            Assert.That(summary, Has.Length.LessThan(160).And.Matches("^[ -~…]*$"));
            Assert.That(summary.Length == 0, Is.EqualTo(withoutFields.Contains(recorded.Kind)), recorded.Kind);
        }
    }

    [TestCase(0x20, "0a0408371803", "height 55, round 0, propose, last commit of round 0")]
    [TestCase(0x20, "3a06083718012002", "height 55, round 0, prevote of validator 2")]
    [TestCase(0x30, "0a080a030102030a0104", "2 transactions, 4 B")]
    [TestCase(0x40, "2a0408361001", "heights 1 to 54")]
    [TestCase(0x38, "", "0 pieces of evidence")]
    [TestCase(0x38, "0a0212000a00", "2 pieces of evidence, light client attack since height 0, unknown")]
    [TestCase(0x60, "120a08051001180222020a0b", "height 5, format 1, 2 chunks, hash 0a0b")]
    [TestCase(0x61, "220408052801", "height 5, format 0, chunk 0, missing")]
    [TestCase(0x21, "1a00", "empty")]
    [TestCase(0x22, "3200", "empty")]
    [TestCase(0x21, "2a00", "height 0, round 0, part 1 of 0, 0 B")]
    [TestCase(0x23, "4a00", "height 0, round 0, vote of type 0s 0 of 0 for no block")]
    public void A_line_says_what_matters(byte channel, string hex, string line) =>
        Assert.That(MessageSummary.Of(StandardMessages.TryParse(channel, Convert.FromHexString(hex))!), Is.EqualTo(line));

    [TestCase("", "-")]
    [TestCase("plain", "plain")]
    [TestCase("\u001b[2J\u009b\u0000é", @"\u001b[2J\u009b\u0000\u00e9")]
    public void What_is_printed_is_printable(string text, string printed) => Assert.That(Printable.Of(text), Is.EqualTo(printed));

    [TestCase("12345", 5, "12345")]
    [TestCase("123456", 5, "1234…")]
    [TestCase("\u001b", 5, @"\u00…")]
    public void What_is_printed_is_no_longer_than_it_may_be(string text, int most, string printed) => Assert.That(Printable.Of(text, most), Is.EqualTo(printed));

    [TestCase("mempool", 0x30)]
    [TestCase("MEMPOOL", 0x30)]
    [TestCase("0x30", 0x30)]
    [TestCase("0X30", 0x30)]
    [TestCase("block-sync", 0x40)]
    [TestCase("consensus", 0x20, 0x21, 0x22, 0x23)]
    [TestCase("consensus-vote", 0x22, 0x23)]
    [TestCase("state_sync", 0x60, 0x61)]
    public void A_channel_has_several_names(string text, params int[] ids)
    {
        Assert.That(TapFilter.FindChannels(text, out string? error).Select(channel => (int)channel.Id), Is.EqualTo(ids));
        Assert.That(error, Is.Null);
    }

    [Test]
    public void A_node_may_be_named_by_how_its_id_begins_unless_several_do()
    {
        Cryptography.NodeId[] nodes = [.. Nodes(2).Select(node => node.Id)];

        Assert.That(TapFilter.FindNode(nodes[1].ToString(), nodes, out _), Is.EqualTo(nodes[1]));
        Assert.That(TapFilter.FindNode("01", nodes, out _), Is.EqualTo(nodes[1]));
        Assert.That(TapFilter.FindNode("0", nodes, out string? error), Is.Null);
        Assert.That(error, Does.Contain(nodes[0].ToString()).And.Contain(nodes[1].ToString()));
    }

    private static ImmutableArray<TappedNode> Nodes(int count) =>
        [.. Enumerable.Range(0, count).Select(i => new TappedNode(i, NetAddress.Parse($"{i:x2}{new string('0', 38)}@127.0.0.1:1")) { Moniker = $"validator-{i}" })];

    private static TapCounts CountsOfAll(int nodes)
    {
        ImmutableArray<TappedNode> all = Nodes(nodes);
        TapCounts counts = new(all);
        foreach (TappedNode node in all)
        {
            foreach (Dataflow.ChannelDescriptor channel in StandardChannels.All)
            {
                foreach (string kind in StandardMessages.Kinds[channel.Id].Append(MessageName.Unknown).Append(HeardMessage.Malformed))
                {
                    counts.Add(new HeardMessage(TimeSpan.Zero, node, channel, kind, 1_000_000_000, null));
                }
            }
        }

        return counts;
    }

    private static IAnsiConsole MakeTerminal(StringWriter screen, int width, int height) => AnsiConsole.Create(new AnsiConsoleSettings
    {
        Ansi = AnsiSupport.No,
        ColorSystem = ColorSystemSupport.NoColors,
        Interactive = InteractionSupport.Yes,
        Out = new Screen(screen, width, height),
    });
}
