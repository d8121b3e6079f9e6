using System.Buffers;
using System.IO.Pipelines;
using BenchmarkDotNet.Attributes;
using Nerdbank.Streams;
using Pipeline.Benchmarks.Parts;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Benchmarks;

/// <summary>What 64 KiB cost over a secret connection, sealed, sent, received and opened, in memory and over loopback TCP.</summary>
public class SecretConnectionBenchmarks
{
    // A node flushes as much as fills one block of frames, 62 KiB; so many of those are as many 64 KiB as there are KiB in one.
    private const int Flushes = 64;
    private const int Operations = Outflow.BatchSize / 1024;

    private readonly byte[] _data = Sizes.CreateMessage(Outflow.BatchSize);
    private SecretConnection? _near;
    private SecretConnection? _far;

    public enum Medium
    {
        Memory,
        Tcp,
    }

    [ParamsAllValues]
    public Medium Over { get; set; }

    [GlobalSetup]
    public async Task SetupAsync()
    {
        (Stream near, Stream far) = Over == Medium.Tcp ? await Loopback.ConnectAsync() : FullDuplexStream.CreatePair();
        using NodeKey nearKey = NodeKey.Create();
        using NodeKey farKey = NodeKey.Create();
        Task<SecretConnection> establishing = SecretConnection.EstablishAsync(near, nearKey);
        _far = await SecretConnection.EstablishAsync(far, farKey);
        _near = await establishing;
    }

    [Benchmark(OperationsPerInvoke = Operations)]
    public async Task WriteAndRead()
    {
        Task reading = Task.Run(ReadAsync);
        for (int i = 0; i < Flushes; i++)
        {
            _near!.Output.Write(_data);
            await _near.Output.FlushAsync();
        }

        await reading;
    }

    [GlobalCleanup]
    public async Task CleanupAsync()
    {
        await _near!.DisposeAsync();
        await _far!.DisposeAsync();
    }

    private async Task ReadAsync()
    {
        for (long left = (long)Flushes * Outflow.BatchSize; left > 0;)
        {
            ReadResult result = await _far!.Input.ReadAsync();
            left -= result.Buffer.Length;
            _far.Input.AdvanceTo(result.Buffer.End);
        }
    }
}
