using System.Globalization;
using System.Text;

namespace Pipeline.Hosting.Configuration;

/// <summary>A configuration file for a new node: all keys, each with what it is for.</summary>
internal static class ConfigurationTemplate
{
    private const int Width = 100;

    /// <summary>Writes the file.</summary>
    /// <param name="values">Values other than the defaults, by name.</param>
    public static string Write(IReadOnlyDictionary<string, string> values)
    {
        StringBuilder text = new();
        Comment("Configuration of a Pipeline node. Paths are relative to the node's home folder; lists have commas between their items; times are written as in 1m30s. "
            + "An environment variable (PIPELINE_P2P_LADDR for laddr in [p2p]) counts more than this file, an option (--p2p.laddr) counts more than that.");
        string section = "";
        foreach (ConfigurationKey key in ConfigurationKey.All)
        {
            string[] parts = key.Name.Split('.');
            text.Append('\n');
            if (parts.Length > 1 && parts[0] != section)
            {
                section = parts[0];
                text.Append(CultureInfo.InvariantCulture, $"[{section}]\n\n");
            }

            string value = values.TryGetValue(key.Name, out string? given) ? given : key.Default;
            Comment($"{key.Description} Expected is {key.Expected}; the default is {(key.Default.Length == 0 ? "empty" : key.DocumentedDefault)}.");
            text.Append(CultureInfo.InvariantCulture, $"{parts[^1]} = {(key.IsBare && IsPlain(value) ? value : Quote(value))}\n");
        }

        return text.ToString();

        void Comment(string sentences)
        {
            string line = "#";
            foreach (string word in sentences.Split(' '))
            {
                if (line.Length + 1 + word.Length > Width)
                {
                    text.Append(line).Append('\n');
                    line = "#";
                }

                line += ' ' + word;
            }

            text.Append(line).Append('\n');
        }
    }

    // Truth values and numbers have other forms too, which are read from texts only.
    private static bool IsPlain(string value) =>
        value is "true" or "false" or "0" || (value.All(char.IsAsciiDigit) && value is [not '0', ..]);

    private static string Quote(string value) =>
        '"' + string.Concat(value.Select(c => c switch
        {
            '"' => "\\\"",
            '\\' => "\\\\",
            < ' ' or '\u007f' => $"\\u{(int)c:x4}",
            _ => c.ToString(),
        })) + '"';
}
