using Google.Protobuf;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Protocols.StateSync;
using Pipeline.Testing;

namespace Pipeline.Protocols.Tests.Snapshots;

/// <summary>State sync with peers that do what the test says, when it says so; time passes only when it says so too.</summary>
internal sealed class ScriptedSync : IAsyncDisposable
{
    private readonly CancellationToken _cancellationToken;
    private readonly Dictionary<TestPeer, int> _answered = [];

    private ScriptedSync(Func<StateSyncOptions, StateSyncOptions>? options, CancellationToken cancellationToken)
    {
        _cancellationToken = cancellationToken;
        StateSyncOptions common = new() { TimeProvider = Time };
        Reactor = new StateSyncReactor(options?.Invoke(common) ?? common);
        Node.AddReactor(Reactor);
    }

    public FakeTimeProvider Time { get; } = new();

    public TestSwitch Node { get; } = new();

    public StateSyncReactor Reactor { get; }

    public static async Task<ScriptedSync> StartAsync(CancellationToken cancellationToken, Func<StateSyncOptions, StateSyncOptions>? options = null)
    {
        ScriptedSync sync = new(options, cancellationToken);
        await sync.Node.StartAsync(cancellationToken);
        return sync;
    }

    public static Message Offer(Snapshot snapshot) => new()
    {
        SnapshotsResponse = new SnapshotsResponse { Height = snapshot.Height, Format = snapshot.Format, Chunks = snapshot.Chunks, Hash = snapshot.Hash, Metadata = snapshot.Metadata },
    };

    /// <summary>Connects a peer that offers the snapshots.</summary>
    public async Task<TestPeer> ConnectAsync(TestPeer peer, params IEnumerable<Snapshot> offers)
    {
        await Node.ConnectAsync(peer).WaitAsync(_cancellationToken);
        foreach (Snapshot offer in offers)
        {
            await OfferAsync(peer, offer);
        }

        return peer;
    }

    public Task<TestPeer> ConnectAsync(params IEnumerable<Snapshot> offers) => ConnectAsync(new TestPeer(), offers);

    public Task OfferAsync(TestPeer peer, Snapshot snapshot) => Node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, Offer(snapshot)).WaitAsync(_cancellationToken);

    /// <summary>The chunks that a peer was asked for so far.</summary>
    public IReadOnlyList<uint> Requests(TestPeer peer) =>
        [.. peer.SentOn(StandardChannels.StateSyncChunks).Where(message => message.ChunkRequest is not null).Select(message => message.ChunkRequest.Index)];

    /// <summary>The chunks that a peer was asked for since this was called last for it.</summary>
    public IReadOnlyList<uint> NewRequests(TestPeer peer)
    {
        uint[] requests = [.. Requests(peer).Skip(_answered.GetValueOrDefault(peer))];
        _answered[peer] = _answered.GetValueOrDefault(peer) + requests.Length;
        return requests;
    }

    /// <summary>A peer sends a chunk; null for one that it lacks.</summary>
    public Task AnswerAsync(TestPeer peer, uint index, byte[]? data, ulong height = 100) => Node.ReceiveAsync(peer, StandardChannels.StateSyncChunks, new Message
    {
        ChunkResponse = new ChunkResponse { Height = height, Format = 1, Index = index, Missing = data is null, Chunk = ByteString.CopyFrom(data ?? []) },
    }).WaitAsync(_cancellationToken);

    /// <summary>Peers send the right chunks for all that they are asked for, until something holds.</summary>
    public async Task ServeUntilAsync(Func<bool> condition, params TestPeer[] honest)
    {
        while (!condition())
        {
            foreach (TestPeer peer in honest)
            {
                foreach (uint index in NewRequests(peer))
                {
                    await AnswerAsync(peer, index, TestSnapshots.Chunk(index));
                }
            }

            await Task.Yield();
            _cancellationToken.ThrowIfCancellationRequested();
        }
    }

    /// <summary>Peers send the right chunks until a download is over.</summary>
    public async Task<T> ServeAsync<T>(Task<T> download, params TestPeer[] honest)
    {
        await ServeUntilAsync(() => download.IsCompleted, honest);
        return await download;
    }

    /// <summary>Time passes, a second now and then, until something holds; peers meanwhile send the right chunks.</summary>
    public Task PassTimeUntilAsync(Func<bool> condition, params TestPeer[] honest)
    {
        int looks = 0;
        return ServeUntilAsync(
            () =>
            {
                if (condition())
                {
                    return true;
                }

                // What time brings about takes other threads a moment.
                if (++looks % 1_000 == 0)
                {
                    Time.Advance(TimeSpan.FromSeconds(1));
                }

                return false;
            },
            honest);
    }

    /// <summary>Waits until something holds.</summary>
    public Task UntilAsync(Func<bool> condition) => ServeUntilAsync(condition);

    public static async Task<List<SnapshotChunk>> ReadAllAsync(IAsyncEnumerable<SnapshotChunk> chunks)
    {
        List<SnapshotChunk> all = [];
        await foreach (SnapshotChunk chunk in chunks)
        {
            all.Add(chunk);
        }

        return all;
    }

    public static void AssertWhole(IReadOnlyList<SnapshotChunk> chunks, uint count, uint from = 0)
    {
        Assert.That(chunks.Select(chunk => chunk.Index), Is.EqualTo(Enumerable.Range((int)from, (int)(count - from))));
        Assert.That(chunks.All(chunk => chunk.Data.Span.SequenceEqual(TestSnapshots.Chunk(chunk.Index))), Is.True);
    }

    public async ValueTask DisposeAsync() => await Node.DisposeAsync();
}
