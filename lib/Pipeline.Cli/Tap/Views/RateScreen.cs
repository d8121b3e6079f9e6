using Spectre.Console;
using Spectre.Console.Rendering;

namespace Pipeline.Cli.Tap.Views;

/// <summary>A screen that says how much comes, redrawn a few times a second, for 80 columns and 24 rows or more.</summary>
internal sealed class RateScreen(IAnsiConsole terminal, ITapFormat format, string title, TimeProvider time) : ITapView
{
    private const int MostNews = 3;

    // The title, the header, two empty rows, the news, the last line, and two to spare.
    private const int RowsAround = 7 + MostNews;

    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(200);

    // As wide as what they hold gets, so that nothing moves while it grows.
    private static readonly (string Header, int Width)[] Columns =
        [("", 28), ("messages", 10), ("messages/s", 10), ("bytes", 9), ("bytes/s", 9)];

    private readonly Lock _gate = new();
    private readonly Queue<string> _news = [];

    public long Skipped => 0;

    public void Show(in HeardMessage message)
    {
        // It is in the figures.
    }

    public void Tell(TapNews news)
    {
        lock (_gate)
        {
            _news.Enqueue(format.Of(news));
            if (_news.Count > MostNews)
            {
                _news.Dequeue();
            }
        }
    }

    public Task RunAsync(Func<TapSnapshot> read, Task ended)
    {
        RateWindow<TapSnapshot> rates = new(static snapshot => snapshot.Elapsed);
        return terminal.Live(Draw()).AutoClear(true).StartAsync(async context =>
        {
            using PeriodicTimer timer = new(Period, time);
            while (await Task.WhenAny(timer.WaitForNextTickAsync().AsTask(), ended) != ended)
            {
                context.UpdateTarget(Draw());
            }
        });

        IRenderable Draw()
        {
            TapSnapshot snapshot = read();
            rates.Add(snapshot);
            return Render(snapshot, rates);
        }
    }

    /// <summary>Draws one moment.</summary>
    public IRenderable Render(TapSnapshot now, RateWindow<TapSnapshot> rates)
    {
        Table table = new() { Border = TableBorder.None, Expand = false };
        foreach ((string header, int width) in Columns)
        {
            bool isFirst = table.Columns.Count == 0;
            table.AddColumn(new TableColumn(new Text(header, new Style(Color.Grey)))
            {
                Alignment = isFirst ? Justify.Left : Justify.Right,
                NoWrap = true,
                Padding = new Padding(0, 0, isFirst ? 0 : 1, 0),
                Width = width,
            });
        }

        AddRows(table, now, rates);
        return new Rows(
        [
            new Text($"{title}, {Readable.Seconds(now.Elapsed)}", new Style(decoration: Decoration.Bold)),
            table,
            new Text(""),
            .. LastNews(),
            new Text("Ctrl+C stops.", new Style(Color.Grey)),
        ]);
    }

    // What there is no room for is left out: kinds first, then nodes.
    private void AddRows(Table table, TapSnapshot now, RateWindow<TapSnapshot> rates)
    {
        int room = Math.Max(0, terminal.Profile.Height - RowsAround);
        int channels = now.Channels.Count();
        int roomForNodes = Math.Max(1, room - channels - 1);
        int nodes = now.Nodes.Length <= roomForNodes ? now.Nodes.Length : roomForNodes - 1;
        int roomForKinds = room - channels - Math.Min(now.Nodes.Length, roomForNodes) - 1;
        bool hasKinds = now.Channels.Sum(channel => now.KindsOf(channel).Count()) <= roomForKinds;
        foreach (Dataflow.ChannelDescriptor channel in now.Channels)
        {
            AddRow(channel.ToString(), snapshot => snapshot.OfChannel(channel), Style.Plain);
            foreach (string kind in hasKinds ? now.KindsOf(channel) : [])
            {
                AddRow($"  {kind}", snapshot => snapshot.OfKind(channel, kind), new Style(Color.Grey));
            }
        }

        table.AddEmptyRow();
        foreach (TappedNode node in now.Nodes.Take(nodes))
        {
            AddRow(node.Name, snapshot => snapshot.OfNode(node), Style.Plain);
        }

        if (nodes < now.Nodes.Length)
        {
            table.AddRow(new Text($"{now.Nodes.Length - nodes} nodes more", new Style(Color.Grey)));
        }

        AddRow("all", static snapshot => snapshot.Total, new Style(decoration: Decoration.Bold));

        void AddRow(string name, Func<TapSnapshot, Traffic> select, Style style)
        {
            Traffic total = select(now);
            (double messages, double bytes) = rates.Of(select);
            table.AddRow(
                new Text(name, style),
                new Text(Readable.Count(total.Messages), style),
                new Text(Readable.Count(messages), style),
                new Text(Readable.Bytes(total.Bytes), style),
                new Text(Readable.Bytes(bytes), style));
        }
    }

    private List<IRenderable> LastNews()
    {
        lock (_gate)
        {
            return [.. _news.Select(line => new Text(Cut(line), new Style(Color.Grey)))];
        }
    }

    // A line that breaks would take the room of another.
    private string Cut(string line) => line.Length < terminal.Profile.Width ? line : line[..(terminal.Profile.Width - 2)] + "…";
}
