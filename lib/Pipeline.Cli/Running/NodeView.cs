using Pipeline.Diagnostics;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Pipeline.Cli.Running;

/// <summary>What a node is and does at a moment, on a screen of 80 columns or more.</summary>
/// <param name="Status">The node.</param>
/// <param name="NewAddresses">Addresses of its book that were only heard of.</param>
/// <param name="OldAddresses">Those that were of use.</param>
/// <param name="LogLines">What it logged last, the latest at the end.</param>
internal sealed record NodeSnapshot(SwitchStatus Status, int NewAddresses, int OldAddresses, IReadOnlyList<string> LogLines);

/// <summary>Draws a running node.</summary>
internal static class NodeView
{
    // Of a peer's id and a moniker as much as tells them apart on most screens.
    private const int IdLength = 10;
    private const int MonikerLength = 20;

    // From this width on there is room for what a narrow screen leaves out.
    private const int Wide = 110;

    // Lines that are not peers, log lines, or the one with the counts, which a narrow screen breaks.
    private const int OtherLines = 8;

    private static readonly Style Faint = new(Color.Grey);

    /// <summary>Draws one moment for a screen of a size.</summary>
    public static IRenderable Render(NodeSnapshot snapshot, int width, int height)
    {
        SwitchStatus status = snapshot.Status;
        string counts = $"peers: {status.OutboundPeers} out, {status.InboundPeers} in, {status.UnconditionalPeers} unconditional, {status.DiallingPeers} dialled now; "
            + $"addresses: {snapshot.NewAddresses} new, {snapshot.OldAddresses} old; banned: {status.Bans.Length}";
        List<IRenderable> rows =
        [
            new Text($"{Printable.Of(status.NodeInfo.Moniker)}, a node of {Printable.Of(status.NodeInfo.Network)}, up {Age(status.Uptime)}", new Style(decoration: Decoration.Bold)),
            new Text(status.ListenAddress is { } address ? $"{address}" : $"{status.NodeInfo.Id} (does not listen)"),
            new Text(counts),
        ];
        PersistentPeerStatus[] missing = [.. status.PersistentPeers.Where(peer => !peer.IsConnected)];
        string notThere = $"not there: {string.Join(", ", missing.Select(peer => $"{peer.Address.DialString} ({Why(peer, status.Time)})"))}";
        if (missing.Length > 0)
        {
            rows.Add(new Text(notThere, new Style(Color.Yellow)));
        }

        // A third of the rest is for the log.
        int room = Math.Max(4, height - OtherLines - Lines(counts, width) - (missing.Length > 0 ? Lines(notThere, width) : 0));
        int logLines = Math.Min(snapshot.LogLines.Count, Math.Max(2, room / 3));
        int peers = Math.Max(1, room - logLines);
        rows.Add(new Text(""));
        rows.Add(status.Peers.IsEmpty ? new Text("No peers yet.", Faint) : Peers(status, width >= Wide, peers));
        rows.Add(new Text(""));
        rows.AddRange(snapshot.LogLines.TakeLast(logLines).Select(line => new Text(line.Length > width ? line[..(width - 1)] + "…" : line, Faint)));
        rows.Add(new Text("Ctrl+C stops the node, twice at once.", Faint));
        return new Rows(rows);
    }

    private static Table Peers(SwitchStatus status, bool isWide, int most)
    {
        Table table = new() { Border = TableBorder.None, Expand = false };
        (string Header, bool IsNumber)[] columns =
        [
            ("peer", false), ("moniker", false), ("way", false), .. isWide ? new[] { ("end point", false), ("version", false) } : [],
            ("for", true), ("in/s", true), ("out/s", true), ("inbox", true), ("queue", true),
        ];
        foreach ((string header, bool isNumber) in columns)
        {
            table.AddColumn(new TableColumn(new Text(header, Faint))
            {
                Alignment = isNumber ? Justify.Right : Justify.Left,
                NoWrap = true,
                Padding = new Padding(0, 0, 2, 0),
            });
        }

        foreach (PeerStatus peer in status.Peers.OrderByDescending(peer => peer.Connection.Duration).Take(most))
        {
            Style style = peer.IsLazy || peer.Connection.IsPaused ? new Style(Color.Yellow) : Style.Plain;
            string way = $"{(peer.IsOutbound ? "out" : "in")}{(peer.IsPersistent ? " persistent" : peer.IsUnconditional ? " unconditional" : "")}{(peer.IsLazy ? " lazy" : "")}";
            string[] cells =
            [
                peer.Id.ToString()[..IdLength],
                Shorten(Printable.Of(peer.NodeInfo.Moniker)),
                way,
                .. isWide ? new[] { peer.RemoteEndPoint.ToString(), Shorten(Printable.Of(peer.NodeInfo.Version)) } : [],
                Age(peer.Connection.Duration),
                Readable.Bytes(peer.Connection.ReceiveRate),
                Readable.Bytes(peer.Connection.SendRate),
                Readable.Count(peer.Connection.Channels.Sum(channel => channel.InboxMessages)),
                Readable.Count(peer.Connection.Channels.Sum(channel => channel.SendQueueMessages)),
            ];
            table.AddRow(cells.Select(cell => new Text(cell, style)));
        }

        if (status.Peers.Length > most)
        {
            table.AddRow(new Text($"and {status.Peers.Length - most} more", Faint));
        }

        return table;
    }

    // Words are not broken, so a line may be not quite full.
    private static int Lines(string text, int width) => 1 + (text.Length / Math.Max(1, width - 12));

    private static string Shorten(string text) => text.Length > MonikerLength ? text[..(MonikerLength - 1)] + "…" : text;

    private static string Why(PersistentPeerStatus peer, DateTimeOffset now) =>
        peer.NextDial is { } next ? $"tried {peer.Tries} times, again in {Age(next > now ? next - now : TimeSpan.Zero)}" : "being dialled";

    private static string Age(TimeSpan time) =>
        time < TimeSpan.FromMinutes(1) ? $"{(int)time.TotalSeconds} s"
        : time < TimeSpan.FromHours(1) ? $"{(int)time.TotalMinutes} min"
        : time < TimeSpan.FromDays(2) ? $"{(int)time.TotalHours} h"
        : $"{(int)time.TotalDays} d";
}
