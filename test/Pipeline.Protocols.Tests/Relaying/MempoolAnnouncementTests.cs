using CsCheck;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Dataflow;
using Pipeline.Protocols.Mempool;
using Pipeline.Testing;
using static Pipeline.Protocols.Tests.Relaying.RelayBench;

namespace Pipeline.Protocols.Tests.Relaying;

/// <summary>What announcements are worth: peers that announce what they do not send.</summary>
public sealed class MempoolAnnouncementTests
{
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(500);

    [Test, CancelAfter(30_000)]
    public async Task Who_announces_and_never_sends_keeps_nobody_from_submitting_or_announcing_and_is_stopped(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using RelayBench bench = await RelayBench.StartAsync(new MempoolRelayOptions { MaxHoldTime = TimeSpan.Zero, MaxPoolTransactions = 80, TimeProvider = time });
        TestPeer reader = await bench.ConnectPlainAsync();
        TestPeer honest = await bench.Switch.ConnectAsync();
        TestPeer[] liars = [await bench.Switch.ConnectAsync(), await bench.Switch.ConnectAsync()];
        int[] announced = new int[liars.Length];
        int submitted = 0;
        while (!liars.All(liar => liar.Stopped.IsCancellationRequested))
        {
            cancellationToken.ThrowIfCancellationRequested();
            for (int i = 0; i < liars.Length; i++)
            {
                if (!liars[i].Stopped.IsCancellationRequested && Answers(liars[i]).Count == announced[i])
                {
                    announced[i]++;
                    int number = announced[i];
                    await bench.AnnounceAsync(liars[i], Enumerable.Range(0, 1_000).Select(n => $"lie {i} {number} {n}"));
                }
            }

            string own = $"own {submitted}";
            Task<SubmitResult> submitting = bench.Relay.SubmitAsync(Bytes(own), cancellationToken).AsTask();
            while (!submitting.IsCompleted)
            {
                // Who takes nothing of what this node announces is waited for, once.
                cancellationToken.ThrowIfCancellationRequested();
                time.Advance(Tick / 10);
                await Task.Yield();
            }

            Assert.That(await submitting, Is.EqualTo(SubmitResult.Accepted));
            await UntilAsync(() => Received(reader).Contains(own), cancellationToken);
            int answers = Answers(honest).Count;
            await bench.AnnounceAsync(honest, $"true {submitted}");
            await UntilAsync(() => Answers(honest).Count > answers, cancellationToken);
            Assert.That(Answers(honest)[^1].Wanted.Span[0], Is.EqualTo(1));
            await bench.SendAsync(honest, $"true {submitted}");
            submitted++;
            Assert.That(bench.Relay.Status.Requested, Is.LessThanOrEqualTo(70), "an eighth of the pool is for what is submitted");
            Assert.That(submitted, Is.LessThan(200), "liars are stopped in the end");
            time.Advance(Tick);
        }

        Assert.That((await liars[0].Completion).Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
        Assert.That((await liars[0].Completion).Message, Does.Contain("announced"));
        Assert.That(bench.Relay.Status.Undelivered, Is.InRange(70, 300));
        Assert.That(bench.Relay.Status.Accepted, Is.EqualTo(2 * submitted));
        Assert.That(honest.Stopped.IsCancellationRequested, Is.False);
    }

    [Test, CancelAfter(30_000)]
    public async Task However_long_nobody_takes_anything_no_more_is_asked_for_than_the_pool_holds(CancellationToken cancellationToken)
    {
        MempoolRelayOptions options = new() { MaxHoldTime = TimeSpan.Zero, MaxPoolTransactions = 80, MaxHoldBack = TimeSpan.FromMilliseconds(1), RequestTimeout = TimeSpan.FromMinutes(1) };
        await using RelayBench bench = await RelayBench.StartAsync(options);
        TestPeer from = await bench.ConnectPlainAsync();
        await bench.ConnectPlainAsync(new TestPeer(Plain()) { NextResult = SendResult.QueueFull });
        await bench.SendAsync(from, Enumerable.Range(0, 100).Select(i => $"{i}"));
        TestPeer[] liars = [await bench.Switch.ConnectAsync(), await bench.Switch.ConnectAsync(), await bench.Switch.ConnectAsync()];
        foreach (TestPeer liar in liars)
        {
            await bench.AnnounceAsync(liar, Enumerable.Range(0, 1_000).Select(i => $"{liar.Id} {i}"));
            await UntilAsync(() => Answers(liar).Count == 1, cancellationToken);
            await bench.AnnounceAsync(liar, Enumerable.Range(0, 1_000).Select(i => $"{liar.Id} again {i}"));
        }

        Assert.That(bench.Relay.Status.Requested, Is.InRange(3, 70));
        Assert.That(liars.Select(liar => Answers(liar)[0].Count), Is.Ordered.Descending.And.All.GreaterThanOrEqualTo(1), "there is something for each");
    }

    [Test, CancelAfter(120_000)]
    public async Task One_honest_announcer_among_any_liars_is_enough(CancellationToken cancellationToken) =>
        await Gen.Select(Gen.Int[0, 6], Gen.Int[0, 6], Gen.Int[0, 100].Array[0, 12]).SampleAsync(
            async (before, after, again) =>
            {
                FakeTimeProvider time = new();
                await using RelayBench bench = await RelayBench.StartAsync(new MempoolRelayOptions { MaxHoldTime = TimeSpan.Zero, TimeProvider = time });
                TestPeer[] peers = [.. await Task.WhenAll(Enumerable.Range(0, before + 1 + after).Select(_ => bench.Switch.ConnectAsync()))];
                TestPeer honest = peers[before];
                foreach (TestPeer peer in peers)
                {
                    await bench.AnnounceAsync(peer, "tx");
                }

                for (int i = 0; Asks(honest).Count == 0 && Answers(honest)[0].Wanted.Span[0] == 0; i++)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    if (i < again.Length && peers[again[i] % peers.Length] != honest)
                    {
                        await bench.AnnounceAsync(peers[again[i] % peers.Length], "tx");
                    }

                    time.Advance(Tick);
                    await Task.Yield();

                    // Time stands still until who is next has been asked.
                    await UntilAsync(() => peers.Sum(peer => Asks(peer).Count) == bench.Relay.Status.Undelivered, cancellationToken);
                    Assert.That(bench.Relay.Status.Requested, Is.EqualTo(1));
                    Assert.That(bench.Relay.Status.Undelivered, Is.LessThanOrEqualTo(before + after + again.Length), "each is asked at most as often as it has announced");
                }

                await bench.SendAsync(honest, "tx");
                Assert.That(bench.Relay.Status, Has.Property("Accepted").EqualTo(1L).And.Property("Requested").EqualTo(0));
            },
            iter: 30);

    [Test, CancelAfter(30_000)]
    public async Task Who_sends_late_all_that_it_announced_owes_nothing(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using RelayBench bench = await RelayBench.StartAsync(new MempoolRelayOptions { MaxHoldTime = TimeSpan.Zero, MaxPoolTransactions = 80, TimeProvider = time });
        TestPeer late = await bench.Switch.ConnectAsync();
        for (int round = 0; round < 10; round++)
        {
            string[] some = [.. Enumerable.Range(0, 35).Select(i => $"{round} {i}")];
            await bench.AnnounceAsync(late, some);
            await UntilAsync(() => Answers(late).Count == round + 1, cancellationToken);
            Assert.That(Answers(late)[round].Count, Is.EqualTo(35), "as much as at first");
            while (bench.Relay.Status.Requested > 0)
            {
                cancellationToken.ThrowIfCancellationRequested();
                time.Advance(Tick);
                await Task.Yield();
            }

            await bench.SendAsync(late, some);
        }

        Assert.That(late.Stopped.IsCancellationRequested, Is.False);
        Assert.That(bench.Relay.Status, Has.Property("Undelivered").EqualTo(350L).And.Property("Accepted").EqualTo(350L));
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_owes_too_much_is_asked_for_one_at_a_time_until_it_delivers(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        MempoolRelayOptions options = new() { MaxHoldTime = TimeSpan.Zero, MaxPoolTransactions = 8, TimeProvider = time };
        await using RelayBench bench = await RelayBench.StartAsync(options);
        TestPeer peer = await bench.Switch.ConnectAsync();
        int announced = 0;
        async Task<uint> AnnounceAsync(params string[] transactions)
        {
            await bench.AnnounceAsync(peer, transactions);
            announced++;
            await UntilAsync(() => Answers(peer).Count == announced, cancellationToken);
            return Answers(peer)[^1].Count;
        }

        async Task ExpireAsync()
        {
            while (bench.Relay.Status.Requested > 0)
            {
                cancellationToken.ThrowIfCancellationRequested();
                time.Advance(Tick);
                await Task.Yield();
            }
        }

        string[] names = [.. "abcdefghij".Select(letter => $"{letter}")];
        Assert.That(await AnnounceAsync(names), Is.EqualTo(4), "half of what is not for this node's own");
        await ExpireAsync();
        Assert.That(await AnnounceAsync(names), Is.EqualTo(2), "what it owes counts as if it were on its way");
        await ExpireAsync();
        Assert.That(await AnnounceAsync(names), Is.EqualTo(1));
        await ExpireAsync();
        Assert.That(await AnnounceAsync(names), Is.EqualTo(1));
        await bench.SendAsync(peer, names);
        Assert.That(await AnnounceAsync("k", "l", "m"), Is.EqualTo(3));
    }

    [Test, CancelAfter(30_000)]
    public async Task What_nobody_takes_does_not_fill_the_log_for_what_others_take(CancellationToken cancellationToken)
    {
        MempoolRelayOptions options = new() { MaxHoldTime = TimeSpan.Zero, MaxPoolTransactions = 16, MaxHoldBack = TimeSpan.FromMilliseconds(1), SubmitTimeout = TimeSpan.FromMinutes(1) };
        await using RelayBench bench = await RelayBench.StartAsync(options);
        TestPeer from = await bench.ConnectPlainAsync();
        TestPeer quick = await bench.ConnectPlainAsync();
        TestPeer stuck = await bench.ConnectPlainAsync(new TestPeer(Plain()) { NextResult = SendResult.QueueFull });
        await bench.SendAsync(from, "first");
        await UntilAsync(() => Received(quick).Count == 1, cancellationToken);
        await bench.Switch.DisconnectAsync(from);

        // Only who does not read could be given it.
        await bench.SendAsync(quick, "pinned");
        for (int i = 0; i < 200; i++)
        {
            Assert.That(await bench.Relay.SubmitAsync(Bytes($"{i}"), cancellationToken), Is.EqualTo(SubmitResult.Accepted));
            await UntilAsync(() => Received(quick).Count == i + 2, cancellationToken);
        }

        stuck.NextResult = SendResult.Queued;
        await UntilAsync(() => Received(stuck).Contains("199"), cancellationToken);
        Assert.That(Received(stuck), Contains.Item("pinned"));
        Assert.That(Received(quick), Is.EqualTo(new[] { "first" }.Concat(Enumerable.Range(0, 200).Select(i => $"{i}"))));
    }
}
