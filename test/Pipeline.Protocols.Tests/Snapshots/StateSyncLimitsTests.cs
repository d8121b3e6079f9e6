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
        yield return new TestCaseData(false, Offer(1, hash: 257)).SetArgDisplayNames("hash of more than 256 bytes");
        yield return new TestCaseData(false, Offer(1, metadata: (64 << 10) + 1)).SetArgDisplayNames("metadata of more than 64 KiB");
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

            ChunkResponse response = peer.SentOn(StandardChannels.StateSyncChunks).Single().ChunkResponse;
            Assert.That((response.Height, response.Format, response.Index, response.Missing), Is.EqualTo((height, 1U, index, isMissing)));
            Assert.That(response.Chunk.ToByteArray(), Is.EqualTo(isMissing ? [] : TestSnapshots.Chunk(index)));
        }
    }

    [Test]
    public async Task A_peer_that_asks_for_many_chunks_is_served_one_at_a_time(CancellationToken cancellationToken)
    {
        TaskCompletionSource<byte[]?> first = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TestSnapshots source = new(TestSnapshots.Make(7, 20)) { Read = (_, _) => new(first.Task) };
        (TestSwitch node, _, TestPeer peer) = await StartAsync(new StateSyncOptions { Source = source }, cancellationToken);
        await using (node)
        {
            Task[] requests =
            [
                .. Enumerable.Range(0, 20).Select(index => node.ReceiveAsync(
                    peer,
                    StandardChannels.StateSyncChunks,
                    new Message { ChunkRequest = new ChunkRequest { Height = 7, Format = 1, Index = (uint)index } })),
            ];
            Assert.That(source.Reads, Is.LessThanOrEqualTo(1));

            first.SetResult([1]);
            await Task.WhenAll(requests).WaitAsync(cancellationToken);
            Assert.That(peer.SentOn(StandardChannels.StateSyncChunks).Select(sent => sent.ChunkResponse.Index), Is.EqualTo(Enumerable.Range(0, 20)));
        }
    }

    [Test]
    public async Task A_chunk_that_is_larger_than_a_message_may_be_is_said_to_be_missing(CancellationToken cancellationToken)
    {
        TestSnapshots source = new(TestSnapshots.Make(7, 1)) { Read = (_, _) => new(new byte[15_990_001]) };
        (TestSwitch node, _, TestPeer peer) = await StartAsync(new StateSyncOptions { Source = source }, cancellationToken);
        await using (node)
        {
            await node.ReceiveAsync(peer, StandardChannels.StateSyncChunks, new Message { ChunkRequest = new ChunkRequest { Height = 7, Format = 1 } }).WaitAsync(cancellationToken);

            Assert.That(peer.SentOn(StandardChannels.StateSyncChunks).Single().ChunkResponse.Missing, Is.True);
        }
    }
}
