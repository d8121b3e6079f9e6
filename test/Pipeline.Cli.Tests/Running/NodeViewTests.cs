using System.Collections.Immutable;
using System.Net;
using Pipeline.Cli.Running;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Transport;
using Spectre.Console;

namespace Pipeline.Cli.Tests.Running;

/// <summary>What <c>start --watch</c> draws.</summary>
public sealed class NodeViewTests
{
    private static readonly DateTimeOffset Now = new(2026, 3, 1, 12, 0, 0, TimeSpan.Zero);

    [Test]
    public void The_node_its_peers_and_its_log_are_on_the_screen()
    {
        NetAddress gone = NetAddress.Parse($"{Id(99)}@203.0.114.9:26656");
        SwitchStatus status = Status(Peer(1, "alpha"), Peer(2, "bravo") with { IsPersistent = true, IsLazy = true }) with
        {
            PersistentPeers = [new PersistentPeerStatus(gone, IsConnected: false, Tries: 3, Now + TimeSpan.FromSeconds(90), "Nobody is there.")],
        };

        string[] lines = Draw(new NodeSnapshot(status, 12, 3, ["first line", "second line"]), 120, 30);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(lines[0], Is.EqualTo("node, a node of net, up 2 h"));
            Assert.That(lines, Has.Some.Contains("addresses: 12 new, 3 old"));
            Assert.That(lines, Has.Some.Contains("203.0.114.9:26656 (tried 3 times, again in 1 min)"));
            Assert.That(lines, Has.Some.Match("^0{10} +alpha +in +11.0.0.1:26656 +1.0 +5 min +2.00 kB +1.00 kB"));
            Assert.That(lines, Has.Some.Match("^0{10} +bravo +in persistent lazy "));
            Assert.That(lines.Skip(lines.Length - 3), Is.EqualTo(["first line", "second line", "Ctrl+C stops the node, twice at once."]));
        }
    }

    [Test]
    public void What_nodes_say_of_themselves_cannot_command_the_terminal()
    {
        string[] lines = Draw(new NodeSnapshot(Status(Peer(1, "\u001b[2J\u0007")), 0, 0, []), 120, 30);

        Assert.That(lines, Has.None.Contains("\u001b").And.None.Contains("\u0007"));
        Assert.That(lines, Has.Some.Contains("\\u001b[2J"));
    }

    [TestCase(80, 24)]
    [TestCase(120, 16)]
    public void It_fits_the_screen_however_many_peers_there_are(int width, int height)
    {
        SwitchStatus status = Status([.. Enumerable.Range(1, 500).Select(i => Peer(i, new string('m', 200)))]);

        string[] lines = Draw(new NodeSnapshot(status, 0, 0, [.. Enumerable.Repeat(new string('l', 500), 50)]), width, height);

        Assert.That(lines, Has.Length.LessThanOrEqualTo(height));
        Assert.That(lines, Has.Some.Contains("more"));
        Assert.That(lines.Max(line => line.Length), Is.LessThanOrEqualTo(width));
    }

    private static string[] Draw(NodeSnapshot snapshot, int width, int height)
    {
        using StringWriter writer = new();
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = AnsiSupport.No,
            ColorSystem = ColorSystemSupport.NoColors,
            Out = new Screen(writer, width, height),
        });
        console.Write(NodeView.Render(snapshot, width, height));
        return [.. writer.ToString().TrimEnd().Split('\n').Select(line => line.TrimEnd())];
    }

    private static SwitchStatus Status(params ImmutableArray<PeerStatus> peers) => new()
    {
        Time = Now,
        NodeInfo = new NodeInfo { Id = Id(0), Network = "net", Moniker = "node" },
        Uptime = TimeSpan.FromHours(2.5),
        InboundPeers = peers.Length,
        Peers = peers,
    };

    private static PeerStatus Peer(int number, string moniker) => new()
    {
        Id = Id(number),
        NodeInfo = new NodeInfo { Id = Id(number), Network = "net", Moniker = moniker, Version = "1.0" },
        RemoteEndPoint = new IPEndPoint(IPAddress.Parse("11.0.0.1"), 26656),
        Connection = new ConnectionStatus(TimeSpan.FromMinutes(5.5), 1, 2, IsPaused: false, []) { SendRate = 1000, ReceiveRate = 2000 },
    };

    private static NodeId Id(int number) => NodeId.Parse($"{number:x40}");
}
