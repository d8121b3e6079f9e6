using System.Net;
using Pipeline.Transport;

namespace Pipeline.Benchmarks.Parts;

/// <summary>Both ends of a TCP connection over 127.0.0.1, with the settings of a node's.</summary>
internal static class Loopback
{
    public static async Task<(Stream Near, Stream Far)> ConnectAsync()
    {
        TcpTransport transport = new();
        await using ITransportListener listener = transport.Listen(new IPEndPoint(IPAddress.Loopback, 0));
        Task<TransportConnection> accepting = listener.AcceptAsync().AsTask();
        TransportConnection near = await transport.ConnectAsync(NetAddress.FromEndPoint(default, listener.LocalEndPoint));
        return (near.Stream, (await accepting).Stream);
    }
}
