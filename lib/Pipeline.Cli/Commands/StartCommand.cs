using System.CommandLine;
using Pipeline.Cli.Running;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline start</c> and <c>pipeline seed</c>: a node that runs until it is told to stop.</summary>
internal static class StartCommand
{
    private static readonly TimeSpan DefaultInterval = TimeSpan.FromSeconds(10);

    /// <summary>A node as it is configured.</summary>
    public static Command Create(CommandHost host, CommonOptions common) =>
        Create(host, common, new Command("start", "Run the node until Ctrl+C or SIGTERM."), []);

    /// <summary>A node that helps others to find each other, whatever its configuration says.</summary>
    public static Command CreateSeed(CommandHost host, CommonOptions common) => Create(
        host,
        common,
        new Command("seed", "Run the node as a seed until Ctrl+C or SIGTERM: it visits the nodes of the network and tells whoever asks where they are."),
        new() { ["p2p.seed_mode"] = "true", ["p2p.pex"] = "true" });

    private static Command Create(CommandHost host, CommonOptions common, Command command, Dictionary<string, string> always)
    {
        Option<bool> watch = new("--watch") { Description = "Show what the node does: live on a terminal, else a line (with --json, an object) every --interval." };
        Option<TimeSpan> interval = new("--interval")
        {
            HelpName = "DURATION",
            Description = "How often --watch prints where there is no terminal, such as 500ms, 3s or 1m30s. [default: 10s]",
            CustomParser = Duration.ParseOption,
        };
        command.Options.Add(watch);
        command.Options.Add(interval);
        ConfigurationOptions configuration = new(host, common) { Always = always };
        return configuration.Configure(command, (loaded, arguments, cancellationToken) =>
        {
            TimeSpan period = arguments.GetResult(interval) is null ? DefaultInterval : arguments.GetValue(interval);
            RunOptions options = new(arguments.GetValue(common.Json), arguments.GetValue(watch) ? period : null);
            return new NodeRun(host, loaded, () => configuration.Load(arguments), options).RunAsync(cancellationToken);
        });
    }
}
