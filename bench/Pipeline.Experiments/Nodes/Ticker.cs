using Pipeline.Dataflow;

namespace Pipeline.Experiments.Nodes;

/// <summary>Sends small stamped messages without ever waiting for room, one at a time.</summary>
internal sealed class Ticker(IPeer peer, ChannelDescriptor channel, byte[] message, int sender) : ITicker
{
    private long _sent;
    private long _refused;

    public long Sent => Volatile.Read(ref _sent);

    public long TakeRefused()
    {
        long refused = _refused;
        _refused = 0;
        return refused;
    }

    public void Send()
    {
        Stamp.Write(message, sender, _sent);
        if (peer.TrySend(channel, message) == SendResult.Queued)
        {
            Volatile.Write(ref _sent, _sent + 1);
        }
        else
        {
            _refused++;
        }
    }
}
