using System.Collections.Immutable;
using System.CommandLine;
using Pipeline.Cli.Commands;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Cli.Listening;

/// <summary>The nodes that a command is told to listen to.</summary>
internal static class ListenedNodes
{
    /// <summary>The most nodes: as many as a trace has peers.</summary>
    public const int MaxAddresses = Traces.Trace.MaxPeers;

    /// <summary>What network the nodes are of, unless the user says so.</summary>
    public static Option<string?> NetworkOption() => new("--network")
    {
        HelpName = "ID",
        Description = "The network (chain id) that the nodes are of. [default: what the first that answers says]",
        CustomParser = DialCommand.ParseNetwork,
    };

    /// <summary>For how long, unless until interrupted.</summary>
    public static Option<TimeSpan> DurationOption() => new("--duration")
    {
        HelpName = "DURATION",
        Description = "Stop after this time, such as 500ms, 3s or 1m30s. [default: when interrupted]",
        CustomParser = Duration.ParseOption,
    };

    /// <summary>Reads the addresses; when something is wrong, <paramref name="error"/> says what would be right.</summary>
    public static ImmutableArray<NetAddress> Parse(IEnumerable<string> texts, Command command, CommonOptions common, out string? error)
    {
        ImmutableArray<NetAddress> nodes = DialCommand.ParseAddresses(texts, command, common, out error);
        error ??= FindFault(nodes);
        return nodes;
    }

    private static string? FindFault(ImmutableArray<NetAddress> nodes)
    {
        if (nodes.Length > MaxAddresses)
        {
            return $"{nodes.Length} addresses are more than the {MaxAddresses} that can be listened to at once.";
        }

        NodeId? twice = nodes.GroupBy(static node => node.Id).FirstOrDefault(static node => node.Count() > 1)?.Key;
        return twice is null ? null : $"The node {twice} is named twice.";
    }
}
