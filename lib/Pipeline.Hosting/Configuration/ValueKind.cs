using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using Microsoft.Extensions.Logging;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Hosting.Configuration;

/// <summary>What values a key may have, and how they are read.</summary>
/// <param name="Expected">The values, as it goes on after "expected is".</param>
/// <param name="Parse">Reads one; a <see cref="FormatException"/> says what would be right.</param>
internal sealed record ValueKind<T>(string Expected, Func<string, T> Parse)
{
    /// <summary>Whether the file has the value without quotes.</summary>
    public bool IsBare { get; init; }

    /// <summary>All values, when they are few; else none.</summary>
    public ImmutableArray<string> Choices { get; init; } = [];
}

/// <summary>The kinds of values that there are.</summary>
internal static class ValueKind
{
    // A timer of the framework waits for at most 49 days.
    private static readonly TimeSpan LongestWait = TimeSpan.FromHours(1000);

    public static ValueKind<bool> Boolean { get; } = Of("true or false", example: null, text => text.ToLowerInvariant() switch
    {
        // What Go takes for one.
        "true" or "t" or "1" => true,
        "false" or "f" or "0" => false,
        _ => (bool?)null,
    }) with
    { IsBare = true, Choices = ["true", "false"] };

    public static ValueKind<string> Moniker { get; } = Of("printable ASCII, 1 to 1000 characters", "node-1", text =>
        text.Length <= 1000 && text.All(c => c is >= ' ' and <= '~') && !string.IsNullOrWhiteSpace(text));

    public static ValueKind<string> Network { get; } = Of("empty or the id of a network, at most 50 printable characters", "cosmoshub-4", text =>
        text.Length <= 50 && text == UserText.Escape(text) && (text.Length == 0 || !string.IsNullOrWhiteSpace(text)));

    public static ValueKind<string> File(string example) => Of("the path of a file", example, IsPath);

    public static ValueKind<string> OptionalFile(string example) =>
        Of("empty or the path of a file", example, text => text.Length == 0 || IsPath(text));

    public static ValueKind<T> Choice<T>(params ImmutableArray<(string Text, T Value)> choices) where T : struct =>
        Of(string.Join(" or ", choices.Select(choice => choice.Text)), example: null, text =>
            choices.Where(choice => choice.Text.Equals(text, StringComparison.OrdinalIgnoreCase)).Select(choice => (T?)choice.Value).FirstOrDefault()) with
        { Choices = [.. choices.Select(choice => choice.Text)] };

    public static ValueKind<long> Number(string unit, long least, long most, string example) => Of(
        most == long.MaxValue
            ? string.Create(CultureInfo.InvariantCulture, $"a number of {unit}, at least {least}")
            : string.Create(CultureInfo.InvariantCulture, $"a number of {unit} from {least} to {most}"),
        example,
        text => long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number) && number >= least && number <= most
            ? number
            : (long?)null) with
    { IsBare = true };

    /// <summary>A number of things that take memory or sockets each.</summary>
    public static ValueKind<long> Count(string unit, int least, string example) => Number(unit, least, 1_000_000, example);

    /// <param name="least">The shortest; null when it has to be more than 0.</param>
    /// <param name="example">A duration.</param>
    /// <param name="most">The longest; null for what a timer can wait for.</param>
    public static ValueKind<TimeSpan> Time(TimeSpan? least, string example, TimeSpan? most = null)
    {
        TimeSpan longest = most ?? LongestWait;
        return Of(
            $"a duration of {(least is { } shortest ? $"at least {Duration.Format(shortest)}" : "more than 0s")} and at most {Duration.Format(longest)}",
            example,
            text => Duration.TryParse(text) is { } time && time <= longest && (least is null ? time > TimeSpan.Zero : time >= least) ? time : (TimeSpan?)null);
    }

    public static ValueKind<ImmutableArray<NetAddress>> Addresses { get; } = List("addresses of nodes (id@host:port)", text =>
        NetAddress.Parse(text) is { Port: > 0 } address
            ? address
            : throw new FormatException($"'{text}' cannot be dialled, because its port is 0. Expected is a port from 1 to 65535."));

    public static ValueKind<ImmutableArray<NodeId>> Ids { get; } = List("node ids (40 hexadecimal digits)", NodeId.Parse);

    public static ValueKind<ImmutableArray<AccessTarget>> Targets { get; } = List("node ids, IP addresses and subnets", AccessTarget.Parse);

    public static ValueKind<DnsEndPoint?> ListenAddress { get; } =
        HostAndPort("tcp://0.0.0.0:26656", static (host, port) => new DnsEndPoint(host, port));

    public static ValueKind<string?> ExternalAddress { get; } = HostAndPort("203.0.113.7:26656", NetAddress.HostPort.Format);

    /// <summary>A level, or levels of modules as CometBFT has them, of which the one of the peer-to-peer layer counts.</summary>
    public static ValueKind<LogLevel> Level { get; } = Of("trace, debug, info, warn, error or none, or such levels by module", "p2p:debug,*:error", LevelOf) with
    {
        Choices = ["trace", "debug", "info", "warn", "error", "none"],
    };

    private static LogLevel? LevelOf(string text)
    {
        LogLevel? ours = null;
        LogLevel? others = null;
        foreach (string item in text.Split(','))
        {
            string[] parts = item.Trim().Split(':');
            LogLevel? level = parts[^1].ToLowerInvariant() switch
            {
                "trace" => LogLevel.Trace,
                "debug" => LogLevel.Debug,
                "info" => LogLevel.Information,
                "warn" => LogLevel.Warning,
                "error" => LogLevel.Error,
                "none" => LogLevel.None,
                _ => null,
            };
            if (level is null || parts.Length > 2)
            {
                return null;
            }

            string module = parts.Length == 1 ? "*" : parts[0];
            ours = module == "p2p" ? level : ours;
            others = module == "*" ? level : others;
        }

        return ours ?? others ?? LogLevel.Information;
    }

    private static bool IsPath(string text) => !string.IsNullOrWhiteSpace(text) && !text.Contains('\0', StringComparison.Ordinal);

    private static ValueKind<ImmutableArray<T>> List<T>(string items, Func<string, T> parse) =>
        new($"a list of {items} with commas between them", text =>
            [.. text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Select(parse)]);

    private static ValueKind<T?> HostAndPort<T>(string example, Func<string, ushort, T> make) where T : class
    {
        const string scheme = "tcp://";
        const string expected = "empty or host:port, after tcp:// or not";
        return new ValueKind<T?>(expected, text =>
        {
            string address = text.StartsWith(scheme, StringComparison.OrdinalIgnoreCase) ? text[scheme.Length..] : text;
            return text.Length == 0 ? null
                : NetAddress.HostPort.TryParse(address, out string host, out ushort port, out string? wrong) ? make(host, port)
                : throw new FormatException($"{wrong}; expected is {expected}, such as {example}.");
        });
    }

    private static ValueKind<T> Of<T>(string expected, string? example, Func<string, T?> parse) where T : struct =>
        new(expected, text => parse(text) ?? throw Wrong(expected, example));

    private static ValueKind<string> Of(string expected, string example, Func<string, bool> check) =>
        new(expected, text => check(text) ? text : throw Wrong(expected, example));

    private static FormatException Wrong(string expected, string? example) =>
        new($"expected is {expected}{(example is null ? "" : $", such as {example}")}.");
}
