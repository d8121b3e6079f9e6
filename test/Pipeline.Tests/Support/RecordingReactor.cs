using System.Collections.Concurrent;
using Pipeline.Dataflow;
using Pipeline.Reactors;

namespace Pipeline.Tests.Support;

/// <summary>A reactor that keeps what it receives, checks its calls by the grammar, and does in them what a test tells it to.</summary>
internal sealed class RecordingReactor : Reactor
{
    public RecordingReactor(string name, params IEnumerable<ChannelDescriptor> channels)
        : base(name, channels)
    {
    }

    public Pulse Pulse { get; set; } = new();

    public Grammar Grammar { get; init; } = new();

    /// <summary>Called in each callback; what it throws, at once or later, the callback throws.</summary>
    public Func<Callback, IPeer?, CancellationToken, ValueTask>? During { get; set; }

    public ConcurrentQueue<(IPeer Peer, byte Channel, byte[] Data)> Received { get; } = [];

    public ConcurrentDictionary<IPeer, DisconnectReason> Reasons { get; } = new();

    public IEnumerable<byte[]> From(IPeer peer) => Received.Where(entry => ReferenceEquals(entry.Peer, peer)).Select(entry => entry.Data);

    protected internal override ValueTask OnStartAsync(CancellationToken cancellationToken) => Record(Callback.OnStart, null, cancellationToken);

    protected internal override ValueTask OnStopAsync() => Record(Callback.OnStop, null, CancellationToken.None);

    protected internal override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken) =>
        Record(Callback.InitPeer, peer, cancellationToken);

    protected internal override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken) =>
        Record(Callback.AddPeer, peer, cancellationToken);

    protected internal override ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason)
    {
        Reasons[peer] = reason;
        return Record(Callback.RemovePeer, peer, CancellationToken.None);
    }

    protected internal override ValueTask ReceiveAsync(Envelope envelope, CancellationToken cancellationToken)
    {
        Received.Enqueue((envelope.Peer, envelope.Channel.Id, envelope.Data.ToArray()));
        return Record(Callback.Receive, envelope.Peer, cancellationToken);
    }

    // Not async, so that what is thrown at once is thrown at once.
    private ValueTask Record(Callback callback, IPeer? peer, CancellationToken cancellationToken)
    {
        Grammar.Begin(callback, peer);
        try
        {
            ValueTask running = During?.Invoke(callback, peer, cancellationToken) ?? ValueTask.CompletedTask;
            if (!running.IsCompletedSuccessfully)
            {
                return FinishAsync(callback, peer, running);
            }
        }
        catch
        {
            End(callback, peer);
            throw;
        }

        End(callback, peer);
        return ValueTask.CompletedTask;
    }

    private async ValueTask FinishAsync(Callback callback, IPeer? peer, ValueTask running)
    {
        try
        {
            await running;
        }
        finally
        {
            End(callback, peer);
        }
    }

    private void End(Callback callback, IPeer? peer)
    {
        Grammar.End(callback, peer);
        Pulse.Beat();
    }
}
