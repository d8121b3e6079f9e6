using System.Text;
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
    public static string? FindFault(string path)
    {
        if (!Writers.ContainsKey(Path.GetExtension(path)))
        {
            return $"--output '{Printable.Of(path, 80)}' does not say by its ending what to write: {Endings}.";
        }

        string folder = Path.GetDirectoryName(Path.GetFullPath(path)) ?? "";
        return Directory.Exists(path) ? $"--output '{Printable.Of(path, 80)}' is a folder."
            : Directory.Exists(folder) ? null
            : $"--output '{Printable.Of(path, 80)}' is in a folder that does not exist.";
    }

    /// <summary>Writes a map whole; an existing file is replaced.</summary>
    public static void Write(string path, NetworkMap map)
    {
        // Beside it first: what was there stays until the new one is whole.
        string unfinished = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            using (StreamWriter writer = new(unfinished, append: false, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false)))
            {
                Writers[Path.GetExtension(path)](writer, map);
            }

            File.Move(unfinished, path, overwrite: true);
        }
        catch
        {
            File.Delete(unfinished);
            throw;
        }
    }
}
