using System.Net;
using BenchmarkDotNet.Attributes;
using Pipeline.Cryptography;
using Pipeline.Discovery;
using Pipeline.Transport;

namespace Pipeline.Benchmarks;

/// <summary>What a message of peer exchange, and a dial, cost in a book that is full.</summary>
[MemoryDiagnoser]
public class AddressBookBenchmarks : IAsyncDisposable
{
    private const int Heard = 100_000;

    private readonly AddressBook _book = new();
    private NetAddress[] _addresses = [];
    private int _next;

    [GlobalSetup]
    public void Setup()
    {
        _addresses = [.. Enumerable.Range(1, Heard).Select(i =>
            new NetAddress(NodeId.Parse(i.ToString("x40")), new IPAddress([(byte)(11 + (i % 100)), (byte)(i / 100 % 256), (byte)(i / 25_600), 1]).ToString(), 26656))];
        for (int i = 0; i < Heard; i++)
        {
            Add();
            if (i % 10 == 0)
            {
                _book.MarkGood(_addresses[_next]);
            }
        }
    }

    /// <summary>Addresses that the book has lost, or still knows.</summary>
    [Benchmark]
    public AddressVerdict Add()
    {
        _next = (_next + 1) % Heard;
        return _book.Add(_addresses[_next], _addresses[_next * 31 % Heard]);
    }

    [Benchmark]
    public NetAddress? Pick() => _book.Pick(50);

    /// <summary>250 of them.</summary>
    [Benchmark]
    public int Select() => _book.Select().Length;

    [Benchmark]
    public int SelectWithBias() => _book.Select(30).Length;

    [GlobalCleanup]
    public async ValueTask DisposeAsync()
    {
        await _book.DisposeAsync();
        GC.SuppressFinalize(this);
    }
}
