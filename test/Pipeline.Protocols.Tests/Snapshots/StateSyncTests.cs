using Pipeline.Dataflow;
using Pipeline.Protocols.StateSync;
using Pipeline.Testing;

namespace Pipeline.Protocols.Tests.Snapshots;

/// <summary>Downloads over connections, from honest and other nodes.</summary>
[CancelAfter(60_000)]
public sealed class StateSyncTests
{
    private static readonly Func<uint, CancellationToken, ValueTask<byte[]?>> Lies = (_, _) => new([1, 2, 3]);
    private static readonly Func<uint, CancellationToken, ValueTask<byte[]?>> Lacks = (_, _) => new((byte[]?)null);

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

    [Test]
    public async Task A_snapshot_comes_whole_and_in_order_from_several_peers(CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 60);
        TestSnapshots[] sources = [new(snapshot), new(snapshot), new(snapshot)];
        await WithAsync(sources, new StateSyncOptions(), snapshot, async (client, _) =>
        {
            List<SnapshotChunk> chunks = await ScriptedSync.ReadAllAsync(client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken: cancellationToken));

            ScriptedSync.AssertWhole(chunks, 60);
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
            List<SnapshotChunk> chunks = await ScriptedSync.ReadAllAsync(client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken: cancellationToken));

            ScriptedSync.AssertWhole(chunks, 60);
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
            List<SnapshotChunk> chunks = await ScriptedSync.ReadAllAsync(client.Reactor.DownloadAsync(
                snapshot,
                chunk => TestSnapshots.Check(chunk) == ChunkVerdict.Accept ? ChunkVerdict.Accept : ChunkVerdict.RejectSender,
                cancellationToken: cancellationToken));

            ScriptedSync.AssertWhole(chunks, 20);
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
    public async Task When_the_last_peer_leaves_the_download_says_so(CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 40);
        await WithAsync([new(snapshot)], new StateSyncOptions { OfferTimeout = TimeSpan.Zero }, snapshot, async (client, servers) =>
        {
            await using IAsyncEnumerator<SnapshotChunk> chunks = client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken: cancellationToken).GetAsyncEnumerator(cancellationToken);
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
                () => ScriptedSync.ReadAllAsync(client.Reactor.DownloadAsync(snapshot, cancellationToken: cancellationToken)),
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
            await using IAsyncEnumerator<SnapshotChunk> chunks = client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken: cancellationToken).GetAsyncEnumerator(cancellationToken);
            for (int read = 1; read <= 50; read++)
            {
                await chunks.MoveNextAsync();
                while (source.Reads < read + 5)
                {
                    await Task.Yield();
                    cancellationToken.ThrowIfCancellationRequested();
                }

                Assert.That(source.Reads, Is.EqualTo(read + 5), "what was read, and the window");
            }
        }, cancellationToken);
    }

    [Test]
    public async Task One_download_is_at_a_time_and_another_can_follow_one_that_was_left(CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 20);
        await WithAsync([new(snapshot)], new StateSyncOptions(), snapshot, async (client, _) =>
        {
            SnapshotDownload tooLate = client.Reactor.DownloadAsync(snapshot);
            SnapshotDownload left = client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken: cancellationToken);
            await using (IAsyncEnumerator<SnapshotChunk> first = left.GetAsyncEnumerator(cancellationToken))
            {
                await first.MoveNextAsync();
                Assert.That(() => client.Reactor.DownloadAsync(snapshot), Throws.InvalidOperationException, "at the call");
                await Assert.ThatAsync(() => ScriptedSync.ReadAllAsync(tooLate), Throws.InvalidOperationException);
            }

            Assert.That(() => left.Refetch(0), Throws.InvalidOperationException);
            await Assert.ThatAsync(() => ScriptedSync.ReadAllAsync(left), Throws.InvalidOperationException);
            ScriptedSync.AssertWhole(await ScriptedSync.ReadAllAsync(client.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken: cancellationToken)), 20);
        }, cancellationToken);
    }

    [Test]
    public async Task A_line_that_is_slow_takes_its_time_and_nothing_is_asked_for_twice(CancellationToken cancellationToken)
    {
        // A chunk takes 1.8 s, where 1 s is the limit for one that does not come; with the next behind it, of which no two fit into the queue, longer than a send may wait by default here.
        Snapshot snapshot = TestSnapshots.Make(100, 3);
        byte[] large = new byte[4_500_000];
        new Random(1).NextBytes(large);
        TestSnapshots source = new(snapshot) { Read = (_, _) => new(large) };
        MemoryNetwork network = new();
        await using SnapshotNode client = await SnapshotNode.StartAsync(network, 1, new StateSyncOptions { ChunkTimeout = TimeSpan.FromSeconds(1), ChunksPerPeer = 3 }, cancellationToken);
        await using SnapshotNode server = await SnapshotNode.StartAsync(
            network,
            2,
            new StateSyncOptions { Source = source, Discovers = false },
            cancellationToken,
            new ConnectionOptions { SendRate = 2_500_000, SendTimeout = TimeSpan.FromMilliseconds(50) });
        await client.JoinAsync(snapshot, [server], cancellationToken);

        List<SnapshotChunk> chunks = await ScriptedSync.ReadAllAsync(client.Reactor.DownloadAsync(snapshot, cancellationToken: cancellationToken));

        Assert.That(chunks.Select(chunk => chunk.Data.Span.SequenceEqual(large)), Is.EqualTo([true, true, true]));
        Assert.That(source.Reads, Is.EqualTo(3));
        Assert.That(client.Reactor.Reports, Is.EqualTo([new ChunkPeerReport(server.Switch.Id, 3, 0)]));
    }
}
