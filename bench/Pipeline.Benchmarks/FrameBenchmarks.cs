using BenchmarkDotNet.Attributes;
using Pipeline.Cryptography;

namespace Pipeline.Benchmarks;

/// <summary>Sealing and opening full frames, with each provider of the cipher.</summary>
public class FrameBenchmarks : IDisposable
{
    // Frames open only in order, so each iteration opens the same row of them with a cipher that starts anew.
    private const int Frames = 8192;

    private readonly byte[] _key = new byte[AeadCipher.KeySize];
    private readonly byte[] _open = new byte[FrameCipher.OpenSize];
    private readonly byte[] _sealed = new byte[Frames * FrameCipher.SealedSize];
    private FrameCipher? _cipher;

    public enum CipherProvider
    {
        OpenSsl,
        Framework,
        Sodium,
    }

    [ParamsAllValues]
    public CipherProvider Provider { get; set; }

    [GlobalSetup]
    public void SealAll()
    {
        StartAnew();
        Seal();
    }

    [IterationSetup]
    public void StartAnew()
    {
        Dispose();
        _cipher = new FrameCipher(Provider switch
        {
            CipherProvider.OpenSsl => new OpenSslAead(_key),
            CipherProvider.Framework => new FrameworkAead(_key),
            _ => new SodiumAead(_key),
        });
    }

    [Benchmark(OperationsPerInvoke = Frames)]
    public void Seal()
    {
        for (int i = 0; i < Frames; i++)
        {
            _cipher!.Seal(_open, Frame(i));
        }
    }

    [Benchmark(OperationsPerInvoke = Frames)]
    public void Open()
    {
        for (int i = 0; i < Frames; i++)
        {
            if (!_cipher!.TryOpen(Frame(i), _open))
            {
                throw new InvalidOperationException($"Frame {i} did not open.");
            }
        }
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _cipher?.Dispose();
        GC.SuppressFinalize(this);
    }

    private Span<byte> Frame(int index) => _sealed.AsSpan(index * FrameCipher.SealedSize, FrameCipher.SealedSize);
}
