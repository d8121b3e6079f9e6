using BenchmarkDotNet.Attributes;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Benchmarks.Parts;
using Pipeline.Dataflow;

namespace Pipeline.Benchmarks;

/// <summary>A message for 8 peers, a delivery: serialised once and shared, against once for each; queued and taken for the socket either way.</summary>
public class BroadcastBenchmarks
{
    private const int Peers = 8;

    private readonly byte[] _destination = new byte[Outflow.BatchSize];
    private readonly ChannelDescriptor _channel = new(0x30, "bulk");
    private readonly Outflow[] _outflows;
    private BytesValue _message = new();

    public BroadcastBenchmarks() => _outflows = [.. Enumerable.Range(0, Peers).Select(_ => new Outflow(_channel))];

    [Params(1024, 65536)]
    public int Size { get; set; }

    [GlobalSetup]
    public void Setup() => _message = new BytesValue { Value = ByteString.CopyFrom(Sizes.CreateMessage(Size)) };

    [Benchmark(OperationsPerInvoke = Peers)]
    public void SerialiseOnce()
    {
        using (SerializedMessage serialized = SerializedMessage.Create(_channel, _message))
        {
            foreach (Outflow outflow in _outflows)
            {
                outflow.Queue(serialized);
            }
        }

        TakeAll();
    }

    [Benchmark(Baseline = true, OperationsPerInvoke = Peers)]
    public void SerialiseForEach()
    {
        foreach (Outflow outflow in _outflows)
        {
            using SerializedMessage serialized = SerializedMessage.Create(_channel, _message);
            outflow.Queue(serialized);
        }

        TakeAll();
    }

    private void TakeAll()
    {
        foreach (Outflow outflow in _outflows)
        {
            outflow.TakeAll(_destination);
        }
    }
}
