using System.Globalization;
using System.Net;
using System.Text.Json;
using Pipeline.Transport;

namespace Pipeline.Cli.Commands;

/// <summary>What came of dialling a node, as far as it went.</summary>
/// <param name="Address">What was dialled.</param>
internal sealed record DialReport(NetAddress Address)
{
    /// <summary>The end point that answered.</summary>
    public IPEndPoint? EndPoint { get; init; }

    /// <summary>How long TCP took to connect.</summary>
    public TimeSpan? ConnectTime { get; init; }

    /// <summary>How long the handshake took after that.</summary>
    public TimeSpan? HandshakeTime { get; init; }

    /// <summary>What the node says of itself.</summary>
    public NodeInfo? Node { get; init; }

    /// <summary>Why the node was not reached, or cannot be a peer; null when all is well.</summary>
    public string? Error { get; init; }

    /// <summary>The same for programs: <c>unreachable</c>, <c>timeout</c>, or the name of a <see cref="HandshakeFailure"/> in snake case.</summary>
    public string? Code { get; init; }

    public static string CodeOf(HandshakeFailure failure) => JsonNamingPolicy.SnakeCaseLower.ConvertName(failure.ToString());

    /// <summary>Writes the result to the output, and the reason for a failure to the error; as JSON everything goes into one object on the output.</summary>
    public async Task WriteAsync(CommandHost host, bool json)
    {
        if (json)
        {
            await host.Output.WriteLineAsync(ToJson());
            return;
        }

        foreach ((string label, string value) in Lines())
        {
            await host.Output.WriteLineAsync($"{label,-14}{Printable.Of(value)}");
        }

        if (Error is not null)
        {
            await host.Error.WriteLineAsync(Printable.Of(Error));
        }
    }

    private IEnumerable<(string Label, string Value)> Lines()
    {
        if (Node is not { } node)
        {
            yield break;
        }

        yield return ("Node", node.Id.ToString());
        yield return ("Moniker", node.Moniker);
        yield return ("Network", node.Network);
        yield return ("Version", node.Version);
        yield return ("Protocols", $"p2p {node.ProtocolVersions.P2P}, block {node.ProtocolVersions.Block}, app {node.ProtocolVersions.App}");
        yield return ("Channels", node.Channels.IsEmpty ? "none" : string.Join(' ', node.Channels.Select(id => $"0x{id:x2}")));
        yield return ("Listens on", node.ListenAddress);
        yield return ("RPC address", node.RpcAddress);
        yield return ("Tx index", node.TxIndex);
        yield return ("End point", EndPoint?.ToString() ?? "");
        yield return ("Connected in", Milliseconds(ConnectTime));
        if (HandshakeTime is not null)
        {
            yield return ("Handshake in", Milliseconds(HandshakeTime));
        }

        static string Milliseconds(TimeSpan? time) =>
            string.Create(CultureInfo.InvariantCulture, $"{time.GetValueOrDefault().TotalMilliseconds:0.00} ms");
    }

    private string ToJson()
    {
        Dictionary<string, object?> report = new() { ["address"] = Address.ToString() };
        if (EndPoint is not null)
        {
            report["end_point"] = EndPoint.ToString();
            report["connect_ms"] = Milliseconds(ConnectTime);
        }

        if (HandshakeTime is not null)
        {
            report["handshake_ms"] = Milliseconds(HandshakeTime);
        }

        if (Node is { } node)
        {
            report["node"] = new
            {
                id = node.Id.ToString(),
                moniker = node.Moniker,
                network = node.Network,
                version = node.Version,
                protocol_version = new { p2p = node.ProtocolVersions.P2P, block = node.ProtocolVersions.Block, app = node.ProtocolVersions.App },
                channels = node.Channels.Select(id => (int)id),
                listen_addr = node.ListenAddress,
                rpc_address = node.RpcAddress,
                tx_index = node.TxIndex,
            };
        }

        if (Error is not null)
        {
            report["error"] = Error;
            report["code"] = Code;
        }

        return JsonSerializer.Serialize(report);

        static double Milliseconds(TimeSpan? time) => Math.Round(time.GetValueOrDefault().TotalMilliseconds, 3);
    }
}
