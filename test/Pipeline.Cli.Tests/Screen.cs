using System.Text;
using Spectre.Console;

namespace Pipeline.Cli.Tests;

/// <summary>A terminal of some size.</summary>
internal sealed class Screen(TextWriter writer, int width, int height) : IAnsiConsoleOutput
{
    public TextWriter Writer => writer;

    public bool IsTerminal => true;

    public int Width => width;

    public int Height => height;

    public void SetEncoding(Encoding encoding)
    {
    }
}
