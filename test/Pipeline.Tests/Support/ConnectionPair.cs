using System.Net;
using Pipeline.Cryptography;
using Pipeline.Testing;
using Pipeline.Transport;

namespace Pipeline.Tests.Support;

/// <summary>Both ends of an established secret connection in one process.</summary>
internal sealed record ConnectionPair(SecretConnection A, SecretConnection B, Stream StreamA, Stream StreamB) : IAsyncDisposable
{
    public static Task<ConnectionPair> OverAsync(Medium medium) =>
        medium == Medium.Tcp ? OverTcpAsync() : OverMemoryAsync(splitSeed: 7);

    public static async Task<ConnectionPair> OverMemoryAsync(int capacity = 64 * 1024, int? splitSeed = null, bool leaveOpen = false)
    {
        (MemoryDuplex a, MemoryDuplex b) = MemoryDuplex.CreatePair(capacity);
        return await (splitSeed is { } seed ? EstablishAsync(Split(a, seed), Split(b, seed + 1), leaveOpen) : EstablishAsync(a, b, leaveOpen));
    }

    /// <summary>A stream whose reads bring from one byte to a few frames.</summary>
    public static FaultyStream Split(Stream stream, int seed) => new(stream, new FaultPlan { Seed = seed, SplitWithin = 1 << 13 });

    public static async Task<ConnectionPair> OverTcpAsync()
    {
        (Stream a, Stream b) = await ConnectTcpAsync();
        return await EstablishAsync(a, b, leaveOpen: false);
    }

    public static async Task<(Stream A, Stream B)> ConnectTcpAsync()
    {
        TcpTransport transport = new();
        await using ITransportListener listener = transport.Listen(new IPEndPoint(IPAddress.Loopback, 0));
        Task<TransportConnection> accepted = listener.AcceptAsync().AsTask();
        TransportConnection connected = await transport.ConnectAsync(NetAddress.FromEndPoint(default, listener.LocalEndPoint));
        return (connected.Stream, (await accepted).Stream);
    }

    public async ValueTask DisposeAsync()
    {
        await A.DisposeAsync();
        await B.DisposeAsync();
        await StreamA.DisposeAsync();
        await StreamB.DisposeAsync();
    }

    private static async Task<ConnectionPair> EstablishAsync(Stream a, Stream b, bool leaveOpen)
    {
        using NodeKey keyA = NodeKey.Create();
        using NodeKey keyB = NodeKey.Create();
        SecretConnectionOptions options = new() { LeaveOpen = leaveOpen };
        SecretConnection[] both = await Task.WhenAll(
            SecretConnection.EstablishAsync(a, keyA, options),
            SecretConnection.EstablishAsync(b, keyB, options));
        Assert.That(both[0].RemoteId, Is.EqualTo(keyB.Id));
        Assert.That(both[1].RemotePublicKey, Is.EqualTo(keyA.PublicKey));
        return new ConnectionPair(both[0], both[1], a, b);
    }
}
