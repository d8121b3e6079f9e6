using System.CommandLine;
using System.Text.Json;
using Pipeline.Cryptography;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline show-node-id</c>: who the node is.</summary>
internal static class ShowNodeIdCommand
{
    public static Command Create(CommandHost host, CommonOptions common) => new ConfigurationOptions(host, common).Configure(
        new Command("show-node-id", "Print the node's id, and nothing else."),
        async (configuration, arguments, _) =>
        {
            using NodeKey key = NodeKeys.Load(configuration);
            await host.Output.WriteLineAsync(arguments.GetValue(common.Json)
                ? JsonSerializer.Serialize(new { id = key.Id.ToString(), node_key_file = configuration.NodeKeyFile })
                : key.Id.ToString());
            return ExitCode.Success;
        });
}
