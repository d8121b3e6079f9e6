using System.CommandLine;
using System.CommandLine.Invocation;
using System.Reflection;
using Pipeline.Cli.Commands;

namespace Pipeline.Cli;

/// <summary>The <c>pipeline</c> command.</summary>
internal static class CommandLine
{
    /// <summary>Runs what <paramref name="args"/> ask for and returns the process's <see cref="ExitCode"/>.</summary>
    public static async Task<int> RunAsync(IReadOnlyList<string> args, CommandHost host, CancellationToken cancellationToken)
    {
        RootCommand root = new("Peer-to-peer connections as dataflow: CometBFT's peer-to-peer protocol for .NET.")
        {
            DemoCommand.Create(host),
            DialCommand.Create(host),
            TapCommand.Create(host),
        };
        root.HelpName = "pipeline";
        root.Options.OfType<VersionOption>().Single().Action = new PrintVersion();

        // An argument that begins with @ is an address without its node id, not the name of a file with more arguments.
        ParseResult result = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (result.Action is ParseErrorAction)
        {
            await host.Error.WriteLineAsync(Explain(result));
            return ExitCode.Usage;
        }

        InvocationConfiguration configuration = new()
        {
            Output = host.Output,
            Error = host.Error,
            // The host of the process listens to the signals, see TerminationSignals.
            ProcessTerminationTimeout = null,
        };
        return await result.InvokeAsync(configuration, cancellationToken);
    }

    private static string Explain(ParseResult result)
    {
        Command command = result.CommandResult.Command;
        string help = $"See '{(command is RootCommand ? "pipeline" : $"pipeline {command.Name}")} --help'.";
        if (result.UnmatchedTokens is [string unknown, ..])
        {
            IEnumerable<string> known = command.Subcommands.Select(c => c.Name).Concat(command.Options.Where(o => !o.Hidden).Select(o => o.Name));
            return $"There is no command or option '{unknown}' here; there is {string.Join(", ", known)}. {help}";
        }

        string message = string.Join(' ', result.Errors[0].Message.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        return $"{message} {help}";
    }

    // The parser's own action names the version of the process's entry point, which is not always this assembly.
    private sealed class PrintVersion : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parseResult)
        {
            Assembly assembly = typeof(CommandLine).Assembly;
            parseResult.InvocationConfiguration.Output.WriteLine(
                assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion);
            return ExitCode.Success;
        }
    }
}
