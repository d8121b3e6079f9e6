using System.CommandLine;
using System.Text.Json;
using Pipeline.Hosting.Configuration;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline config</c>: what is configured.</summary>
internal static class ConfigCommand
{
    public static Command Create(CommandHost host, CommonOptions common)
    {
        Command show = new ConfigurationOptions(host, common).Configure(
            new Command("show", "Print the value of each key that is in force, and where it came from."),
            async (configuration, arguments, _) =>
            {
                await (arguments.GetValue(common.Json) ? WriteJsonAsync(host, configuration) : WriteTextAsync(host, configuration));
                return ExitCode.Success;
            });
        return new Command("config", "Show how the node is configured.") { show };
    }

    private static async Task WriteTextAsync(CommandHost host, NodeConfiguration configuration)
    {
        (string Key, string Value, string Origin)[] rows =
        [
            ("KEY", "VALUE", "FROM"),
            .. configuration.Values.Select(value => (value.Key.Name, value.Text.Length == 0 ? "-" : UserText.Escape(value.Text), value.Origin.ToString())),
        ];
        int keys = rows.Max(row => row.Key.Length);

        // A long list must not push the others away.
        int values = Math.Min(40, rows.Max(row => row.Value.Length));
        foreach ((string key, string value, string origin) in rows)
        {
            await host.Output.WriteLineAsync($"{key.PadRight(keys)}  {value.PadRight(values)}  {origin}");
        }

        if (!configuration.HasFile)
        {
            await host.Error.WriteLineAsync($"There is no file {configuration.Home.ConfigurationFile}; what nothing else says is as the defaults are.");
        }

        if (configuration.NetworkProblem is { } problem)
        {
            await host.Error.WriteLineAsync(problem);
        }
    }

    private static Task WriteJsonAsync(CommandHost host, NodeConfiguration configuration) => host.Output.WriteLineAsync(JsonSerializer.Serialize(new
    {
        home = configuration.Home.Path,
        config_file = configuration.Home.ConfigurationFile,
        config_file_exists = configuration.HasFile,
        values = configuration.Values.Select(value => new
        {
            key = value.Key.Name,
            value = value.Text,
            source = JsonNamingPolicy.SnakeCaseLower.ConvertName(value.Origin.Source.ToString()),
            where = value.Origin.Where,
        }),
        network_problem = configuration.NetworkProblem,
        warnings = configuration.Warnings,
    }));
}
