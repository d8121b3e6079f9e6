using System.Collections.Immutable;
using System.CommandLine;
using Pipeline.Cli.Crawling;
using Pipeline.Discovery.Crawling;
using Pipeline.Hosting.Configuration;
using Pipeline.Transport;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline crawl</c>: a map of a network.</summary>
internal static class CrawlCommand
{
    private static readonly CrawlOptions Defaults = new();

    public static Command Create(CommandHost host, CommonOptions common)
    {
        Argument<string[]> addresses = new("address")
        {
            HelpName = "ID@HOST:PORT",
            Description = "The nodes to begin with. [default: seeds and persistent_peers of the home folder's configuration]",
            Arity = ArgumentArity.ZeroOrMore,
        };
        Option<string?> network = new("--network")
        {
            HelpName = "ID",
            Description = "The network (chain id) whose nodes are looked for. [default: what the first that answers says]",
            CustomParser = DialCommand.ParseNetwork,
        };
        Option<string[]> output = new("--output", "-o")
        {
            HelpName = "FILE",
            Description = $"Write the map to a file; its ending says how: {MapFile.Endings}. Can be said more than once.",
        };
        Option<TimeSpan> timeout = DurationOption("--timeout", "How long a visit may take at one address", Defaults.VisitTimeout);
        Option<TimeSpan> maxTime = DurationOption("--max-time", "How long the crawl may take; then it ends with what it has found", Defaults.MaxTime);
        Option<int> maxNodes = WholeNumber.Option("--max-nodes", "N", "How many nodes are remembered, 1 to 1,000,000.", 1_000_000, Defaults.MaxNodes);
        Option<int> visits = WholeNumber.Option("--concurrency", "N", "How many nodes are visited at once, 1 to 1,000.", 1000, Defaults.MaxVisits);
        Option<int> rounds = WholeNumber.Option("--rounds", "N", "How many times each node is asked: it tells a random part of what it knows, 1 to 1,000.", 1000, Defaults.Rounds);

        Command command = new("crawl", "Visit the nodes of a network, one after the other, and make a map of them: who can be reached, what it is, and whom it told of.")
        {
            addresses, network, output, timeout, maxTime, maxNodes, visits, rounds,
        };
        command.Validators.Add(result =>
        {
            _ = DialCommand.ParseAddresses(result.GetValue(addresses) ?? [], command, common, out string? error);
            error ??= (result.GetValue(output) ?? []).Select(MapFile.FindFault).FirstOrDefault(fault => fault is not null);
            if (error is not null)
            {
                result.AddError(error);
            }
        });
        command.SetAction(async (arguments, cancellationToken) =>
        {
            ImmutableArray<NetAddress> seeds = [.. (arguments.GetValue(addresses) ?? []).Select(NetAddress.Parse)];
            string? wanted = arguments.GetValue(network);
            try
            {
                if (seeds.IsEmpty)
                {
                    (seeds, wanted) = ReadHome(host, arguments.GetValue(common.Home), wanted);
                }
            }
            catch (ConfigurationException e)
            {
                foreach (string error in e.Errors)
                {
                    await host.Error.WriteLineAsync(error);
                }

                return ExitCode.Usage;
            }

            CrawlOptions options = new()
            {
                Network = wanted,
                VisitTimeout = ValueOf(arguments, timeout, Defaults.VisitTimeout),
                MaxTime = ValueOf(arguments, maxTime, Defaults.MaxTime),
                MaxNodes = arguments.GetValue(maxNodes),
                MaxVisits = arguments.GetValue(visits),
                Rounds = arguments.GetValue(rounds),
            };
            CrawlView view = new(host, arguments.GetValue(common.Json), TimeProvider.System);
            NetworkMap map = await view.ShowAsync(progress => Crawler.CrawlAsync(seeds, options, progress, cancellationToken));
            // First, so that it is there whatever becomes of the files.
            await view.WriteAsync(map);
            bool isWritten = true;
            foreach (string path in arguments.GetValue(output) ?? [])
            {
                try
                {
                    MapFile.Write(path, map);
                    await host.Error.WriteLineAsync($"Written: {path}");
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    isWritten = false;
                    await host.Error.WriteLineAsync($"The map cannot be written. {e.Message}");
                }
            }

            return map.End == CrawlEnd.Cancelled ? ExitCode.Interrupted
                : isWritten && map.Nodes.Any(node => node.Reachability == Reachability.Reached) ? ExitCode.Success
                : ExitCode.Failure;
        });
        return command;
    }

    private static (ImmutableArray<NetAddress> Seeds, string? Network) ReadHome(CommandHost host, string? home, string? network)
    {
        NodeConfiguration configuration = NodeConfiguration.Load(HomeFolder.Find(home, host.Environment), host.Environment);
        ImmutableArray<NetAddress> seeds = [.. configuration.Seeds.Concat(configuration.PersistentPeers).DistinctBy(address => address.Id)];
        return seeds.IsEmpty
            ? throw new ConfigurationException(
                $"There is nobody to begin with: no address was given, and {configuration.Home.ConfigurationFile} names no p2p.seeds and no p2p.persistent_peers. Expected is "
                + $"pipeline crawl ID@HOST:PORT, or a --home whose configuration has some.")
            : (seeds, network ?? configuration.Network);
    }

    private static Option<TimeSpan> DurationOption(string name, string what, TimeSpan defaultValue) => new(name)
    {
        HelpName = "DURATION",
        Description = $"{what}, such as 500ms, 3s or 1m30s. [default: {Hosting.Configuration.Duration.Format(defaultValue)}]",
        CustomParser = Duration.ParseOption,
    };

    private static TimeSpan ValueOf(ParseResult arguments, Option<TimeSpan> option, TimeSpan defaultValue) =>
        arguments.GetResult(option) is null ? defaultValue : arguments.GetValue(option);
}
