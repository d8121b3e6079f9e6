using System.CommandLine;
using Pipeline.Cli.Running;
using Pipeline.Hosting.Configuration;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Sqlite;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline serve</c>: a node that gives others the blocks of a store.</summary>
internal static class ServeCommand
{
    public static Command Create(CommandHost host, CommonOptions common)
    {
        Option<string> store = new("--store")
        {
            HelpName = "FILE",
            Description = "The block store, as pipeline sync makes it. Its network is the node's, unless the configuration names one.",
            Required = true,
        };
        ConfigurationOptions configuration = new(host, common);
        Command command = new("serve", "Run the node and give the blocks of a store to others that sync, until Ctrl+C or SIGTERM.") { store };
        return configuration.Configure(command, async (loaded, arguments, cancellationToken) =>
        {
            try
            {
                using SqliteBlockStore blocks = SqliteBlockStore.Open(arguments.GetRequiredValue(store));
                if (loaded.Network is { } network && network != blocks.ChainId)
                {
                    throw new ConfigurationException($"The configuration names the network {UserText.Quote(network)}, but the store '{blocks.Path}' has blocks of {UserText.Quote(blocks.ChainId)}.");
                }

                NodeConfiguration used = LoadFor(blocks.ChainId);
                return await new NodeRun(host, used, () => LoadFor(blocks.ChainId), new RunOptions(arguments.GetValue(common.Json), Watch: null))
                {
                    Reactors = [new BlockSyncReactor(store: blocks)],
                }.RunAsync(cancellationToken);
            }
            catch (BlockStoreException e)
            {
                await host.Error.WriteLineAsync(Printable.Of(e.Message));
                return ExitCode.Usage;
            }

            NodeConfiguration LoadFor(string chainId) => configuration.Load(arguments, new Dictionary<string, string> { ["network"] = chainId });
        });
    }
}
