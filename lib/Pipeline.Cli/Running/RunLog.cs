using Microsoft.Extensions.Logging;

namespace Pipeline.Cli.Running;

/// <summary>What a command that runs a node logs.</summary>
internal static partial class RunLog
{
    [LoggerMessage(1, LogLevel.Information, "Reloaded: the lists of {File}, and the bans, of which there are {Bans} now.")]
    public static partial void Reloaded(ILogger logger, string file, int bans);

    [LoggerMessage(2, LogLevel.Warning, "{Key} has changed; that takes effect when the node is started again.")]
    public static partial void NeedsRestart(ILogger logger, string key);

    [LoggerMessage(3, LogLevel.Error, "Nothing was reloaded, because the configuration cannot be used: {Errors}")]
    public static partial void NotReloaded(ILogger logger, string errors);
}
