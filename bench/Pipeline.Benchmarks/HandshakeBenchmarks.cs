using BenchmarkDotNet.Attributes;
using Nerdbank.Streams;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Benchmarks;

/// <summary>Both sides of a connection coming about in memory: what a node pays twice less the network.</summary>
public class HandshakeBenchmarks : IDisposable
{
    private readonly NodeKey _key = NodeKey.Create();
    private readonly NodeKey _remoteKey = NodeKey.Create();
    private NodeInfo _info = new();
    private NodeInfo _remoteInfo = new();

    [GlobalSetup]
    public void Setup()
    {
        _info = new NodeInfo { Id = _key.Id, Network = "benchmark", Moniker = "one", Channels = [0x00, 0x20, 0x21, 0x22, 0x23, 0x30] };
        _remoteInfo = _info with { Id = _remoteKey.Id, Moniker = "other" };
    }

    [Benchmark]
    public async Task SecretConnectionPair()
    {
        (Stream one, Stream other) = FullDuplexStream.CreatePair();
        SecretConnection[] pair = await Task.WhenAll(
            SecretConnection.EstablishAsync(one, _key),
            SecretConnection.EstablishAsync(other, _remoteKey));
        await pair[0].DisposeAsync();
        await pair[1].DisposeAsync();
    }

    [Benchmark]
    public async Task WholeHandshakePair()
    {
        (Stream one, Stream other) = FullDuplexStream.CreatePair();
        AuthenticatedConnection[] pair = await Task.WhenAll(
            Handshake.PerformAsync(one, _key, _info, dialled: _remoteKey.Id),
            Handshake.PerformAsync(other, _remoteKey, _remoteInfo));
        await pair[0].DisposeAsync();
        await pair[1].DisposeAsync();
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _key.Dispose();
        _remoteKey.Dispose();
        GC.SuppressFinalize(this);
    }
}
