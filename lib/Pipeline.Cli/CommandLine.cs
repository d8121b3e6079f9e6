using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using System.Reflection;
using Pipeline.Cli.Commands;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Cli;

/// <summary>The <c>pipeline</c> command.</summary>
internal static class CommandLine
{
    /// <summary>Runs what <paramref name="args"/> ask for and returns the process's <see cref="ExitCode"/>.</summary>
    public static async Task<int> RunAsync(IReadOnlyList<string> args, CommandHost host, CancellationToken cancellationToken)
    {
        CommonOptions common = new();
        RootCommand root = new("Peer-to-peer connections as dataflow: CometBFT's peer-to-peer protocol for .NET.")
        {
            InitCommand.Create(host, common),
            ShowNodeIdCommand.Create(host, common),
            ConfigCommand.Create(host, common),
            StartCommand.Create(host, common),
            StartCommand.CreateSeed(host, common),
            DialCommand.Create(host, common),
            TapCommand.Create(host, common),
            WatchCommand.Create(host, common),
            CrawlCommand.Create(host, common),
            SyncCommand.Create(host, common),
            ServeCommand.Create(host, common),
            DemoCommand.Create(host, common),
            CompletionCommand.Create(host),
        };
        common.AddTo(root);
        root.HelpName = "pipeline";
        HelpOption help = root.Options.OfType<HelpOption>().Single();
        help.Aliases.Remove("/h");
        help.Aliases.Remove("/?");
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
        string help = $"See '{string.Join(' ', Path(result.CommandResult).Select(command => command is RootCommand ? "pipeline" : command.Name))} --help'.";
        if (result.UnmatchedTokens is [string unknown, ..])
        {
            Command command = result.CommandResult.Command;
            string[] known =
            [
                .. command.Subcommands.Select(c => c.Name),
                .. Path(result.CommandResult).SelectMany(c => c.Options.Where(o => !o.Hidden && (o.Recursive || c == command))).Select(o => o.Name),
            ];

            // There are too many keys of the configuration to name them all.
            return Spelling.Nearest(unknown, known) is { } meant
                ? $"There is no command or option '{unknown}' here; did you mean {meant}? {help}"
                : $"There is no command or option '{unknown}' here; there is {string.Join(", ", known.Where(name => !name.Contains('.', StringComparison.Ordinal)))}. {help}";
        }

        string message = string.Join(' ', result.Errors[0].Message.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        return $"{message} {help}";
    }

    private static IEnumerable<Command> Path(CommandResult result) =>
        result.Parent is CommandResult parent ? Path(parent).Append(result.Command) : [result.Command];

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
