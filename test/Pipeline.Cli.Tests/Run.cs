namespace Pipeline.Cli.Tests;

/// <summary>One run of the command inside the test's process: what it returned and what it wrote.</summary>
internal sealed record Run(int ExitCode, string Output, string Error)
{
    /// <summary>The lines on standard error: a failed command says why in exactly one.</summary>
    public string[] ErrorLines => Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    public static Task<Run> CommandAsync(CancellationToken cancellationToken, params string[] args) => CommandAsync([], cancellationToken, args);

    public static async Task<Run> CommandAsync(Dictionary<string, string> environment, CancellationToken cancellationToken, params string[] args)
    {
        using StringWriter output = new();
        using StringWriter error = new();
        using CommandHost host = new(TextWriter.Synchronized(output), TextWriter.Synchronized(error), Terminal: null) { Environment = environment };
        int exitCode = await CommandLine.RunAsync(args, host, cancellationToken);
        return new Run(exitCode, output.ToString(), error.ToString());
    }
}
