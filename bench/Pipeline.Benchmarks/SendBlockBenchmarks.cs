using BenchmarkDotNet.Attributes;
using Pipeline.Benchmarks.Parts;
using Pipeline.Dataflow;

namespace Pipeline.Benchmarks;

/// <summary>Queueing messages on one or several channels, and taking them as packets for the socket, on one thread, a message.</summary>
public class SendBlockBenchmarks
{
    private readonly byte[] _destination = new byte[Outflow.BatchSize];
    private SerializedMessage[] _messages = [];
    private byte[] _bytes = [];
    private Outflow _outflow = new();

    [Params(64, 1024, 65536)]
    public int Size { get; set; }

    [Params(1, 4)]
    public int Channels { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        ChannelDescriptor[] channels =
        [
            .. Enumerable.Range(0, Channels).Select(i => new ChannelDescriptor((byte)(0x30 + i), $"channel {i}")
            {
                Priority = i + 1,
                SendQueueCapacity = Sizes.Messages,
            }),
        ];
        _outflow = new Outflow(channels);
        _bytes = Sizes.CreateMessage(Size);
        _messages = [.. channels.Select(channel => SerializedMessage.Create(channel, _bytes))];
    }

    [Benchmark(OperationsPerInvoke = Sizes.Messages)]
    public void QueueAndTake()
    {
        int batch = Sizes.BatchOf(Size);
        for (int i = 0; i < Sizes.Messages; i++)
        {
            _outflow.Queue(_messages[i % Channels]);
            TakeWhenBatched(i, batch);
        }
    }

    /// <summary>With what it takes to make each message.</summary>
    [Benchmark(OperationsPerInvoke = Sizes.Messages)]
    public void CreateQueueAndTake()
    {
        int batch = Sizes.BatchOf(Size);
        for (int i = 0; i < Sizes.Messages; i++)
        {
            using (SerializedMessage message = SerializedMessage.Create(_messages[i % Channels].Channel, _bytes))
            {
                _outflow.Queue(message);
            }

            TakeWhenBatched(i, batch);
        }
    }

    /// <summary>With a copy of the bytes in place of a message.</summary>
    [Benchmark(OperationsPerInvoke = Sizes.Messages)]
    public void CopyQueueAndTake()
    {
        int batch = Sizes.BatchOf(Size);
        for (int i = 0; i < Sizes.Messages; i++)
        {
            _outflow.Queue(_messages[i % Channels].Channel, _bytes);
            TakeWhenBatched(i, batch);
        }
    }

    private void TakeWhenBatched(int index, int batch)
    {
        if ((index + 1) % batch == 0)
        {
            _outflow.TakeAll(_destination);
        }
    }
}
