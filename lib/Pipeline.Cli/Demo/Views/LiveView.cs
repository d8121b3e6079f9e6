using System.Collections.Immutable;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Pipeline.Cli.Demo.Views;

/// <summary>A screen that is redrawn a few times a second, for 80 columns and 24 rows or more.</summary>
internal sealed class LiveView(IAnsiConsole terminal, string title, TimeProvider time) : IDemoView
{
    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(200);

    // From this width on there is room for what a narrow screen leaves out.
    private const int Wide = 110;

    // All but the peers' rows, and two to spare.
    private const int RowsWithoutPeers = 18;

    // As wide as what they hold gets, so that nothing moves while it grows.
    private static readonly (string Header, int Width)[] WideColumns =
    [
        ("", 28), ("messages", 9), ("expected", 9), ("messages/s", 10), ("bytes", 8), ("bytes/s", 8), ("queue", 8), ("inbox", 9), ("p50 ms", 6),
        ("p99 ms", 6),
    ];

    private static readonly (string Header, int Width)[] NarrowColumns =
    [
        ("", 18), ("msgs", 7), ("msgs/s", 6), ("bytes", 8), ("B/s", 8), ("queue", 5), ("inbox", 5), ("p50 ms", 6), ("p99 ms", 6),
    ];

    public Task<DemoSummary> ShowAsync(Func<DemoSnapshot> read, Func<Task<DemoSummary>> start)
    {
        RateWindow<DemoSnapshot> rates = new(static snapshot => snapshot.Elapsed);
        return terminal.Live(Draw()).AutoClear(true).StartAsync(async context =>
        {
            // The first frame costs more than all others, and should not compete with the run.
            context.Refresh();
            Task<DemoSummary> run = start();
            using PeriodicTimer timer = new(Period, time);
            while (await Task.WhenAny(timer.WaitForNextTickAsync().AsTask(), run) != run)
            {
                context.UpdateTarget(Draw());
            }

            return await run;
        });

        IRenderable Draw()
        {
            DemoSnapshot snapshot = read();
            rates.Add(snapshot);
            return Render(snapshot, rates);
        }
    }

    /// <summary>Draws one moment.</summary>
    public IRenderable Render(DemoSnapshot snapshot, RateWindow<DemoSnapshot> rates)
    {
        bool isWide = terminal.Profile.Width >= Wide;
        double progress = snapshot.Total.Expected == 0 ? 1 : Math.Min(1, (double)snapshot.Total.Counts.Received / snapshot.Total.Expected);
        Table table = new() { Border = TableBorder.None, Expand = false };
        foreach ((string header, int width) in isWide ? WideColumns : NarrowColumns)
        {
            table.AddColumn(new TableColumn(new Text(header, new Style(Color.Grey)))
            {
                Alignment = table.Columns.Count == 0 ? Justify.Left : Justify.Right,
                NoWrap = true,
                Padding = new Padding(0, 0, table.Columns.Count == 0 ? 0 : 1, 0),
                Width = width,
            });
        }

        AddRows(static snapshot => snapshot.Channels, int.MaxValue);
        table.AddEmptyRow();
        AddRows(static snapshot => snapshot.Peers, terminal.Profile.Height - RowsWithoutPeers);
        AddRows(static snapshot => [snapshot.Total], int.MaxValue);
        return new Rows(
            new Text($"{title}, {Readable.Seconds(snapshot.Elapsed)}", new Style(decoration: Decoration.Bold)),
            Bar(progress),
            table,
            new Text("queue: waits to be sent; inbox: waits for the reactor; Ctrl+C stops.", new Style(Color.Grey)));

        void AddRows(Func<DemoSnapshot, ImmutableArray<Figures>> select, int room)
        {
            ImmutableArray<Figures> rows = select(snapshot);
            int shown = rows.Length <= room ? rows.Length : Math.Max(0, room - 1);
            for (int i = 0; i < shown; i++)
            {
                int row = i;
                table.AddRow(Cells(rows[i], rates.Of(snapshot => select(snapshot)[row].Traffic), isWide));
            }

            if (shown < rows.Length)
            {
                table.AddRow(new Text($"{rows.Length - shown} peers more", new Style(Color.Grey)));
            }
        }
    }

    private static IEnumerable<IRenderable> Cells(Figures row, (double Messages, double Bytes) rate, bool isWide)
    {
        Style style = row.Expected == 0 ? new Style(Color.Grey) : Style.Plain;
        yield return new Text(isWide ? row.Name : Shorten(row.Name), style);
        yield return new Text(Readable.Count(row.Counts.Received), style);
        if (isWide)
        {
            yield return new Text(Readable.Count(row.Expected), style);
        }

        yield return new Text(Readable.Count(rate.Messages), style);
        yield return new Text(Readable.Bytes(row.Counts.Bytes), style);
        yield return new Text(Readable.Bytes(rate.Bytes), style);
        yield return Filled(row.SendQueue);
        yield return Filled(row.Inbox);
        yield return new Text(Readable.Milliseconds(row.P50), style);
        yield return new Text(Readable.Milliseconds(row.P99), style);

        Text Filled(Fill fill) => new(
            isWide ? $"{fill.Messages}/{fill.Capacity}" : Readable.Count(fill.Messages),
            fill.Level >= 0.9 && row.Expected > 0 ? new Style(Color.Yellow) : style);
    }

    private static string Shorten(string name) => name.Replace("consensus ", "", StringComparison.Ordinal).Replace("state sync ", "", StringComparison.Ordinal);

    private Grid Bar(double progress)
    {
        int width = Math.Clamp(terminal.Profile.Width - 8, 10, 60);
        int done = (int)(width * progress);
        Grid grid = new();
        grid.AddColumn(new GridColumn { Padding = new Padding(0, 0, 1, 0) }).AddColumn(new GridColumn { Padding = default(Padding) });
        grid.AddRow(
            new Markup($"[green]{new string('━', done)}[/][grey]{new string('━', width - done)}[/]"),
            new Text($"{Math.Floor(100 * progress)} %"));
        return grid;
    }
}
