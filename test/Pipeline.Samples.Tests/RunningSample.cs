using System.Text;
using System.Threading.Channels;
using Pipeline.Reactors;

namespace Pipeline.Samples.Tests;

/// <summary>A sample that runs in this process as on a console: the test types lines and reads what it shows.</summary>
internal sealed class RunningSample : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    private readonly TypedLines _input = new();
    private readonly CancellationTokenSource _stop = new();
    private Task<int> _run = Task.FromResult(0);

    public ShownLines Output { get; } = new();

    /// <summary>What others need to connect to it.</summary>
    public string Address { get; private set; } = "";

    public Task<int> Completion => _run.WaitAsync(Limit);

    /// <summary>Starts a sample that listens on a free port, and waits until it does.</summary>
    public async Task StartAsync(
        string name,
        Reactor reactor,
        Func<string, Task> onLine,
        Func<Task>? onEnd = null,
        params IEnumerable<RunningSample> others)
    {
        string[] args = ["--network", "samples", "--name", name, "--listen", "127.0.0.1:0", .. others.SelectMany(other => new[] { "--connect", other.Address })];
        _run = SampleNode.RunAsync(args, _input, Output, [reactor], onLine, onEnd, _stop.Token);
        Address = (await NextLineAsync(line => line.Contains("--connect", StringComparison.Ordinal))).Split(' ')[^1];
    }

    public void Type(string line) => _input.Type(line);

    /// <summary>Ends the input, as Ctrl+D does.</summary>
    public void EndInput() => _input.End();

    /// <summary>The next line that it shows and the test is interested in.</summary>
    public async Task<string> NextLineAsync(Func<string, bool> isWanted)
    {
        while (true)
        {
            string line = await Output.NextAsync().WaitAsync(Limit);
            if (isWanted(line))
            {
                return line;
            }
        }
    }

    public void Dispose()
    {
        _stop.Cancel();
        _input.End();
        _stop.Dispose();
    }

    internal sealed class ShownLines : TextWriter
    {
        private readonly Channel<string> _lines = Channel.CreateUnbounded<string>();

        public override Encoding Encoding => Encoding.UTF8;

        public override void WriteLine(string? value) => _lines.Writer.TryWrite(value ?? "");

        public override Task WriteLineAsync(string? value)
        {
            WriteLine(value);
            return Task.CompletedTask;
        }

        public Task<string> NextAsync() => _lines.Reader.ReadAsync().AsTask();
    }

    private sealed class TypedLines : TextReader
    {
        private readonly Channel<string> _lines = Channel.CreateUnbounded<string>();

        public void Type(string line) => _lines.Writer.TryWrite(line);

        public void End() => _lines.Writer.TryComplete();

        // Waits on the caller's thread, as a console does.
        public override string? ReadLine() =>
            _lines.Reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult() && _lines.Reader.TryRead(out string? line) ? line : null;
    }
}
