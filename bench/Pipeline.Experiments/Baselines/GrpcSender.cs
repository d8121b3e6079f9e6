using Google.Protobuf;
using Grpc.Core;
using Pipeline.Experiments.Baselines.Protos;
using Pipeline.Experiments.Draining;

namespace Pipeline.Experiments.Baselines;

/// <summary>One side of a call that streams messages. They are gathered, because a flush for each small one is what nobody who wants throughput would do.</summary>
internal sealed class GrpcSender(IAsyncStreamWriter<BulkMessage> stream) : IMessageSender
{
    private const int FlushEvery = 64 << 10;

    private static readonly WriteOptions Gather = new(WriteFlags.BufferHint);

    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _gathered;

    public long Sent { get; private set; }

    /// <summary>Completes when there is no more to send.</summary>
    public Task Completion => _completion.Task;

    public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
    {
        Sent++;
        _gathered += message.Length;
        bool isFull = _gathered >= FlushEvery;
        _gathered = isFull ? 0 : _gathered;
        stream.WriteOptions = isFull ? WriteOptions.Default : Gather;

        // The bytes are written before the task ends, so they need no copy of their own; the call itself is cancelled, so that each message need not be.
        return new ValueTask(stream.WriteAsync(new BulkMessage { Data = UnsafeByteOperations.UnsafeWrap(message) }, CancellationToken.None));
    }

    public async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        if (stream is IClientStreamWriter<BulkMessage> client)
        {
            await client.CompleteAsync();
        }

        // The end of the server's side flushes what it has gathered.
        _completion.TrySetResult();
    }
}
