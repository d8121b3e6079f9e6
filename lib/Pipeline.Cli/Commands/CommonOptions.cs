using System.CommandLine;
using Microsoft.Extensions.Logging;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Cli.Commands;

/// <summary>The options that every command has.</summary>
internal sealed class CommonOptions
{
    /// <summary>Where the node's files are.</summary>
    public Option<string?> Home { get; } = new("--home")
    {
        HelpName = "FOLDER",
        Description = "The node's home folder, when the command needs one. [default: PIPELINE_HOME, else ~/.pipeline]",
        Recursive = true,
    };

    /// <summary>Whether the output is for programs.</summary>
    public Option<bool> Json { get; } = new("--json") { Description = "Print JSON instead of text.", Recursive = true };

    /// <summary>What is logged on standard error.</summary>
    public Option<string?> LogLevel { get; } = new("--log-level", "--log_level")
    {
        HelpName = "LEVEL",
        Description = "The least level of what is logged on standard error: trace, debug, info, warn, error or none. "
            + "[default: the configuration's, or none for commands without a node]",
        Recursive = true,
    };

    /// <summary>All of them.</summary>
    public IReadOnlyList<Option> All => [Home, Json, LogLevel];

    public CommonOptions()
    {
        LogLevel.CompletionSources.Add([.. ValueKind.Level.Choices]);
        LogLevel.Validators.Add(result =>
        {
            string text = result.Tokens is [var token, ..] ? token.Value : "";
            try
            {
                ValueKind.Level.Parse(text);
            }
            catch (FormatException e)
            {
                result.AddError($"--log-level is {UserText.Quote(text)}; {e.Message}");
            }
        });
    }

    /// <summary>Gives all commands the options.</summary>
    public void AddTo(RootCommand root)
    {
        foreach (Option option in All)
        {
            root.Options.Add(option);
        }
    }

    /// <summary>The log of a command that has no configuration: silent unless it is asked for.</summary>
    public ILoggerFactory CreateLoggerFactory(CommandHost host, ParseResult arguments) =>
        host.CreateLoggerFactory(
            arguments.GetValue(LogLevel) is { } text ? ValueKind.Level.Parse(text) : Microsoft.Extensions.Logging.LogLevel.None,
            LogFormat.Plain);
}
