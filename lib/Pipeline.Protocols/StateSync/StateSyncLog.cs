using Microsoft.Extensions.Logging;
using Pipeline.Cryptography;

namespace Pipeline.Protocols.StateSync;

/// <summary>What state sync logs: event ids 160 to 179, which are kept when texts change.</summary>
internal static partial class StateSyncLog
{
    [LoggerMessage(160, LogLevel.Error, "The source of snapshots could not list them; peer {Id} is told of none.")]
    public static partial void ListFailed(ILogger logger, NodeId id, Exception exception);

    [LoggerMessage(161, LogLevel.Error, "The source of snapshots could not read chunk {Index} of height {Height} and format {Format}; peer {Id} is told that it is missing.")]
    public static partial void ReadFailed(ILogger logger, uint index, ulong height, uint format, NodeId id, Exception exception);

    [LoggerMessage(162, LogLevel.Warning, "Peer {Id} has broken a rule of state sync. {Fault}")]
    public static partial void RuleBroken(ILogger logger, NodeId id, string fault);
}
