using BenchmarkDotNet.Attributes;
using Pipeline.Cryptography;

namespace Pipeline.Benchmarks;

/// <summary>What a handshake computes, part by part.</summary>
public class KeyBenchmarks : IDisposable
{
    private readonly NodeKey _key = NodeKey.Create();
    private readonly EphemeralKey _ephemeral = EphemeralKey.Create();
    private readonly byte[] _remotePublicKey = EphemeralKey.FromPrivateKey(Enumerable.Repeat((byte)7, EphemeralKey.Size).ToArray()).PublicKey;
    private readonly byte[] _secret = new byte[32];
    private readonly byte[] _challenge = new byte[32];
    private byte[] _signature = [];

    [GlobalSetup]
    public void Setup() => _signature = _key.Sign(_challenge);

    [Benchmark]
    public void Transcript()
    {
        MerlinTranscript transcript = new("benchmark"u8);
        transcript.AppendMessage("lower"u8, _remotePublicKey);
        transcript.AppendMessage("upper"u8, _ephemeral.PublicKey);
        transcript.AppendMessage("secret"u8, _secret);
        transcript.ExtractBytes("challenge"u8, _challenge);
    }

    [Benchmark]
    public object DeriveSessionSecrets() => SessionSecrets.Derive(_secret, _ephemeral.PublicKey, _remotePublicKey);

    [Benchmark]
    public bool CreateEphemeralKeyAndAgree()
    {
        using EphemeralKey key = EphemeralKey.Create();
        return key.TryAgree(_remotePublicKey, out _);
    }

    [Benchmark]
    public byte[] Sign() => _key.Sign(_challenge);

    [Benchmark]
    public bool Verify() => _key.PublicKey.Verify(_challenge, _signature);

    [GlobalCleanup]
    public void Dispose()
    {
        _key.Dispose();
        _ephemeral.Dispose();
        GC.SuppressFinalize(this);
    }
}
