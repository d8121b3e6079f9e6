using System.Collections.Immutable;
using System.Diagnostics.Metrics;
using Google.Protobuf;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Dataflow;
using Pipeline.Protocols.StateSync;
using Pipeline.Testing;

namespace Pipeline.Protocols.Tests.Snapshots;

/// <summary>Holds the limits of state sync against peers that say what they like.</summary>
[CancelAfter(30_000)]
public sealed class StateSyncLimitsTests
{
    private static async Task<(TestSwitch Node, StateSyncReactor Reactor, TestPeer Peer)> StartAsync(StateSyncOptions options, CancellationToken cancellationToken)
    {
        TestSwitch node = new();
        StateSyncReactor reactor = new(options);
        node.AddReactor(reactor);
        await node.StartAsync(cancellationToken);
        return (node, reactor, await node.ConnectAsync());
    }

    private static Message Offer(ulong height, uint chunks = 1, uint format = 1, int hash = 1, int metadata = 0) => new()
    {
        SnapshotsResponse = new SnapshotsResponse
        {
            Height = height,
            Format = format,
            Chunks = chunks,
            Hash = ByteString.CopyFrom(new byte[hash]),
            Metadata = ByteString.CopyFrom(new byte[metadata]),
        },
    };

    [Test]
    public async Task The_best_snapshot_is_the_highest_then_of_the_greatest_format_then_of_the_most_peers(CancellationToken cancellationToken)
    {
        (TestSwitch node, StateSyncReactor reactor, TestPeer one) = await StartAsync(new StateSyncOptions(), cancellationToken);
        await using (node)
        {
            TestPeer other = await node.ConnectAsync();
            foreach ((TestPeer peer, Message offer) in (((TestPeer, Message)[])[(one, Offer(5)), (one, Offer(7)), (other, Offer(7, format: 2)), (one, Offer(7, hash: 2)), (other, Offer(7, hash: 2)), (other, Offer(6))]))
            {
                await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, offer).WaitAsync(cancellationToken);
            }

            Assert.That(
                reactor.Snapshots.Select(offer => (offer.Snapshot.Height, offer.Snapshot.Format, offer.Snapshot.Hash.Length, offer.Peers.Length)),
                Is.EqualTo(new[] { (7UL, 2U, 1, 1), (7UL, 1U, 2, 2), (7UL, 1U, 1, 1), (6UL, 1U, 1, 1), (5UL, 1U, 1, 1) }));
            Assert.That(one.SentOn(StandardChannels.StateSyncSnapshots).Single().SumCase, Is.EqualTo(Message.SumOneofCase.SnapshotsRequest));

            reactor.Reject(reactor.Snapshots[0].Snapshot);
            Assert.That(reactor.Snapshots[0].Peers, Is.EqualTo([one.Id, other.Id]));

            await node.DisconnectAsync(one).WaitAsync(cancellationToken);
            Assert.That(reactor.Snapshots.SelectMany(offer => offer.Peers), Is.All.EqualTo(other.Id));
        }
    }

    [Test]
    public async Task Of_a_peer_that_offers_without_end_the_ten_highest_count(CancellationToken cancellationToken)
    {
        (TestSwitch node, StateSyncReactor reactor, TestPeer peer) = await StartAsync(new StateSyncOptions(), cancellationToken);
        await using (node)
        {
            for (ulong height = 1; height <= 200; height++)
            {
                if (height % StateSyncReactor.SnapshotsPerPeer == 1)
                {
                    reactor.Discover();
                }

                await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, Offer(height)).WaitAsync(cancellationToken);
            }

            Assert.That(reactor.Snapshots.Select(offer => offer.Snapshot.Height), Is.EqualTo(Enumerable.Range(191, 10).Reverse().Select(height => (ulong)height)));
        }
    }

    [Test]
    public async Task A_snapshot_of_too_many_chunks_is_not_taken(CancellationToken cancellationToken)
    {
        (TestSwitch node, StateSyncReactor reactor, TestPeer peer) = await StartAsync(new StateSyncOptions { MaxChunks = 10 }, cancellationToken);
        await using (node)
        {
            await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, Offer(1, chunks: 11)).WaitAsync(cancellationToken);
            await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, Offer(2, chunks: 10)).WaitAsync(cancellationToken);

            Assert.That(reactor.Snapshots.Select(offer => offer.Snapshot.Height), Is.EqualTo([2UL]));
        }
    }

    private static IEnumerable<TestCaseData> Violations()
    {
        yield return new TestCaseData(false, Offer(0)).SetArgDisplayNames("snapshot of no height");
        yield return new TestCaseData(false, Offer(1, chunks: 0)).SetArgDisplayNames("snapshot of no chunks");
        yield return new TestCaseData(false, Offer(1, hash: 0)).SetArgDisplayNames("snapshot without a hash");
        yield return new TestCaseData(true, new Message { ChunkResponse = new ChunkResponse { Height = 1 } }).SetArgDisplayNames("chunk that was not asked for");
        yield return new TestCaseData(true, new Message { SnapshotsRequest = new SnapshotsRequest() }).SetArgDisplayNames("request on the other channel");
        yield return new TestCaseData(false, new Message { ChunkRequest = new ChunkRequest { Height = 1 } }).SetArgDisplayNames("chunk request on the other channel");
        yield return new TestCaseData(false, new Message()).SetArgDisplayNames("nothing");
    }

    [TestCaseSource(nameof(Violations))]
    public async Task A_peer_that_breaks_the_protocol_is_stopped(bool onChunks, Message message, CancellationToken cancellationToken)
    {
        (TestSwitch node, StateSyncReactor reactor, TestPeer peer) = await StartAsync(new StateSyncOptions(), cancellationToken);
        await using (node)
        {
            await node.ReceiveAsync(peer, onChunks ? StandardChannels.StateSyncChunks : StandardChannels.StateSyncSnapshots, message).WaitAsync(cancellationToken);

            Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
            Assert.That(reactor.Snapshots, Is.Empty);
        }
    }

    [Test]
    public async Task A_peer_that_asks_again_and_again_which_snapshots_there_are_is_answered_once_in_a_while(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        TestSnapshots source = new([.. Enumerable.Range(1, 15).Select(height => TestSnapshots.Make((ulong)height, 1))]);
        (TestSwitch node, _, TestPeer peer) = await StartAsync(new StateSyncOptions { Source = source, Discovers = false, TimeProvider = time }, cancellationToken);
        await using (node)
        {
            await AskAsync(5);
            Assert.That(source.Lists, Is.EqualTo(1));
            Assert.That(peer.SentOn(StandardChannels.StateSyncSnapshots).Select(sent => sent.SnapshotsResponse.Height), Is.EqualTo(Enumerable.Range(6, 10).Reverse().Select(height => (ulong)height)));

            time.Advance(TimeSpan.FromSeconds(10));
            await AskAsync(5);
            Assert.That(source.Lists, Is.EqualTo(2));
        }

        async Task AskAsync(int times)
        {
            for (int i = 0; i < times; i++)
            {
                await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, new Message { SnapshotsRequest = new SnapshotsRequest() }).WaitAsync(cancellationToken);
            }
        }
    }

    [TestCase(7UL, 0U, false)]
    [TestCase(7UL, 5U, true)]
    [TestCase(8UL, 0U, true)]
    [TestCase(0UL, 0U, true)]
    public async Task A_chunk_is_served_or_said_to_be_missing(ulong height, uint index, bool isMissing, CancellationToken cancellationToken)
    {
        (TestSwitch node, _, TestPeer peer) = await StartAsync(new StateSyncOptions { Source = new TestSnapshots(TestSnapshots.Make(7, 5)) }, cancellationToken);
        await using (node)
        {
            await node.ReceiveAsync(peer, StandardChannels.StateSyncChunks, new Message { ChunkRequest = new ChunkRequest { Height = height, Format = 1, Index = index } }).WaitAsync(cancellationToken);

            await UntilAsync(() => peer.SentOn(StandardChannels.StateSyncChunks).Count == 1, cancellationToken);
            ChunkResponse response = peer.SentOn(StandardChannels.StateSyncChunks).Single().ChunkResponse;
            Assert.That((response.Height, response.Format, response.Index, response.Missing), Is.EqualTo((height, 1U, index, isMissing)));
            Assert.That(response.Chunk.ToByteArray(), Is.EqualTo(isMissing ? [] : TestSnapshots.Chunk(index)));
        }
    }

    [Test]
    public async Task A_peer_that_asks_for_many_chunks_is_served_one_at_a_time_and_not_of_more_than_may_wait(CancellationToken cancellationToken)
    {
        TaskCompletionSource<byte[]?> first = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TestSnapshots source = new(TestSnapshots.Make(7, 50)) { Read = (_, _) => new(first.Task) };
        (TestSwitch node, StateSyncReactor reactor, TestPeer peer) = await StartAsync(new StateSyncOptions { Source = source, MaxWaitingRequests = 20 }, cancellationToken);
        await using (node)
        {
            // A node of the reference asks again for what is slow to come.
            for (int i = 0; i < 50; i++)
            {
                await RequestAsync(node, peer, (uint)(i / 2)).WaitAsync(cancellationToken);
            }

            await UntilAsync(() => source.Reads > 0, cancellationToken);
            await OfferAsync(reactor, node, peer, TestSnapshots.Make(9, 1)).WaitAsync(cancellationToken);
            Assert.That(reactor.Snapshots, Has.Length.EqualTo(1), "what it says is heard meanwhile");
            Assert.That(source.Reads, Is.EqualTo(1));

            first.SetResult([1]);
            await UntilAsync(() => peer.SentOn(StandardChannels.StateSyncChunks).Count == 20, cancellationToken);
            await RequestAsync(node, peer, 30).WaitAsync(cancellationToken);
            await UntilAsync(() => peer.SentOn(StandardChannels.StateSyncChunks).Count == 21, cancellationToken);
            Assert.That(peer.SentOn(StandardChannels.StateSyncChunks).Select(sent => (int)sent.ChunkResponse.Index), Is.EqualTo([.. Enumerable.Range(0, 20), 30]));
        }
    }

    [Test]
    public async Task A_chunk_that_is_larger_than_a_message_may_be_is_said_to_be_missing(CancellationToken cancellationToken)
    {
        TestSnapshots source = new(TestSnapshots.Make(7, 1)) { Read = (_, _) => new(new byte[15_990_001]) };
        (TestSwitch node, _, TestPeer peer) = await StartAsync(new StateSyncOptions { Source = source }, cancellationToken);
        await using (node)
        {
            await RequestAsync(node, peer, 0).WaitAsync(cancellationToken);

            await UntilAsync(() => peer.SentOn(StandardChannels.StateSyncChunks).Count == 1, cancellationToken);
            Assert.That(peer.SentOn(StandardChannels.StateSyncChunks).Single().ChunkResponse.Missing, Is.True);
        }
    }

    [Test]
    public async Task A_source_that_throws_costs_who_asked_the_answer_and_not_the_connection(CancellationToken cancellationToken)
    {
        (TestSwitch node, _, TestPeer peer) = await StartAsync(new StateSyncOptions { Source = new BrokenSource(), AnswerPeriod = TimeSpan.Zero }, cancellationToken);
        await using (node)
        {
            await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, new Message { SnapshotsRequest = new SnapshotsRequest() }).WaitAsync(cancellationToken);
            for (uint index = 0; index < 3; index++)
            {
                await RequestAsync(node, peer, index).WaitAsync(cancellationToken);
            }

            await UntilAsync(() => peer.SentOn(StandardChannels.StateSyncChunks).Count == 3, cancellationToken);
            Assert.That(peer.SentOn(StandardChannels.StateSyncChunks).Select(sent => sent.ChunkResponse.Missing), Is.All.True);
            Assert.That(peer.SentOn(StandardChannels.StateSyncSnapshots).Select(sent => sent.SumCase), Is.EqualTo([Message.SumOneofCase.SnapshotsRequest]), "this node's own");
            Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
        }
    }

    [Test]
    public async Task Snapshots_that_were_not_asked_for_are_ignored_and_chunks_stop_the_peer_both_unread(CancellationToken cancellationToken)
    {
        (TestSwitch node, StateSyncReactor reactor, TestPeer peer) = await StartAsync(new StateSyncOptions { Discovers = false }, cancellationToken);
        await using (node)
        {
            // Neither could be read.
            await node.ReceiveAsync(peer, (ChannelDescriptor)StandardChannels.StateSyncSnapshots, new byte[] { 0x12, 0xff }).WaitAsync(cancellationToken);
            await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, Offer(1)).WaitAsync(cancellationToken);
            Assert.That(reactor.Snapshots, Is.Empty);
            Assert.That(peer.Stopped.IsCancellationRequested, Is.False);

            // Of several requests at once, the answers to two.
            foreach ((int requests, int first, int last) in (((int, int, int)[])[(1, 1, 10), (5, 41, 60)]))
            {
                for (int i = 0; i < requests; i++)
                {
                    reactor.Discover();
                }

                for (int height = first; height < first + 40; height++)
                {
                    await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, Offer((ulong)height)).WaitAsync(cancellationToken);
                }

                Assert.That(reactor.Snapshots.Select(offer => (int)offer.Snapshot.Height), Is.EqualTo(Enumerable.Range(last - 9, 10).Reverse()));
            }

            await node.ReceiveAsync(peer, (ChannelDescriptor)StandardChannels.StateSyncChunks, new byte[] { 0x22, 0xff }).WaitAsync(cancellationToken);
            Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Message, Does.Contain("was not asked for"));
        }
    }

    [Test]
    public async Task Who_watches_hears_of_what_is_new_only(CancellationToken cancellationToken)
    {
        (TestSwitch node, StateSyncReactor reactor, TestPeer peer) = await StartAsync(new StateSyncOptions(), cancellationToken);
        await using (node)
        {
            await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, Offer(1)).WaitAsync(cancellationToken);
            await using IAsyncEnumerator<ImmutableArray<OfferedSnapshot>> watch = reactor.WatchAsync(cancellationToken).GetAsyncEnumerator(cancellationToken);
            await watch.MoveNextAsync();
            Task<bool> next = watch.MoveNextAsync().AsTask();
            reactor.Reject(TestSnapshots.Make(2, 1));
            await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, Offer(1)).WaitAsync(cancellationToken);
            await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, ScriptedSync.Offer(TestSnapshots.Make(2, 1))).WaitAsync(cancellationToken);
            Assert.That(next.IsCompleted, Is.False);
            await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, Offer(3)).WaitAsync(cancellationToken);
            await next.WaitAsync(cancellationToken);
            Assert.That(watch.Current.Select(offer => offer.Snapshot.Height), Is.EqualTo([3UL, 1UL]));
        }
    }

    [Test]
    public async Task Offers_of_more_bytes_than_are_kept_of_a_peer_lose_the_lowest_and_stop_nobody(CancellationToken cancellationToken)
    {
        (TestSwitch node, StateSyncReactor reactor, TestPeer peer) = await StartAsync(new StateSyncOptions(), cancellationToken);
        await using (node)
        {
            foreach (Message offer in (Message[])[Offer(1, metadata: 400_000), Offer(2, hash: 400_000), Offer(3, metadata: 400_000), Offer(4, metadata: 1 << 20), Offer(5, metadata: (1 << 20) - 1)])
            {
                await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, offer).WaitAsync(cancellationToken);
                if (offer.SnapshotsResponse.Height == 4)
                {
                    Assert.That(reactor.Snapshots.Select(known => known.Snapshot.Height), Is.EqualTo([3UL, 2UL]), "4 has 1 MiB, and a hash");
                }
            }

            Assert.That(reactor.Snapshots.Select(known => known.Snapshot.Height), Is.EqualTo([5UL]));
            Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
        }
    }

    [Test]
    public async Task Whatever_was_rejected_before_a_snapshot_a_form_and_a_peer_can_be_rejected(CancellationToken cancellationToken)
    {
        (TestSwitch node, StateSyncReactor reactor, TestPeer peer) = await StartAsync(new StateSyncOptions(), cancellationToken);
        await using (node)
        {
            TestPeer other = await node.ConnectAsync();
            for (uint i = 1; i <= 2_000; i++)
            {
                reactor.Reject(TestSnapshots.Make(i, 1));
                reactor.RejectFormat(100 + i);
            }

            foreach (TestPeer from in (TestPeer[])[peer, other])
            {
                foreach (Message offer in (Message[])[Offer(5), Offer(6, format: 2), Offer(7)])
                {
                    await node.ReceiveAsync(from, StandardChannels.StateSyncSnapshots, offer).WaitAsync(cancellationToken);
                }
            }

            reactor.Reject(reactor.Snapshots[0].Snapshot);
            Assert.That(reactor.Snapshots.Select(offer => offer.Snapshot.Height), Is.EqualTo([6UL, 5UL]));
            reactor.RejectFormat(2);
            Assert.That(reactor.Snapshots.Select(offer => offer.Snapshot.Height), Is.EqualTo([5UL]));
            reactor.RejectPeer(peer.Id);
            Assert.That(reactor.Snapshots.Single().Peers, Is.EqualTo([other.Id]));
            Assert.That(peer.Stopped.IsCancellationRequested, Is.False);

            // Nor do they come again.
            reactor.Discover();
            foreach (Message offer in (Message[])[Offer(8, format: 2), Offer(7)])
            {
                await node.ReceiveAsync(other, StandardChannels.StateSyncSnapshots, offer).WaitAsync(cancellationToken);
                await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, Offer(9)).WaitAsync(cancellationToken);
            }

            Assert.That(reactor.Snapshots.Select(offer => offer.Snapshot.Height), Is.EqualTo([5UL]));
        }
    }

    /// <summary>Bytes that were made by hand from the schema, see <see cref="HandmadeMessagesTests"/>.</summary>
    [Test]
    public async Task Requests_are_answered_with_the_bytes_that_the_schema_says(CancellationToken cancellationToken)
    {
        Snapshot snapshot = new(1, 2, 3, ByteString.CopyFromUtf8("h"), ByteString.CopyFromUtf8("m"));
        (TestSwitch node, _, TestPeer peer) = await StartAsync(new StateSyncOptions { Source = new TestSnapshots(snapshot) { Read = (_, _) => new("c"u8.ToArray()) }, Discovers = false }, cancellationToken);
        await using (node)
        {
            foreach ((ChannelDescriptor channel, string request) in (((ChannelDescriptor, string)[])
                [(StandardChannels.StateSyncSnapshots, "0a00"), (StandardChannels.StateSyncChunks, "1a06080110021802"), (StandardChannels.StateSyncChunks, "1a06080110021803")]))
            {
                int before = peer.Sent.Length;
                await node.ReceiveAsync(peer, channel, Convert.FromHexString(request)).WaitAsync(cancellationToken);
                await UntilAsync(() => peer.Sent.Length > before, cancellationToken);
            }

            Assert.That(
                peer.Sent.Select(sent => (sent.Channel.Id, Convert.ToHexStringLower(sent.Data.Span))),
                Is.EqualTo(new (byte, string)[] { (0x60, "120c0801100218032201682a016d"), (0x61, "2209080110021802220163"), (0x61, "22080801100218032801") }));
        }
    }

    [Test]
    public void Settings_out_of_range_are_refused()
    {
        Action[] wrong =
        [
            () => _ = new StateSyncOptions { MaxChunks = 0 },
            () => _ = new StateSyncOptions { MaxOfferBytes = 0 },
            () => _ = new StateSyncOptions { Window = 0 },
            () => _ = new StateSyncOptions { ChunksPerPeer = 0 },
            () => _ = new StateSyncOptions { TriesPerChunk = 0 },
            () => _ = new StateSyncOptions { ChunkTimeout = TimeSpan.Zero },
            () => _ = new StateSyncOptions { OfferTimeout = TimeSpan.FromTicks(-1) },
            () => _ = new StateSyncOptions { AnswerPeriod = TimeSpan.FromTicks(-1) },
            () => _ = new StateSyncOptions { MaxWaitingRequests = 0 },
        ];
        Assert.Multiple(() => Array.ForEach(wrong, option => Assert.That(option, Throws.InstanceOf<ArgumentOutOfRangeException>())));
    }

    [Test]
    public async Task The_metrics_say_what_became_of_chunks(CancellationToken cancellationToken)
    {
        Dictionary<string, double> seen = [];
        using MeterListener listener = new()
        {
            InstrumentPublished = static (instrument, listener) =>
            {
                if (instrument.Name.Contains("statesync", StringComparison.Ordinal))
                {
                    listener.EnableMeasurementEvents(instrument);
                }
            },
        };
        Snapshot snapshot = TestSnapshots.Make(100, 3);
        await using ScriptedSync sync = await ScriptedSync.StartAsync(cancellationToken, options => options with { Source = new TestSnapshots(TestSnapshots.Make(7, 1)), ChunksPerPeer = 1, Window = 1 });
        string id = sync.Node.NodeInfo.Id.ToString();
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Note(instrument, value, tags));
        listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Note(instrument, value, tags));
        listener.Start();
        TestPeer peer = await sync.ConnectAsync(snapshot);
        Task<List<SnapshotChunk>> download = ScriptedSync.ReadAllAsync(sync.Reactor.DownloadAsync(snapshot, TestSnapshots.Check, cancellationToken: cancellationToken));
        await NextAsync();
        listener.RecordObservableInstruments();
        Assert.That((seen["cometbft_statesync_syncing"], seen["pipeline_statesync_snapshots"]), Is.EqualTo((1, 1)));

        await sync.AnswerAsync(peer, 0, data: null);
        await NextAsync();
        await sync.AnswerAsync(peer, 0, [1, 2]);
        await NextAsync();
        await sync.PassTimeUntilAsync(() => sync.Requests(peer).Count == 4);
        ScriptedSync.AssertWhole(await sync.ServeAsync(download, peer), 3);
        await sync.Node.ReceiveAsync(peer, StandardChannels.StateSyncChunks, new Message { ChunkRequest = new ChunkRequest { Height = 7, Format = 1 } }).WaitAsync(cancellationToken);
        await sync.UntilAsync(() => peer.SentOn(StandardChannels.StateSyncChunks).Any(sent => sent.ChunkResponse is not null));
        await sync.Node.ReceiveAsync(peer, StandardChannels.StateSyncChunks, new Message { SnapshotsRequest = new SnapshotsRequest() }).WaitAsync(cancellationToken);
        await sync.UntilAsync(() =>
        {
            listener.RecordObservableInstruments();
            return seen.ContainsKey("pipeline_statesync_served_total outcome=served");
        });

        listener.RecordObservableInstruments();
        Assert.That(seen, Is.EquivalentTo(new Dictionary<string, double>
        {
            ["cometbft_statesync_syncing"] = 0,
            ["pipeline_statesync_snapshots"] = sync.Reactor.Snapshots.Length,
            ["pipeline_statesync_chunks_total outcome=missing"] = 1,
            ["pipeline_statesync_chunks_total outcome=refetched"] = 1,
            ["pipeline_statesync_chunks_total outcome=timed_out"] = 1,
            ["pipeline_statesync_chunks_total outcome=accepted"] = 3,
            ["pipeline_statesync_bytes_total"] = Enumerable.Range(0, 3).Sum(index => TestSnapshots.Chunk((uint)index).Length),
            ["pipeline_statesync_served_total outcome=served"] = 1,
            ["pipeline_statesync_faults_total fault=malformed"] = 1,
        }));

        async Task NextAsync()
        {
            await sync.UntilAsync(() => sync.NewRequests(peer).Count > 0);
        }

        void Note(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            if (instrument.Meter.Tags?.Any(tag => id.Equals(tag.Value)) == true)
            {
                Assert.That(tags[0].Key, Is.EqualTo("chain_id"));
                seen[tags.Length > 1 ? $"{instrument.Name} {tags[1].Key}={tags[1].Value}" : instrument.Name] = value;
            }
        }
    }

    private static async Task OfferAsync(StateSyncReactor reactor, TestSwitch node, TestPeer peer, Snapshot snapshot)
    {
        reactor.Discover();
        await node.ReceiveAsync(peer, StandardChannels.StateSyncSnapshots, ScriptedSync.Offer(snapshot));
    }

    private static Task RequestAsync(TestSwitch node, TestPeer peer, uint index) =>
        node.ReceiveAsync(peer, StandardChannels.StateSyncChunks, new Message { ChunkRequest = new ChunkRequest { Height = 7, Format = 1, Index = index } });

    private static async Task UntilAsync(Func<bool> condition, CancellationToken cancellationToken)
    {
        while (!condition())
        {
            await Task.Yield();
            cancellationToken.ThrowIfCancellationRequested();
        }
    }

    private sealed class BrokenSource : ISnapshotSource
    {
        public ValueTask<IReadOnlyList<Snapshot>> ListAsync(CancellationToken cancellationToken) => throw new InvalidOperationException("no list");

        public ValueTask<ReadOnlyMemory<byte>?> ReadChunkAsync(ulong height, uint format, uint index, CancellationToken cancellationToken) =>
            index == 1 ? throw new OperationCanceledException("not because of the peer") : ValueTask.FromException<ReadOnlyMemory<byte>?>(new IOException("no chunk"));
    }
}
