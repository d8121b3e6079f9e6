using Pipeline.Experiments.Nodes;

namespace Pipeline.Experiments.Comparing;

/// <summary>Sends small messages one after the other. One that has to wait for the one before it has been stamped when its turn to be sent was.</summary>
internal sealed class OrderedTicker(ITwoStreams streams, byte[] payload, CancellationToken cancellationToken) : ITicker
{
    private Task _last = Task.CompletedTask;

    public long Sent { get; private set; }

    public void Send()
    {
        byte[] message = [.. payload];
        Stamp.Write(message, sender: 0, Sent++);
        _last = _last.IsCompletedSuccessfully ? streams.SendSmallAsync(message, cancellationToken).AsTask() : SendAfterAsync(_last, message);
    }

    public long TakeRefused() => 0;

    /// <summary>Waits until the last message has been handed over. Throws what went wrong, if anything did.</summary>
    public Task FlushAsync() => _last;

    private async Task SendAfterAsync(Task last, byte[] message)
    {
        await last;
        await streams.SendSmallAsync(message, cancellationToken);
    }
}
