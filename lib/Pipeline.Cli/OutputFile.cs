using System.Text;

namespace Pipeline.Cli;

/// <summary>A file that a command writes at its end.</summary>
internal static class OutputFile
{
    /// <summary>Why a file cannot be written, before there is anything to write; null when nothing is known against it.</summary>
    /// <param name="option">The option that names it.</param>
    /// <param name="path">Where it is to be.</param>
    public static string? FindFault(string option, string path)
    {
        if (path.Length == 0 || path.Contains('\0', StringComparison.Ordinal))
        {
            return $"{option} is not the path of a file.";
        }

        return Directory.Exists(path) ? $"{option} '{Printable.Of(path, 80)}' is a folder."
            : Directory.Exists(Path.GetDirectoryName(Path.GetFullPath(path))) ? null
            : $"{option} '{Printable.Of(path, 80)}' is in a folder that does not exist.";
    }

    /// <summary>Writes a file whole; what was there stays until the new one is.</summary>
    /// <exception cref="IOException">The file cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">The file must not be written.</exception>
    public static void Write(string path, Action<TextWriter> write)
    {
        string unfinished = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            using (StreamWriter writer = new(unfinished, append: false, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false)))
            {
                write(writer);
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
