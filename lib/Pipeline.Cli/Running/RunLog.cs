using Microsoft.Extensions.Logging;

namespace Pipeline.Cli.Running;

/// <summary>What a command that runs a node logs.</summary>
internal static partial class RunLog
{
    [LoggerMessage(1, LogLevel.Information, "Reloaded: the lists of {File}; there are {Bans} bans now.")]
    public static partial void Reloaded(ILogger logger, string file, int bans);

    [LoggerMessage(2, LogLevel.Warning, "{Key} has changed; that takes effect when the node is started again.")]
    public static partial void NeedsRestart(ILogger logger, string key);

    [LoggerMessage(3, LogLevel.Error, "Nothing was reloaded, because the configuration cannot be used: {Errors}")]
    public static partial void NotReloaded(ILogger logger, string errors);

    [LoggerMessage(4, LogLevel.Error, "The bans were not read again; those that held before hold. {Problem}")]
    public static partial void BansNotReloaded(ILogger logger, string problem);

    [LoggerMessage(5, LogLevel.Error, "Something went wrong while the lists were read again.")]
    public static partial void ReloadFailed(ILogger logger, Exception exception);
}
