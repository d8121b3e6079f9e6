using System.Globalization;
using System.Threading.Channels;

namespace Pipeline.Cli.Logging;

/// <summary>
/// Takes lines to a writer on a thread of its own, so that a disk that is full or a terminal that stands still neither stops nor breaks what logs. Lines
/// for which there is no room are dropped, and their number is said.
/// </summary>
internal sealed class LineQueue : IDisposable
{
    private const int Capacity = 10_000;

    // What a writer that stands still may take of the end of the process.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private readonly TextWriter _writer;
    private readonly Channel<string> _lines = Channel.CreateBounded<string>(new BoundedChannelOptions(Capacity) { SingleReader = true });
    private readonly Task _writing;
    private int _dropped;

    public LineQueue(TextWriter writer)
    {
        _writer = writer;
        _writing = Task.Factory.StartNew(WriteAll, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>Never waits, and never throws.</summary>
    public void Add(string line)
    {
        if (!_lines.Writer.TryWrite(line))
        {
            Interlocked.Increment(ref _dropped);
        }
    }

    /// <summary>Writes what is left, if that can be done soon.</summary>
    public void Dispose()
    {
        _lines.Writer.TryComplete();
        _writing.Wait(Patience);
    }

    private void WriteAll()
    {
        while (_lines.Reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult())
        {
            while (_lines.Reader.TryRead(out string? line))
            {
                Write(line);
            }

            if (Interlocked.Exchange(ref _dropped, 0) is > 0 and int dropped)
            {
                Write(string.Create(CultureInfo.InvariantCulture, $"{dropped} lines of the log were dropped, because they could not be written fast enough."));
            }

            Try(_writer.Flush);
        }
    }

    private void Write(string line) => Try(() => _writer.WriteLine(line));

    private static void Try(Action write)
    {
        try
        {
            write();
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or UnauthorizedAccessException)
        {
            // There is nowhere to say so.
        }
    }
}
