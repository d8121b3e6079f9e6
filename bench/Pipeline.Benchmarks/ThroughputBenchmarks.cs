using BenchmarkDotNet.Attributes;
using Pipeline.Benchmarks.Parts;
using Pipeline.Benchmarks.Throughput;

namespace Pipeline.Benchmarks;

/// <summary>
/// End to end over loopback TCP: from several senders to the reactor of the other node, until the last message has been handled. Not
/// encrypted: the same dataflow without the secret connection.
/// </summary>
[Config(typeof(RateConfig))]
[InvocationCount(1, unrollFactor: 1)]
[WarmupCount(WarmUps)]
public class ThroughputBenchmarks
{
    // Each run is one iteration, and it takes several until all that runs has been compiled for good.
    private const int WarmUps = 8;

    private const int MaxBytes = 32 << 20;
    private const int MaxMessages = 1 << 18;

    private readonly Arrivals _arrivals = new();
    private Route? _route;
    private byte[] _message = [];

    [Params(64, 256, 1024, 8192, 65536, 524288)]
    public int Size { get; set; }

    [Params(1, 8, 16)]
    public int Senders { get; set; }

    [Params(true, false)]
    public bool Encrypted { get; set; }

    /// <summary>How many messages one run sends: 32 MiB of them, or fewer small ones.</summary>
    public static int MessagesOf(int size) => Math.Min(MaxBytes / size, MaxMessages);

    [GlobalSetup]
    public async Task SetupAsync()
    {
        _message = Sizes.CreateMessage(Size);
        _route = Encrypted ? await SwitchRoute.ConnectAsync(_arrivals.Count) : await PlainRoute.ConnectAsync(_arrivals.Count);
    }

    [Benchmark]
    public async Task Run()
    {
        int messages = MessagesOf(Size);
        Task all = _arrivals.Expect(messages);
        Task done = Task.WhenAll([all, .. Enumerable.Range(0, Senders).Select(_ => Task.Run(() => SendAsync(messages / Senders)))]);
        if (await Task.WhenAny(done, _route!.Ended) != done)
        {
            throw new InvalidOperationException("The connection ended before all messages had come.");
        }

        await done;
    }

    [GlobalCleanup]
    public async Task CleanupAsync() => await _route!.DisposeAsync();

    private async Task SendAsync(int messages)
    {
        for (int i = 0; i < messages; i++)
        {
            await _route!.SendAsync(_message);
        }
    }
}
