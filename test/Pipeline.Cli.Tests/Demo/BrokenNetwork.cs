using Pipeline.Cli.Demo;
using Pipeline.Cli.Demo.Nodes;
using Pipeline.Protocols.Mempool;

namespace Pipeline.Cli.Tests.Demo;

/// <summary>Delivers messages as a test wants it to, so that the check has something to find.</summary>
internal sealed class BrokenNetwork(MessageArrived arrived, BrokenNetwork.Delivery deliver) : IDemoNetwork
{
    private readonly TaskCompletionSource<string> _departed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private int _sent;

    /// <summary>What arrives when the message with a number, counted from 0 over all lanes, is sent.</summary>
    internal delegate IEnumerable<byte[]> Delivery(int number, byte[] data);

    public long Transactions => 0;

    public bool IsDisposed { get; private set; }

    /// <summary>After how many messages the connection ends.</summary>
    public int DepartsAfter { get; init; } = int.MaxValue;

    public Task<string?> SendAsync(ReplayLane lane, ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (_sent == DepartsAfter)
            {
                return Task.FromResult<string?>("The peer is gone.");
            }

            foreach (byte[] message in deliver(_sent++, data.ToArray()))
            {
                arrived(lane.Peer, lane.Channel, message, new Message());
            }
        }

        return Task.FromResult<string?>(null);
    }

    public Task<string> WhenDepartedAsync() => _departed.Task;

    public void Depart() => _departed.SetResult("The peer is gone.");

    public IReadOnlyDictionary<byte, (int SendQueue, int Inbox)> GetWaiting(int peer) => new Dictionary<byte, (int SendQueue, int Inbox)>();

    public ValueTask DisposeAsync()
    {
        IsDisposed = true;
        return ValueTask.CompletedTask;
    }
}
