using Pipeline.Dataflow;
using Pipeline.Experiments.Nodes;

namespace Pipeline.Experiments.Draining;

/// <summary>Sends to a peer, and waits for room where there is none.</summary>
internal sealed class PeerSender(IPeer peer, ChannelDescriptor channel) : IMessageSender
{
    public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
    {
        SerializedMessage serialized = SerializedMessage.Create(channel, message.Span);
        SendResult result = peer.TrySend(serialized);
        if (result == SendResult.Queued)
        {
            serialized.Dispose();
            return ValueTask.CompletedTask;
        }

        return WaitAsync(serialized, result, cancellationToken);
    }

    public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    private async ValueTask WaitAsync(SerializedMessage message, SendResult result, CancellationToken cancellationToken)
    {
        using (message)
        {
            if (result == SendResult.QueueFull)
            {
                result = await peer.SendAsync(message, Timeout.InfiniteTimeSpan, cancellationToken);
            }

            await peer.EnsureAliveAsync(result);
        }
    }
}
