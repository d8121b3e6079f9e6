using System.Text.Json;

namespace Pipeline.Experiments.Tests;

/// <summary>One run of the program inside the test's process: what it returned and what it wrote.</summary>
internal sealed record Run(int ExitCode, string Output, string Error)
{
    /// <summary>The lines on standard error.</summary>
    public string[] ErrorLines => Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>The one JSON object on standard output.</summary>
    public JsonElement Json => JsonElement.Parse(Output);

    public static async Task<Run> ProgramAsync(CancellationToken cancellationToken, params string[] args)
    {
        using StringWriter output = new();
        using StringWriter error = new();
        using CommandHost host = new(TextWriter.Synchronized(output), TextWriter.Synchronized(error), IsTerminal: false);
        int exitCode = await CommandLine.RunAsync(args, host, cancellationToken);
        return new Run(exitCode, output.ToString(), error.ToString());
    }
}
