using System.Diagnostics;
using Pipeline.Dataflow;

namespace Pipeline.Experiments.Nodes;

/// <summary>
/// Few nodes with many connections between them, so that it is the connections that count. A pair of nodes has one connection at most, so
/// each of as many nodes on the one side dials each on the other.
/// </summary>
internal sealed class Mesh : IAsyncDisposable
{
    private readonly int _size;
    private readonly List<Node> _dialling = [];
    private readonly List<Node> _listening = [];
    private readonly List<(IPeer Near, IPeer Far)> _connections = [];

    private Mesh(int size) => _size = size;

    /// <summary>How many connections are up at both ends.</summary>
    public int Alive => _connections.Count(connection => !connection.Near.Completion.IsCompleted && !connection.Far.Completion.IsCompleted);

    /// <summary>How many sockets there are with so many connections.</summary>
    public static int SocketsOf(int connections) => 2 * (connections + SideOf(connections));

    /// <summary>Starts the nodes, without a connection.</summary>
    public static async Task<Mesh> StartAsync(int connections, ConnectionOptions options, CancellationToken cancellationToken)
    {
        Mesh mesh = new(connections);
        try
        {
            for (int i = 0; i < SideOf(connections); i++)
            {
                mesh._dialling.Add(await Node.StartAsync(options, cancellationToken, MakeReactor()));
                mesh._listening.Add(await Node.StartAsync(options, cancellationToken, MakeReactor()));
            }

            return mesh;
        }
        catch
        {
            await mesh.DisposeAsync();
            throw;
        }
    }

    /// <summary>Makes all connections.</summary>
    /// <returns>After how many seconds each was up at both ends.</returns>
    public async Task<double[]> ConnectAsync(int atOnce, CancellationToken cancellationToken)
    {
        List<double> times = new(_size);
        Lock gate = new();
        long start = Stopwatch.GetTimestamp();
        await Parallel.ForAsync(
            0,
            _size,
            new ParallelOptions { MaxDegreeOfParallelism = atOnce, CancellationToken = cancellationToken },
            async (i, token) =>
            {
                (IPeer, IPeer) connection = await _dialling[i / _listening.Count].ConnectAsync(_listening[i % _listening.Count], token);
                lock (gate)
                {
                    _connections.Add(connection);
                    times.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
                }
            });
        return [.. times];
    }

    public async ValueTask DisposeAsync() => await Task.WhenAll(_dialling.Concat(_listening).Select(node => node.DisposeAsync().AsTask()));

    private static int SideOf(int connections) => (int)Math.Ceiling(Math.Sqrt(connections));

    private static HandlerReactor MakeReactor() => new HandlerReactor("idle", new ChannelDescriptor(0x30, "idle"));
}
