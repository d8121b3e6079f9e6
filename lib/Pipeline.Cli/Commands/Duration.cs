using System.CommandLine.Parsing;
using System.Globalization;

namespace Pipeline.Cli.Commands;

/// <summary>Durations as people write them: <c>500ms</c>, <c>3s</c>, <c>1m30s</c> (Go's form), or a bare number of seconds.</summary>
internal static class Duration
{
    /// <summary>The longest that an option may ask for.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromHours(24);

    /// <summary>Reads the value of an option; on failure the option's error says what would be right.</summary>
    public static TimeSpan ParseOption(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        if (TryParse(text) is { } duration && duration > TimeSpan.Zero && duration <= Longest)
        {
            return duration;
        }

        string option = result.Parent is OptionResult { Option.Name: string name } ? name : "The value";
        result.AddError($"{option} '{text}' is not a duration of more than 0 and at most 24h, such as 500ms, 3s or 1m30s.");
        return default;
    }

    private static TimeSpan? TryParse(string text)
    {
        if (text.Length > 0 && text.All(IsOfNumber))
        {
            text += "s";
        }

        decimal ticks = 0;
        int position = 0;
        while (position < text.Length)
        {
            string number = Take(IsOfNumber);
            string unit = Take(c => !IsOfNumber(c));
            if (!decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal value)
                || TicksOf(unit) is not { } scale
                || value > Longest.Ticks
                || (ticks += value * scale) > long.MaxValue)
            {
                return null;
            }
        }

        return text.Length > 0 ? new TimeSpan((long)ticks) : null;

        string Take(Func<char, bool> wanted)
        {
            int start = position;
            while (position < text.Length && wanted(text[position]))
            {
                position++;
            }

            return text[start..position];
        }
    }

    private static bool IsOfNumber(char c) => char.IsAsciiDigit(c) || c == '.';

    private static decimal? TicksOf(string unit) => unit switch
    {
        "ns" => 0.01m,
        "us" or "µs" => TimeSpan.TicksPerMicrosecond,
        "ms" => TimeSpan.TicksPerMillisecond,
        "s" => TimeSpan.TicksPerSecond,
        "m" => TimeSpan.TicksPerMinute,
        "h" => TimeSpan.TicksPerHour,
        _ => null,
    };
}
