using System.Collections.Immutable;
using System.CommandLine;
using Microsoft.Extensions.Logging;
using Pipeline.Cli.Listening;
using Pipeline.Cli.Traces;
using Pipeline.Cli.Watching;
using Pipeline.Transport;

namespace Pipeline.Cli.Commands;

/// <summary><c>pipeline watch</c>: shows the consensus of a live network, or of a recording, and draws its rounds.</summary>
internal static class WatchCommand
{
    private const int DefaultDrawn = 10;

    public static Command Create(CommandHost host, CommonOptions common)
    {
        Argument<string[]> addresses = new("address")
        {
            HelpName = "ID@HOST:PORT",
            Description = $"The nodes to listen to, at most {ListenedNodes.MaxAddresses}. ID is the 40 hexadecimal digits of a node's id.",
            Arity = ArgumentArity.ZeroOrMore,
        };
        Option<string?> network = ListenedNodes.NetworkOption();
        Option<TimeSpan> duration = ListenedNodes.DurationOption();
        Option<int> count = WholeNumber.Option("--count", "HEIGHTS", "Stop after as many heights were committed. [default: when interrupted]", int.MaxValue, defaultValue: null);
        Option<string?> trace = new("--trace")
        {
            HelpName = "FILE",
            Description = "Watch a recording, as 'pipeline tap --record' makes them, instead of nodes; 'demo' is the one that comes with the command.",
        };
        Option<string?> svg = new("--svg") { HelpName = "FILE", Description = "Draw the rounds of the last heights at the end; an existing file is replaced." };
        Option<int> heights = WholeNumber.Option("--svg-heights", "N", "How many heights are drawn.", RoundChart.MostHeights, DefaultDrawn);

        Command command = new("watch", "Watch the consensus of a live network as a peer of its nodes: who votes for what, and how long it takes.")
        {
            addresses, network, duration, count, trace, svg, heights,
        };
        command.Validators.Add(result =>
        {
            string[] texts = result.GetValue(addresses) ?? [];
            _ = ListenedNodes.Parse(texts, command, common, out string? error);
            error ??= (texts.Length > 0) == (result.GetValue(trace) is not null) ? "Expected is either nodes, as ID@HOST:PORT, or --trace FILE." : null;
            if (error is not null)
            {
                result.AddError(error);
            }
        });
        command.SetAction(async (arguments, cancellationToken) =>
        {
            using ILoggerFactory loggers = common.CreateLoggerFactory(host, arguments);
            bool json = arguments.GetValue(common.Json);
            ImmutableArray<NetAddress> nodes = ListenedNodes.Parse(arguments.GetValue(addresses) ?? [], command, common, out _);
            WatchOptions options = new()
            {
                Duration = arguments.GetResult(duration) is null ? null : arguments.GetValue(duration),
                Count = arguments.GetResult(count) is null ? null : arguments.GetValue(count),
            };
            IWatchFormat format = json ? new JsonWatchFormat(host.Output) : new TextWatchFormat(host.Error);
            Picture? picture = arguments.GetValue(svg) is { } path ? new Picture(path, arguments.GetValue(heights)) : null;
            string? recording = arguments.GetValue(trace);
            return await Guarded.RunAsync(host, async () =>
            {
                if (picture?.FindFault() is { } fault)
                {
                    throw new TraceException(fault);
                }

                WatchResult result = recording is null
                    ? await WatchAsync(host, options, nodes, arguments.GetValue(network), json, format, loggers, cancellationToken)
                    : await new WatchRun(options, new HeightLines(format, host.Output), TimeProvider.System)
                        .RunAsync(recording == "demo" ? Trace.ReadBundled() : Trace.ReadFile(recording), cancellationToken);
                return await EndAsync(host, result, format, picture);
            });
        });
        return command;
    }

    private static async Task<WatchResult> WatchAsync(
        CommandHost host,
        WatchOptions options,
        ImmutableArray<NetAddress> nodes,
        string? network,
        bool json,
        IWatchFormat format,
        ILoggerFactory loggers,
        CancellationToken cancellationToken)
    {
        ProtocolVersions versions = new();
        if (string.IsNullOrEmpty(network))
        {
            NodeInfo learned = await DialCommand.LearnAsync(nodes, loggers.CreateLogger(nameof(WatchCommand)), cancellationToken);
            (network, versions) = (learned.Network, learned.ProtocolVersions);
        }

        string title = $"The consensus of {Printable.Of(network, 50)}, heard from {(nodes.Length == 1 ? "1 node" : $"{nodes.Length} nodes")}";
        IWatchView view = host.Terminal is { } terminal && !json
            ? new ConsensusScreen(terminal, format, title, TimeProvider.System)
            : new HeightLines(format, host.Output);
        return await new WatchRun(options, view, TimeProvider.System).RunAsync(nodes, network, versions, loggers, cancellationToken);
    }

    private static async Task<int> EndAsync(CommandHost host, WatchResult result, IWatchFormat format, Picture? picture)
    {
        if (result.Failure is null)
        {
            foreach (string line in format.Of(result))
            {
                await host.Output.WriteLineAsync(line);
            }
        }

        string? failure = result.Failure ?? picture?.Draw(result);
        if (failure is not null)
        {
            await host.Error.WriteLineAsync(Printable.Of(failure));
            return ExitCode.Failure;
        }

        if (picture is not null)
        {
            await host.Error.WriteLineAsync($"Written: {Printable.Of(picture.Path)}");
        }

        return result.ExitCode;
    }

    private sealed record Picture(string Path, int Heights)
    {
        public string? FindFault() => OutputFile.FindFault("--svg", Path);

        /// <returns>Why there is none; null when there is.</returns>
        public string? Draw(WatchResult result)
        {
            try
            {
                string drawing = RoundChart.Draw(result.End.Heights, Heights, "The rounds of a network as its nodes tell of them");
                OutputFile.Write(Path, writer => writer.Write(drawing));
                return null;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidOperationException)
            {
                return $"The rounds cannot be drawn. {e.Message}";
            }
        }
    }
}
