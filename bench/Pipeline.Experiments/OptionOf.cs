using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Pipeline.Dataflow;

namespace Pipeline.Experiments;

/// <summary>Options whose values are checked, with one sentence about what would be right.</summary>
internal static class OptionOf
{
    private static readonly (string Suffix, long Scale)[] ByteUnits =
    [
        ("KiB", 1L << 10), ("MiB", 1L << 20), ("GiB", 1L << 30), ("Ki", 1L << 10), ("Mi", 1L << 20), ("Gi", 1L << 30),
        ("kB", 1000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000), ("B", 1), ("", 1),
    ];

    private static readonly (string Suffix, double Seconds)[] TimeUnits = [("ms", 1e-3), ("s", 1), ("m", 60), ("", 1)];

    public static Option<int> Count(string name, string valueName, string description, int defaultValue, int least, int most) => new(name)
    {
        HelpName = valueName,
        Description = description,
        DefaultValueFactory = _ => defaultValue,
        CustomParser = result => ParseNumber(result.Tokens[0].Value) is { } number && number >= least && number <= most
            ? (int)number
            : Refuse<int>(result, $"a whole number from {Text(least)} to {Text(most)}"),
    };

    /// <summary>The bytes of a message, such as 200 or 64Ki.</summary>
    public static Option<int> Size(string name, string description, int defaultValue, int least) => new(name)
    {
        HelpName = "N",
        Description = description,
        DefaultValueFactory = _ => defaultValue,
        CustomParser = result => ParseBytes(result.Tokens[0].Value) is { } size && size >= least && size <= ChannelDescriptor.DefaultMaxMessageSize
            ? (int)size
            : Refuse<int>(result, $"a size from {Text(least)} to {Text(ChannelDescriptor.DefaultMaxMessageSize)} bytes, such as 200 or 64Ki"),
    };

    /// <summary>Several numbers; null when it is not given.</summary>
    public static Option<IReadOnlyList<int>?> Counts(
        string name,
        string valueName,
        string description,
        (int Least, int Most) length,
        (int Least, int Most) range) => new(name)
        {
            HelpName = valueName,
            Description = description,
            CustomParser = result =>
        {
            long?[] numbers = [.. result.Tokens[0].Value.Split(',').Select(ParseBytes)];
            return numbers.Length >= length.Least && numbers.Length <= length.Most && numbers.All(number => number >= range.Least && number <= range.Most)
                ? [.. numbers.Select(number => (int)number!)]
                : Refuse<IReadOnlyList<int>>(
                    result,
                    $"a list of {length.Least} to {length.Most} whole numbers from {Text(range.Least)} to {Text(range.Most)}, with commas between");
        },
        };

    /// <summary>Some of the parts of an experiment; all of them when it is not given.</summary>
    public static Option<IReadOnlyList<string>> Parts(params IReadOnlyList<string> names) => new("--part")
    {
        HelpName = $"{string.Join('|', names)}[,...]",
        Description = "Do this part only, or these. [default: all]",
        DefaultValueFactory = _ => names,
        CustomParser = result =>
        {
            string[] parts = result.Tokens[0].Value.Split(',');
            return parts.All(names.Contains) ? parts : Refuse<IReadOnlyList<string>>(result, $"a list of some of {string.Join(", ", names)}, with commas between");
        },
    };

    /// <summary>A number of bytes, such as 65536, 64Ki or 5M.</summary>
    public static Option<long?> Bytes(string name, string valueName, string description, long? defaultValue, long least, long most) => new(name)
    {
        HelpName = valueName,
        Description = description,
        DefaultValueFactory = _ => defaultValue,
        CustomParser = result => ParseBytes(result.Tokens[0].Value) is { } bytes && bytes >= least && bytes <= most
            ? bytes
            : Refuse<long?>(result, $"a number of bytes from {Text(least)} to {Text(most)}, such as 1024, 64Ki or 5M"),
    };

    /// <summary>A time in milliseconds of at least 0, or <c>never</c>, which is infinite; null when it is not given.</summary>
    public static Option<TimeSpan?> MillisecondsOrNever(string name, string description) => new(name)
    {
        HelpName = "MS|never",
        Description = description,
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            return text == "never" ? Timeout.InfiniteTimeSpan
                : double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double ms) && ms <= 60_000 ? TimeSpan.FromMilliseconds(ms)
                : Refuse<TimeSpan?>(result, "a number of milliseconds from 0 to 60,000, or 'never'");
        },
    };

    /// <summary>A time such as 500ms, 3s, 2m, or a bare number of seconds; null when it is not given.</summary>
    /// <param name="name">The name of the option.</param>
    /// <param name="description">What it is for.</param>
    /// <param name="least">The shortest that may be given, written as it is by who gives it.</param>
    /// <param name="most">The longest.</param>
    public static Option<TimeSpan?> Duration(string name, string description, string least = "100ms", string most = "60m") => new(name)
    {
        HelpName = "DURATION",
        Description = description,
        CustomParser = result => ParseDuration(result.Tokens[0].Value) is { } duration && duration >= ParseDuration(least) && duration <= ParseDuration(most)
            ? duration
            : Refuse<TimeSpan?>(result, $"a duration from {least} to {most}, such as 500ms, 3s or 2m"),
    };

    /// <summary>A list of numbers, as it may be given.</summary>
    public static string Text(IEnumerable<int> numbers) =>
        string.Join(',', numbers.Select(number => number % (1 << 20) == 0 ? $"{number >> 20}Mi" : number % (1 << 10) == 0 ? $"{number >> 10}Ki" : $"{number}"));

    public static long? ParseBytes(string text)
    {
        (string suffix, long scale) = Array.Find(ByteUnits, unit => text.EndsWith(unit.Suffix, StringComparison.Ordinal));
        return ParseNumber(text[..^suffix.Length]) is { } number && number <= long.MaxValue / scale ? number * scale : null;
    }

    public static TimeSpan? ParseDuration(string text)
    {
        (string suffix, double seconds) = Array.Find(TimeUnits, unit => text.EndsWith(unit.Suffix, StringComparison.Ordinal));
        return double.TryParse(text[..^suffix.Length], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number) && number < 1e6
            ? TimeSpan.FromSeconds(number * seconds)
            : null;
    }

    private static long? ParseNumber(string text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : null;

    private static T? Refuse<T>(ArgumentResult result, string wanted)
    {
        string option = result.Parent is OptionResult { Option.Name: string name } ? name : "The value";
        result.AddError($"{option} '{result.Tokens[0].Value}' is not {wanted}.");
        return default;
    }

    private static string Text(long number) => number.ToString("N0", CultureInfo.InvariantCulture);
}
