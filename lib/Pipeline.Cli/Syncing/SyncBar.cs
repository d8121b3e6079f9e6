using System.Globalization;
using Pipeline.Protocols.BlockSync;

namespace Pipeline.Cli.Syncing;

/// <summary>Draws how far a sync is, in two lines: a bar with the time that is left, and the figures.</summary>
internal static class SyncBar
{
    // What stands right of the bar at most: " 100 %  99:59:59 left".
    private const int RightWidth = 21;
    private const int MostWidth = 60;

    // What would take longer is not known well enough to be said.
    private static readonly TimeSpan LongestLeft = TimeSpan.FromHours(100);

    /// <summary>Draws one moment.</summary>
    /// <param name="progress">The moment.</param>
    /// <param name="width">The width of the screen; no line is longer.</param>
    public static string Of(BlockSyncProgress progress, int width)
    {
        int length = Math.Clamp(width - RightWidth, 1, MostWidth);

        // Blocks that were there before do not count.
        long before = progress.Height - progress.Verified;
        long wanted = progress.Target - before;
        string bar = wanted <= 0
            ? new string('─', length) + (progress.Target == 0 ? " asking the peers" : "")
            : Draw(Math.Min(progress.Verified, wanted) / (double)wanted, length) + Left(progress);
        return Cut(bar, width) + "\n" + Cut(Describe(progress), width);
    }

    /// <summary>The figures in a line.</summary>
    public static string Describe(BlockSyncProgress progress) => string.Create(
        CultureInfo.InvariantCulture,
        $"block {progress.Height} of {(progress.Target == 0 ? "?" : progress.Target)}, {progress.BlocksPerSecond:0} blocks/s, {progress.Peers} {(progress.Peers == 1 ? "peer" : "peers")}, {progress.Asked} asked for, {Readable.Bytes(progress.Buffered)} waiting");

    // 100 % is when nothing is left.
    private static string Draw(double part, int length)
    {
        int full = (int)(part * length);
        return string.Create(CultureInfo.InvariantCulture, $"{new string('━', full)}{new string('─', length - full)} {Math.Floor(part * 100),3:0} %");
    }

    private static string Left(BlockSyncProgress progress)
    {
        long blocks = progress.Target - progress.Height;
        double seconds = blocks / progress.BlocksPerSecond;
        return blocks <= 0 ? ""
            : progress.BlocksPerSecond > 0 && seconds < LongestLeft.TotalSeconds
                ? string.Create(CultureInfo.InvariantCulture, $"  {(int)(seconds / 3600):00}:{(int)(seconds / 60) % 60:00}:{(int)seconds % 60:00} left")
                : "  --:--:-- left";
    }

    private static string Cut(string line, int width) => line.Length <= width ? line : line[..Math.Max(0, width - 1)] + "…";
}
