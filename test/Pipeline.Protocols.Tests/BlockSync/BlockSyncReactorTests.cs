using System.Collections.Concurrent;
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
        int size = _chain[1].Block.Length;
        BlockSyncReactor reactor = await network.ConnectAsync(new() { MaxBufferedBytes = 10 * size }, await HonestAsync(), await HonestAsync());

        long expected = 1;
        await foreach (VerifiedBlock block in reactor.SyncAsync(Request, cancellationToken))
        {
            Assert.That(block.Height, Is.EqualTo(expected++));
            Assert.That(reactor.Progress.Buffered, Is.LessThanOrEqualTo(14 * size));
        }

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
    public async Task A_block_that_is_too_large_is_not_even_parsed()
    {
        await using TestSwitch node = new();
        node.AddReactor(new BlockSyncReactor(new() { MaxBlockSize = 1_000 }));
        await node.StartAsync();
        TestPeer peer = await node.ConnectAsync();
        await node.ReceiveAsync(peer, StandardChannels.BlockSync, (byte[])[0x1a, .. new byte[1_000]]);

        Assert.That((await peer.Completion.WaitAsync(TimeSpan.FromSeconds(10))).Message, Does.Contain("1001 bytes, where 1000 are allowed"));
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
