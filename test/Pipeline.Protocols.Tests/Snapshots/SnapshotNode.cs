using System.Net;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols.StateSync;
using Pipeline.Switching;
using Pipeline.Testing;

namespace Pipeline.Protocols.Tests.Snapshots;

/// <summary>Snapshots of some heights, whose chunks are made when they are read.</summary>
internal sealed class TestSnapshots(params Snapshot[] snapshots) : ISnapshotSource
{
    private int _reads;
    private int _lists;

    /// <summary>What a chunk is; the honest one by default, null for one that is missing.</summary>
    public Func<uint, CancellationToken, ValueTask<byte[]?>> Read { get; init; } = (index, _) => new(Chunk(index));

    public int Reads => Volatile.Read(ref _reads);

    public int Lists => Volatile.Read(ref _lists);

    public static Snapshot Make(ulong height, uint chunks, uint format = 1, byte hash = 1) =>
        new(height, format, chunks, ByteString.CopyFrom(hash), ByteString.CopyFromUtf8("metadata"));

    public static byte[] Chunk(uint index) => [.. Enumerable.Range(0, 100 + (int)(index % 7)).Select(i => (byte)(i + index))];

    public static ChunkVerdict Check(SnapshotChunk chunk) => chunk.Data.Span.SequenceEqual(Chunk(chunk.Index)) ? ChunkVerdict.Accept : ChunkVerdict.Refetch;

    public ValueTask<IReadOnlyList<Snapshot>> ListAsync(CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _lists);
        return new(snapshots);
    }

    public async ValueTask<ReadOnlyMemory<byte>?> ReadChunkAsync(ulong height, uint format, uint index, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _reads);
        bool isThere = snapshots.Any(snapshot => snapshot.Height == height && snapshot.Format == format && index < snapshot.Chunks);
        return isThere && await Read(index, cancellationToken) is { } chunk ? chunk : default(ReadOnlyMemory<byte>?);
    }
}

/// <summary>A node with nothing but state sync.</summary>
internal sealed class SnapshotNode : IAsyncDisposable
{
    private readonly NodeKey _key = NodeKey.Create();

    private SnapshotNode(MemoryNetwork network, byte host, StateSyncOptions options, ConnectionOptions? connection)
    {
        IPAddress address = new([10, 0, 0, host]);
        Reactor = new StateSyncReactor(options);
        Switch = new Switch(_key, new SwitchOptions
        {
            Network = "test",
            ListenEndPoint = new IPEndPoint(address, 26656),
            Transport = network.CreateTransport(address),
            Connection = connection ?? new ConnectionOptions(),
        });
        Switch.AddReactor(Reactor);
    }

    public Switch Switch { get; }

    public StateSyncReactor Reactor { get; }

    public static async Task<SnapshotNode> StartAsync(MemoryNetwork network, byte host, StateSyncOptions options, CancellationToken cancellationToken, ConnectionOptions? connection = null)
    {
        SnapshotNode node = new(network, host, options, connection);
        await node.Switch.StartAsync(cancellationToken);
        return node;
    }

    /// <summary>Connects to nodes and waits until each offers the snapshot.</summary>
    public async Task JoinAsync(Snapshot snapshot, IEnumerable<SnapshotNode> servers, CancellationToken cancellationToken)
    {
        SnapshotNode[] all = [.. servers];
        foreach (SnapshotNode server in all)
        {
            await Switch.DialAsync(server.Switch.ListenAddress, cancellationToken);
        }

        await foreach (var offers in Reactor.WatchAsync(cancellationToken))
        {
            if (offers.Any(offer => offer.Snapshot == snapshot && offer.Peers.Length == all.Length))
            {
                return;
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Switch.DisposeAsync();
        _key.Dispose();
    }
}
