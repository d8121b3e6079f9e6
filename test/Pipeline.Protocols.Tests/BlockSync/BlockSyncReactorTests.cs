using System.Collections.Concurrent;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Dataflow;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Types;
using Pipeline.Testing;
using Message = Pipeline.Protocols.BlockSync.Message;

namespace Pipeline.Protocols.Tests.BlockSync;

/// <summary>Syncs from honest nodes and from those that lie, fail or say nothing.</summary>
public sealed class BlockSyncReactorTests
{
    private const int Height = 60;

    private static readonly BlockSyncOptions Quick = new() { RequestTimeout = TimeSpan.FromMilliseconds(300), StatusInterval = TimeSpan.FromMilliseconds(400), StallTimeout = TimeSpan.FromSeconds(3) };

    private readonly SignedChain _chain = new(Height);
    private readonly ConcurrentQueue<BlockSyncFault> _faults = [];

    [SetUp]
    public void SetUp() => _faults.Clear();

    [OneTimeTearDown]
    public void TearDown() => _chain.Dispose();

    private BlockSyncRequest Request => new(_chain.ChainId, [_chain.Validators]) { Faulted = _faults.Enqueue };

    [Test]
    [CancelAfter(30_000)]
    public async Task A_node_gets_all_blocks_but_the_last_from_another(CancellationToken cancellationToken)
    {
        await using SyncNetwork network = new();
        BlockSyncReactor reactor = await network.ConnectAsync(new(), await HonestAsync());

        await AssertSyncsAsync(reactor, Height - 1, cancellationToken);
        Assert.That(reactor.Progress, Has.Property(nameof(BlockSyncProgress.Height)).EqualTo(Height - 1).And.Property(nameof(BlockSyncProgress.Verified)).EqualTo(Height - 1));
        Assert.That(_faults, Is.Empty);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_sync_goes_on_where_the_last_one_ended_and_stops_where_it_is_told(CancellationToken cancellationToken)
    {
        await using SyncNetwork network = new();
        BlockSyncReactor reactor = await network.ConnectAsync(new(), await HonestAsync(), await HonestAsync());
        MemoryBlockStore store = new();

        await reactor.SyncToAsync(store, Request with { To = 20 }, cancellationToken);
        Assert.That(store.Range, Is.EqualTo(new BlockRange(1, 20)));
        await reactor.SyncToAsync(store, Request with { Last = await store.LoadAsync(20, cancellationToken) }, cancellationToken);
        Assert.That(store.Range, Is.EqualTo(new BlockRange(1, Height - 1)));
        await reactor.SyncToAsync(store, Request with { Last = await store.LoadAsync(Height - 1, cancellationToken) }, cancellationToken);
        Assert.That(store.Range.Height, Is.EqualTo(Height - 1));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_was_synced_can_be_synced_from(CancellationToken cancellationToken)
    {
        await using SyncNetwork network = new();
        MemoryBlockStore middle = new();
        BlockSyncReactor first = await network.ConnectAsync(new(), await HonestAsync());
        await first.SyncToAsync(middle, Request, cancellationToken);

        BlockSyncReactor second = await network.ConnectAsync(new(), new BlockSyncReactor(store: middle));
        await AssertSyncsAsync(second, Height - 2, cancellationToken);
    }

    [TestCase("its transactions")]
    [TestCase("another chain")]
    [TestCase("the commit before")]
    [TestCase("too few signatures")]
    [CancelAfter(30_000)]
    public async Task A_peer_that_lies_is_banned_and_the_others_give_the_blocks(string lie, CancellationToken cancellationToken)
    {
        using SignedChain other = new(Height, transactions: 1);
        Message? Answer(long height)
        {
            Block block = _chain.Block(height);
            if (height == 7)
            {
                switch (lie)
                {
                    case "its transactions":
                        block.Data.Txs.Clear();
                        break;
                    case "another chain":
                        block = other.Block(height);
                        break;
                    case "the commit before":
                        block.LastCommit = _chain.Block(height - 1).LastCommit;
                        SignedChain.Fit(block);
                        break;
                    default:
                        block.LastCommit = _chain.Sign(height - 1, _chain[height - 1].Id, i => i == 0 ? BlockIDFlag.Commit : BlockIDFlag.Nil);
                        SignedChain.Fit(block);
                        break;
                }
            }

            return AnsweringReactor.Answer(block);
        }

        await using SyncNetwork network = new();
        AnsweringReactor liar = AnsweringReactor.WithBlocks(Height, Answer);
        BlockSyncReactor reactor = await network.ConnectAsync(Quick, liar);
        TaskCompletionSource lied = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task syncing = AssertSyncsAsync(reactor, Height - 1, cancellationToken, _ => lied.TrySetResult());
        await lied.Task.WaitAsync(cancellationToken);
        await reactor.Switch.DialAsync((await network.StartAsync(await HonestAsync())).ListenAddress, cancellationToken);
        await syncing;
        Assert.That(_faults.Select(fault => (fault.Peer, fault.IsLie)), Is.EqualTo(new[] { (liar.Switch.NodeInfo.Id, true) }), string.Join('\n', _faults));
        Assert.That(reactor.Switch.Peers.Select(peer => peer.Id), Has.No.Member(liar.Switch.NodeInfo.Id));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_peer_that_never_answers_is_left_out(CancellationToken cancellationToken)
    {
        await using SyncNetwork network = new();
        AnsweringReactor silent = AnsweringReactor.WithBlocks(1_000_000, _ => null);
        BlockSyncReactor reactor = await network.ConnectAsync(Quick, silent, await HonestAsync());

        await AssertSyncsAsync(reactor, Height - 1, cancellationToken);
        Assert.That(_faults.Select(fault => (fault.Peer, fault.IsLie)), Is.EqualTo(new[] { (silent.Switch.NodeInfo.Id, false) }), string.Join('\n', _faults));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_peer_that_has_not_what_it_says_is_left_out(CancellationToken cancellationToken)
    {
        await using SyncNetwork network = new();
        AnsweringReactor boaster = AnsweringReactor.WithBlocks(1_000_000, height => new Message { NoBlockResponse = new NoBlockResponse { Height = height } });
        BlockSyncReactor reactor = await network.ConnectAsync(Quick, boaster, await HonestAsync());

        await AssertSyncsAsync(reactor, Height - 1, cancellationToken);
        Assert.That(_faults.Select(fault => fault.Message), Has.One.Contains("although it said"));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task When_nobody_has_the_blocks_a_sync_fails_and_says_so(CancellationToken cancellationToken)
    {
        await using SyncNetwork network = new();
        BlockSyncReactor reactor = await network.ConnectAsync(Quick, await HonestAsync());

        Assert.That(
            async () => await reactor.SyncToAsync(new MemoryBlockStore(), Request with { To = Height + 5 }, cancellationToken),
            Throws.TypeOf<BlockSyncException>().With.Message.Contain($"after block {Height - 1}").And.Message.Contain($"blocks up to {Height}"));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task With_the_wrong_validators_nobody_is_banned_and_the_sync_says_why_it_failed(CancellationToken cancellationToken)
    {
        using SignedChain other = new(blocks: 1, validators: 5);
        await using SyncNetwork network = new();
        BlockSyncReactor reactor = await network.ConnectAsync(Quick, await HonestAsync());

        Assert.That(
            async () => await reactor.SyncToAsync(new MemoryBlockStore(), Request with { Validators = [other.Validators] }, cancellationToken),
            Throws.TypeOf<BlockSyncException>().With.Message.Contain("are trusted"));
        Assert.That(reactor.Switch.Peers, Has.Count.EqualTo(1));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_consumer_that_takes_its_time_bounds_what_is_fetched(CancellationToken cancellationToken)
    {
        ConcurrentQueue<long> asked = [];
        await using SyncNetwork network = new();
        BlockSyncReactor reactor = await network.ConnectAsync(new() { Window = 8 }, AnsweringReactor.WithBlocks(Height, height =>
        {
            asked.Enqueue(height);
            return AnsweringReactor.Answer(_chain.Block(height));
        }));

        long expected = 1;
        await foreach (VerifiedBlock block in reactor.SyncAsync(Request, cancellationToken))
        {
            Assert.That(block.Height, Is.EqualTo(expected++));
            Assert.That(asked.Max(), Is.LessThanOrEqualTo(block.Height + 8));
        }

        Assert.That(asked, Is.EquivalentTo(Enumerable.Range(1, Height)));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task Blocks_that_wait_are_bounded_by_bytes(CancellationToken cancellationToken)
    {
        await using SyncNetwork network = new();
        long most = 0;
        long bound = 10 * ((2 * _chain[1].Block.Length) + (3 * 80) + (4 * 256));
        BlockSyncReactor reactor = await network.ConnectAsync(new() { MaxBufferedBytes = bound }, await HonestAsync(), await HonestAsync());

        long expected = 1;
        await foreach (VerifiedBlock block in reactor.SyncAsync(Request, cancellationToken))
        {
            Assert.That(block.Height, Is.EqualTo(expected++));

            // As much comes as there is room for, and then no more.
            await SyncNetwork.UntilAsync(() => reactor.Progress.Asked == 0, cancellationToken);
            Assert.That(reactor.Progress.Buffered, Is.LessThanOrEqualTo(bound));
            most = Math.Max(most, reactor.Progress.Buffered);
        }

        Assert.That(most, Is.GreaterThan(bound / 2));

        Assert.That(expected, Is.EqualTo(Height));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_sync_can_be_cancelled_and_begun_again(CancellationToken cancellationToken)
    {
        using CancellationTokenSource cancelled = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await using SyncNetwork network = new();
        BlockSyncReactor reactor = await network.ConnectAsync(new(), await HonestAsync());

        Assert.That(
            async () =>
            {
                await foreach (VerifiedBlock block in reactor.SyncAsync(Request, cancelled.Token))
                {
                    await cancelled.CancelAsync();
                }
            },
            Throws.InstanceOf<OperationCanceledException>());
        await AssertSyncsAsync(reactor, Height - 1, cancellationToken);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_store_that_fails_ends_the_sync_with_its_error(CancellationToken cancellationToken)
    {
        await using SyncNetwork network = new();
        BlockSyncReactor reactor = await network.ConnectAsync(new(), await HonestAsync());

        Assert.That(async () => await reactor.SyncToAsync(new FullStore(), Request, cancellationToken), Throws.TypeOf<BlockStoreException>().With.Message.EqualTo("full"));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_request_is_answered_with_the_block_as_it_is_kept_or_with_the_word_that_there_is_none(CancellationToken cancellationToken)
    {
        await using TestSwitch node = new();
        node.AddReactor(await HonestAsync());
        await node.StartAsync(cancellationToken);
        TestPeer peer = await node.ConnectAsync();
        await node.ReceiveAsync(peer, StandardChannels.BlockSync, new Message { BlockRequest = new BlockRequest { Height = 3 } });
        await node.ReceiveAsync(peer, StandardChannels.BlockSync, new Message { BlockRequest = new BlockRequest { Height = 1_000 } });
        await node.ReceiveAsync(peer, StandardChannels.BlockSync, new Message { StatusRequest = new StatusRequest() });
        await SyncNetwork.UntilAsync(() => peer.Sent.Length >= 4, cancellationToken);

        Message status = new() { StatusResponse = new StatusResponse { Base = 1, Height = Height } };
        Assert.That(peer.SentOn(StandardChannels.BlockSync), Is.EqualTo(new Message[]
        {
            status,
            AnsweringReactor.Answer(_chain.Block(3)),
            new() { NoBlockResponse = new NoBlockResponse { Height = 1_000 } },
            status,
        }));
    }

    private static IEnumerable<TestCaseData<Message, string>> Violations() =>
    [
        new(new Message { BlockRequest = new BlockRequest { Height = 0 } }, "height 0 was asked for"),
        new(new Message { NoBlockResponse = new NoBlockResponse { Height = 5 } }, "was not asked for"),
        new(new Message { BlockResponse = new BlockResponse { Block = new Block() } }, "not asked for"),
        new(new Message { StatusResponse = new StatusResponse { Base = 9, Height = 3 } }, "from 9 to 3"),
        new(new Message(), "nothing that is known"),
    ];

    [TestCaseSource(nameof(Violations))]
    public async Task What_nobody_who_keeps_the_rules_would_send_stops_the_peer(Message message, string reason)
    {
        await using TestSwitch node = new();
        node.AddReactor(new BlockSyncReactor());
        await node.StartAsync();
        TestPeer peer = await node.ConnectAsync();
        await node.ReceiveAsync(peer, StandardChannels.BlockSync, message);

        Assert.That((await peer.Completion.WaitAsync(TimeSpan.FromSeconds(10))).Message, Does.Contain(reason));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_block_that_is_too_large_is_not_even_taken_as_a_whole(CancellationToken cancellationToken)
    {
        await using SyncNetwork network = new();
        BlockSyncReactor reactor = await network.ConnectAsync(Quick with { MaxBlockSize = 500 }, await HonestAsync());
        IPeer peer = reactor.Switch.Peers.Single();
        _ = reactor.SyncToAsync(new MemoryBlockStore(), Request, cancellationToken);

        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Message, Does.Contain("500"));
        Assert.That(new BlockSyncReactor().Channels.Single().MaxMessageSize, Is.EqualTo(new BlockSyncOptions().MaxBlockSize));
    }

    // Of the store's rows one is whole, and each other cannot be served for a reason of its own.
    private sealed class DamagedStore(SignedChain chain) : IBlockStore
    {
        public BlockRange Range => new(1, 5);

        public ValueTask AppendAsync(IReadOnlyList<StoredBlock> blocks, CancellationToken cancellationToken = default) => default;

        public async ValueTask<StoredBlock?> LoadAsync(long height, CancellationToken cancellationToken = default)
        {
            await Task.Yield();
            return height switch
            {
                1 => chain[1],
                2 => throw new BlockStoreException("The disk is broken."),
                3 => chain[3] with { Block = new byte[chain[3].Block.Length] },
                4 => chain[4] with { Block = chain[5].Block },
                5 => chain[5] with { Block = (byte[])[.. chain[5].Block.Span, .. new byte[1 << 20]] },
                _ => null,
            };
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_cannot_be_served_is_said_not_to_be_there_and_is_counted(CancellationToken cancellationToken)
    {
        using MeterReading meter = new();
        await using TestSwitch node = new();
        node.AddReactor(new BlockSyncReactor(new() { MaxBlockSize = 1_000_000, MeterFactory = meter }, new DamagedStore(_chain)));
        await node.StartAsync(cancellationToken);
        TestPeer peer = await node.ConnectAsync();
        for (long height = 1; height <= 6; height++)
        {
            await node.ReceiveAsync(peer, StandardChannels.BlockSync, new Message { BlockRequest = new BlockRequest { Height = height } });
        }

        await SyncNetwork.UntilAsync(() => peer.Sent.Length >= 7, cancellationToken);
        Assert.Multiple(() =>
        {
            Assert.That(peer.SentOn(StandardChannels.BlockSync)[1], Is.EqualTo(AnsweringReactor.Answer(_chain.Block(1))));
            Assert.That(peer.SentOn(StandardChannels.BlockSync).Skip(2).Select(message => message.NoBlockResponse?.Height), Is.EqualTo(new long[] { 2, 3, 4, 5, 6 }));
            Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
            Assert.That(meter.Read("pipeline_blocksync_answers_total"), Is.EquivalentTo(new Dictionary<string, long>
            {
                ["block"] = 1,
                ["unreadable"] = 1,
                ["damaged"] = 2,
                ["too_large"] = 1,
                ["none"] = 1,
            }));
        });
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_peer_that_reads_slowly_still_gets_all_that_it_asked_for(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using TestSwitch node = new();
        node.AddReactor(new BlockSyncReactor(store: await _chain.FillAsync(new MemoryBlockStore()), time: time));
        await node.StartAsync(cancellationToken);
        TestPeer peer = await node.ConnectAsync();
        peer.NextResult = SendResult.QueueFull;
        for (long height = 1; height <= 3; height++)
        {
            await node.ReceiveAsync(peer, StandardChannels.BlockSync, new Message { BlockRequest = new BlockRequest { Height = height } });
        }

        // It tries again and again, and gives nothing up.
        for (int i = 0; i < 300; i++)
        {
            time.Advance(TimeSpan.FromMilliseconds(100));
        }

        Assert.That(peer.Sent, Has.Length.EqualTo(1));
        peer.NextResult = SendResult.Queued;
        await SyncNetwork.UntilAsync(
            () =>
            {
                time.Advance(TimeSpan.FromMilliseconds(100));
                return peer.Sent.Length == 4;
            },
            cancellationToken);
        Assert.That(peer.SentOn(StandardChannels.BlockSync).Skip(1), Is.EqualTo(Enumerable.Range(1, 3).Select(height => AnsweringReactor.Answer(_chain.Block(height)))));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task More_answers_in_a_second_than_are_given_wait_for_the_next(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using TestSwitch node = new();
        node.AddReactor(new BlockSyncReactor(new() { MaxAnswersPerSecond = 2 }, time: time));
        await node.StartAsync(cancellationToken);
        TestPeer peer = await node.ConnectAsync();
        for (long height = 1; height <= 6; height++)
        {
            await node.ReceiveAsync(peer, StandardChannels.BlockSync, new Message { BlockRequest = new BlockRequest { Height = height } });
        }

        await SyncNetwork.UntilAsync(() => peer.Sent.Length == 2, cancellationToken);
        foreach (int expected in (int[])[3, 4, 5, 6])
        {
            time.Advance(TimeSpan.FromMilliseconds(499));
            Assert.That(peer.Sent, Has.Length.EqualTo(expected - 1));
            await SyncNetwork.UntilAsync(
                () =>
                {
                    time.Advance(TimeSpan.FromTicks(1_000));
                    return peer.Sent.Length == expected;
                },
                cancellationToken);
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_was_synced_and_what_went_wrong_is_measured(CancellationToken cancellationToken)
    {
        using MeterReading meter = new();
        await using SyncNetwork network = new();
        AnsweringReactor boaster = AnsweringReactor.WithBlocks(Height, height => new Message { NoBlockResponse = new NoBlockResponse { Height = height } });
        BlockSyncReactor reactor = await network.ConnectAsync(Quick with { MeterFactory = meter, MaxFailures = 1 }, boaster);
        await using (IAsyncEnumerator<VerifiedBlock> blocks = reactor.SyncAsync(Request, cancellationToken).GetAsyncEnumerator(cancellationToken))
        {
            ValueTask<bool> first = blocks.MoveNextAsync();
            await SyncNetwork.UntilAsync(() => !_faults.IsEmpty, cancellationToken);
            await reactor.Switch.DialAsync((await network.StartAsync(await HonestAsync())).ListenAddress, cancellationToken);
            await first;
            await SyncNetwork.UntilAsync(() => reactor.Progress.Asked == 0, cancellationToken);
            Assert.That(meter.Read("cometbft_blocksync_syncing")[""], Is.EqualTo(1));
            Assert.That(meter.Read("pipeline_blocksync_target_height")[""], Is.EqualTo(Height - 1));
            Assert.That(meter.Read("pipeline_blocksync_buffered_bytes")[""], Is.GreaterThan(0));
            while (await blocks.MoveNextAsync())
            {
            }
        }

        long bytes = _chain.Blocks.Take(Height - 1).Sum(block => (long)block.Block.Length);
        Assert.Multiple(() =>
        {
            Assert.That(meter.Read("cometbft_blocksync_syncing")[""], Is.Zero);
            Assert.That(meter.Read("cometbft_blocksync_latest_block_height")[""], Is.EqualTo(Height - 1));
            Assert.That(meter.Read("cometbft_blocksync_block_size_bytes")[""], Is.EqualTo(_chain[Height - 1].Block.Length));
            Assert.That(meter.Read("cometbft_blocksync_num_txs")[""], Is.EqualTo(3));
            Assert.That(meter.Read("cometbft_blocksync_total_txs")[""], Is.EqualTo(3 * (Height - 1)));
            Assert.That(meter.Read("pipeline_blocksync_verified_total")[""], Is.EqualTo(Height - 1));
            Assert.That(meter.Read("pipeline_blocksync_verified_bytes_total")[""], Is.EqualTo(bytes));
            Assert.That(meter.Read("pipeline_blocksync_faults_total")["missing"], Is.AtLeast(1));
        });
    }

    [Test]
    public async Task A_peer_that_asks_for_more_than_may_wait_is_stopped()
    {
        TaskCompletionSource hold = new();
        await using TestSwitch node = new();
        node.AddReactor(new BlockSyncReactor(new() { MaxWaitingRequests = 4 }, new HeldStore(hold.Task)));
        await node.StartAsync();
        TestPeer peer = await node.ConnectAsync();
        for (int i = 0; i < 6 && !peer.Stopped.IsCancellationRequested; i++)
        {
            await node.ReceiveAsync(peer, StandardChannels.BlockSync, new Message { BlockRequest = new BlockRequest { Height = 1 } });
        }

        Assert.That((await peer.Completion.WaitAsync(TimeSpan.FromSeconds(10))).Message, Does.Contain("More than 4 requests wait"));
        Assert.That(node.Bans, Is.Empty, "It may be the fault of this node, which is too slow.");
        hold.SetResult();
    }

    private async Task<BlockSyncReactor> HonestAsync() => new(store: await _chain.FillAsync(new MemoryBlockStore()));

    private async Task AssertSyncsAsync(BlockSyncReactor reactor, long to, CancellationToken cancellationToken, Action<BlockSyncFault>? faulted = null)
    {
        MemoryBlockStore store = new();
        await reactor.SyncToAsync(store, Request with { Faulted = _faults.Enqueue + faulted }, cancellationToken);
        Assert.That(store.Range, Is.EqualTo(new BlockRange(1, to)));
        for (long height = 1; height <= to; height++)
        {
            Assert.That(await store.LoadAsync(height, cancellationToken), Is.EqualTo(_chain[height]).Using<StoredBlock>(BlockVerifierTests.AreEqual));
        }
    }

    private sealed class FullStore : IBlockStore
    {
        public BlockRange Range => default;

        public ValueTask AppendAsync(IReadOnlyList<StoredBlock> blocks, CancellationToken cancellationToken = default) => throw new BlockStoreException("full");

        public ValueTask<StoredBlock?> LoadAsync(long height, CancellationToken cancellationToken = default) => new((StoredBlock?)null);
    }

    private sealed class HeldStore(Task hold) : IBlockStore
    {
        public BlockRange Range => new(1, 1);

        public ValueTask AppendAsync(IReadOnlyList<StoredBlock> blocks, CancellationToken cancellationToken = default) => default;

        public async ValueTask<StoredBlock?> LoadAsync(long height, CancellationToken cancellationToken = default)
        {
            await hold.WaitAsync(cancellationToken);
            return null;
        }
    }
}
