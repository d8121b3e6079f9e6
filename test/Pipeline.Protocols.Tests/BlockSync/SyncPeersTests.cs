using System.Collections.Immutable;
using Google.Protobuf;
using Pipeline.Dataflow;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Types;
using Pipeline.Testing;
using static Pipeline.Protocols.Tests.BlockSync.ScriptedSync;

namespace Pipeline.Protocols.Tests.BlockSync;

/// <summary>Whom a sync asks for what, and when; with a clock that stands still unless a test moves it.</summary>
public sealed class SyncPeersTests
{
    private const int Height = 30;

    private readonly SignedChain _chain = new(Height);

    [OneTimeTearDown]
    public void TearDown() => _chain.Dispose();

    [Test]
    [CancelAfter(30_000)]
    public async Task An_honest_peer_with_a_slow_line_is_neither_banned_nor_asked_twice(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain);
        Task syncing = sync.SyncAsync(cancellationToken, sync.Request with { To = 7 });
        TestPeer peer = await sync.ConnectAsync(Height);
        for (int block = 0; block < 8; block++)
        {
            sync.Time.Advance(TimeSpan.FromSeconds(10));
            sync.Time.Advance(TimeSpan.FromSeconds(10));
            await sync.AnswerAsync(peer, Asked(peer)[block]);
        }

        await syncing;
        Assert.Multiple(() =>
        {
            Assert.That(Asked(peer), Is.Unique);
            Assert.That(sync.Node.Bans, Is.Empty);
            Assert.That(sync.Faults, Is.Empty);
            Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
        });
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_peer_may_answer_as_often_as_it_was_asked_and_no_oftener(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain);
        _ = sync.SyncAsync(cancellationToken);
        TestPeer peer = await sync.ConnectAsync(Height);
        sync.Time.Advance(TimeSpan.FromSeconds(15));
        Assert.That(Asked(peer), Is.EqualTo(new long[] { 1, 2 }), "It may be on its way.");
        sync.Time.Advance(TimeSpan.FromSeconds(15));
        Assert.That(Asked(peer), Is.EqualTo(new long[] { 1, 2, 1, 2 }));

        await sync.AnswerAsync(peer, 1);
        await sync.AnswerAsync(peer, 2);
        await sync.AnswerAsync(peer, 1);
        await sync.AnswerAsync(peer, 2);
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);

        await sync.AnswerAsync(peer, 1);
        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
        Assert.That(sync.Node.Bans, Is.Empty);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_second_peer_is_asked_for_what_is_needed_next_long_before_the_first_is_given_up(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain);
        Task syncing = sync.SyncAsync(cancellationToken);
        TestPeer slow = await sync.ConnectAsync(Height);
        TestPeer fast = await sync.ConnectAsync(Height);
        Assert.That(Asked(slow), Is.EqualTo(new long[] { 1, 2 }));
        Assert.That(Asked(fast), Is.EqualTo(new long[] { 3, 4 }));

        // At first nobody knows what is long.
        sync.Time.Advance(TimeSpan.FromMilliseconds(10));
        await sync.AnswerAllAsync(fast);
        sync.Time.Advance(TimeSpan.FromMilliseconds(500));
        Assert.That(Asked(fast), Does.Contain(1).And.Contain(2));
        await sync.AnswerAllAsync(fast, Asked(fast).Count - 2);
        await syncing;
        Assert.That(sync.Store.Range, Is.EqualTo(new BlockRange(1, Height - 1)));
        Assert.That(Asked(slow), Is.EqualTo(new long[] { 1, 2 }));
        Assert.That(sync.Faults, Is.Empty);

        // What it sends after all is no violation.
        sync.Time.Advance(TimeSpan.FromSeconds(14));
        await sync.AnswerAllAsync(slow);
        Assert.That(slow.Stopped.IsCancellationRequested, Is.False);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task One_that_has_not_answered_yet_is_not_preferred_to_one_that_has(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain, new() { Window = 2 });
        _ = sync.SyncAsync(cancellationToken);
        TestPeer known = await sync.ConnectAsync(Height);
        sync.Time.Advance(TimeSpan.FromMilliseconds(10));
        int sent = await sync.AnswerAllAsync(known);
        TestPeer unknown = await sync.ConnectAsync(Height);
        for (int height = 3; height <= Height; height++)
        {
            await SyncNetwork.UntilAsync(() => Asked(known).Count + Asked(unknown).Count >= height, cancellationToken);
            Assert.That(Asked(unknown), Is.Empty);
            sent = await sync.AnswerAllAsync(known, sent);
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_node_that_was_left_out_still_is_when_it_comes_again(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain, new() { MaxFailures = 1 });
        _ = sync.SyncAsync(cancellationToken);
        TestPeer silent = await sync.ConnectAsync(Height);
        sync.Time.Advance(TimeSpan.FromSeconds(15));
        Assert.That(sync.Faults, Has.Count.EqualTo(1));
        await sync.Node.DisconnectAsync(silent);

        TestPeer again = await sync.ConnectAsync(Height, silent);
        Assert.That(Asked(again), Is.Empty);
        Assert.That(Asked(await sync.ConnectAsync(Height)), Is.Not.Empty);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_peer_that_comes_and_goes_and_sends_nothing_does_not_keep_a_sync_from_its_end(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain);
        Task syncing = sync.SyncAsync(cancellationToken);
        TestPeer silent = await sync.ConnectAsync(long.MaxValue);
        TestPeer honest = await sync.ConnectAsync(Height);
        for (int i = 0; i < 3; i++)
        {
            Assert.That(Asked(silent), Is.Not.Empty);
            await sync.Node.DisconnectAsync(silent);
            silent = await sync.ConnectAsync(long.MaxValue, silent);
        }

        Assert.That(Asked(silent), Is.Empty);
        await sync.AnswerAllAsync(honest);
        await syncing;
        Assert.That(sync.Store.Range, Is.EqualTo(new BlockRange(1, Height - 1)));
        Assert.That(sync.Faults.Select(fault => (fault.Peer, fault.IsLie)), Is.EqualTo(new[] { (silent.Id, false) }));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_somebody_says_and_has_not_sent_for_the_stall_time_does_not_make_a_sync_fail_that_has_all_else(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain, new() { RequestTimeout = TimeSpan.FromMinutes(5) });
        Task syncing = sync.SyncAsync(cancellationToken);
        TestPeer honest = await sync.ConnectAsync(Height);
        await sync.ConnectAsync(long.MaxValue);
        await sync.AnswerAllAsync(honest);
        sync.Time.Advance(TimeSpan.FromMilliseconds(500));
        await sync.AnswerAllAsync(honest, Asked(honest).Count - 2);
        await SyncNetwork.UntilAsync(() => sync.Reactor.Progress.Height == Height - 1, cancellationToken);
        Assert.That(syncing.IsCompleted, Is.False);

        sync.Time.Advance(TimeSpan.FromSeconds(60));
        await syncing;
        Assert.That(sync.Store.Range, Is.EqualTo(new BlockRange(1, Height - 1)));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_a_cancelled_sync_asked_for_may_come_and_hinders_no_other(CancellationToken cancellationToken)
    {
        using CancellationTokenSource cancelled = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await using ScriptedSync sync = await StartAsync(_chain);
        Task first = sync.SyncAsync(cancelled.Token);
        TestPeer peer = await sync.ConnectAsync(Height);
        await cancelled.CancelAsync();
        Assert.That(async () => await first, Throws.InstanceOf<OperationCanceledException>());

        // Block 2 comes; block 1 never does.
        await sync.AnswerAsync(peer, 2);
        Task second = sync.SyncAsync(cancellationToken);
        Assert.That(Asked(peer), Is.EqualTo(new long[] { 1, 2, 1, 2 }));
        await sync.TellAsync(peer, Height);
        await sync.AnswerAllAsync(peer, 2);
        await second;
        Assert.That(sync.Store.Range, Is.EqualTo(new BlockRange(1, Height - 1)));
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
    }

    [TestCase(1)]
    [TestCase(3)]
    [CancelAfter(30_000)]
    public async Task A_peer_owes_no_more_blocks_than_it_may(int limit, CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain, new() { MaxAskedOfPeer = limit });
        Task syncing = sync.SyncAsync(cancellationToken);
        TestPeer peer = await sync.ConnectAsync(Height);
        int most = 0;
        for (int sent = 0; sent < Asked(peer).Count; sent++)
        {
            most = Math.Max(most, Asked(peer).Count - sent);
            sync.Time.Advance(TimeSpan.FromMilliseconds(1));
            await sync.AnswerAsync(peer, Asked(peer)[sent]);
        }

        await syncing;
        Assert.That(most, Is.EqualTo(limit));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_a_peer_sends_after_it_was_refused_is_not_used(CancellationToken cancellationToken)
    {
        using SignedChain other = new(Height, validators: 5);
        await using ScriptedSync sync = await StartAsync(_chain);
        _ = sync.SyncAsync(cancellationToken);
        TestPeer peer = await sync.ConnectAsync(Height);
        sync.Time.Advance(TimeSpan.FromMilliseconds(1));
        await sync.SendAsync(peer, AnsweringReactor.Answer(other.Block(1)));
        await sync.SendAsync(peer, AnsweringReactor.Answer(other.Block(2)));
        await SyncNetwork.UntilAsync(() => !sync.Faults.IsEmpty, cancellationToken);
        Assert.That(sync.Faults.Single().Message, Does.Contain("are trusted"));

        await sync.SendAsync(peer, AnsweringReactor.Answer(other.Block(3)));
        Assert.That(sync.Reactor.Progress.Buffered, Is.Zero);
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task When_the_block_to_go_on_after_is_of_another_chain_nobody_is_banned(CancellationToken cancellationToken)
    {
        using SignedChain other = new(Height, transactions: 1);
        await using ScriptedSync sync = await StartAsync(_chain);
        _ = sync.SyncAsync(cancellationToken, sync.Request with { Last = other[4] });
        TestPeer peer = await sync.ConnectAsync(Height);
        await sync.AnswerAsync(peer, 5);
        await sync.AnswerAsync(peer, 6);
        await SyncNetwork.UntilAsync(() => !sync.Faults.IsEmpty, cancellationToken);

        Assert.That(sync.Faults.Single(), Has.Property(nameof(BlockSyncFault.IsLie)).False.And.Property(nameof(BlockSyncFault.Message)).Contains("a lie, or that block, as it is kept, is not of this chain"));
        Assert.That(sync.Node.Bans, Is.Empty);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task What_the_users_code_throws_of_a_fault_ends_the_sync_and_harms_nobody(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain, new() { MaxFailures = 1 });
        Task syncing = sync.SyncAsync(cancellationToken, sync.Request with { Faulted = _ => throw new InvalidTimeZoneException("mine") });
        TestPeer silent = await sync.ConnectAsync(Height);
        Assert.That(() => sync.Time.Advance(TimeSpan.FromSeconds(15)), Throws.Nothing);

        Assert.That(async () => await syncing, Throws.TypeOf<InvalidTimeZoneException>());
        Assert.That(silent.Stopped.IsCancellationRequested, Is.False);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_node_that_stops_ends_its_sync_and_begins_no_other(CancellationToken cancellationToken)
    {
        ScriptedSync sync = await StartAsync(_chain);
        Task syncing = sync.SyncAsync(cancellationToken);
        await sync.ConnectAsync(Height);
        await sync.DisposeAsync();

        Assert.That(async () => await syncing, Throws.TypeOf<BlockSyncException>().With.Message.Contain("has stopped"));
        Assert.That(async () => await sync.SyncAsync(cancellationToken), Throws.TypeOf<BlockSyncException>().With.Message.Contain("has stopped"));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_status_that_nobody_asked_for_is_heeded_only_so_often(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain);
        _ = sync.SyncAsync(cancellationToken);
        TestPeer peer = await sync.ConnectAsync(100);
        for (int i = 1; i <= 1000; i++)
        {
            await sync.TellAsync(peer, 100 + i);
        }

        Assert.That(sync.Reactor.Progress.Target, Is.EqualTo(100 + 10 - 1));
        sync.Time.Advance(TimeSpan.FromSeconds(10));
        await sync.TellAsync(peer, 5_000);
        Assert.That(sync.Reactor.Progress.Target, Is.EqualTo(5_000 - 1));
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_block_with_more_signatures_than_there_are_validators_anywhere_is_not_looked_at(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain);
        _ = sync.SyncAsync(cancellationToken);
        TestPeer peer = await sync.ConnectAsync(Height);
        Block block = _chain.Block(2);
        block.LastCommit.Signatures.AddRange(Enumerable.Repeat(SignedChain.Absent, 10_000));
        await sync.SendAsync(peer, AnsweringReactor.Answer(block));

        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Message, Does.Contain("10004 signatures"));
        Assert.That(sync.Node.Bans, Has.Length.EqualTo(1));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task Small_parts_of_a_block_count_with_what_their_objects_take(CancellationToken cancellationToken)
    {
        using SignedChain small = new(blocks: 4, transactions: 5_000, transactionSize: 1);
        await using ScriptedSync sync = await StartAsync(small);
        _ = sync.SyncAsync(cancellationToken, sync.Request with { From = 2 });
        TestPeer peer = await sync.ConnectAsync(4);
        int size = AnsweringReactor.Answer(small.Block(2)).CalculateSize();
        await sync.AnswerAsync(peer, 2);

        Assert.That(sync.Reactor.Progress.Buffered, Is.EqualTo((2 * size) + (5_000 * 80) + (4 * 256)));
    }

    [TestCase(true)]
    [TestCase(false)]
    [CancelAfter(30_000)]
    public async Task A_long_message_that_does_not_begin_with_a_block_is_not_even_parsed(bool holdsBlock, CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain);
        _ = sync.SyncAsync(cancellationToken);
        TestPeer peer = await sync.ConnectAsync(Height);

        // A status request, and after it a block, which counts; or fields that nobody knows.
        byte[] more = holdsBlock ? AnsweringReactor.Answer(_chain.Block(1)).ToByteArray() : [.. Enumerable.Repeat<byte[]>([0x78, 1], 40).SelectMany(field => field)];
        await sync.Node.ReceiveAsync(peer, StandardChannels.BlockSync, (byte[])[0x22, 0, .. more]);

        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Message, Does.Contain("does not begin with a block"));
        Assert.That(sync.Reactor.Progress.Buffered, Is.Zero);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_store_is_gone_on_with_without_a_word_and_nothing_else(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain);
        await _chain.FillAsync(sync.Store, to: 20);
        Assert.That(async () => await sync.SyncAsync(cancellationToken, sync.Request with { Last = _chain[10] }), Throws.ArgumentException.With.Message.Contain("cannot go on after block 10"));

        Task syncing = sync.SyncAsync(cancellationToken);
        TestPeer peer = await sync.ConnectAsync(Height);
        await sync.AnswerAllAsync(peer);
        await syncing;
        Assert.That(Asked(peer)[0], Is.EqualTo(21));
        Assert.That(sync.Store.Range, Is.EqualTo(new BlockRange(1, Height - 1)));
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_store_whose_last_block_is_damaged_is_not_gone_on_with_and_nobody_is_asked(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain);
        TestPeer peer = await sync.ConnectAsync(Height);
        await sync.Store.AppendAsync([_chain[20] with { Block = new byte[50] }], cancellationToken);

        Assert.That(async () => await sync.SyncAsync(cancellationToken), Throws.TypeOf<BlockStoreException>().With.Message.Contain("Block 20"));
        Assert.That(peer.Sent, Is.Empty);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_sync_may_have_no_end(CancellationToken cancellationToken)
    {
        await using ScriptedSync sync = await StartAsync(_chain);
        Task syncing = sync.SyncAsync(cancellationToken, sync.Request with { To = long.MaxValue });
        TestPeer peer = await sync.ConnectAsync(Height);
        await sync.AnswerAllAsync(peer);
        await SyncNetwork.UntilAsync(() => sync.Reactor.Progress.Height == Height - 1, cancellationToken);

        Assert.That(syncing.IsCompleted, Is.False);
        sync.Time.Advance(TimeSpan.FromSeconds(60));
        Assert.That(async () => await syncing, Throws.TypeOf<BlockSyncException>());
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task As_many_blocks_are_kept_in_one_transaction_as_have_come_but_no_more_than_a_bound(CancellationToken cancellationToken)
    {
        using SignedChain many = new(blocks: 200, transactions: 0);
        using SignedChain large = new(blocks: 30, transactions: 1, transactionSize: 1 << 20);

        // How many have been checked by the time that they are taken depends on the machine; of 128 that may wait they are nearly all.
        Assert.That((await KeepAsync(many)).Max(batch => batch.Length), Is.InRange(2, 64));
        ImmutableArray<StoredBlock[]> batches = await KeepAsync(large);
        Assert.That(batches.Max(batch => batch.Sum(block => block.Block.Length)), Is.InRange(2 << 20, 9.1 * (1 << 20)));

        async Task<ImmutableArray<StoredBlock[]>> KeepAsync(SignedChain chain)
        {
            await using ScriptedSync sync = await StartAsync(chain, new() { MaxBufferedBytes = 1 << 30 });
            HeldStore store = new();
            Task syncing = sync.Reactor.SyncToAsync(store, sync.Request, cancellationToken);
            TestPeer peer = await sync.ConnectAsync(chain.Blocks.Count);
            int sent = await sync.AnswerAllAsync(peer);
            await SyncNetwork.UntilAsync(() => store.IsHolding, cancellationToken);
            sent = await sync.AnswerAllAsync(peer, sent);
            store.Go.SetResult();
            while (!syncing.IsCompleted)
            {
                cancellationToken.ThrowIfCancellationRequested();
                sent = await sync.AnswerAllAsync(peer, sent);
                await Task.Yield();
            }

            await syncing;
            return store.Batches;
        }
    }

    // Lets the first batch wait, and so all that comes meanwhile.
    private sealed class HeldStore : IBlockStore
    {
        public TaskCompletionSource Go { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public bool IsHolding { get; private set; }

        public ImmutableArray<StoredBlock[]> Batches { get; private set; } = [];

        public BlockRange Range => default;

        public async ValueTask AppendAsync(IReadOnlyList<StoredBlock> blocks, CancellationToken cancellationToken = default)
        {
            IsHolding = true;
            await Go.Task;
            Batches = Batches.Add([.. blocks]);
        }

        public ValueTask<StoredBlock?> LoadAsync(long height, CancellationToken cancellationToken = default) => new((StoredBlock?)null);
    }
}
