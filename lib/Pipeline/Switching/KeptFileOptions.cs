namespace Pipeline.Switching;

/// <summary>What a <see cref="KeptFile{T}"/> keeps, and where.</summary>
/// <param name="Path">The file. Its folder must be there when it is written.</param>
/// <param name="Things">What is in the file, such as "bans".</param>
/// <param name="Whole">What all of them are, such as "list".</param>
/// <param name="Example">The name of such a file.</param>
internal sealed record KeptFileOptions(string Path, string Things, string Whole, string Example)
{
    /// <summary>The most bytes that are read.</summary>
    public required long MaxSize { get; init; }

    /// <summary>How long a change that is to be on disk soon waits for others.</summary>
    public required TimeSpan Pause { get; init; }

    /// <summary>How long other changes wait, before the pause.</summary>
    public TimeSpan Interval { get; init; }

    /// <summary>Writes the file, whole or not at all, or throws anything. Called by the loop, and at no time by two threads.</summary>
    public required Action Save { get; init; }

    public required TimeProvider TimeProvider { get; init; }

    /// <summary>Told what is wrong with the file.</summary>
    public required Action<string> LogDamage { get; init; }

    /// <summary>Told the path that could not be written, and why.</summary>
    public required Action<string, string> LogFailure { get; init; }

    /// <summary>Told the path that could be written again.</summary>
    public required Action<string> LogRecovery { get; init; }
}

/// <summary>What was read from a file.</summary>
/// <typeparam name="T">The type itself.</typeparam>
internal interface IFileContent<T>
    where T : IFileContent<T>
{
    /// <summary>How many things could be read.</summary>
    int Count { get; }

    /// <summary>What is wrong with the file, as the end of a sentence; null when nothing is.</summary>
    string? Fault { get; }

    /// <summary>A file of which nothing could be read, because of a fault or because it is not there.</summary>
    static abstract T Nothing(string? fault);

    /// <summary>Reads what can be read; nothing in the file makes it throw.</summary>
    /// <param name="file">The file's bytes.</param>
    /// <param name="now">The time.</param>
    static abstract T Read(ReadOnlyMemory<byte> file, DateTimeOffset now);
}
