using System.Collections.Immutable;

namespace Pipeline.Hosting.Configuration;

/// <summary>Something that can be configured: by the file, by an environment variable, and by an option.</summary>
public abstract class ConfigurationKey
{
    private protected ConfigurationKey(string name, string defaultText, string description)
    {
        Name = name;
        Default = defaultText;
        DocumentedDefault = defaultText;
        Description = description;
        Variable = "PIPELINE_" + name.Replace('.', '_').ToUpperInvariant();
    }

    /// <summary>All keys, in the order that files have them in.</summary>
    public static ImmutableArray<ConfigurationKey> All => ConfigurationKeys.All;

    /// <summary>The section of the file and the key in it, <c>p2p.send_rate</c>, or the key alone when it is above all sections: <c>moniker</c>.</summary>
    public string Name { get; }

    /// <summary>The value when nobody says one, as it is written.</summary>
    public string Default { get; }

    /// <summary>What the key is for, in sentences.</summary>
    public string Description { get; }

    /// <summary>What values there are, as it goes on after "expected is".</summary>
    public abstract string Expected { get; }

    /// <summary>The environment variable: <c>PIPELINE_P2P_SEND_RATE</c>.</summary>
    public string Variable { get; }

    /// <summary>The option: <c>--p2p.send_rate</c>.</summary>
    public string Option => "--" + Name;

    /// <summary>The default as documentation has it: <see cref="Default"/>, or where it comes from when it depends on the machine.</summary>
    public string DocumentedDefault { get; internal init; }

    /// <summary>Whether a change takes effect while the node runs, when it reads its configuration again. Else it does at the next start.</summary>
    public bool IsReloadable { get; internal init; }

    /// <summary>Whether the file has the value without quotes.</summary>
    internal abstract bool IsBare { get; }

    /// <summary>All values, when they are few; else none.</summary>
    internal abstract ImmutableArray<string> Choices { get; }

    /// <summary>Sets what the key is for.</summary>
    /// <exception cref="FormatException"><paramref name="text"/> is none of the key's values; the message says what would be right.</exception>
    internal abstract NodeConfiguration Apply(NodeConfiguration configuration, string text);

    /// <summary>The key's name.</summary>
    public override string ToString() => Name;
}

/// <summary>A key of values of one type.</summary>
internal sealed class ConfigurationKey<T>(
    string name,
    string defaultText,
    ValueKind<T> kind,
    string description,
    Func<NodeConfiguration, T, NodeConfiguration> apply) : ConfigurationKey(name, defaultText, description)
{
    public override string Expected => kind.Expected;

    internal override bool IsBare => kind.IsBare;

    internal override ImmutableArray<string> Choices => kind.Choices;

    internal override NodeConfiguration Apply(NodeConfiguration configuration, string text) => apply(configuration, kind.Parse(text));
}
