using System.IO.Pipelines;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Benchmarks.Parts;

/// <summary>What one peer is sent, put together as a connection does: a send block, and the loop that takes from it.</summary>
internal sealed class Outflow(params ChannelDescriptor[] channels)
{
    /// <summary>The most bytes that the loop takes at once.</summary>
    public const int BatchSize = FrameWriter.DataPerBlock;

    private readonly PrioritySendBlock _block =
        new(new ChannelTable(channels), [.. channels.Select(channel => channel.Id)], Inflow.Options.MaxPacketDataSize, TimeProvider.System);

    public SendResult TrySend(ReadOnlySpan<byte> message) => _block.TrySend(channels[0], message);

    public ValueTask<SendResult> SendAsync(SerializedMessage message) => _block.SendAsync(message, Timeout.InfiniteTimeSpan);

    /// <summary>Queues a message for which there has to be room.</summary>
    public void Queue(SerializedMessage message)
    {
        if (_block.TrySend(message) is not SendResult.Queued and SendResult result)
        {
            throw new InvalidOperationException($"A message was not queued: {result}.");
        }
    }

    /// <summary>Queues a copy of a message for which there has to be room.</summary>
    public void Queue(ChannelDescriptor channel, ReadOnlySpan<byte> message)
    {
        if (_block.TrySend(channel, message) is not SendResult.Queued and SendResult result)
        {
            throw new InvalidOperationException($"A message was not queued: {result}.");
        }
    }

    /// <summary>Takes everything, without anybody to send it to.</summary>
    public void TakeAll(Span<byte> destination)
    {
        while (_block.Take(destination) > 0)
        {
        }
    }

    /// <summary>Sends everything, until <see cref="Complete"/>.</summary>
    public Task RunAsync(PipeWriter output) => new FrameEncoder(_block, output, Inflow.Options).RunAsync(CancellationToken.None);

    public void Complete() => _block.Complete();
}
