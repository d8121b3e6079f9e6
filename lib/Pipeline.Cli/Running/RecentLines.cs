using System.Text;

namespace Pipeline.Cli.Running;

/// <summary>Keeps the last lines that are written to it, for a screen that shows them.</summary>
internal sealed class RecentLines : TextWriter
{
    private const int Most = 100;

    // Guarded by itself; at most Most lines.
    private readonly Queue<string> _lines = new();

    public override Encoding Encoding => Encoding.Unicode;

    /// <summary>The lines at this moment, the latest at the end.</summary>
    public IReadOnlyList<string> Lines
    {
        get
        {
            lock (_lines)
            {
                return [.. _lines];
            }
        }
    }

    public override void WriteLine(string? value)
    {
        lock (_lines)
        {
            _lines.Enqueue(value ?? "");
            if (_lines.Count > Most)
            {
                _lines.Dequeue();
            }
        }
    }
}
