namespace Pipeline.Cli.Tap.Views;

/// <summary>A line a second that says how much comes, for outputs that are not a screen.</summary>
internal sealed class RateLines(ITapFormat format, TextWriter output, TimeProvider time) : ITapView
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);

    private readonly BoundedLines _lines = new(skipped => (format.News, format.Skipped(skipped)));

    public long Skipped => 0;

    public void Show(in HeardMessage message)
    {
        // It is in the figures.
    }

    public void Tell(TapNews news) => _lines.TryAdd(format.News, news, format.Of);

    public async Task RunAsync(Func<TapSnapshot> read, Task ended)
    {
        // The console's writers block.
        Task writing = Task.Run(_lines.WriteAllAsync);
        Task over = Task.WhenAny(writing, ended);
        RateWindow<TapSnapshot> rates = new(static snapshot => snapshot.Elapsed);
        rates.Add(read());
        using PeriodicTimer timer = new(Period, time);
        while (await Task.WhenAny(timer.WaitForNextTickAsync().AsTask(), over) != over)
        {
            TapSnapshot now = read();
            rates.Add(now);
            _lines.TryAdd(output, now, snapshot => format.Rates(snapshot, rates));
        }

        _lines.Complete();
        await writing;
    }
}
