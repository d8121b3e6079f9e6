namespace Pipeline.Hosting.Configuration;

/// <summary>Where a node keeps its files. A home folder of CometBFT is one.</summary>
/// <remarks>What is in it by default: <c>config/config.toml</c>, <c>config/node_key.json</c>, <c>config/genesis.json</c>, <c>config/addrbook.json</c>.</remarks>
public sealed class HomeFolder
{
    /// <summary>The environment variable that names the folder.</summary>
    public const string Variable = "PIPELINE_HOME";

    /// <summary>Takes a folder, which need not be there.</summary>
    /// <param name="path">The folder, relative to the working directory or absolute.</param>
    /// <exception cref="ConfigurationException"><paramref name="path"/> cannot be that of a folder.</exception>
    public HomeFolder(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (string.IsNullOrWhiteSpace(path) || path.Contains('\0', StringComparison.Ordinal))
        {
            throw new ConfigurationException($"The home folder {UserText.Quote(path)} is no folder; expected is a path such as ~/.pipeline.");
        }

        Path = System.IO.Path.GetFullPath(path);
        if (File.Exists(Path))
        {
            throw new ConfigurationException($"The home folder '{Path}' is a file; expected is a folder, or the path of one that is still to be made.");
        }
    }

    /// <summary>The folder's absolute path.</summary>
    public string Path { get; }

    /// <summary>The configuration, which need not be there: <c>config/config.toml</c>.</summary>
    public string ConfigurationFile => Resolve("config/config.toml");

    /// <summary>The folder that is asked for: <paramref name="path"/>, else the one of <see cref="Variable"/>, else <c>~/.pipeline</c>.</summary>
    /// <param name="path">What was asked for on the command line; null when nothing was.</param>
    /// <param name="environment">The environment variables; null for those of the process.</param>
    /// <exception cref="ConfigurationException">The path cannot be that of a folder, or there is none because the user has no home.</exception>
    public static HomeFolder Find(string? path = null, IReadOnlyDictionary<string, string>? environment = null)
    {
        if (path is null && (environment ?? EnvironmentVariables.OfProcess()).TryGetValue(Variable, out string? variable) && variable.Length > 0)
        {
            path = variable;
        }

        if (path is not null)
        {
            return new HomeFolder(path);
        }

        string user = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        return user.Length > 0
            ? new HomeFolder(System.IO.Path.Combine(user, ".pipeline"))
            : throw new ConfigurationException($"The user has no home folder to have .pipeline in; say with --home FOLDER or {Variable} where the node's files are.");
    }

    /// <summary>A path of the configuration as an absolute one: relative ones are relative to this folder.</summary>
    public string Resolve(string path) => System.IO.Path.GetFullPath(System.IO.Path.Combine(Path, path));

    /// <summary>The folder's absolute path.</summary>
    public override string ToString() => Path;
}
