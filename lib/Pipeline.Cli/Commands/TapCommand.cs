using System.Collections.Immutable;
using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Pipeline.Cli.Listening;
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
    public static Command Create(CommandHost host, CommonOptions common)
    {
        Argument<string[]> addresses = new("address")
        {
            HelpName = "ID@HOST:PORT",
            Description = $"The nodes to listen to, at most {ListenedNodes.MaxAddresses}. ID is the 40 hexadecimal digits of a node's id.",
            Arity = ArgumentArity.OneOrMore,
        };
        Option<string?> network = ListenedNodes.NetworkOption();
        Option<string[]> channel = new("--channel")
        {
            HelpName = "NAME|0xNN",
            Description = "Only messages of this channel, such as mempool, 0x22, or consensus for all of those. Several with commas, or one by one.",
        };
        Option<string[]> kind = new("--kind")
        {
            HelpName = "KIND",
            Description = "Only messages of this kind, such as vote or txs. Several with commas, or one by one.",
        };
        Option<string[]> peer = new("--peer")
        {
            HelpName = "ID",
            Description = "Only messages of this node: its id, or how it begins. Several with commas, or one by one.",
        };
        Option<TimeSpan> duration = ListenedNodes.DurationOption();
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

        Command command = new("tap", "Listen to nodes of a live network as their peer: show what they say, how much it is, and record it.")
        {
            addresses, network, channel, kind, peer, duration, count, record, force, rates,
        };

        command.Validators.Add(result =>
        {
            _ = Target(result, out string? error);
            if (error is not null)
            {
                result.AddError(error);
            }
        });
        command.SetAction(async (arguments, cancellationToken) =>
        {
            (ImmutableArray<NetAddress> nodes, TapFilter filter) = Target(arguments.CommandResult, out _);
            TapOptions options = new()
            {
                Addresses = nodes,
                Network = arguments.GetValue(network) ?? "",
                Filter = filter,
                Duration = arguments.GetResult(duration) is null ? null : arguments.GetValue(duration),
                Count = arguments.GetResult(count) is null ? null : arguments.GetValue(count),
            };
            ITapFormat format = arguments.GetValue(common.Json) ? new JsonFormat(host.Output) : new TextFormat(host.Error);
            ITapView view = (arguments.GetValue(rates), arguments.GetValue(common.Json), host.Terminal) switch
            {
                (false, _, _) => new MessageLines(format, host.Output),
                (true, false, { } terminal) => new RateScreen(terminal, format, $"Listening to {Number(nodes.Length)}", TimeProvider.System),
                _ => new RateLines(format, host.Output, TimeProvider.System),
            };
            using ILoggerFactory loggers = common.CreateLoggerFactory(host, arguments);
            WhenFileExists existing = arguments.GetValue(force) ? WhenFileExists.Replace : WhenFileExists.Refuse;
            return await Guarded.RunAsync(host, () => RunAsync(host, options, arguments.GetValue(record), existing, view, format, loggers, cancellationToken));
        });
        return command;

        (ImmutableArray<NetAddress> Nodes, TapFilter Filter) Target(CommandResult result, out string? error) => FindTarget(
            ListenedNodes.Parse(result.GetValue(addresses) ?? [], command, common, out string? fault),
            fault,
            Parts(result.GetValue(channel)),
            Parts(result.GetValue(kind)),
            Parts(result.GetValue(peer)),
            out error);
    }

    private static async Task<int> RunAsync(
        CommandHost host,
        TapOptions options,
        string? path,
        WhenFileExists existing,
        ITapView view,
        ITapFormat format,
        ILoggerFactory loggers,
        CancellationToken cancellationToken)
    {
        TapResult result;
        using (TraceWriter? recording = path is null ? null : TraceWriter.Open(path, existing, TimeProvider.System))
        {
            if (options.Network.Length == 0)
            {
                NodeInfo learned = await DialCommand.LearnAsync(options.Addresses, loggers.CreateLogger(nameof(TapCommand)), cancellationToken);
                options = options with { Network = learned.Network, Versions = learned.ProtocolVersions };
            }

            result = await new TapRun(options, view, recording, TimeProvider.System, loggers).RunAsync(cancellationToken);
        }

        try
        {
            foreach (string line in format.Of(result))
            {
                await host.Output.WriteLineAsync(line);
            }
        }
        catch (IOException e)
        {
            result = result with { ExitCode = ExitCode.Failure, Failure = result.Failure ?? TapRun.DescribeBroken(e) };
        }

        if (result.Failure is { } failure)
        {
            await host.Error.WriteLineAsync(Printable.Of(failure));
        }

        return result.ExitCode;
    }

    /// <summary>Finds whom to listen to and what for; when something is wrong, <paramref name="error"/> says what would be right.</summary>
    private static (ImmutableArray<NetAddress> Nodes, TapFilter Filter) FindTarget(
        ImmutableArray<NetAddress> nodes,
        string? fault,
        string[] channels,
        string[] kinds,
        string[] peers,
        out string? error)
    {
        List<string?> faults = [fault];
        ChannelDescriptor[] wanted = [.. channels.SelectMany(text => Checked(TapFilter.FindChannels(text, out string? wrong), wrong))];
        faults.AddRange(kinds.Select(kind => TapFilter.FindFault(kind, wanted)));
        NodeId[] all = [.. nodes.Select(static node => node.Id)];
        NodeId[] senders = [.. peers.Select(id => Checked(TapFilter.FindNode(id, all, out string? wrong), wrong)).OfType<NodeId>()];
        error = faults.Find(static fault => fault is not null);
        return (nodes, new TapFilter(wanted, kinds, senders));

        TValue Checked<TValue>(TValue value, string? wrong)
        {
            faults.Add(wrong);
            return value;
        }
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

    private static string[] Parts(string[]? values) => [.. (values ?? []).SelectMany(static value => value.Split(',', StringSplitOptions.TrimEntries))];

    private static string Number(int nodes) => nodes == 1 ? "1 node" : $"{nodes} nodes";
}
