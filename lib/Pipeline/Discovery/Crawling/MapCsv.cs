using System.Globalization;
using Pipeline.Cryptography;
using Pipeline.Diagnostics;

namespace Pipeline.Discovery.Crawling;

/// <summary>A map's nodes as comma-separated values.</summary>
/// <remarks>Source: RFC 4180. Formulas: OWASP, CSV injection.</remarks>
internal static class MapCsv
{
    private const string LineEnd = "\r\n";

    private static readonly string[] Headers =
    [
        "id", "address", "other_addresses", "seed", "reachability", "detail", "moniker", "network", "version", "p2p", "block", "app", "channels", "listen_address",
        "connect_seconds", "handshake_seconds", "addresses_told", "told", "told_by", "told_ids",
    ];

    public static void Write(TextWriter writer, NetworkMap map)
    {
        ArgumentNullException.ThrowIfNull(writer);
        Dictionary<NodeId, int> toldBy = map.Nodes.SelectMany(node => node.Told).CountBy(id => id).ToDictionary();
        WriteLine(writer, Headers);
        foreach (CrawledNode node in map.Nodes)
        {
            WriteLine(
                writer,
                [
                    node.Id.ToString(),
                    node.Addresses.FirstOrDefault()?.DialString ?? "",
                    string.Join(' ', node.Addresses.Skip(1).Select(address => address.DialString)),
                    node.IsSeed ? "true" : "false",
                    SnakeCase<Reachability>.Of(node.Reachability),
                    Text(node.Detail),
                    Text(node.Info?.Moniker),
                    Text(node.Info?.Network),
                    Text(node.Info?.Version),
                    Number(node.Info?.ProtocolVersions.P2P),
                    Number(node.Info?.ProtocolVersions.Block),
                    Number(node.Info?.ProtocolVersions.App),
                    node.Info is null ? "" : string.Join(' ', node.Info.Channels.Select(id => $"0x{id:x2}")),
                    Text(node.Info?.ListenAddress),
                    Number(node.ConnectTime?.TotalSeconds),
                    Number(node.HandshakeTime?.TotalSeconds),
                    Number(node.AddressesTold),
                    Number(node.Told.Length),
                    Number(toldBy.GetValueOrDefault(node.Id)),
                    string.Join(' ', node.Told),
                ]);
        }
    }

    // What a remote says must not be able to run in the reader's spreadsheet, which also skips blanks before the sign.
    private static string Text(string? text) => text is null ? "" : Harmless(string.Concat(text.Select(c => char.IsControl(c) ? ' ' : c)));

    private static string Harmless(string text) =>
        text.TrimStart() is ['=' or '+' or '-' or '@', ..] ? $"'{text}" : text;

    private static string Number(IFormattable? number) => number?.ToString(null, CultureInfo.InvariantCulture) ?? "";

    private static void WriteLine(TextWriter writer, IEnumerable<string> fields)
    {
        writer.Write(string.Join(',', fields.Select(Quoted)));
        writer.Write(LineEnd);
    }

    private static string Quoted(string field) =>
        field.AsSpan().ContainsAny(",\"\r\n") || field is [' ', ..] or [.., ' '] ? $"\"{field.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : field;
}
