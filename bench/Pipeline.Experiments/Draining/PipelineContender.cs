using Pipeline.Dataflow;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;

namespace Pipeline.Experiments.Draining;

/// <summary>Two nodes with a connection between them, from a reactor's send to the other's reactor.</summary>
internal sealed class PipelineContender : Contender
{
    public override string Name => "pipeline";

    public override async Task<Drained> CarryAsync(RunContext context, Load load)
    {
        ChannelDescriptor channel = CreateChannel();
        Drain drain = new(load);
        await using Node near = await Node.StartAsync(context.CancellationToken, new HandlerReactor("sender", channel));
        await using Node far = await Node.StartAsync(
            context.CancellationToken,
            new HandlerReactor("receiver", [channel], envelope => drain.Receive(envelope.Data.Span)));
        (IPeer peer, _) = await near.ConnectAsync(far, context.CancellationToken);
        PeerSender sender = new(peer, channel);
        return await drain.MeasureAsync(context, [.. Enumerable.Repeat(sender, load.Senders)]);
    }

    /// <summary>A channel of which the bytes that wait are what bounds its queues, not the messages.</summary>
    public static ChannelDescriptor CreateChannel() => new(0x30, "bulk")
    {
        SendQueueCapacity = 100_000,
        ReceiveQueueCapacity = 100_000,
    };
}
