using Google.Protobuf;
using Pipeline.Dataflow;

namespace Pipeline.Cli.Demo.Nodes;

/// <summary>A message that arrived: from which peer of the trace, on which channel, its bytes and what they say.</summary>
internal delegate void MessageArrived(int peer, ChannelDescriptor channel, ReadOnlySpan<byte> data, IMessage message);

/// <summary>
/// Starts a node for each of a number of peers and one that receives, and connects them; from then on <paramref name="arrived"/> is told of
/// every message, from any thread.
/// </summary>
/// <exception cref="IOException">They cannot be started, or not reach each other; the message says why.</exception>
internal delegate Task<IDemoNetwork> StartNetwork(int peers, MessageArrived arrived, CancellationToken cancellationToken);

/// <summary>The nodes of a run. When they have been disposed of, nothing arrives any more.</summary>
internal interface IDemoNetwork : IAsyncDisposable
{
    /// <summary>The transactions that have arrived at the mempool.</summary>
    long Transactions { get; }

    /// <summary>Sends a message of a lane from its peer to the receiver, see <see cref="SendMessage"/>.</summary>
    Task<string?> SendAsync(ReplayLane lane, ReadOnlyMemory<byte> data, CancellationToken cancellationToken);

    /// <summary>Completes when a connection has ended, with a sentence that says which and why.</summary>
    Task<string> WhenDepartedAsync();

    /// <summary>How many messages wait, by channel: at the peer to be sent, and at the receiver to be dealt with.</summary>
    IReadOnlyDictionary<byte, (int SendQueue, int Inbox)> GetWaiting(int peer);
}
