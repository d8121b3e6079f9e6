using System.Threading.Channels;
using System.Threading.Tasks.Dataflow;
using BenchmarkDotNet.Attributes;
using Pipeline.Benchmarks.Parts;
using Pipeline.Dataflow;

namespace Pipeline.Benchmarks;

/// <summary>
/// From one thread to another with a bound that holds the writer back, an item: through a lane, and through what the framework has for that.
/// </summary>
public class HopBenchmarks : IDisposable
{
    private const int Items = 10_000;
    private const int Bound = 1024;

    private readonly Arrivals _arrivals = new();
    private readonly Inflow _lane;
    private readonly Channel<Envelope> _channel;
    private readonly ActionBlock<Envelope> _block;
    private readonly BufferBlock<Envelope> _buffer;
    private readonly Envelope _item;
    private Task _reading = Task.CompletedTask;

    public HopBenchmarks()
    {
        _lane = new Inflow(new ChannelDescriptor(0x30, "bulk") { ReceiveQueueCapacity = Bound }, Receive, allowance: 0);
        _item = _lane.CreateEnvelope(Sizes.CreateMessage(64));
        _channel = Channel.CreateBounded<Envelope>(new BoundedChannelOptions(Bound) { SingleReader = true, SingleWriter = true });
        _block = CreateActionBlock();
        _buffer = new BufferBlock<Envelope>(new DataflowBlockOptions { BoundedCapacity = Bound });
        _buffer.LinkTo(CreateActionBlock());
    }

    [GlobalSetup]
    public void Setup() => _reading = Task.Run(ReadAsync);

    [Benchmark(Baseline = true, OperationsPerInvoke = Items)]
    public async Task Lane()
    {
        Task all = _arrivals.Expect(Items);
        for (int i = 0; i < Items; i++)
        {
            await _lane.WriteAsync(_item);
        }

        await all;
    }

    [Benchmark(OperationsPerInvoke = Items)]
    public async Task BoundedChannel()
    {
        Task all = _arrivals.Expect(Items);
        for (int i = 0; i < Items; i++)
        {
            await _channel.Writer.WriteAsync(_item);
        }

        await all;
    }

    [Benchmark(OperationsPerInvoke = Items)]
    public Task ActionBlock() => SendAllAsync(_block);

    [Benchmark(OperationsPerInvoke = Items)]
    public Task BufferAndActionBlock() => SendAllAsync(_buffer);

    [GlobalCleanup]
    public void Dispose()
    {
        _channel.Writer.TryComplete();
        _reading.Wait();
        _lane.Dispose();
        GC.SuppressFinalize(this);
    }

    private ActionBlock<Envelope> CreateActionBlock() =>
        new(Receive, new ExecutionDataflowBlockOptions { BoundedCapacity = Bound, SingleProducerConstrained = true });

    private async Task SendAllAsync(ITargetBlock<Envelope> target)
    {
        Task all = _arrivals.Expect(Items);
        for (int i = 0; i < Items; i++)
        {
            await target.SendAsync(_item);
        }

        await all;
    }

    private async Task ReadAsync()
    {
        await foreach (Envelope envelope in _channel.Reader.ReadAllAsync())
        {
            Receive(envelope);
        }
    }

    private void Receive(Envelope envelope) => _arrivals.Count();
}
