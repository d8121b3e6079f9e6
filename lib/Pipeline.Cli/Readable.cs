using System.Globalization;

namespace Pipeline.Cli;

/// <summary>Numbers as people read them, the same in every culture.</summary>
internal static class Readable
{
    private static readonly string[] ByteUnits = ["B", "kB", "MB", "GB"];

    /// <summary>A count, as <c>9,725</c>.</summary>
    public static string Count(double count) => count.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>A number of bytes in three digits or so, as <c>3.25 MB</c>; a kilobyte is 1000 bytes.</summary>
    public static string Bytes(double bytes)
    {
        int unit = 0;
        while (bytes >= 999.5 && unit < ByteUnits.Length - 1)
        {
            bytes /= 1000;
            unit++;
        }

        string format = unit == 0 || bytes >= 99.95 ? "0" : bytes >= 9.995 ? "0.0" : "0.00";
        return bytes.ToString(format, CultureInfo.InvariantCulture) + " " + ByteUnits[unit];
    }

    /// <summary>A latency in milliseconds, as <c>0.21</c>; a dash for none.</summary>
    public static string Milliseconds(TimeSpan? latency) => latency?.TotalMilliseconds switch
    {
        null => "-",
        < 10 and double ms => ms.ToString("0.00", CultureInfo.InvariantCulture),
        < 100 and double ms => ms.ToString("0.0", CultureInfo.InvariantCulture),
        double ms => ms.ToString("N0", CultureInfo.InvariantCulture),
    };

    /// <summary>A duration in seconds, as <c>6.01 s</c>.</summary>
    public static string Seconds(TimeSpan duration) => duration.TotalSeconds.ToString("0.00", CultureInfo.InvariantCulture) + " s";
}
