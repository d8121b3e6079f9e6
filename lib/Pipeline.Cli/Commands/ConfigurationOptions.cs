using System.Collections.Immutable;
using System.CommandLine;
using System.CommandLine.Parsing;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Cli.Commands;

/// <summary>Runs a command that was given the node's configuration, and returns its exit code.</summary>
internal delegate Task<int> ConfiguredAction(NodeConfiguration configuration, ParseResult arguments, CancellationToken cancellationToken);

/// <summary>An option for each key of the configuration.</summary>
internal sealed class ConfigurationOptions
{
    private readonly CommandHost _host;
    private readonly CommonOptions _common;
    private readonly Dictionary<ConfigurationKey, Option<string?>> _options;

    /// <summary>What a command says as if it had been said on the command line, by the key's name; it has no options for these.</summary>
    public IReadOnlyDictionary<string, string> Always { get; init; } = ImmutableDictionary<string, string>.Empty;

    public ConfigurationOptions(CommandHost host, CommonOptions common)
    {
        _host = host;
        _common = common;
        // The level has an option that all commands have.
        _options = ConfigurationKey.All.Where(key => key.Name != "log_level").ToDictionary(key => key, MakeOption);
    }

    /// <summary>
    /// Gives a command the options, and lets it run with the configuration that results. Warnings go to the error; with a configuration that
    /// cannot be used, also when <paramref name="run"/> finds that out, what is wrong goes there, and the command ends with <see cref="ExitCode.Usage"/>.
    /// </summary>
    public Command Configure(Command command, ConfiguredAction run)
    {
        foreach ((ConfigurationKey key, Option<string?> option) in _options)
        {
            if (!Always.ContainsKey(key.Name))
            {
                command.Options.Add(option);
            }
        }

        command.SetAction(async (arguments, cancellationToken) =>
        {
            try
            {
                NodeConfiguration configuration = Load(arguments);
                foreach (string warning in configuration.Warnings)
                {
                    await _host.Error.WriteLineAsync($"Warning: {warning}");
                }

                return await run(configuration, arguments, cancellationToken);
            }
            catch (ConfigurationException e)
            {
                foreach (string error in e.Errors)
                {
                    await _host.Error.WriteLineAsync(error);
                }

                return ExitCode.Usage;
            }
        });
        return command;
    }

    /// <summary>Reads the configuration, also again while the command runs.</summary>
    /// <param name="arguments">What was said on the command line.</param>
    /// <param name="known">What the command knows better than files and variables, as if it had been said on the command line; null for nothing.</param>
    /// <exception cref="ConfigurationException">It cannot be used.</exception>
    public NodeConfiguration Load(ParseResult arguments, IReadOnlyDictionary<string, string>? known = null)
    {
        Dictionary<string, string> said = Read(arguments);
        foreach ((string key, string value) in known ?? Always)
        {
            said[key] = value;
        }

        return NodeConfiguration.Load(HomeFolder.Find(arguments.GetValue(_common.Home), _host.Environment), _host.Environment, said);
    }

    /// <summary>What was said on the command line, by the key's name.</summary>
    public Dictionary<string, string> Read(ParseResult arguments)
    {
        Dictionary<string, string> said = new(Always);
        foreach ((ConfigurationKey key, Option<string?> option) in _options)
        {
            if (arguments.GetResult(option) is OptionResult result)
            {
                said[key.Name] = result.Tokens is [var token, ..] ? token.Value : "true";
            }
        }

        if (arguments.GetValue(_common.LogLevel) is { } level)
        {
            said["log_level"] = level;
        }

        return said;
    }

    private static Option<string?> MakeOption(ConfigurationKey key)
    {
        Option<string?> option = new(key.Option)
        {
            HelpName = "VALUE",
            Description = $"{key.Description} [default: {(key.Default.Length == 0 ? "empty" : key.Default)}]",
            // A truth value alone is true.
            Arity = key.Choices is ["true", "false"] ? ArgumentArity.ZeroOrOne : ArgumentArity.ExactlyOne,
        };
        if (!key.Choices.IsEmpty)
        {
            option.CompletionSources.Add([.. key.Choices]);
        }

        return option;
    }
}
