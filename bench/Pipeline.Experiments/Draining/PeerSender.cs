using Pipeline.Dataflow;
using Pipeline.Experiments.Nodes;

namespace Pipeline.Experiments.Draining;

/// <summary>Sends to a peer, and waits for room where there is none.</summary>
internal sealed class PeerSender(IPeer peer, ChannelDescriptor channel) : IMessageSender
{
    public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken) =>
        peer.TrySend(channel, message.Span) == SendResult.Queued ? ValueTask.CompletedTask : WaitAsync(message, cancellationToken);

    public ValueTask FlushAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    private async ValueTask WaitAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken) =>
        await peer.EnsureAliveAsync(await peer.SendAsync(channel, message.Span, Timeout.InfiniteTimeSpan, cancellationToken));
}
