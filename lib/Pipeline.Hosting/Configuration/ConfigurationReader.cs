using System.Collections.Immutable;
using System.Globalization;

namespace Pipeline.Hosting.Configuration;

/// <summary>Puts together what the file, the environment and the command line say.</summary>
internal sealed class ConfigurationReader(HomeFolder home)
{
    private const string Section = "p2p";
    private const string VariablePrefix = "PIPELINE_P2P_";

    private readonly List<string> _errors = [];
    private readonly List<string> _warnings = [];

    // For each key what was said of it, the least important first.
    private readonly Dictionary<ConfigurationKey, List<ConfigurationValue>> _said =
        ConfigurationKey.All.ToDictionary(key => key, key => new List<ConfigurationValue> { new(key, key.Default, ConfigurationOrigin.Default) });

    public NodeConfiguration Read(IReadOnlyDictionary<string, string> environment, IReadOnlyDictionary<string, string> options)
    {
        TomlFile? file = TomlFile.Read(home.ConfigurationFile);
        if (file is not null)
        {
            _errors.AddRange(file.Errors);
            AddFile(file.Entries);
        }

        AddEnvironment(environment);
        foreach ((string name, string text) in options)
        {
            ConfigurationKey key = ConfigurationKeys.Find(name) ?? throw new ArgumentException($"There is no key '{name}'.", nameof(options));
            Add(key, text, new ConfigurationOrigin(ConfigurationSource.CommandLine, key.Option));
        }

        NodeConfiguration configuration = new(home) { HasFile = file is not null };
        foreach (ConfigurationKey key in ConfigurationKey.All)
        {
            // What is overruled is read too: a mistake is found before it counts.
            foreach (ConfigurationValue value in _said[key])
            {
                try
                {
                    configuration = key.Apply(configuration, value.Text);
                }
                catch (FormatException e)
                {
                    _errors.Add($"{value.Origin.Subject(key)} is {UserText.Quote(value.Text)}; {e.Message}");
                }
            }
        }

        if (configuration is { SeedMode: true, PeerExchange: false })
        {
            _warnings.Add("p2p.seed_mode has no effect, because p2p.pex is false.");
        }

        configuration = FindNetwork(configuration);
        return _errors.Count > 0
            ? throw new ConfigurationException([.. _errors])
            : configuration with { Values = [.. ConfigurationKey.All.Select(key => _said[key][^1])], Warnings = [.. _warnings] };
    }

    private void Add(ConfigurationKey key, string text, ConfigurationOrigin origin) => _said[key].Add(new ConfigurationValue(key, text, origin));

    private void AddFile(ImmutableArray<TomlEntry> entries)
    {
        Dictionary<ConfigurationKey, int> lines = [];
        List<string> explained = [.. ConfigurationKeys.Unused];
        foreach (TomlEntry entry in entries)
        {
            string place = string.Create(CultureInfo.InvariantCulture, $"{home.ConfigurationFile}:{entry.Line}");
            if (explained.Exists(name => IsOrIsIn(entry.Name, name)))
            {
                continue;
            }

            if (entry.Name.Equals(Section, StringComparison.OrdinalIgnoreCase))
            {
                if (entry.What != TomlFile.Table)
                {
                    _errors.Add($"{place}: {Section} is {entry.What switch { "" => UserText.Quote(entry.Text!), _ => entry.What }}; expected is the table [{Section}].");
                    explained.Add(Section);
                }
            }
            else if (ConfigurationKeys.Find(entry.Name) is not { } key)
            {
                _warnings.Add(Unknown(place, entry));
                explained.Add(entry.Name);
            }
            else if (entry.Text is null)
            {
                _errors.Add($"{place}: {key.Name} is {entry.What}; expected is {key.Expected}.");
                explained.Add(entry.Name);
            }
            else if (!lines.TryAdd(key, entry.Line))
            {
                _errors.Add(string.Create(CultureInfo.InvariantCulture, $"{place}: {key.Name} is there a second time, after line {lines[key]}; expected is one of them."));
            }
            else
            {
                Add(key, entry.Text, new ConfigurationOrigin(ConfigurationSource.File, place));
            }
        }
    }

    private void AddEnvironment(IReadOnlyDictionary<string, string> environment)
    {
        foreach (ConfigurationKey key in ConfigurationKey.All)
        {
            if (environment.TryGetValue(key.Variable, out string? text) && text.Length > 0)
            {
                Add(key, text, new ConfigurationOrigin(ConfigurationSource.Environment, key.Variable));
            }
        }

        // Without what they all begin with, which would make any of them alike.
        string[] known = [.. ConfigurationKey.All.Select(key => key.Variable).Where(IsOfSection).Select(name => name[VariablePrefix.Length..])];
        _warnings.AddRange(
            from name in environment.Keys
            where IsOfSection(name) && !known.Contains(name[VariablePrefix.Length..])
            orderby name
            let meant = Spelling.Nearest(name[VariablePrefix.Length..], known)
            select $"The environment variable {UserText.Escape(name)} is not known and has no effect{DidYouMean(meant is null ? null : VariablePrefix + meant)}");

        static bool IsOfSection(string name) => name.StartsWith(VariablePrefix, StringComparison.Ordinal);
    }

    // The key says it, or else the genesis file does.
    private NodeConfiguration FindNetwork(NodeConfiguration configuration)
    {
        if (!string.IsNullOrEmpty(configuration.Network) || _errors.Count > 0)
        {
            return configuration;
        }

        (string? id, string? fault) = GenesisFile.ReadChainId(configuration.GenesisFile);
        if (id is null)
        {
            ConfigurationKey key = ConfigurationKeys.Network;
            return configuration with
            {
                Network = null,
                NetworkProblem = $"The network is not known: the genesis file {configuration.GenesisFile} {fault}. Say it with {key.Option} ID, with "
                    + $"{key.Variable}, or with {key.Name} in {home.ConfigurationFile}.",
            };
        }

        Add(ConfigurationKeys.Network, id, new ConfigurationOrigin(ConfigurationSource.Genesis, configuration.GenesisFile));
        return configuration with { Network = id };
    }

    private static string Unknown(string place, TomlEntry entry)
    {
        bool isTable = entry.What == TomlFile.Table;
        string name = UserText.Escape(entry.Name);
        IEnumerable<string> known = isTable ? [Section, .. ConfigurationKeys.Unused] : ConfigurationKey.All.Select(key => key.Name);
        return $"{place}: {(isTable ? $"the table [{name}]" : name)} is not known and has no effect{DidYouMean(Spelling.Nearest(entry.Name, known))}";
    }

    private static string DidYouMean(string? name) => name is null ? "." : $"; did you mean {name}?";

    private static bool IsOrIsIn(string name, string other) =>
        name.StartsWith(other, StringComparison.OrdinalIgnoreCase) && (name.Length == other.Length || name[other.Length] == '.');
}
