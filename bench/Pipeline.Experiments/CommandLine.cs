using System.CommandLine;
using System.CommandLine.Invocation;
using Pipeline.Experiments.Experiments;
using Pipeline.Experiments.Flooding;
using Pipeline.Experiments.Keeping;

namespace Pipeline.Experiments;

/// <summary>The command line of the experiments.</summary>
internal static class CommandLine
{
    private const string Name = "Pipeline.Experiments";

    /// <summary>Runs what <paramref name="args"/> ask for and returns the process's <see cref="ExitCode"/>.</summary>
    public static async Task<int> RunAsync(IReadOnlyList<string> args, CommandHost host, CancellationToken cancellationToken)
    {
        ExperimentCommands commands = new(host);
        RootCommand root = new(
            "What happens under load: each experiment runs both ends over encrypted loopback TCP in this process, prints what it measured, and"
            + " exits with 1 when the promise that it is about does not hold.")
        {
            DrainExperiment.CreateCommand(commands),
            LatencyExperiment.CreateCommand(commands),
            PriorityExperiment.CreateCommand(commands),
            SharesExperiment.CreateCommand(commands),
            StallExperiment.CreateCommand(commands),
            FairnessExperiment.CreateCommand(commands),
            BroadcastExperiment.CreateCommand(commands),
            OverloadExperiment.CreateCommand(commands),
            PoliciesExperiment.CreateCommand(commands),
            IdleExperiment.CreateCommand(commands),
            FloodExperiment.CreateCommand(commands),
            CompareExperiment.CreateCommand(commands),
            ScaleExperiment.CreateCommand(commands),
            EclipseExperiment.CreateCommand(commands),
            MempoolExperiment.CreateCommand(commands),
            BlockSyncExperiment.CreateCommand(commands),
            commands.CreateAll(),
            Attacker.CreateCommand(host),
            BookKeeper.CreateCommand(host),
            CompareExperiment.CreateIdleCommand(host),
        };
        root.HelpName = Name;
        ParseResult result = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (result.Action is ParseErrorAction)
        {
            await host.Error.WriteLineAsync(Explain(result));
            return ExitCode.Usage;
        }

        return await result.InvokeAsync(new InvocationConfiguration { Output = host.Output, Error = host.Error }, cancellationToken);
    }

    private static string Explain(ParseResult result)
    {
        Command command = result.CommandResult.Command;
        string help = $"See '{(command is RootCommand ? Name : $"{Name} {command.Name}")} --help'.";
        if (result.UnmatchedTokens is [string unknown, ..])
        {
            IEnumerable<string> known = command.Subcommands.Where(c => !c.Hidden).Select(c => c.Name).Concat(command.Options.Where(o => !o.Hidden).Select(o => o.Name));
            return $"There is no command or option '{unknown}' here; there is {string.Join(", ", known)}. {help}";
        }

        string message = string.Join(' ', result.Errors[0].Message.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        return $"{message} {help}";
    }
}
