using Microsoft.Extensions.Logging;

namespace Pipeline.Diagnostics;

/// <summary>What a list of bans logs: event ids 100 to 119, which are kept when texts change.</summary>
internal static partial class BanLog
{
    [LoggerMessage(100, LogLevel.Error, "{Problem}")]
    public static partial void FileDamaged(ILogger logger, string problem);

    [LoggerMessage(101, LogLevel.Error, "The bans cannot be written to '{Path}': {Reason} They hold all the same, and are written with the next change.")]
    public static partial void WriteFailed(ILogger logger, string path, string reason);

    [LoggerMessage(102, LogLevel.Information, "The bans are in '{Path}' again.")]
    public static partial void WrittenAgain(ILogger logger, string path);

    [LoggerMessage(103, LogLevel.Information, "{Ban}")]
    public static partial void Added(ILogger logger, object ban);

    [LoggerMessage(104, LogLevel.Information, "The ban of {Target} was lifted.")]
    public static partial void Removed(ILogger logger, object target);

    [LoggerMessage(105, LogLevel.Warning, "There are {Capacity} bans, as many as are kept: from now on those that end first make room for new ones.")]
    public static partial void Full(ILogger logger, int capacity);

    [LoggerMessage(106, LogLevel.Information, "The file of bans was read again: {Added} bans are new or longer, {Lifted} were lifted.")]
    public static partial void ReadAgain(ILogger logger, int added, int lifted);
}
