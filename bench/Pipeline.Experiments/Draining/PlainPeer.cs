using System.Diagnostics;
using System.Net;
using System.Threading.Tasks.Dataflow;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Experiments.Draining;

/// <summary>The other end of a connection that has no encryption, and so knows nobody's identity; it keeps no connection alive.</summary>
internal sealed class PlainPeer(PrioritySendBlock outgoing, IPEndPoint remote, CancellationToken stopped) : IPeer, IKeepAliveTarget
{
    private readonly TaskCompletionSource<DisconnectReason> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly long _start = Stopwatch.GetTimestamp();

    public NodeId Id => NodeInfo.Id;

    public NodeInfo NodeInfo { get; } = new() { Moniker = "plain" };

    public bool IsOutbound => true;

    public bool IsPersistent => false;

    public NetAddress? DialledAddress => null;

    public IPEndPoint RemoteEndPoint => remote;

    public PeerItems Items { get; } = new();

    public CancellationToken Stopped => stopped;

    public Task<DisconnectReason> Completion => _completion.Task;

    public ITargetBlock<SerializedMessage> Outgoing => outgoing;

    public bool HasChannel(byte channelId) => outgoing.HasChannel(channelId);

    public SendResult TrySend(SerializedMessage message) => outgoing.TrySend(message);

    public SendResult TrySend(ChannelDescriptor channel, ReadOnlySpan<byte> message) => outgoing.TrySend(channel, message);

    public ValueTask<SendResult> SendAsync(SerializedMessage message, TimeSpan? timeout = null, CancellationToken cancellationToken = default) =>
        outgoing.SendAsync(message, timeout ?? Timeout.InfiniteTimeSpan, cancellationToken);

    public void Stop(DisconnectReason reason)
    {
        if (_completion.TrySetResult(reason))
        {
            outgoing.Abort();
        }
    }

    public async Task StopGracefullyAsync(DisconnectReason? reason = null)
    {
        outgoing.Complete();
        await outgoing.Completion;
        Stop(reason ?? new DisconnectReason(DisconnectKind.Stopped, "Everything was sent."));
    }

    public void MarkUseful()
    {
    }

    public ConnectionStatus GetStatus() => new(Stopwatch.GetElapsedTime(_start), BytesSent: 0, BytesReceived: 0, IsPaused: false, Channels: []);

    public void OnPing() => outgoing.RequestPong();

    public void OnPong()
    {
    }

    public void OnPause()
    {
    }

    public void OnResume()
    {
    }
}
