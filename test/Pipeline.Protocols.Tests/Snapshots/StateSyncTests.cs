using CsCheck;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Protocols.StateSync;
using Pipeline.Testing;

namespace Pipeline.Protocols.Tests.Snapshots;

/// <summary>Downloads over connections, from honest and other nodes.</summary>
[CancelAfter(60_000)]
public sealed class StateSyncTests
{
    private static readonly Func<uint, CancellationToken, ValueTask<byte[]?>> Lies = (_, _) => new([1, 2, 3]);
    private static readonly Func<uint, CancellationToken, ValueTask<byte[]?>> Lacks = (_, _) => new((byte[]?)null);

    private static async Task<List<SnapshotChunk>> ReadAllAsync(IAsyncEnumerable<SnapshotChunk> chunks)
    {
        List<SnapshotChunk> all = [];
        await foreach (SnapshotChunk chunk in chunks)
        {
            all.Add(chunk);
        }

        return all;
    }

    private static async Task WithAsync(TestSnapshots[] sources, StateSyncOptions options, Snapshot snapshot, Func<SnapshotNode, SnapshotNode[], Task> test, CancellationToken cancellationToken)
    {
        MemoryNetwork network = new();
        List<SnapshotNode> servers = [];
        await using SnapshotNode client = await SnapshotNode.StartAsync(network, 200, options, cancellationToken);
        try
        {
            foreach (TestSnapshots source in sources)
            {
                servers.Add(await SnapshotNode.StartAsync(network, (byte)(servers.Count + 1), new StateSyncOptions { Source = source, Discovers = false }, cancellationToken));
            }

            await client.JoinAsync(snapshot, servers, cancellationToken);
            await test(client, [.. servers]);
        }
        finally
        {
            foreach (SnapshotNode server in servers)
            {
                await server.DisposeAsync();
            }
        }
    }

    private static void AssertWhole(IReadOnlyList<SnapshotChunk> chunks, uint count)
    {
        Assert.That(chunks.Select(chunk => chunk.Index), Is.EqualTo(Enumerable.Range(0, (int)count)));
        Assert.That(chunks.All(chunk => chunk.Data.Span.SequenceEqual(TestSnapshots.Chunk(chunk.Index))), Is.True);
    }

    [Test]
    public async Task A_snapshot_comes_whole_and_in_order_from_several_peers(CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 60);
        TestSnapshots[] sources = [new(snapshot), new(snapshot), new(snapshot)];
        await WithAsync(sources, new StateSyncOptions(), snapshot, async (client, _) =>
        {
            List<SnapshotChunk> chunks = await ReadAllAsync(client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken));

            AssertWhole(chunks, 60);
            Assert.That(sources.Select(source => source.Reads), Is.All.Positive);
            Assert.That(sources.Sum(source => source.Reads), Is.EqualTo(60));
            Assert.That(client.Reactor.Reports.Sum(report => report.Chunks), Is.EqualTo(60));
        }, cancellationToken);
    }

    [Test]
    public async Task Peers_that_lie_or_lack_chunks_are_avoided_and_reported(CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 60);
        TestSnapshots liar = new(snapshot) { Read = Lies }, poor = new(snapshot) { Read = Lacks };
        await WithAsync([liar, poor, new(snapshot)], new StateSyncOptions(), snapshot, async (client, servers) =>
        {
            List<SnapshotChunk> chunks = await ReadAllAsync(client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken));

            AssertWhole(chunks, 60);
            Assert.That(chunks.Select(chunk => chunk.From), Is.All.EqualTo(servers[2].Switch.Id));

            // Two fail in a row before it is avoided, and another was asked for when the first had.
            Assert.That((int[])[liar.Reads, poor.Reads], Is.All.InRange(1, 3));
            Assert.That(
                client.Reactor.Reports.OrderBy(report => report.Chunks).ThenBy(report => report.Peer == servers[0].Switch.Id ? 0 : 1),
                Is.EqualTo([new ChunkPeerReport(servers[0].Switch.Id, 0, liar.Reads), new ChunkPeerReport(servers[1].Switch.Id, 0, poor.Reads), new ChunkPeerReport(servers[2].Switch.Id, 60, 0)]));
        }, cancellationToken);
    }

    [Test]
    public async Task A_sender_that_is_rejected_is_stopped(CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 20);
        await WithAsync([new(snapshot) { Read = Lies }, new(snapshot)], new StateSyncOptions(), snapshot, async (client, servers) =>
        {
            List<SnapshotChunk> chunks = await ReadAllAsync(client.Reactor.DownloadAsync(
                snapshot,
                chunk => TestSnapshots.Check(chunk) == ChunkVerdict.Accept ? ChunkVerdict.Accept : ChunkVerdict.RejectSender,
                cancellationToken));

            AssertWhole(chunks, 20);
            await foreach (var offers in client.Reactor.WatchAsync(cancellationToken))
            {
                if (offers[0].Peers.SequenceEqual([servers[1].Switch.Id]))
                {
                    break;
                }
            }
        }, cancellationToken);
    }

    [Test]
    public async Task A_peer_that_keeps_silent_costs_its_time_and_no_more(CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 40);
        FakeTimeProvider time = new();
        StateSyncReactor reactor = new(new StateSyncOptions { TimeProvider = time });
        await using TestSwitch node = new();
        node.AddReactor(reactor);
        await node.StartAsync(cancellationToken);
        TestPeer silent = await node.ConnectAsync(), honest = await node.ConnectAsync();
        foreach (TestPeer peer in (TestPeer[])[silent, honest])
        {
            await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, new Message
            {
                SnapshotsResponse = new SnapshotsResponse { Height = 100, Format = 1, Chunks = 40, Hash = snapshot.Hash, Metadata = snapshot.Metadata },
            }).WaitAsync(cancellationToken);
        }

        DateTimeOffset start = time.GetUtcNow();
        Task<List<SnapshotChunk>> download = ReadAllAsync(reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken));
        for (int answered = 0; !download.IsCompleted;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            foreach (Message request in honest.SentOn(StandardChannels.StateSyncChunks).Skip(answered))
            {
                await AnswerAsync(honest, request.ChunkRequest);
                answered++;
            }

            // All that the honest one was asked for is answered: what is waited for is the other's.
            time.Advance(TimeSpan.FromSeconds(1));
            await Task.Yield();
        }

        AssertWhole(await download, 40);
        IReadOnlyList<Message> unanswered = silent.SentOn(StandardChannels.StateSyncChunks);
        Assert.That(unanswered, Has.Count.EqualTo(2), "it is not asked again");
        Assert.That(time.GetUtcNow() - start, Is.GreaterThanOrEqualTo(TimeSpan.FromSeconds(15)));
        Assert.That(reactor.Reports, Is.EqualTo([new ChunkPeerReport(silent.Id, 0, 2), new ChunkPeerReport(honest.Id, 40, 0)]));

        foreach (Message request in unanswered)
        {
            await AnswerAsync(silent, request.ChunkRequest);
        }

        Assert.That(silent.Stopped.IsCancellationRequested, Is.False, "being late is no lie");
        await AnswerAsync(silent, unanswered[0].ChunkRequest);
        Assert.That(silent.Stopped.IsCancellationRequested, Is.True, "answering twice is");

        Task AnswerAsync(TestPeer peer, ChunkRequest request) => node.ReceiveAsync(peer, StandardChannels.StateSyncChunks, new Message
        {
            ChunkResponse = new ChunkResponse { Height = request.Height, Format = request.Format, Index = request.Index, Chunk = Google.Protobuf.ByteString.CopyFrom(TestSnapshots.Chunk(request.Index)) },
        }).WaitAsync(cancellationToken);
    }

    [Test]
    public async Task When_the_last_peer_leaves_the_download_says_so(CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 40);
        await WithAsync([new(snapshot)], new StateSyncOptions(), snapshot, async (client, servers) =>
        {
            await using IAsyncEnumerator<SnapshotChunk> chunks = client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken).GetAsyncEnumerator(cancellationToken);
            await chunks.MoveNextAsync();
            await servers[0].Switch.StopAsync();

            Assert.That(
                async () =>
                {
                    while (await chunks.MoveNextAsync())
                    {
                    }
                },
                Throws.TypeOf<StateSyncException>().With.Message.Contains("No connected peer offers the snapshot of height 100"));
        }, cancellationToken);
    }

    [Test]
    public async Task A_chunk_that_nobody_has_fails_the_download_after_its_tries(CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 3);
        TestSnapshots poor = new(snapshot) { Read = (index, _) => new(index == 1 ? null : TestSnapshots.Chunk(index)) };
        await WithAsync([poor], new StateSyncOptions { TriesPerChunk = 4 }, snapshot, async (client, _) =>
        {
            await Assert.ThatAsync(
                () => ReadAllAsync(client.Reactor.DownloadAsync(snapshot, check: null, cancellationToken)),
                Throws.TypeOf<StateSyncException>().With.Message.Contains("Chunk 1").And.Message.Contains("4 tries"));
            Assert.That(poor.Reads, Is.EqualTo(6));
        }, cancellationToken);
    }

    [Test]
    public async Task A_reader_that_takes_its_time_holds_back_the_peers(CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 1_000);
        TestSnapshots source = new(snapshot);
        await WithAsync([source], new StateSyncOptions { Window = 5, ChunksPerPeer = 5 }, snapshot, async (client, _) =>
        {
            await using IAsyncEnumerator<SnapshotChunk> chunks = client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken).GetAsyncEnumerator(cancellationToken);
            for (int read = 1; read <= 50; read++)
            {
                await chunks.MoveNextAsync();
                Assert.That(source.Reads, Is.InRange(read, read + 5));
            }
        }, cancellationToken);
    }

    [Test]
    public async Task One_download_is_at_a_time_and_another_can_follow_one_that_was_left(CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 20);
        await WithAsync([new(snapshot)], new StateSyncOptions(), snapshot, async (client, _) =>
        {
            await using (IAsyncEnumerator<SnapshotChunk> first = client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken).GetAsyncEnumerator(cancellationToken))
            {
                await first.MoveNextAsync();
                Assert.That(() => ReadAllAsync(client.Reactor.DownloadAsync(snapshot, null, cancellationToken)), Throws.InvalidOperationException);
            }

            AssertWhole(await ReadAllAsync(client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken)), 20);
        }, cancellationToken);
    }

    /// <summary>However peers behave, a snapshot comes whole and in order as long as one peer is honest.</summary>
    [Test]
    public async Task One_honest_peer_is_enough(CancellationToken cancellationToken) =>
        await Gen.Select(Gen.Int[0, 2].Array[1, 4], Gen.UInt[1, 30], Gen.Int[1, 6], Gen.Int[1, 3], (kinds, chunks, window, perPeer) => (kinds, chunks, window, perPeer)).SampleAsync(
            async run =>
            {
                Snapshot snapshot = TestSnapshots.Make(100, run.chunks);
                TestSnapshots[] sources =
                [
                    .. run.kinds.Select(kind => new TestSnapshots(snapshot)
                    {
                        Read = kind switch
                        {
                            0 => Lies,
                            1 => Lacks,
                            _ => static (index, cancellation) => index % 3 == 0 ? Lies(index, cancellation) : new(TestSnapshots.Chunk(index)),
                        },
                    }),
                    new(snapshot),
                ];
                StateSyncOptions options = new() { Window = run.window, ChunksPerPeer = run.perPeer };
                await WithAsync(sources, options, snapshot, async (client, _) => AssertWhole(
                    await ReadAllAsync(client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken)),
                    run.chunks), cancellationToken);
            },
            iter: 20,
            threads: 1);
}
