using Microsoft.Extensions.Logging;

namespace Pipeline.Diagnostics;

/// <summary>What an address book logs: event ids 120 to 139, which are kept when texts change.</summary>
internal static partial class AddressBookLog
{
    [LoggerMessage(120, LogLevel.Error, "{Problem}")]
    public static partial void FileDamaged(ILogger logger, string problem);

    [LoggerMessage(121, LogLevel.Error, "The addresses cannot be written to '{Path}': {Reason} They are known all the same, and are written with the next change.")]
    public static partial void WriteFailed(ILogger logger, string path, string reason);

    [LoggerMessage(122, LogLevel.Information, "The addresses are in '{Path}' again.")]
    public static partial void WrittenAgain(ILogger logger, string path);

    [LoggerMessage(123, LogLevel.Information, "{Count} addresses of the file were left out: they are the node's own, private, or no places where a node can be reached.")]
    public static partial void Refused(ILogger logger, int count);
}
