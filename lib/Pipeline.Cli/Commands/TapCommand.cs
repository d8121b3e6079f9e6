using System.Collections.Immutable;
using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Pipeline.Cli.Tap;
using Pipeline.Cli.Tap.Views;
using Pipeline.Cli.Traces;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline tap</c>: listens to nodes of a live network as their peer, shows what they say and records it.</summary>
internal static class TapCommand
{
    // How long each node may take to say what network it is of.
    private static readonly TimeSpan AskTimeout = TimeSpan.FromSeconds(10);

    public static Command Create(CommandHost host)
    {
        Argument<NetAddress[]> addresses = new("address")
        {
            HelpName = "ID@HOST:PORT",
            Description = $"The nodes to listen to, at most {TapOptions.MaxAddresses}. ID is the 40 hexadecimal digits of a node's id.",
            Arity = new ArgumentArity(1, 1_000),
            CustomParser = ParseAddresses,
        };
        Option<string?> network = new("--network")
        {
            HelpName = "ID",
            Description = "The network (chain id) that the nodes are of. [default: what the first that answers says]",
            CustomParser = DialCommand.ParseNetwork,
        };
        Option<ChannelDescriptor[]> channel = new("--channel")
        {
            HelpName = "NAME|0xNN",
            Description = "Only messages of this channel, such as mempool, 0x22, or consensus for all of those. Several with commas, or one by one.",
            CustomParser = ParseChannels,
        };
        Option<string[]> kind = new("--kind")
        {
            HelpName = "KIND",
            Description = "Only messages of this kind, such as vote or txs. Several with commas, or one by one.",
            CustomParser = static result => [.. Parts(result)],
        };
        Option<string[]> peer = new("--peer")
        {
            HelpName = "ID",
            Description = "Only messages of this node: its id, or how it begins. Several with commas, or one by one.",
            CustomParser = static result => [.. Parts(result)],
        };
        Option<TimeSpan> duration = new("--duration")
        {
            HelpName = "DURATION",
            Description = "Stop after this time, such as 500ms, 3s or 1m30s. [default: when interrupted]",
            CustomParser = Duration.ParseOption,
        };
        Option<long> count = new("--count")
        {
            HelpName = "N",
            Description = "Stop after as many messages. [default: when interrupted]",
            CustomParser = ParseCount,
        };
        Option<string?> record = new("--record")
        {
            HelpName = "FILE",
            Description = "Record the messages for 'pipeline demo --trace', gzipped when the name ends with .gz.",
        };
        Option<bool> force = new("--force") { Description = "Replace the file of --record when there is one." };
        Option<bool> rates = new("--rates") { Description = "Show how much comes instead of each message." };
        Option<bool> json = new("--json") { Description = "Print one JSON object a line; the last one sums up." };

        Command command = new("tap", "Listen to nodes of a live network as their peer: show what they say, how much it is, and record it.")
        {
            addresses, network, channel, kind, peer, duration, count, record, force, rates, json,
        };

        // What is wrong with one value is said already.
        command.Validators.Add(result =>
        {
            if (result.Children.SelectMany(static child => child.Errors).Any())
            {
                return;
            }

            NetAddress[] nodes = result.GetValue(addresses) ?? [];
            ChannelDescriptor[] channels = result.GetValue(channel) ?? [];
            string? fault = FindFault(nodes)
                ?? result.GetValue(kind)?.Select(name => TapFilter.FindFault(name, channels)).FirstOrDefault(static wrong => wrong is not null)
                ?? result.GetValue(peer)?.Select(id => FindFault(id, nodes)).FirstOrDefault(static wrong => wrong is not null);
            if (fault is not null)
            {
                result.AddError(fault);
            }
        });
        command.SetAction((arguments, cancellationToken) =>
        {
            ImmutableArray<NetAddress> nodes = [.. arguments.GetRequiredValue(addresses)];
            NodeId[] ids = [.. nodes.Select(static node => node.Id)];
            TapOptions options = new()
            {
                Addresses = nodes,
                Network = arguments.GetValue(network) ?? "",
                Filter = new TapFilter(
                    arguments.GetValue(channel) ?? [],
                    arguments.GetValue(kind) ?? [],
                    (arguments.GetValue(peer) ?? []).Select(id => TapFilter.FindNode(id, ids, out _)!.Value)),
                Duration = arguments.GetResult(duration) is null ? null : arguments.GetValue(duration),
                Count = arguments.GetResult(count) is null ? null : arguments.GetValue(count),
            };
            ITapFormat format = arguments.GetValue(json) ? new JsonFormat(host.Output) : new TextFormat(host.Error);
            ITapView view = (arguments.GetValue(rates), arguments.GetValue(json), host.Terminal) switch
            {
                (false, _, _) => new MessageLines(format, host.Output),
                (true, false, { } terminal) => new RateScreen(terminal, format, $"Listening to {Nodes(nodes.Length)}", TimeProvider.System),
                _ => new RateLines(format, host.Output, TimeProvider.System),
            };
            WhenFileExists existing = arguments.GetValue(force) ? WhenFileExists.Replace : WhenFileExists.Refuse;
            return RunAsync(host, options, arguments.GetValue(record), existing, view, format, cancellationToken);
        });
        return command;
    }

    private static async Task<int> RunAsync(
        CommandHost host,
        TapOptions options,
        string? path,
        WhenFileExists existing,
        ITapView view,
        ITapFormat format,
        CancellationToken cancellationToken)
    {
        TapResult result;
        try
        {
            using TraceWriter? recording = path is null ? null : TraceWriter.Open(path, existing, TimeProvider.System);
            options = options.Network.Length > 0 ? options : await LearnAsync(options, cancellationToken);
            result = await new TapRun(options, view, recording, TimeProvider.System).RunAsync(cancellationToken);
        }
        catch (TraceException e)
        {
            await host.Error.WriteLineAsync(e.Message);
            return ExitCode.Usage;
        }
        catch (IOException e)
        {
            await host.Error.WriteLineAsync(e.Message);
            return ExitCode.Failure;
        }
        catch (OperationCanceledException)
        {
            await host.Error.WriteLineAsync("Interrupted before a node was reached.");
            return ExitCode.Interrupted;
        }

        foreach (string line in format.Of(result))
        {
            await host.Output.WriteLineAsync(line);
        }

        if (result.Failure is { } failure)
        {
            await host.Error.WriteLineAsync(Printable.Of(failure));
        }

        return result.ExitCode;
    }

    /// <summary>Asks the nodes, one after the other, what network they are of: one that takes no strangers says so too.</summary>
    private static async Task<TapOptions> LearnAsync(TapOptions options, CancellationToken cancellationToken)
    {
        List<string> failures = [];
        foreach (NetAddress address in options.Addresses)
        {
            DialReport report = await DialCommand.DialAsync(address, network: null, AskTimeout, cancellationToken);
            if (report.Node is { } node)
            {
                return options with { Network = node.Network, Versions = node.ProtocolVersions };
            }

            failures.Add(Printable.Of($"{address}: {report.Error}"));
        }

        throw new IOException(string.Join('\n', failures));
    }

    private static NetAddress[] ParseAddresses(ArgumentResult result) =>
        [.. result.Tokens.Select(token => DialCommand.ParseAddress(result, token.Value)).OfType<NetAddress>()];

    private static ChannelDescriptor[] ParseChannels(ArgumentResult result)
    {
        List<ChannelDescriptor> channels = [];
        foreach (string part in Parts(result))
        {
            channels.AddRange(TapFilter.FindChannels(part, out string? error));
            if (error is not null)
            {
                result.AddError(error);
            }
        }

        return [.. channels];
    }

    private static long ParseCount(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long count) && count > 0)
        {
            return count;
        }

        result.AddError($"--count '{text}' is not a number of messages of at least 1.");
        return default;
    }

    private static IEnumerable<string> Parts(ArgumentResult result) => result.Tokens.SelectMany(static token => token.Value.Split(',', StringSplitOptions.TrimEntries));

    private static string? FindFault(NetAddress[] nodes)
    {
        if (nodes.Length > TapOptions.MaxAddresses)
        {
            return $"{nodes.Length} addresses are more than the {TapOptions.MaxAddresses} that can be listened to at once.";
        }

        NodeId? twice = nodes.GroupBy(static node => node.Id).FirstOrDefault(static node => node.Count() > 1)?.Key;
        return twice is null ? null : $"The node {twice} is named twice.";
    }

    private static string? FindFault(string id, NetAddress[] nodes)
    {
        _ = TapFilter.FindNode(id, [.. nodes.Select(static node => node.Id)], out string? error);
        return error;
    }

    private static string Nodes(int count) => count == 1 ? "1 node" : $"{count} nodes";
}
