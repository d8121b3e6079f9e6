using System.Net;
using Pipeline.Dataflow;
using Pipeline.Experiments.Baselines;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Nodes;

namespace Pipeline.Experiments.Draining;

/// <summary>The dataflow of a connection of ours, from its send block to the handler of an inbox, over TCP without encryption.</summary>
internal sealed class PlainPipelineContender : Contender
{
    // As much as the sending loop hands over at once.
    private const int BufferSize = 64 << 10;

    public override string Name => "pipeline-plain";

    public override async Task<Drained> CarryAsync(RunContext context, Load load)
    {
        ChannelDescriptor channel = PipelineContender.CreateChannel();
        ChannelTable channels = new([channel]);
        ConnectionOptions options = Node.Unlimited;
        Drain drain = new(load);
        await using Loopback ends = await Loopback.ConnectAsync(context.CancellationToken);
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken);

        PrioritySendBlock outgoing = new(channels, [channel.Id], options.MaxPacketDataSize, options.TimeProvider);
        FrameEncoder encoder = new(outgoing, ends.CreateWriter(BufferSize), options);
        PlainPeer peer = new(outgoing, new IPEndPoint(IPAddress.Loopback, 0), stop.Token);

        ReceiveAllowance allowance = new(options.ReceiveAllowance);
        ReactorInbox inbox = new([channel], (envelope, _) =>
        {
            drain.Receive(envelope.Data.Span);
            envelope.Release();
            return ValueTask.CompletedTask;
        });
        PeerLanes lanes = inbox.Open(allowance, stop.Token);
        using ChannelDemultiplexer demultiplexer = new(channels, peer, [.. lanes.Lanes], allowance, peer, options.Pool);
        FrameDecoder decoder = new(ends.CreateReader(BufferSize), demultiplexer, options);

        // Whichever loop breaks ends the other, and with it the senders.
        Task[] loops = [RunAsync(encoder.RunAsync), RunAsync(decoder.RunAsync)];
        PeerSender sender = new(peer, channel);
        Task<Drained> measuring = drain.MeasureAsync(context with { CancellationToken = stop.Token }, [.. Enumerable.Repeat(sender, load.Senders)]);
        await Task.WhenAny([measuring, .. loops]);
        bool isBroken = loops.Any(loop => loop.IsCompleted);
        if (isBroken)
        {
            await stop.CancelAsync();
        }

        await ((Task)measuring).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await stop.CancelAsync();
        peer.Stop(new DisconnectReason(DisconnectKind.Stopped, "The run is over."));
        await Task.WhenAll(loops).ConfigureAwait(isBroken ? ConfigureAwaitOptions.None : ConfigureAwaitOptions.SuppressThrowing);
        lanes.Close();
        return await measuring;

        Task RunAsync(Func<CancellationToken, Task> loop) => Task.Run(() => loop(stop.Token), CancellationToken.None);
    }
}
