using System.Buffers;
using System.IO.Pipelines;
using BenchmarkDotNet.Attributes;
using Pipeline.Benchmarks.Parts;
using Pipeline.Dataflow;

namespace Pipeline.Benchmarks;

/// <summary>From packets to messages that a reactor has read: decoded, put together and queued in a lane, a message.</summary>
public class DemultiplexerBenchmarks : IDisposable
{
    private readonly ChannelDescriptor _channel = new(0x30, "bulk") { ReceiveQueueCapacity = Sizes.Messages };
    private readonly Inflow _inflow;
    private byte[] _packets = [];
    private int _batches;

    public DemultiplexerBenchmarks() => _inflow = new Inflow(_channel);

    [Params(64, 1024, 65536)]
    public int Size { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        int batch = Sizes.BatchOf(Size);
        _batches = Sizes.Messages / batch;
        _packets = Inflow.Encode(_channel, Sizes.CreateMessage(Size), batch);
    }

    [Benchmark(OperationsPerInvoke = Sizes.Messages)]
    public void Packets()
    {
        for (int i = 0; i < _batches; i++)
        {
            _inflow.Decode(_packets);
            ReadAll();
        }
    }

    /// <summary>The same by the receiving loop, which lets others have its thread after each batch.</summary>
    [Benchmark(OperationsPerInvoke = Sizes.Messages)]
    public Task Loop() => _inflow.RunAsync(new Batches(this));

    public void Dispose()
    {
        _inflow.Dispose();
        GC.SuppressFinalize(this);
    }

    private void ReadAll()
    {
        while (_inflow.Inbox.TryRead(out Envelope envelope))
        {
            envelope.Release();
        }
    }

    /// <summary>Brings the same batch again and again, and reads what has become of the last one first.</summary>
    private sealed class Batches(DemultiplexerBenchmarks owner) : PipeReader
    {
        private readonly ReadOnlySequence<byte> _batch = new(owner._packets);
        private int _left = owner._batches;

        public override bool TryRead(out ReadResult result)
        {
            owner.ReadAll();
            result = _left == 0
                ? new ReadResult(ReadOnlySequence<byte>.Empty, isCanceled: false, isCompleted: true)
                : new ReadResult(_batch, isCanceled: false, isCompleted: false);
            _left--;
            return true;
        }

        public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
        {
            TryRead(out ReadResult result);
            return new ValueTask<ReadResult>(result);
        }

        public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

        public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
        {
            if (_left >= 0 && !consumed.Equals(_batch.End))
            {
                throw new InvalidOperationException("Not all of a batch was decoded.");
            }
        }

        public override void CancelPendingRead() => throw new NotSupportedException("No read waits here.");

        public override void Complete(Exception? exception = null)
        {
        }
    }
}
