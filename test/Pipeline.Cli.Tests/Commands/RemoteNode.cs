using System.Net;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Cli.Tests.Commands;

/// <summary>A node on a free port of this machine that treats whoever connects as a test wants it to.</summary>
internal sealed class RemoteNode : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly ITransportListener _listener = new TcpTransport().Listen(new IPEndPoint(IPAddress.Loopback, 0));
    private readonly Task _serving;

    private RemoteNode(NodeInfo? info, Func<RemoteNode, Stream, CancellationToken, Task> serve)
    {
        Info = (info ?? new NodeInfo { Moniker = "remote" }) with { Id = Key.Id };
        _serving = AcceptAsync(serve);
    }

    public NodeKey Key { get; } = NodeKey.Create();

    public NodeInfo Info { get; }

    public NetAddress Address => NetAddress.FromEndPoint(Key.Id, _listener.LocalEndPoint);

    /// <summary>A node that does the handshake, and stays connected until the other side goes.</summary>
    public static RemoteNode Proper(NodeInfo info) => new(info, static async (node, stream, cancellationToken) =>
    {
        await using AuthenticatedConnection connection =
            await Handshake.PerformAsync(stream, node.Key, node.Info, cancellationToken: cancellationToken);
        await connection.Connection.CopyToAsync(Stream.Null, cancellationToken);
    });

    public static RemoteNode That(Func<Stream, CancellationToken, Task> serve) =>
        new(info: null, (_, stream, cancellationToken) => serve(stream, cancellationToken));

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _serving.WaitAsync(TimeSpan.FromSeconds(10)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _listener.DisposeAsync();
        _stop.Dispose();
        Key.Dispose();
    }

    private async Task AcceptAsync(Func<RemoteNode, Stream, CancellationToken, Task> serve)
    {
        while (true)
        {
            await using TransportConnection connection = await _listener.AcceptAsync(_stop.Token);
            await serve(this, connection.Stream, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
