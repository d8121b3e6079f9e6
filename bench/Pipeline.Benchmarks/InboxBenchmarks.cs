using BenchmarkDotNet.Attributes;
using Pipeline.Benchmarks.Parts;
using Pipeline.Dataflow;

namespace Pipeline.Benchmarks;

/// <summary>From the receiving loop's lane to the reactor on another thread, a message: handled, or read as from a channel.</summary>
public class InboxBenchmarks : IDisposable
{
    private const int Messages = 10_000;

    private readonly Arrivals _arrivals = new();
    private readonly Inflow _handled;
    private readonly Inflow _read;
    private readonly byte[] _message = Sizes.CreateMessage(64);
    private Task _reading = Task.CompletedTask;

    public InboxBenchmarks()
    {
        ChannelDescriptor channel = new(0x30, "bulk");
        _handled = new Inflow(channel, Receive);
        _read = new Inflow(channel);
    }

    [GlobalSetup]
    public void Setup() => _reading = Task.Run(ReadAsync);

    [Benchmark(OperationsPerInvoke = Messages)]
    public Task Handler() => WriteAllAsync(_handled);

    [Benchmark(OperationsPerInvoke = Messages)]
    public Task ChannelReader() => WriteAllAsync(_read);

    /// <summary>Each message comes when the one before it has been handled: the reactor has to be woken for each.</summary>
    [Benchmark(OperationsPerInvoke = Messages)]
    public async Task HandlerOneByOne()
    {
        for (int i = 0; i < Messages; i++)
        {
            Task handled = _arrivals.Expect(1);
            await _handled.WriteAsync(_handled.CreateEnvelope(_message));
            await handled;
        }
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _read.Inbox.Complete();
        _reading.Wait();
        _handled.Dispose();
        _read.Dispose();
        GC.SuppressFinalize(this);
    }

    private async Task WriteAllAsync(Inflow inflow)
    {
        Task all = _arrivals.Expect(Messages);
        for (int i = 0; i < Messages; i++)
        {
            await inflow.WriteAsync(inflow.CreateEnvelope(_message));
        }

        await all;
    }

    private async Task ReadAsync()
    {
        while (await _read.Inbox.WaitToReadAsync())
        {
            while (_read.Inbox.TryRead(out Envelope envelope))
            {
                Receive(envelope);
            }
        }
    }

    private void Receive(Envelope envelope)
    {
        envelope.Release();
        _arrivals.Count();
    }
}
