using System.Text;
using Spectre.Console;

namespace Pipeline.Experiments;

/// <summary>What the program talks through: the process's console, or a test.</summary>
/// <param name="Output">Results, and nothing else.</param>
/// <param name="Error">Progress, and why there is no result.</param>
/// <param name="IsTerminal">Whether a person reads <paramref name="Output"/> on a screen with colours.</param>
internal sealed record CommandHost(TextWriter Output, TextWriter Error, bool IsTerminal) : IDisposable
{
    private const int WidthOfNoTerminal = 140;

    public static CommandHost ForConsole()
    {
        Console.OutputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
        return new CommandHost(Console.Out, Console.Error, !Console.IsOutputRedirected);
    }

    /// <summary>A console for tables; without colours and wide enough when nobody watches.</summary>
    public IAnsiConsole CreateConsole()
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = IsTerminal ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = IsTerminal ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
            Interactive = InteractionSupport.No,
            Out = new AnsiConsoleOutput(Output),
        });
        if (!IsTerminal)
        {
            console.Profile.Width = WidthOfNoTerminal;
            console.Profile.Capabilities.Unicode = true;
        }

        return console;
    }

    public void Dispose()
    {
        Output.Flush();
        Error.Flush();
    }
}
