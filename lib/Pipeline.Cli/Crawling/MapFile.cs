using Pipeline.Discovery.Crawling;

namespace Pipeline.Cli.Crawling;

/// <summary>Files that maps are written to.</summary>
internal static class MapFile
{
    private static readonly Dictionary<string, Action<TextWriter, NetworkMap>> Writers = new(StringComparer.OrdinalIgnoreCase)
    {
        [".json"] = static (writer, map) => writer.WriteLine(map.ToJson(isIndented: true)),
        [".csv"] = static (writer, map) => map.WriteCsv(writer),
        [".dot"] = static (writer, map) => map.WriteDot(writer),
        [".gv"] = static (writer, map) => map.WriteDot(writer),
    };

    /// <summary>The endings that there are, for people.</summary>
    public static string Endings => ".json, .csv, or .dot and .gv for GraphViz";

    /// <summary>Why a map cannot be written to a file, before there is one; null when nothing is known against it.</summary>
    public static string? FindFault(string path) =>
        Writers.ContainsKey(Path.GetExtension(path))
            ? OutputFile.FindFault("--output", path)
            : $"--output '{Printable.Of(path, 80)}' does not say by its ending what to write: {Endings}.";

    /// <summary>Writes a map whole; an existing file is replaced.</summary>
    public static void Write(string path, NetworkMap map) => OutputFile.Write(path, writer => Writers[Path.GetExtension(path)](writer, map));
}
