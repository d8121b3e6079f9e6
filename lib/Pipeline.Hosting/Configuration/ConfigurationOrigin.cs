namespace Pipeline.Hosting.Configuration;

/// <summary>What kind of place a value of the configuration came from.</summary>
public enum ConfigurationSource
{
    /// <summary>Nobody said anything: the key's default.</summary>
    Default,

    /// <summary>The genesis file, which names the network.</summary>
    Genesis,

    /// <summary>The configuration file.</summary>
    File,

    /// <summary>An environment variable.</summary>
    Environment,

    /// <summary>An option on the command line.</summary>
    CommandLine,
}

/// <summary>Where a value of the configuration came from.</summary>
/// <param name="Source">The kind of place.</param>
/// <param name="Where">The file and line (<c>/home/me/.pipeline/config/config.toml:12</c>), the variable or the option; empty for defaults.</param>
public sealed record ConfigurationOrigin(ConfigurationSource Source, string Where)
{
    internal static readonly ConfigurationOrigin Default = new(ConfigurationSource.Default, "");

    /// <summary><see cref="Where"/>, or "default".</summary>
    public override string ToString() => Source == ConfigurationSource.Default ? "default" : Where;

    // A line of a file says nothing about the key by itself, the other two are named after theirs.
    internal string Subject(ConfigurationKey key) => Source is ConfigurationSource.File ? $"{Where}: {key.Name}" : Where;
}

/// <summary>A key with the value that counts.</summary>
/// <param name="Key">The key.</param>
/// <param name="Text">The value, as it was written.</param>
/// <param name="Origin">Where it came from.</param>
public sealed record ConfigurationValue(ConfigurationKey Key, string Text, ConfigurationOrigin Origin);
