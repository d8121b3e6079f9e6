using System.Globalization;

namespace Pipeline.Hosting.Configuration;

/// <summary>Durations in Go's form: <c>500ms</c>, <c>3s</c>, <c>1m30s</c>, <c>1.5h</c>; without a sign, and 0 without a unit.</summary>
internal static class Duration
{
    private static readonly (string Unit, long Ticks)[] LargeUnits =
        [("h", TimeSpan.TicksPerHour), ("m", TimeSpan.TicksPerMinute)];

    /// <summary>Reads a duration; null when the text is none, or when it is longer than <see cref="TimeSpan.MaxValue"/>.</summary>
    public static TimeSpan? TryParse(string text)
    {
        if (text == "0")
        {
            return TimeSpan.Zero;
        }

        decimal ticks = 0;
        int position = 0;
        while (position < text.Length)
        {
            string number = Take(IsOfNumber);
            string unit = Take(c => !IsOfNumber(c));
            if (!decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal value)
                || TicksOf(unit) is not { } scale
                || value > long.MaxValue
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

    /// <summary>Writes a duration of at least 0 so that it can be read again, as short as it goes: <c>1m30s</c>, <c>28h</c>, <c>0s</c>.</summary>
    public static string Format(TimeSpan duration)
    {
        long ticks = duration.Ticks;
        string text = "";
        foreach ((string unit, long scale) in LargeUnits)
        {
            if (ticks >= scale)
            {
                text += string.Create(CultureInfo.InvariantCulture, $"{ticks / scale}{unit}");
                ticks %= scale;
            }
        }

        (string smallUnit, long smallScale) = ticks is 0 or >= TimeSpan.TicksPerSecond ? ("s", TimeSpan.TicksPerSecond) : ("ms", TimeSpan.TicksPerMillisecond);
        return ticks == 0 && text.Length > 0 ? text : text + string.Create(CultureInfo.InvariantCulture, $"{(decimal)ticks / smallScale:0.#######}{smallUnit}");
    }

    private static bool IsOfNumber(char c) => char.IsAsciiDigit(c) || c == '.';

    private static decimal? TicksOf(string unit) => unit switch
    {
        "ns" => 0.01m,
        // The micro sign, and the Greek letter.
        "us" or "\u00b5s" or "\u03bcs" => TimeSpan.TicksPerMicrosecond,
        "ms" => TimeSpan.TicksPerMillisecond,
        "s" => TimeSpan.TicksPerSecond,
        "m" => TimeSpan.TicksPerMinute,
        "h" => TimeSpan.TicksPerHour,
        _ => null,
    };
}
