using System.Net;
using System.Threading.Tasks.Dataflow;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Tests.Support;

/// <summary>A peer without a connection: it can be stopped and keeps what it is stopped for.</summary>
internal class StubPeer : IPeer, IDisposable
{
    private readonly CancellationTokenSource _stopped = new();
    private readonly TaskCompletionSource<DisconnectReason> _completion = new();

    public NodeId Id { get; } = NodeId.Parse(Convert.ToHexString(Guid.NewGuid().ToByteArray()) + "00000000");

    public NodeInfo NodeInfo => new() { Id = Id, Moniker = "stub" };

    public bool IsOutbound { get; init; }

    public bool IsPersistent => false;

    public PeerItems Items { get; } = new();

    public NetAddress? DialledAddress => null;

    public IPEndPoint RemoteEndPoint { get; } = new(IPAddress.Loopback, 1);

    public CancellationToken Stopped => _stopped.Token;

    public Task<DisconnectReason> Completion => _completion.Task;

    public DisconnectReason? Reason { get; private set; }

    public ITargetBlock<SerializedMessage> Outgoing => DataflowBlock.NullTarget<SerializedMessage>();

    public bool HasChannel(byte channelId) => true;

    public SendResult TrySend(SerializedMessage message) => SendResult.PeerStopped;

    public virtual ValueTask<SendResult> SendAsync(SerializedMessage message, TimeSpan? timeout, CancellationToken cancellationToken) =>
        new(SendResult.PeerStopped);

    public void Stop(DisconnectReason reason)
    {
        Reason ??= reason;
        _stopped.Cancel();
        _completion.TrySetResult(Reason);
    }

    public Task StopGracefullyAsync(DisconnectReason? reason = null)
    {
        Stop(reason ?? new DisconnectReason(DisconnectKind.Stopped, "Done."));
        return Completion;
    }

    public void MarkUseful()
    {
    }

    public ConnectionStatus Status { get; set; } = new(TimeSpan.Zero, 0, 0, false, []);

    public int StatusReads { get; private set; }

    public ConnectionStatus GetStatus()
    {
        StatusReads++;
        return Status;
    }

    public void Dispose()
    {
        _stopped.Dispose();
        GC.SuppressFinalize(this);
    }
}
