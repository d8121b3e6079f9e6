using System.Text;
using Microsoft.Extensions.Logging;
using Pipeline.Cli.Logging;
using Pipeline.Hosting.Configuration;
using Spectre.Console;

namespace Pipeline.Cli;

/// <summary>What a command talks through: the process's console, or a test.</summary>
/// <param name="Output">Results.</param>
/// <param name="Error">Why there is no result.</param>
/// <param name="Terminal">The screen behind <paramref name="Output"/> when a person watches one that can be redrawn; null otherwise.</param>
internal sealed record CommandHost(TextWriter Output, TextWriter Error, IAnsiConsole? Terminal) : IDisposable
{
    /// <summary>The environment variables. Default: the process's.</summary>
    public IReadOnlyDictionary<string, string> Environment { get; init; } = EnvironmentVariables.OfProcess();

    /// <summary>Makes loggers that write to <see cref="Error"/>.</summary>
    public ILoggerFactory CreateLoggerFactory(LogLevel least, LogFormat format) => new TextLoggerFactory(Error, least, format, TimeProvider.System);

    public static CommandHost ForConsole()
    {
        if (Console.IsOutputRedirected)
        {
            return new CommandHost(Console.Out, Console.Error, Terminal: null);
        }

        Console.OutputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
        IAnsiConsole console = AnsiConsole.Console;
        return new CommandHost(Console.Out, Console.Error, console.Profile.Capabilities.Ansi ? console : null);
    }

    public void Dispose()
    {
        Output.Flush();
        Error.Flush();
    }
}
