using Pipeline.Protocols.Consensus;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Pipeline.Cli.Watching;

/// <summary>Shows what is watched, while it is.</summary>
internal interface IWatchView
{
    /// <summary>Shows a height that was committed. From one thread at a time; never waits for the output.</summary>
    void Show(HeightView height);

    /// <summary>Shows what happened. From any thread; never waits for the output.</summary>
    void Tell(WatchNews news);

    /// <summary>Writes to the output until all is over and written.</summary>
    /// <param name="read">Reads what is known at the moment.</param>
    /// <param name="ended">Completes when nothing more is shown.</param>
    /// <exception cref="IOException">The output cannot be written.</exception>
    Task RunAsync(Func<ConsensusView> read, Task ended);
}

/// <summary>A line for each height.</summary>
internal sealed class HeightLines(IWatchFormat format, TextWriter output) : IWatchView
{
    private readonly BoundedLines _lines = new(skipped => (format.News, format.Skipped(skipped)));

    public void Show(HeightView height) => _lines.TryAdd(output, height, format.Of);

    public void Tell(WatchNews news) => _lines.TryAdd(format.News, news, format.Of);

    public Task RunAsync(Func<ConsensusView> read, Task ended) => _lines.WriteUntilAsync(ended);
}

/// <summary>A table that is redrawn a few times a second.</summary>
internal sealed class ConsensusScreen(IAnsiConsole terminal, IWatchFormat format, string title, TimeProvider time) : IWatchView
{
    private const int MostNews = 3;
    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(200);

    private readonly Lock _gate = new();
    private readonly Queue<string> _news = [];

    public void Show(HeightView height)
    {
        // It is in the table.
    }

    public void Tell(WatchNews news)
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

    public Task RunAsync(Func<ConsensusView> read, Task ended) => terminal.Live(Draw(read)).AutoClear(true).StartAsync(async context =>
    {
        using PeriodicTimer timer = new(Period, time);
        while (await Task.WhenAny(timer.WaitForNextTickAsync().AsTask(), ended) != ended)
        {
            context.UpdateTarget(Draw(read));
        }
    });

    private IRenderable Draw(Func<ConsensusView> read)
    {
        lock (_gate)
        {
            return ConsensusTable.Render(read(), title, _news, terminal.Profile.Width, terminal.Profile.Height);
        }
    }
}
