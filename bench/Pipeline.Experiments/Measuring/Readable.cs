using System.Globalization;

namespace Pipeline.Experiments.Measuring;

/// <summary>Numbers as people read them, the same in every culture.</summary>
internal static class Readable
{
    /// <summary>Three digits or so, and all of a whole number: <c>0.413</c>, <c>12.7</c>, <c>281,300</c>; a dash for what is no number.</summary>
    public static string Number(double value) => Math.Abs(value) switch
    {
        double.NaN => "–",
        0 => "0",
        < 0.001 => value.ToString("0.#####", CultureInfo.InvariantCulture),
        < 10 => value.ToString("0.###", CultureInfo.InvariantCulture),
        < 100 => value.ToString("0.#", CultureInfo.InvariantCulture),
        _ => value.ToString("N0", CultureInfo.InvariantCulture),
    };

    /// <summary>A number of bytes as <c>64 KiB</c>; a kibibyte is 1024 bytes.</summary>
    public static string Bytes(double bytes) => bytes switch
    {
        >= 1 << 30 => $"{Number(bytes / (1 << 30))} GiB",
        >= 1 << 20 => $"{Number(bytes / (1 << 20))} MiB",
        >= 1 << 10 => $"{Number(bytes / (1 << 10))} KiB",
        _ => $"{Number(bytes)} B",
    };

    /// <summary>The heading of a column: <c>p99_ms</c> as <c>p99 ms</c>, <c>MB_s</c> as <c>MB/s</c>.</summary>
    public static string Heading(string column)
    {
        foreach (string counted in (ReadOnlySpan<string>)["msgs", "MB", "deliveries", "handshakes"])
        {
            column = column.Replace($"{counted}_s", $"{counted}/s", StringComparison.Ordinal);
        }

        return column.Replace('_', ' ');
    }

    /// <summary>A cell of a table.</summary>
    public static string Cell(object? value) => value switch
    {
        null => "–",
        true => "yes",
        false => "no",
        double number => Number(number),
        int or long => ((IFormattable)value).ToString("N0", CultureInfo.InvariantCulture),
        _ => value.ToString()!,
    };
}
