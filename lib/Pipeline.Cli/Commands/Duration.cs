using System.CommandLine.Parsing;
using PlainDuration = Pipeline.Hosting.Configuration.Duration;

namespace Pipeline.Cli.Commands;

/// <summary>Durations as people write them in options: Go's form (<c>500ms</c>, <c>3s</c>, <c>1m30s</c>), or a bare number of seconds.</summary>
internal static class Duration
{
    /// <summary>The longest that an option may ask for.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromHours(24);

    /// <summary>Reads the value of an option; on failure the option's error says what would be right.</summary>
    public static TimeSpan ParseOption(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        bool isBare = text.Length > 0 && text.All(c => char.IsAsciiDigit(c) || c == '.');
        if (PlainDuration.TryParse(isBare ? text + "s" : text) is { } duration && duration > TimeSpan.Zero && duration <= Longest)
        {
            return duration;
        }

        string option = result.Parent is OptionResult { Option.Name: string name } ? name : "The value";
        result.AddError($"{option} '{text}' is not a duration of more than 0 and at most 24h, such as 500ms, 3s or 1m30s.");
        return default;
    }
}
