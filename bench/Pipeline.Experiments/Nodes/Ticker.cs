using Pipeline.Dataflow;

namespace Pipeline.Experiments.Nodes;

/// <summary>Sends small stamped messages without ever waiting for room, one at a time.</summary>
internal sealed class Ticker(IPeer peer, ChannelDescriptor channel, byte[] message, int sender)
{
    private long _sent;
    private long _refused;

    /// <summary>Messages that have been queued.</summary>
    public long Sent => Volatile.Read(ref _sent);

    /// <summary>How many messages could not be queued since the last call, for want of room or because the connection is gone.</summary>
    public long TakeRefused()
    {
        long refused = _refused;
        _refused = 0;
        return refused;
    }

    public void Send()
    {
        Stamp.Write(message, sender, _sent);
        using SerializedMessage serialized = SerializedMessage.Create(channel, message);
        if (peer.TrySend(serialized) == SendResult.Queued)
        {
            Volatile.Write(ref _sent, _sent + 1);
        }
        else
        {
            _refused++;
        }
    }
}
