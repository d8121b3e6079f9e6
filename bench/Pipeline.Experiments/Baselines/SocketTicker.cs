using Pipeline.Experiments.Nodes;

namespace Pipeline.Experiments.Baselines;

/// <summary>Sends stamped messages over a bare stream, each in one write; nothing is between the two ends but the sockets.</summary>
internal sealed class SocketTicker(Stream near, byte[] message) : ITicker
{
    private long _sent;

    public long Sent => Volatile.Read(ref _sent);

    public long TakeRefused() => 0;

    public void Send()
    {
        Stamp.Write(message, sender: 0, _sent);
        near.Write(message);
        Volatile.Write(ref _sent, _sent + 1);
    }

    /// <summary>Receives until the near end is closed.</summary>
    public async Task ReceiveAsync(Stream far, LatencyProbe probe)
    {
        byte[] buffer = new byte[message.Length];
        while (await far.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false) == buffer.Length)
        {
            probe.Receive(buffer);
        }
    }
}
