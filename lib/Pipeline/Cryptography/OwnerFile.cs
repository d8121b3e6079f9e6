namespace Pipeline.Cryptography;

/// <summary>Files that are their owner's alone, and always whole.</summary>
internal static class OwnerFile
{
    private const string TemporarySuffix = ".tmp";

    /// <summary>
    /// Writes a file that only its owner can read (mode 0600). An existing one is replaced in one step, after the new one is on disk, so that
    /// there is always a whole one. A folder cannot be opened, and so not be flushed, by what .NET has: after a loss of power there may be the one
    /// before, which is whole too.
    /// </summary>
    /// <exception cref="IOException">The file cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">The file must not be written, or is a folder.</exception>
    public static void Replace(string path, ReadOnlySpan<byte> content)
    {
        // A link stays one: what it leads to is replaced.
        path = new FileInfo(path).LinkTarget is null ? path : File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path;
        string temporary = $"{path}.{Guid.NewGuid():N}{TemporarySuffix}";
        FileStreamOptions options = new() { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        FileStream stream = new(temporary, options);
        try
        {
            using (stream)
            {
                stream.Write(content);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>
    /// Deletes new files that were not finished because the process was killed. Only while nobody else writes the file. What cannot be deleted stays.
    /// </summary>
    public static void DeleteLeftovers(string path)
    {
        string beginning = Path.GetFileName(path) + ".";
        try
        {
            foreach (string file in Directory.EnumerateFiles(Path.GetDirectoryName(Path.GetFullPath(path))!, $"*{TemporarySuffix}"))
            {
                string name = Path.GetFileName(file);
                if (name.Length > beginning.Length + TemporarySuffix.Length
                    && name.StartsWith(beginning, StringComparison.Ordinal)
                    && name.EndsWith(TemporarySuffix, StringComparison.Ordinal)
                    && Guid.TryParseExact(name.AsSpan()[beginning.Length..^TemporarySuffix.Length], "N", out _))
                {
                    File.Delete(file);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It takes room and does no harm.
        }
    }
}
