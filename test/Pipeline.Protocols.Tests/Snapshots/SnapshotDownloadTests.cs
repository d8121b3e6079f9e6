using CsCheck;
using Pipeline.Dataflow;
using Pipeline.Protocols.StateSync;
using Pipeline.Testing;

namespace Pipeline.Protocols.Tests.Snapshots;

/// <summary>Whom a download asks, when, and what it does when that goes wrong.</summary>
[CancelAfter(60_000)]
public sealed class SnapshotDownloadTests
{
    private static readonly Snapshot Wanted = TestSnapshots.Make(100, 40);

    private static Task<List<SnapshotChunk>> Download(ScriptedSync sync, CancellationToken cancellationToken, Func<SnapshotChunk, ChunkVerdict>? check = null, uint from = 0) =>
        ScriptedSync.ReadAllAsync(sync.Reactor.DownloadAsync(Wanted, check ?? TestSnapshots.Check, from, cancellationToken));

    private static ConnectionStatus Received(int partial) => new(TimeSpan.Zero, 0, 0, IsPaused: false, [new ChannelStatus(StandardChannels.StateSyncChunks, 0, 0, 0, 0, 0, 0, 0, 0, 0) { PartialBytes = partial }]);

    [Test]
    public async Task A_peer_that_keeps_silent_costs_little_time_and_that_once(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken);
        TestPeer silent = await sync.ConnectAsync(Wanted), honest = await sync.ConnectAsync(Wanted);
        DateTimeOffset start = sync.Time.GetUtcNow();
        Task<List<SnapshotChunk>> download = Download(sync, cancellationToken);

        // The window has eight chunks, of which the silent one was asked for two, the first among them.
        await sync.ServeUntilAsync(() => sync.Reactor.Reports[1].Chunks == 6, honest);
        Assert.That(sync.Requests(silent), Is.EqualTo([0U, 2U]));
        await sync.PassTimeUntilAsync(() => download.IsCompleted, honest);

        ScriptedSync.AssertWhole(await download, 40);
        Assert.That(sync.Time.GetUtcNow() - start, Is.InRange(TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(10)), "and not 15 s for each chunk");
        Assert.That(sync.Requests(silent), Has.Count.EqualTo(2), "it is not asked again");
        Assert.That(sync.Reactor.Reports, Is.EqualTo([new ChunkPeerReport(silent.Id, 0, 2), new ChunkPeerReport(honest.Id, 40, 0)]));

        await sync.AnswerAsync(silent, 0, TestSnapshots.Chunk(0));
        await sync.AnswerAsync(silent, 2, TestSnapshots.Chunk(2));
        Assert.That(silent.Stopped.IsCancellationRequested, Is.False, "being late is no lie");
        await sync.AnswerAsync(silent, 0, TestSnapshots.Chunk(0));
        Assert.That(silent.Stopped.IsCancellationRequested, Is.True, "answering twice is");
    }

    [Test]
    public async Task A_late_answer_is_taken_also_when_another_was_asked(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken, options => options with { Window = 1 });
        TestPeer late = await sync.ConnectAsync(Wanted);
        await using IAsyncEnumerator<SnapshotChunk> chunks = sync.Reactor.DownloadAsync(Wanted, cancellationToken: cancellationToken).GetAsyncEnumerator(cancellationToken);
        Task<bool> first = chunks.MoveNextAsync().AsTask();
        await sync.UntilAsync(() => sync.Requests(late).Count == 1);
        TestPeer other = await sync.ConnectAsync(Wanted);
        await sync.PassTimeUntilAsync(() => sync.Requests(other).Count == 1);

        await sync.AnswerAsync(late, 0, TestSnapshots.Chunk(0));

        Assert.That(await first.WaitAsync(cancellationToken), Is.True);
        Assert.That((chunks.Current.Index, chunks.Current.From), Is.EqualTo((0U, late.Id)));
    }

    [Test]
    public async Task A_peer_that_goes_on_sending_is_waited_for_and_one_that_stops_is_not(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken, options => options with { TriesPerChunk = 1, Window = 1 });
        TestPeer slow = await sync.ConnectAsync(Wanted);
        Task<List<SnapshotChunk>> download = Download(sync, cancellationToken);
        await sync.UntilAsync(() => sync.Requests(slow).Count == 1);

        // 64 KiB each time: for five minutes.
        for (int i = 1; i <= 20; i++)
        {
            slow.Status = Received(i << 16);
            sync.Time.Advance(TimeSpan.FromSeconds(15));
            Assert.That(download.IsCompleted, Is.False);
        }

        await sync.AnswerAsync(slow, 0, TestSnapshots.Chunk(0));
        await sync.UntilAsync(() => sync.Requests(slow).Count == 2);
        slow.Status = Received((1 << 16) - 1);
        await sync.PassTimeUntilAsync(() => download.IsCompleted);

        await Assert.ThatAsync(() => download, Throws.TypeOf<StateSyncException>().With.Message.Contains("Chunk 1"));
    }

    [Test]
    public async Task What_a_peer_owes_to_a_download_before_counts_in_the_next(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken);
        TestPeer slow = await sync.ConnectAsync(Wanted);
        await using (IAsyncEnumerator<SnapshotChunk> left = sync.Reactor.DownloadAsync(Wanted, from: 20, cancellationToken: cancellationToken).GetAsyncEnumerator(cancellationToken))
        {
            Task<bool> first = left.MoveNextAsync().AsTask();
            await sync.UntilAsync(() => sync.Requests(slow).Count == 2);
            await sync.AnswerAsync(slow, 20, TestSnapshots.Chunk(20));
            await first.WaitAsync(cancellationToken);
            await sync.UntilAsync(() => sync.Requests(slow).Count == 3);
        }

        // It owes two still, and is asked for another only when it has sent one.
        Task<List<SnapshotChunk>> download = Download(sync, cancellationToken);
        Assert.That(sync.Requests(slow), Is.EqualTo([20U, 21U, 22U]));
        await sync.AnswerAsync(slow, 21, TestSnapshots.Chunk(21));
        await sync.UntilAsync(() => sync.Requests(slow).Count == 4);
        Assert.That(sync.Requests(slow)[3], Is.Zero);
        await sync.AnswerAsync(slow, 22, TestSnapshots.Chunk(22));
        sync.NewRequests(slow);
        await sync.AnswerAsync(slow, 0, TestSnapshots.Chunk(0));
        await sync.UntilAsync(() => sync.Requests(slow).Count >= 6);
        Assert.That(slow.Stopped.IsCancellationRequested, Is.False);
        await sync.Node.DisconnectAsync(slow).WaitAsync(cancellationToken);
        ScriptedSync.AssertWhole(await sync.ServeAsync(download, await sync.ConnectAsync(Wanted)), 40);
    }

    [Test]
    public async Task A_check_that_throws_ends_the_download_with_that_and_stops_nobody(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken);
        TestPeer honest = await sync.ConnectAsync(Wanted);
        Task<List<SnapshotChunk>> download = Download(sync, cancellationToken, chunk => chunk.Index == 3 ? throw new InvalidDataException("my mistake") : ChunkVerdict.Accept);

        await Assert.ThatAsync(() => sync.ServeAsync(download, honest), Throws.TypeOf<InvalidDataException>().With.Message.EqualTo("my mistake"));
        Assert.That(honest.Stopped.IsCancellationRequested, Is.False);
        ScriptedSync.AssertWhole(await sync.ServeAsync(Download(sync, cancellationToken), honest), 40);
    }

    [Test]
    public async Task Ten_peers_that_lack_a_chunk_do_not_fail_a_download_that_another_is_to_be_asked_by(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken, options => options with { ChunksPerPeer = 1, Window = 2, TriesPerChunk = 10 });
        TestPeer honest = await sync.ConnectAsync(Wanted);
        Task<List<SnapshotChunk>> download = Download(sync, cancellationToken);
        await sync.UntilAsync(() => sync.Requests(honest).Count == 1);
        List<TestPeer> poor = [];
        for (int i = 0; i < 12; i++)
        {
            poor.Add(await sync.ConnectAsync(Wanted));
            await sync.UntilAsync(() => sync.Requests(poor[^1]).Count > 0);
            foreach (uint index in sync.NewRequests(poor[^1]))
            {
                await sync.AnswerAsync(poor[^1], index, data: null);
            }
        }

        Assert.That(download.IsCompleted, Is.False);
        while (!download.IsCompleted)
        {
            foreach (TestPeer peer in (TestPeer[])[honest, .. poor])
            {
                foreach (uint index in sync.NewRequests(peer))
                {
                    await sync.AnswerAsync(peer, index, peer == honest ? TestSnapshots.Chunk(index) : null);
                }
            }

            await Task.Yield();
            cancellationToken.ThrowIfCancellationRequested();
        }

        ScriptedSync.AssertWhole(await download, 40);
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task A_peer_that_delivers_and_fails_by_turns_is_soon_asked_no_more(bool isSilent, CancellationToken cancellationToken)
    {
        Snapshot snapshot = TestSnapshots.Make(100, 400);
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken);
        TestPeer moody = await sync.ConnectAsync(snapshot), honest = await sync.ConnectAsync(snapshot);
        DateTimeOffset start = sync.Time.GetUtcNow();
        Task<List<SnapshotChunk>> download = ScriptedSync.ReadAllAsync(sync.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken: cancellationToken));
        int moods = 0;
        for (int idle = 0; !download.IsCompleted;)
        {
            int before = sync.Requests(honest).Count + moods;
            foreach (uint index in sync.NewRequests(honest))
            {
                await sync.AnswerAsync(honest, index, TestSnapshots.Chunk(index));
            }

            foreach (uint index in sync.NewRequests(moody))
            {
                bool delivers = moods++ % 2 == 0;
                if (delivers || !isSilent)
                {
                    await sync.AnswerAsync(moody, index, delivers ? TestSnapshots.Chunk(index) : null);
                }
            }

            // Time passes when nothing else does.
            idle = sync.Requests(honest).Count + moods == before ? idle + 1 : 0;
            if (idle > 200)
            {
                sync.Time.Advance(TimeSpan.FromSeconds(1));
                idle = 0;
            }

            await Task.Yield();
            cancellationToken.ThrowIfCancellationRequested();
        }

        ScriptedSync.AssertWhole(await download, 400);
        Assert.That(moods, Is.LessThan(20));
        Assert.That(sync.Time.GetUtcNow() - start, Is.LessThan(TimeSpan.FromSeconds(60)));
    }

    [Test]
    public async Task A_sender_that_was_rejected_is_not_asked_again_when_it_comes_again(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken);
        TestPeer liar = await sync.ConnectAsync(Wanted);
        Task<List<SnapshotChunk>> download = Download(sync, cancellationToken, chunk => TestSnapshots.Check(chunk) == ChunkVerdict.Accept ? ChunkVerdict.Accept : ChunkVerdict.RejectSender);
        await sync.UntilAsync(() => sync.Requests(liar).Count == 2);
        await sync.AnswerAsync(liar, 1, TestSnapshots.Chunk(1));
        await sync.AnswerAsync(liar, 0, [1, 2, 3]);
        Assert.That((await liar.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
        await sync.Node.DisconnectAsync(liar).WaitAsync(cancellationToken);

        TestPeer again = await sync.ConnectAsync(new TestPeer(liar.NodeInfo), Wanted), honest = await sync.ConnectAsync(Wanted);
        List<SnapshotChunk> chunks = await sync.ServeAsync(download, honest);

        ScriptedSync.AssertWhole(chunks, 40);
        Assert.That(chunks.Select(chunk => chunk.From), Is.All.EqualTo(honest.Id), "also of the chunk that it sent before");
        Assert.That(sync.Requests(again), Is.Empty);
        Assert.That(sync.Reactor.Snapshots.Single().Peers, Is.EqualTo([honest.Id]));
    }

    [Test]
    public async Task A_download_waits_for_a_time_for_somebody_who_offers_its_snapshot(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken);
        Task<List<SnapshotChunk>> download = Download(sync, cancellationToken);
        sync.Time.Advance(TimeSpan.FromSeconds(59));
        TestPeer first = await sync.ConnectAsync(Wanted);
        await sync.ServeUntilAsync(() => sync.Requests(first).Count > 10, first);
        await sync.Node.DisconnectAsync(first).WaitAsync(cancellationToken);
        sync.Time.Advance(TimeSpan.FromSeconds(59));
        TestPeer second = await sync.ConnectAsync(Wanted);
        ScriptedSync.AssertWhole(await sync.ServeAsync(download, second), 40);

        await sync.Node.DisconnectAsync(second).WaitAsync(cancellationToken);
        Task<List<SnapshotChunk>> vain = Download(sync, cancellationToken);
        Assert.That(vain.IsCompleted, Is.False);
        sync.Time.Advance(TimeSpan.FromSeconds(60));
        await Assert.ThatAsync(() => vain.WaitAsync(cancellationToken), Throws.TypeOf<StateSyncException>().With.Message.Contains("No connected peer offers the snapshot of height 100"));
    }

    [Test]
    public async Task A_download_can_go_on_where_another_has_ended(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken);
        TestPeer honest = await sync.ConnectAsync(Wanted);

        ScriptedSync.AssertWhole(await sync.ServeAsync(Download(sync, cancellationToken, from: 33), honest), 40, from: 33);
        Assert.That(sync.Requests(honest), Has.Count.EqualTo(7));
        Assert.That(await Download(sync, cancellationToken, from: 40).WaitAsync(cancellationToken), Is.Empty);
        Assert.That(() => sync.Reactor.DownloadAsync(Wanted, from: 41), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => sync.Reactor.DownloadAsync(Wanted with { Chunks = 0 }), Throws.ArgumentException);
    }

    [Test]
    public async Task A_chunk_that_was_handed_out_can_be_had_again_from_another(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken);
        TestPeer[] peers = [await sync.ConnectAsync(Wanted), await sync.ConnectAsync(Wanted)];
        SnapshotDownload download = sync.Reactor.DownloadAsync(Wanted, cancellationToken: cancellationToken);
        Task<List<SnapshotChunk>> reading = ReadAsync();
        List<SnapshotChunk> chunks = await sync.ServeAsync(reading, peers);

        Assert.That(chunks.Select(chunk => (int)chunk.Index), Is.EqualTo([.. Enumerable.Range(0, 11), 4, 7, .. Enumerable.Range(11, 29), 39]));
        foreach (uint index in (uint[])[4, 7, 39])
        {
            Assert.That(chunks.Where(chunk => chunk.Index == index).Select(chunk => chunk.From), Is.Unique.And.Exactly(2).Items);
        }

        async Task<List<SnapshotChunk>> ReadAsync()
        {
            List<SnapshotChunk> all = [];
            await foreach (SnapshotChunk chunk in download.WithCancellation(cancellationToken))
            {
                all.Add(chunk);
                if (all.Count == 11)
                {
                    Assert.That(() => download.Refetch(11), Throws.InstanceOf<ArgumentOutOfRangeException>());
                    download.Refetch(7);
                    download.Refetch(4);
                }
                else if (all.Count == 42)
                {
                    download.Refetch(39);
                }
            }

            return all;
        }
    }

    [Test]
    public async Task Of_nodes_that_come_fail_and_go_only_so_many_are_remembered(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken, options => options with { TriesPerChunk = int.MaxValue, Window = 1 });
        SnapshotDownload download = sync.Reactor.DownloadAsync(Wanted, cancellationToken: cancellationToken);
        Task<List<SnapshotChunk>> reading = ScriptedSync.ReadAllAsync(download);
        int most = 0;
        for (int i = 0; i < 1_100; i++)
        {
            TestPeer peer = await sync.ConnectAsync(Wanted);
            await sync.UntilAsync(() => sync.Requests(peer).Count > 0);
            await sync.Node.DisconnectAsync(peer).WaitAsync(cancellationToken);
            most = Math.Max(most, download.Remembered);
        }

        Assert.That(most, Is.EqualTo(1_000));
        ScriptedSync.AssertWhole(await sync.ServeAsync(reading, await sync.ConnectAsync(Wanted)), 40);
    }

    [Test]
    public async Task A_download_of_what_is_rejected_fails(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken);
        await sync.ConnectAsync(Wanted);
        Task<List<SnapshotChunk>> download = Download(sync, cancellationToken);
        Assert.That(download.IsCompleted, Is.False);

        sync.Reactor.Reject(Wanted);

        await Assert.ThatAsync(() => download.WaitAsync(cancellationToken), Throws.TypeOf<StateSyncException>().With.Message.Contains("was rejected"));
    }

    /// <summary>However many peers lie, and in whatever way, a snapshot comes whole and in order as long as one peer is honest.</summary>
    [Test]
    public async Task One_honest_peer_is_enough(CancellationToken cancellationToken) =>
        await Gen.Select(Gen.Int[0, 6].Array[1, 14], Gen.Int[0, 14], Gen.UInt[1, 30], Gen.Int[1, 10], Gen.Int[1, 3], Gen.Int[1, 10]).SampleAsync(
            async (kinds, place, chunks, window, perPeer, tries) =>
            {
                Snapshot snapshot = TestSnapshots.Make(100, chunks);
                await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken, options => options with { Window = window, ChunksPerPeer = perPeer, TriesPerChunk = tries });
                const int Honest = -1;
                List<(TestPeer Peer, int Kind)> peers = [];
                foreach (int kind in (int[])[.. kinds.Take(place), Honest, .. kinds.Skip(place)])
                {
                    peers.Add((await sync.ConnectAsync(snapshot), kind));
                }

                Task<List<SnapshotChunk>> download = ScriptedSync.ReadAllAsync(sync.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken: cancellationToken));
                List<(TestPeer Peer, uint Index, DateTimeOffset At)> slow = [];
                for (int idle = 0; !download.IsCompleted;)
                {
                    idle++;
                    foreach ((TestPeer peer, int kind) in peers)
                    {
                        foreach (uint index in sync.NewRequests(peer))
                        {
                            idle = 0;
                            await AnswerAsync(peer, kind, index);
                        }
                    }

                    foreach ((TestPeer Peer, uint Index, DateTimeOffset At) late in slow.Where(late => late.At <= sync.Time.GetUtcNow()).ToArray())
                    {
                        slow.Remove(late);
                        await sync.AnswerAsync(late.Peer, late.Index, TestSnapshots.Chunk(late.Index));
                    }

                    if (idle > 50)
                    {
                        sync.Time.Advance(TimeSpan.FromSeconds(1));
                    }

                    await Task.Yield();
                    cancellationToken.ThrowIfCancellationRequested();
                }

                ScriptedSync.AssertWhole(await download, chunks);

                Task AnswerAsync(TestPeer peer, int kind, uint index)
                {
                    switch (kind)
                    {
                        case 0:
                            return sync.AnswerAsync(peer, index, data: null);
                        case 1:
                            return sync.AnswerAsync(peer, index, [1, 2, 3]);
                        case 2:
                            return sync.AnswerAsync(peer, index, index % 3 == 0 ? [1, 2, 3] : TestSnapshots.Chunk(index));
                        case 3:
                            return Task.CompletedTask;
                        case 4:
                            // It sends and sends, and never comes to an end.
                            peer.Status = Received((peer.Status?.Channels[0].PartialBytes ?? 0) + (1 << 20));
                            return Task.CompletedTask;
                        case 5:
                            slow.Add((peer, index, sync.Time.GetUtcNow() + TimeSpan.FromSeconds(14)));
                            return Task.CompletedTask;
                        case 6:
                            slow.Add((peer, index, sync.Time.GetUtcNow() + TimeSpan.FromSeconds(40)));
                            return Task.CompletedTask;
                        default:
                            return sync.AnswerAsync(peer, index, TestSnapshots.Chunk(index));
                    }
                }
            },
            iter: 60,
            threads: 1);
}
