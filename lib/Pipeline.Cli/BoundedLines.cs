using System.Threading.Channels;

namespace Pipeline.Cli;

/// <summary>
/// Lines on their way to an output that may be slow. Who has one never waits: when too much waits already, the line is skipped, counted, and
/// the output told how many were.
/// </summary>
/// <param name="describeSkipped">The line that says how many were skipped since the last such line.</param>
internal sealed class BoundedLines(Func<long, (TextWriter Writer, string Line)> describeSkipped)
{
    /// <summary>What may wait, in characters, before lines are skipped. What waits may be more by one line for each thread that has one.</summary>
    public const long MaxWaiting = 4 << 20;

    // What a line takes beside its characters.
    private const int Overhead = 64;

    private readonly Channel<(TextWriter Writer, string Line)> _lines = Channel.CreateUnbounded<(TextWriter, string)>(new() { SingleReader = true });
    private long _waiting;
    private long _skipped;
    private long _described;

    /// <summary>Lines that were skipped.</summary>
    public long Skipped => Volatile.Read(ref _skipped);

    /// <summary>Characters that wait, and what lines take beside them.</summary>
    public long Waiting => Volatile.Read(ref _waiting);

    /// <summary>Makes a line and lets it wait to be written; or does not make it, when too much waits.</summary>
    public bool TryAdd<TItem>(TextWriter writer, TItem item, Func<TItem, string> format)
    {
        if (Waiting > MaxWaiting)
        {
            Interlocked.Increment(ref _skipped);
            return false;
        }

        string line = format(item);
        Interlocked.Add(ref _waiting, line.Length + Overhead);
        return _lines.Writer.TryWrite((writer, line));
    }

    /// <summary>Writes the lines that come until something has ended, and those that wait then.</summary>
    /// <exception cref="IOException">The output cannot be written.</exception>
    public async Task WriteUntilAsync(Task ended)
    {
        // The console's writers block.
        Task writing = Task.Run(WriteAllAsync);
        await Task.WhenAny(writing, ended);
        Complete();
        await writing;
    }

    /// <summary>Says that no more lines come.</summary>
    public void Complete() => _lines.Writer.TryComplete();

    /// <summary>Writes the lines until the last.</summary>
    /// <exception cref="IOException">The output cannot be written.</exception>
    public async Task WriteAllAsync()
    {
        await foreach ((TextWriter writer, string line) in _lines.Reader.ReadAllAsync())
        {
            await writer.WriteLineAsync(line);
            Interlocked.Add(ref _waiting, -(line.Length + Overhead));
            await SaySkippedAsync();
        }

        await SaySkippedAsync();
    }

    // Once there is room again, so that an output that stays slow is not told of each one.
    private async Task SaySkippedAsync()
    {
        long skipped = Skipped;
        if (skipped > _described && Waiting <= MaxWaiting / 2)
        {
            (TextWriter writer, string line) = describeSkipped(skipped - _described);
            _described = skipped;
            await writer.WriteLineAsync(line);
        }
    }
}
