using Pipeline.Dataflow;

namespace Pipeline.Benchmarks.Throughput;

/// <summary>A way for messages from here to a handler at the other end of a loopback TCP connection.</summary>
internal abstract class Route : IAsyncDisposable
{
    public static readonly ChannelDescriptor Channel = new(0x30, "bulk")
    {
        SendQueueCapacity = 100_000,
        ReceiveQueueCapacity = 100_000,
    };

    /// <summary>Completes when the connection has ended, or broken.</summary>
    public abstract Task Ended { get; }

    /// <summary>Sends a copy of <paramref name="message"/>, waiting only for room.</summary>
    public ValueTask SendAsync(ReadOnlySpan<byte> message)
    {
        SendResult result = TrySend(message);
        return result == SendResult.Queued ? ValueTask.CompletedTask : WaitAsync(SerializedMessage.Create(Channel, message), result);
    }

    public abstract ValueTask DisposeAsync();

    protected abstract SendResult TrySend(ReadOnlySpan<byte> message);

    protected abstract ValueTask<SendResult> SendAsync(SerializedMessage message);

    private async ValueTask WaitAsync(SerializedMessage message, SendResult result)
    {
        using (message)
        {
            result = result == SendResult.QueueFull ? await SendAsync(message) : result;
        }

        if (result != SendResult.Queued)
        {
            throw new InvalidOperationException($"A message was not sent: {result}.");
        }
    }
}
