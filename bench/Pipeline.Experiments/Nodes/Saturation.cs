using Pipeline.Dataflow;

namespace Pipeline.Experiments.Nodes;

/// <summary>Keeps the send queue of a channel full until it is stopped.</summary>
internal sealed class Saturation : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop;
    private readonly Task _sending;
    private long _sent;

    private Saturation(IPeer peer, ChannelDescriptor channel, byte[] message, int sender, long firstSequence, CancellationToken cancellationToken)
    {
        _stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _sent = firstSequence;
        _sending = Task.Run(() => SendAsync(peer, channel, message, sender), CancellationToken.None);
    }

    /// <summary>Messages that have been queued, those before this saturation among them.</summary>
    public long Sent => Volatile.Read(ref _sent);

    /// <param name="peer">Where to.</param>
    /// <param name="channel">The channel.</param>
    /// <param name="message">What each message begins as; its first bytes become its stamp.</param>
    /// <param name="sender">The number of the sender in the stamp.</param>
    /// <param name="firstSequence">The number of the first message in the stamp.</param>
    /// <param name="cancellationToken">Ends it.</param>
    public static Saturation Start(
        IPeer peer,
        ChannelDescriptor channel,
        byte[] message,
        int sender,
        long firstSequence,
        CancellationToken cancellationToken) => new(peer, channel, message, sender, firstSequence, cancellationToken);

    /// <summary>Sends no more, and says how many messages have been queued. Throws what went wrong, if anything did.</summary>
    public async Task<long> StopAsync()
    {
        await _stop.CancelAsync();
        await _sending;
        return Sent;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _sending.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.Dispose();
    }

    private async Task SendAsync(IPeer peer, ChannelDescriptor channel, byte[] message, int sender)
    {
        while (!_stop.IsCancellationRequested)
        {
            Stamp.Write(message, sender, _sent);
            SendResult result = peer.TrySend(channel, message);
            if (result == SendResult.QueueFull)
            {
                try
                {
                    result = await peer.SendAsync(channel, message, Timeout.InfiniteTimeSpan, _stop.Token);
                }
                catch (OperationCanceledException)
                {
                    return;
                }
            }

            await peer.EnsureAliveAsync(result);
            Volatile.Write(ref _sent, _sent + 1);
        }
    }
}
