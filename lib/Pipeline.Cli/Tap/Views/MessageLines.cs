namespace Pipeline.Cli.Tap.Views;

/// <summary>A line for each message.</summary>
internal sealed class MessageLines(ITapFormat format, TextWriter output) : ITapView
{
    private readonly BoundedLines _lines = new(skipped => (format.News, format.Skipped(skipped)));

    public long Skipped => _lines.Skipped;

    public void Show(in HeardMessage message) => _lines.TryAdd(output, message, format.Of);

    public void Tell(TapNews news) => _lines.TryAdd(format.News, news, format.Of);

    public Task RunAsync(Func<TapSnapshot> read, Task ended) => _lines.WriteUntilAsync(ended);
}
