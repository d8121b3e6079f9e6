using System.Globalization;

namespace Pipeline.Experiments.Measuring;

/// <summary>How many files, sockets among them, this process may have open.</summary>
internal static class OpenFiles
{
    private const string LinuxLimits = "/proc/self/limits";

    // For what a process opens besides: assemblies, pipes, the event queues of sockets.
    private const int Others = 200;

    /// <summary>Throws when there may not be so many sockets. Where the limit is not known, there is none.</summary>
    /// <param name="purpose">What they are for, as the beginning of a sentence.</param>
    /// <param name="sockets">How many.</param>
    public static void EnsureRoom(string purpose, int sockets)
    {
        // The runtime has raised the limit as far as the process may by itself.
        int needed = sockets + Others;
        if (FindLimit() is { } limit && limit < needed)
        {
            throw new ExperimentException(
                $"{purpose} need {Readable.Number(needed)} open files, and this process may have {Readable.Number(limit)}: raise the hard limit ('ulimit -Hn'), or ask for less.");
        }
    }

    // The name of the limit, which has blanks, then the soft limit, the hard limit and the unit.
    private static long? FindLimit()
    {
        string? line = File.Exists(LinuxLimits) ? File.ReadLines(LinuxLimits).FirstOrDefault(line => line.StartsWith("Max open files", StringComparison.Ordinal)) : null;
        return line?.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries) is [_, _, _, string soft, ..]
            && long.TryParse(soft, NumberStyles.None, CultureInfo.InvariantCulture, out long limit) ? limit : null;
    }
}
