using System.Diagnostics.Metrics;
using CsCheck;
using Google.Protobuf;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Protocols.Mempool;
using Pipeline.Testing;
using static Pipeline.Protocols.Tests.Relaying.RelayBench;

namespace Pipeline.Protocols.Tests.Relaying;

/// <summary>A relay with peers that the test speaks for.</summary>
public sealed class MempoolRelayTests
{
    private static readonly MempoolRelayOptions Quick = new() { MaxHoldTime = TimeSpan.Zero };

    [Test, CancelAfter(30_000)]
    public async Task A_transaction_goes_to_all_but_who_sent_it_and_once(CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick);
        TestPeer a = await bench.ConnectPlainAsync();
        TestPeer b = await bench.ConnectPlainAsync();
        await bench.SendAsync(a, "tx");
        await bench.SendAsync(b, "tx");
        await bench.SendAsync(a, "end");
        await UntilAsync(() => Received(b).Contains("end"), cancellationToken);
        Assert.Multiple(() =>
        {
            Assert.That(Received(a), Is.Empty);
            Assert.That(Received(b), Has.One.EqualTo("end"));
            Assert.That(bench.Relay.Status.Accepted, Is.EqualTo(2));
            Assert.That(bench.Relay.Status.Duplicates, Is.EqualTo(1));
            Assert.That(a.Usefulness, Is.Zero, "without a check any bytes are accepted");
        });
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_sends_what_the_check_accepts_is_useful(CancellationToken cancellationToken)
    {
        MempoolRelayOptions options = Quick with
        {
            Check = (transaction, _) => ValueTask.FromResult(transaction.Data.Span[0] == 'x' ? MempoolVerdict.Reject : MempoolVerdict.Accept),
        };
        await using RelayBench bench = await RelayBench.StartAsync(options);
        TestPeer peer = await bench.ConnectPlainAsync();
        await bench.SendAsync(peer, "x").WaitAsync(cancellationToken);
        Assert.That(peer.Usefulness, Is.Zero);
        await bench.SendAsync(peer, "x", "good").WaitAsync(cancellationToken);
        Assert.That(peer.Usefulness, Is.EqualTo(1));
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_waits_to_submit_while_the_node_stops_is_told_so(CancellationToken cancellationToken)
    {
        RelayBench bench = await RelayBench.StartAsync(Quick with { MaxPoolTransactions = 8, SubmitTimeout = TimeSpan.FromMinutes(1) });
        await bench.ConnectPlainAsync(new TestPeer(Plain()) { NextResult = SendResult.QueueFull });
        Assert.That(await bench.Relay.SubmitAsync(Bytes("1"), cancellationToken), Is.EqualTo(SubmitResult.Accepted));
        Task<SubmitResult> waiting = bench.Relay.SubmitAsync(Bytes("2"), cancellationToken).AsTask();
        Assert.That(waiting.IsCompleted, Is.False);
        await bench.DisposeAsync();
        Assert.That(await waiting.WaitAsync(cancellationToken), Is.EqualTo(SubmitResult.NotRunning));
        Assert.That(bench.Relay.Status.Accepted, Is.EqualTo(1));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_peer_that_takes_no_more_messages_because_it_is_being_stopped_is_not_cut_off(CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick);
        TestPeer peer = await bench.Switch.ConnectAsync();
        peer.NextResult = SendResult.PeerStopped;
        await bench.AnnounceAsync(peer, "tx").WaitAsync(cancellationToken);
        await bench.Relay.SubmitAsync(Bytes("own"), cancellationToken);
        await bench.Switch.DisconnectAsync(peer, new DisconnectReason(DisconnectKind.Stopped, "It has been sent all."));
        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.Stopped));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_submission_in_vain_does_not_hold_back_peers_anew(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { MaxPoolTransactions = 8, TimeProvider = time, SubmitTimeout = TimeSpan.FromMilliseconds(10) });
        TestPeer from = await bench.ConnectPlainAsync();
        await bench.ConnectPlainAsync(new TestPeer(Plain()) { NextResult = SendResult.QueueFull });

        // Held back once, for as long as may be.
        await AdvanceUntilAsync(bench.SendAsync(from, Enumerable.Range(0, 20).Select(i => $"{i}")));
        await AdvanceUntilAsync(bench.Relay.SubmitAsync(Bytes("own"), cancellationToken).AsTask());
        Task sending = bench.SendAsync(from, Enumerable.Range(20, 20).Select(i => $"{i}"));
        await sending.WaitAsync(cancellationToken);
        Assert.That(bench.Relay.Status.Accepted, Is.EqualTo(40));

        async Task AdvanceUntilAsync(Task task)
        {
            while (!task.IsCompleted)
            {
                cancellationToken.ThrowIfCancellationRequested();
                time.Advance(TimeSpan.FromMilliseconds(100));
                await Task.Yield();
            }
        }
    }

    [Test, CancelAfter(30_000)]
    public async Task What_waits_to_be_sent_does_not_keep_what_has_left_the_pool(CancellationToken cancellationToken)
    {
        MempoolRelayOptions options = Quick with { MaxPoolTransactions = 8, MaxBatchTransactions = 1, MaxHoldBack = TimeSpan.FromMilliseconds(1), RequestTimeout = TimeSpan.FromMinutes(1) };
        await using RelayBench bench = await RelayBench.StartAsync(options);
        TestPeer from = await bench.ConnectPlainAsync();
        TestPeer slow = await bench.ConnectPlainAsync(new TestPeer(Plain()) { NextResult = SendResult.QueueFull });
        TestPeer third = await bench.Switch.ConnectAsync();
        await bench.SendAsync(from, "1", "2", "3");
        await UntilAsync(() => third.SentOn(MempoolRelayReactor.RelayChannel).Count == 1, cancellationToken);
        third.NextResult = SendResult.QueueFull;
        int announced = third.SentOn(MempoolRelayReactor.RelayChannel)[0].Have.Length / TransactionHash.Size;
        await bench.Switch.ReceiveAsync(third, MempoolRelayReactor.RelayChannel, new RelayMessage { Answer = new() { Count = (uint)announced, Wanted = ByteString.CopyFrom((byte)((1 << announced) - 1)) } });
        await bench.SendAsync(from, Enumerable.Range(10, 40).Select(i => $"{i}"));
        slow.NextResult = SendResult.Queued;
        await UntilAsync(() => Received(slow).Contains("49"), cancellationToken);
        third.NextResult = SendResult.Queued;
        await UntilAsync(() => third.SentOn(MempoolRelayReactor.RelayChannel).Count == 2, cancellationToken);
        Assert.That(Received(third), Has.Count.LessThanOrEqualTo(1), "what is in the message that waits");
        Assert.That(Received(slow), Has.No.Member("3"));
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_is_told_no_hashes_is_told_a_transaction_within_the_hold_time(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using RelayBench bench = await RelayBench.StartAsync(new MempoolRelayOptions { MaxHoldTime = TimeSpan.FromSeconds(1), TimeProvider = time });
        TestPeer[] peers = [.. await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => bench.ConnectPlainAsync()))];
        await bench.Relay.SubmitAsync(Bytes("tx"), cancellationToken);
        Assert.That(peers.Select(peer => Received(peer).Count), Is.All.Zero, "no time has passed, and that none of so many waits is as good as impossible");
        TimeSpan passed = TimeSpan.Zero;
        HashSet<int> counts = [];
        while (peers.Any(peer => Received(peer).Count == 0))
        {
            cancellationToken.ThrowIfCancellationRequested();
            time.Advance(TimeSpan.FromMilliseconds(10));
            passed += TimeSpan.FromMilliseconds(10);
            for (int i = 0; i < 20; i++)
            {
                await Task.Yield();
            }

            counts.Add(peers.Count(peer => Received(peer).Count > 0));
        }

        Assert.That(counts, Has.Count.GreaterThan(2), "each waits for another part");
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_comes_later_does_not_get_what_is_too_old(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { MaxAge = TimeSpan.FromSeconds(10), TimeProvider = time });
        await bench.Relay.SubmitAsync(Bytes("old"), cancellationToken);
        time.Advance(TimeSpan.FromSeconds(6));
        await bench.Relay.SubmitAsync(Bytes("young"), cancellationToken);
        time.Advance(TimeSpan.FromSeconds(5));
        TestPeer peer = await bench.ConnectPlainAsync();
        await bench.Relay.SubmitAsync(Bytes("new"), cancellationToken);
        await UntilAsync(() => Received(peer).Contains("new"), cancellationToken);
        Assert.That(Received(peer), Is.EqualTo(new[] { "young", "new" }));
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_asks_for_more_than_may_wait_is_stopped(CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick);
        TestPeer peer = await bench.Switch.ConnectAsync();
        await bench.Relay.SubmitAsync(Bytes("tx"), cancellationToken);
        await UntilAsync(() => peer.SentOn(MempoolRelayReactor.RelayChannel).Count == 1, cancellationToken);

        // It reads nothing of what it asks for, so that what it asks for waits.
        peer.NextResult = SendResult.QueueFull;
        await bench.Switch.ReceiveAsync(peer, MempoolRelayReactor.RelayChannel, new RelayMessage { Ask = Hashes("tx") });
        RelayMessage many = new() { Ask = ByteString.CopyFrom(new byte[1_000 * TransactionHash.Size]) };

        // What it asks for while the relay has not begun to send it the first may be taken with it.
        for (int i = 0; i < 10; i++)
        {
            Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
            await bench.Switch.ReceiveAsync(peer, MempoolRelayReactor.RelayChannel, many);
        }

        for (int i = 0; i < 10 && !peer.Stopped.IsCancellationRequested; i++)
        {
            await bench.Switch.ReceiveAsync(peer, MempoolRelayReactor.RelayChannel, many);
        }

        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
    }

    [Test, CancelAfter(30_000)]
    public async Task What_is_measured_has_the_names_that_the_documentation_lists(CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick with
        {
            Check = (transaction, _) => ValueTask.FromResult(transaction.Data.Span[0] == 'x' ? MempoolVerdict.Reject : MempoolVerdict.Accept),
        });
        using MeterListener listener = new();
        Dictionary<string, long> measured = [];
        listener.InstrumentPublished = (instrument, itself) =>
        {
            if (instrument.Meter.Name == PipelineDiagnostics.MeterName && instrument.Meter.Tags!.Contains(new("node_id", $"{bench.Switch.NodeInfo.Id}")))
            {
                itself.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
            measured[$"{instrument.Name}{{{string.Join(',', tags.ToArray().Where(tag => tag.Key != "chain_id").Select(tag => $"{tag.Key}={tag.Value}"))}}}"] = value);
        listener.Start();
        TestPeer from = await bench.ConnectPlainAsync();
        TestPeer to = await bench.ConnectPlainAsync();
        await bench.SendAsync(from, "four", "four", "x", "three");
        await UntilAsync(() => bench.Relay.Status.Sent == 2, cancellationToken);
        await bench.SendAsync(to, "");
        listener.RecordObservableInstruments();
        Assert.That(measured, Is.EquivalentTo(new Dictionary<string, long>
        {
            ["cometbft_mempool_size{}"] = 2,
            ["cometbft_mempool_size_bytes{}"] = 9,
            ["pipeline_mempool_transactions_total{outcome=accepted}"] = 2,
            ["pipeline_mempool_transactions_total{outcome=duplicate}"] = 1,
            ["pipeline_mempool_transactions_total{outcome=rejected}"] = 1,
            ["pipeline_mempool_sent_total{}"] = 2,
            ["pipeline_mempool_missed_total{}"] = 0,
            ["pipeline_mempool_undelivered_total{}"] = 0,
            ["pipeline_mempool_faults_total{fault=empty}"] = 1,
        }));
    }

    [Test, CancelAfter(30_000)]
    public async Task What_becomes_of_a_submitted_transaction_is_said(CancellationToken cancellationToken)
    {
        MempoolRelayOptions options = Quick with
        {
            MaxTransactionBytes = 100,
            Check = (transaction, _) => ValueTask.FromResult(transaction.Data.Span[0] == 'x' ? MempoolVerdict.Reject : MempoolVerdict.Accept),
        };
        MempoolRelayReactor relay;
        await using (RelayBench bench = await RelayBench.StartAsync(options))
        {
            relay = bench.Relay;
            Assert.That(await relay.SubmitAsync(Bytes("a"), cancellationToken), Is.EqualTo(SubmitResult.Accepted));
            Assert.That(await relay.SubmitAsync(Bytes("a"), cancellationToken), Is.EqualTo(SubmitResult.AlreadySeen));
            Assert.That(await relay.SubmitAsync(Bytes("x"), cancellationToken), Is.EqualTo(SubmitResult.Rejected));
            Assert.That(await relay.SubmitAsync(Bytes("x"), cancellationToken), Is.EqualTo(SubmitResult.AlreadySeen));
            Assert.That(await relay.SubmitAsync(default, cancellationToken), Is.EqualTo(SubmitResult.Empty));
            Assert.That(await relay.SubmitAsync(new byte[101], cancellationToken), Is.EqualTo(SubmitResult.TooLarge));
        }

        Assert.That(await relay.SubmitAsync(Bytes("b"), cancellationToken), Is.EqualTo(SubmitResult.NotRunning));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_pool_that_nobody_takes_from_is_full_for_who_submits_who_may_try_again(CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { MaxPoolTransactions = 8, SubmitTimeout = TimeSpan.FromMilliseconds(20) });
        TestPeer slow = await bench.ConnectPlainAsync(new TestPeer(Plain()) { NextResult = SendResult.QueueFull });
        Assert.That(await bench.Relay.SubmitAsync(Bytes("1"), cancellationToken), Is.EqualTo(SubmitResult.Accepted));
        Assert.That(await bench.Relay.SubmitAsync(Bytes("2"), cancellationToken), Is.EqualTo(SubmitResult.PoolFull));
        slow.NextResult = SendResult.Queued;
        SubmitResult again;
        while ((again = await bench.Relay.SubmitAsync(Bytes("2"), cancellationToken)) == SubmitResult.PoolFull)
        {
        }

        Assert.That(again, Is.EqualTo(SubmitResult.Accepted));
        await UntilAsync(() => Received(slow).Count == 2, cancellationToken);
    }

    [Test, CancelAfter(30_000)]
    public async Task A_peer_that_is_too_slow_misses_what_made_room_and_it_is_counted(CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { MaxPoolTransactions = 8, MaxHoldBack = TimeSpan.FromMilliseconds(1), MaxBatchTransactions = 1 });
        TestPeer from = await bench.ConnectPlainAsync();
        TestPeer slow = await bench.ConnectPlainAsync(new TestPeer(Plain()) { NextResult = SendResult.QueueFull });
        for (int i = 0; i < 50; i++)
        {
            await bench.SendAsync(from, $"{i}");
            Assert.That(bench.Relay.Status.PoolTransactions, Is.LessThanOrEqualTo(8));
        }

        slow.NextResult = SendResult.Queued;
        await UntilAsync(() => Received(slow).Contains("49"), cancellationToken);
        Assert.That(bench.Relay.Status.Missed, Is.EqualTo(50 - Received(slow).Count).And.GreaterThan(30));
    }

    [Test, CancelAfter(60_000)]
    public async Task A_peer_that_is_behind_and_reads_is_waited_for_and_misses_nothing(CancellationToken cancellationToken)
    {
        const int count = 400;
        FakeTimeProvider time = new();
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { MaxPoolTransactions = 80, MaxHoldBack = TimeSpan.FromMinutes(1), TimeProvider = time });
        TestPeer quick = await bench.ConnectPlainAsync();
        TestPeer slow = await bench.ConnectPlainAsync(new TestPeer(Plain()) { NextResult = SendResult.QueueFull });
        Task submitting = Task.Run(
            async () =>
            {
                for (int i = 0; i < count; i++)
                {
                    Assert.That(await bench.Relay.SubmitAsync(Bytes($"{i}"), cancellationToken), Is.EqualTo(SubmitResult.Accepted));
                }
            },
            cancellationToken);

        // Time goes on, and the slow one reads, when the quick one has got all that it could without it.
        while (Received(slow).Count + bench.Relay.Status.Missed < count || Received(quick).Count < count)
        {
            cancellationToken.ThrowIfCancellationRequested();
            int before = Received(quick).Count;
            for (int i = 0; i < 1_000; i++)
            {
                await Task.Yield();
            }

            if (Received(quick).Count == before && before > 0)
            {
                slow.NextResult = SendResult.Queued;
                time.Advance(TimeSpan.FromMilliseconds(50));
            }
        }

        await submitting;
        Assert.That(bench.Relay.Status.Missed, Is.Zero);
    }

    [Test, CancelAfter(60_000)]
    public async Task A_peer_that_takes_nothing_is_waited_for_once(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { MaxPoolTransactions = 80, MaxBatchTransactions = 1, TimeProvider = time });
        TestPeer reader = await bench.ConnectPlainAsync();
        TestPeer stuck = await bench.ConnectPlainAsync(new TestPeer(Plain()) { NextResult = SendResult.QueueFull });
        DateTimeOffset start = time.GetUtcNow();
        for (int i = 0; i < 200; i++)
        {
            Task<SubmitResult> submitting = bench.Relay.SubmitAsync(Bytes($"{i}"), cancellationToken).AsTask();
            while (!submitting.IsCompleted || Received(reader).Count <= i)
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (i == 10)
                {
                    // An eighth of the pool waits for it.
                    time.Advance(TimeSpan.FromMilliseconds(100));
                }

                await Task.Yield();
            }

            Assert.That(await submitting, Is.EqualTo(SubmitResult.Accepted));
        }

        Assert.That(time.GetUtcNow() - start, Is.GreaterThanOrEqualTo(TimeSpan.FromSeconds(1)));
        stuck.NextResult = SendResult.Queued;
        while (!Received(stuck).Contains("199"))
        {
            cancellationToken.ThrowIfCancellationRequested();
            time.Advance(TimeSpan.FromMilliseconds(100));
            await Task.Yield();
        }

        Assert.That(Received(stuck), Has.Count.LessThanOrEqualTo(81), "what is in the pool, and in the message that it did not take");
        Assert.That(bench.Relay.Status.Missed, Is.EqualTo(200 - Received(stuck).Count));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_message_keeps_to_the_limits_of_a_batch(CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { MaxBatchTransactions = 3, MaxBatchBytes = 100 });
        for (int i = 0; i < 40; i++)
        {
            await bench.Relay.SubmitAsync(Bytes(new string('x', 1 + (i * 5))), cancellationToken);
        }

        TestPeer peer = await bench.ConnectPlainAsync();
        await UntilAsync(() => Received(peer).Count == 40, cancellationToken);
        foreach (Message message in peer.SentOn(StandardChannels.Mempool))
        {
            Assert.That(message.Txs.Txs_, Has.Count.InRange(1, 3));
            Assert.That(message.Txs.Txs_.Count == 1 || message.Txs.Txs_.Sum(tx => tx.Length) <= 100, Is.True);
        }
    }

    [Test, CancelAfter(30_000)]
    public async Task A_check_can_reject_and_ban(CancellationToken cancellationToken)
    {
        int checks = 0;
        await using RelayBench bench = await RelayBench.StartAsync(Quick with
        {
            Check = (transaction, _) =>
            {
                checks++;
                return ValueTask.FromResult(transaction.Data.Span[0] switch { (byte)'r' => MempoolVerdict.Reject, (byte)'b' => MempoolVerdict.Ban, _ => MempoolVerdict.Accept });
            },
        });
        TestPeer a = await bench.ConnectPlainAsync();
        TestPeer b = await bench.ConnectPlainAsync();
        await bench.SendAsync(a, "reject");
        await bench.SendAsync(b, "reject");
        await bench.SendAsync(a, "good");
        Assert.That(checks, Is.EqualTo(2), "what was rejected is remembered");
        await bench.SendAsync(a, "bad", "never looked at");
        Assert.That((await a.Completion).Kind, Is.EqualTo(DisconnectKind.Misbehaved));
        Assert.That(bench.Switch.Bans, Has.Length.EqualTo(1));
        await UntilAsync(() => Received(b).Contains("good"), cancellationToken);
        Assert.That(Received(b), Is.EqualTo(new[] { "good" }));
        Assert.That(checks, Is.EqualTo(3));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_check_that_throws_stops_the_peer_and_the_transaction_may_come_from_another(CancellationToken cancellationToken)
    {
        bool isBroken = true;
        await using RelayBench bench = await RelayBench.StartAsync(Quick with
        {
            Check = (_, _) => isBroken ? throw new InvalidOperationException("broken") : ValueTask.FromResult(MempoolVerdict.Accept),
        });
        TestPeer a = await bench.ConnectPlainAsync();
        TestPeer b = await bench.ConnectPlainAsync();
        await bench.SendAsync(a, "tx");
        Assert.That((await a.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.ReactorFailed));
        isBroken = false;
        await bench.SendAsync(b, "tx");
        Assert.That(bench.Relay.Status.Accepted, Is.EqualTo(1));
    }

    [Test, CancelAfter(30_000)]
    public async Task Only_so_many_checks_run_at_once(CancellationToken cancellationToken)
    {
        int running = 0;
        int most = 0;
        using SemaphoreSlim gate = new(0);
        await using RelayBench bench = await RelayBench.StartAsync(Quick with
        {
            MaxConcurrentChecks = 2,
            Check = async (_, token) =>
            {
                int now = Interlocked.Increment(ref running);
                InterlockedMax(ref most, now);
                await gate.WaitAsync(token);
                Interlocked.Decrement(ref running);
                return MempoolVerdict.Accept;
            },
        });
        List<Task> sending = [];
        for (int i = 0; i < 6; i++)
        {
            sending.Add(bench.SendAsync(await bench.ConnectPlainAsync(), $"{i}"));
        }

        await UntilAsync(() => Volatile.Read(ref running) == 2, cancellationToken);
        gate.Release(6);
        await Task.WhenAll(sending).WaitAsync(cancellationToken);
        Assert.That(most, Is.EqualTo(2));
    }

    private static IEnumerable<TestCaseData> Violations()
    {
        yield return new TestCaseData(Message("").ToByteArray(), "0 bytes").SetArgDisplayNames("empty transaction");
        yield return new TestCaseData(Message(new string('x', 101)).ToByteArray(), "101 bytes").SetArgDisplayNames("too large");
        yield return new TestCaseData(Message([.. Enumerable.Range(0, 11).Select(i => $"{i}")]).ToByteArray(), "more than 10").SetArgDisplayNames("too many");
        yield return new TestCaseData(Array.Empty<byte>(), "no transactions").SetArgDisplayNames("no kind");
        yield return new TestCaseData(new byte[] { 0x0a, 0x00 }, "no transactions").SetArgDisplayNames("none");
        yield return new TestCaseData(new byte[] { 0x0a, 0x05, 0x0a, 0x7f, 1, 2, 3 }, "no transactions").SetArgDisplayNames("cut");
    }

    [TestCaseSource(nameof(Violations)), CancelAfter(30_000)]
    public async Task Who_sends_what_may_not_be_is_stopped(byte[] message, string why, CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { MaxTransactionBytes = 100, MaxReceivedTransactions = 10 });
        TestPeer peer = await bench.ConnectPlainAsync();
        await bench.Switch.ReceiveAsync(peer, StandardChannels.Mempool, message);
        DisconnectReason reason = await peer.Completion.WaitAsync(cancellationToken);
        Assert.That(reason.Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
        Assert.That(reason.Message, Does.Contain(why));
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_sends_the_same_again_and_again_is_banned_and_who_sends_what_others_sent_is_not(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { MaxRepeats = 5, TimeProvider = time });
        TestPeer honest = await bench.ConnectPlainAsync();
        TestPeer flooder = await bench.ConnectPlainAsync();
        string[] some = [.. Enumerable.Range(0, 5).Select(i => $"{i}")];
        await bench.SendAsync(flooder, some);
        await bench.SendAsync(honest, some);
        await bench.SendAsync(flooder, some);
        time.Advance(TimeSpan.FromMinutes(1));
        await bench.SendAsync(flooder, some);
        Assert.That(flooder.Stopped.IsCancellationRequested, Is.False, "so many a minute");
        await bench.SendAsync(flooder, some[0]);
        Assert.That((await flooder.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.Misbehaved));
        Assert.That(honest.Stopped.IsCancellationRequested, Is.False);
    }

    [Test, CancelAfter(30_000)]
    public async Task What_one_announced_and_did_not_send_is_asked_of_another(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { TimeProvider = time });
        TestPeer silent = await bench.Switch.ConnectAsync();
        TestPeer other = await bench.Switch.ConnectAsync();
        await bench.AnnounceAsync(silent, "tx");
        await UntilAsync(() => Answers(silent).Count == 1, cancellationToken);
        await bench.AnnounceAsync(other, "tx");
        await UntilAsync(() => Answers(other).Count == 1, cancellationToken);
        Assert.That(Answers(silent)[0].Wanted.Span[0], Is.EqualTo(1));
        Assert.That(Answers(other)[0].Wanted.Span[0], Is.Zero);
        while (Asks(other).Count == 0)
        {
            cancellationToken.ThrowIfCancellationRequested();
            time.Advance(TimeSpan.FromSeconds(1));
            await Task.Yield();
        }

        Assert.That(Asks(other)[0], Is.EqualTo(Hashes("tx")));
        await bench.SendAsync(other, "tx");
        Assert.That(bench.Relay.Status, Has.Property("Accepted").EqualTo(1L).And.Property("Requested").EqualTo(0));
    }

    [Test, CancelAfter(30_000)]
    public async Task What_was_asked_of_one_that_left_is_asked_of_another(CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { RequestTimeout = TimeSpan.FromMinutes(1) });
        TestPeer leaving = await bench.Switch.ConnectAsync();
        TestPeer other = await bench.Switch.ConnectAsync();
        await bench.AnnounceAsync(leaving, "tx");
        await bench.AnnounceAsync(other, "tx");
        await bench.Switch.DisconnectAsync(leaving);
        await UntilAsync(() => Asks(other).Count == 1, cancellationToken);
        Assert.That(Asks(other)[0], Is.EqualTo(Hashes("tx")));
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_announces_gets_only_what_it_wants_and_what_it_asks_for_later(CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick);
        TestPeer peer = await bench.Switch.ConnectAsync();
        await bench.Relay.SubmitAsync(Bytes("1"), cancellationToken);
        await UntilAsync(() => peer.SentOn(MempoolRelayReactor.RelayChannel).Count == 1, cancellationToken);
        Assert.That(peer.SentOn(MempoolRelayReactor.RelayChannel)[0].Have, Is.EqualTo(Hashes("1")));
        await bench.Switch.ReceiveAsync(peer, MempoolRelayReactor.RelayChannel, new RelayMessage { Answer = new() { Count = 1, Wanted = ByteString.CopyFrom(0) } });
        await bench.Switch.ReceiveAsync(peer, MempoolRelayReactor.RelayChannel, new RelayMessage { Ask = ByteString.CopyFrom([.. Hashes("2"), .. Hashes("1")]) });
        await UntilAsync(() => Received(peer).Count == 1, cancellationToken);
        Assert.That(Received(peer), Is.EqualTo(new[] { "1" }));
    }

    private static IEnumerable<TestCaseData> RelayViolations()
    {
        yield return new TestCaseData(new RelayMessage()).SetArgDisplayNames("no kind");
        yield return new TestCaseData(new RelayMessage { Have = ByteString.Empty }).SetArgDisplayNames("nothing announced");
        yield return new TestCaseData(new RelayMessage { Have = ByteString.CopyFrom(new byte[33]) }).SetArgDisplayNames("half a hash");
        yield return new TestCaseData(new RelayMessage { Have = ByteString.CopyFrom(new byte[1001 * 32]) }).SetArgDisplayNames("too many announced");
        yield return new TestCaseData(new RelayMessage { Answer = new() { Count = 1, Wanted = ByteString.CopyFrom(0) } }).SetArgDisplayNames("unasked answer");
        yield return new TestCaseData(new RelayMessage { Ask = ByteString.CopyFrom(new byte[31]) }).SetArgDisplayNames("half a hash asked");
    }

    [TestCaseSource(nameof(RelayViolations)), CancelAfter(30_000)]
    public async Task Who_says_what_may_not_be_said_between_relays_is_stopped(RelayMessage message, CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick);
        TestPeer peer = await bench.Switch.ConnectAsync();
        await bench.Switch.ReceiveAsync(peer, MempoolRelayReactor.RelayChannel, message);
        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_announces_more_before_the_answer_is_stopped(CancellationToken cancellationToken)
    {
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { MaxPoolTransactions = 4, MaxHoldBack = TimeSpan.FromMinutes(1) });
        TestPeer peer = await bench.Switch.ConnectAsync();
        await bench.AnnounceAsync(peer, "1", "2", "3");
        await UntilAsync(() => Answers(peer).Count == 1, cancellationToken);
        Assert.That(Answers(peer)[0].Count, Is.EqualTo(2), "half of the pool is for one peer");
        await bench.AnnounceAsync(peer, "3");
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
        await bench.AnnounceAsync(peer, "3");
        Assert.That((await peer.Completion.WaitAsync(cancellationToken)).Message, Does.Contain("before"));
    }

    [Test, CancelAfter(30_000)]
    public async Task Who_reads_what_is_accepted_gets_all_or_the_newest(CancellationToken cancellationToken)
    {
        RelayBench bench = await RelayBench.StartAsync(Quick with { MaxPoolTransactions = 4 });
        IAsyncEnumerable<MempoolTransaction> accepted = bench.Relay.ReadAcceptedAsync(cancellationToken);
        TestPeer peer = await bench.ConnectPlainAsync();
        for (int i = 0; i < 10; i++)
        {
            await bench.SendAsync(peer, $"{i}");
        }

        await bench.DisposeAsync();
        List<MempoolTransaction> read = [];
        await foreach (MempoolTransaction transaction in accepted)
        {
            read.Add(transaction);
        }

        Assert.That(read.Select(transaction => ByteString.CopyFrom(transaction.Data.Span).ToStringUtf8()), Is.EqualTo(new[] { "6", "7", "8", "9" }));
        Assert.That(read[0].From, Is.SameAs(peer));
        Assert.That(read[0].Hash, Is.EqualTo(TransactionHash.Of(read[0].Data.Span)));
        Assert.That(bench.Relay.Status.Unread, Is.EqualTo(6));
    }

    [Test, CancelAfter(30_000)]
    public async Task What_waits_for_a_reader_is_bounded_in_bytes_too_and_nothing_waits_for_one_that_was_cancelled(CancellationToken cancellationToken)
    {
        RelayBench bench = await RelayBench.StartAsync(Quick with { MaxTransactionBytes = 100, MaxPoolBytes = 100 });
        using CancellationTokenSource gone = new();
        IAsyncEnumerable<MempoolTransaction> accepted = bench.Relay.ReadAcceptedAsync(cancellationToken);
        IAsyncEnumerable<MempoolTransaction> never = bench.Relay.ReadAcceptedAsync(gone.Token);
        await gone.CancelAsync();
        TestPeer peer = await bench.ConnectPlainAsync();
        for (int i = 0; i < 10; i++)
        {
            await bench.SendAsync(peer, $"{i}{new string('x', 29)}");
        }

        Assert.That(bench.Relay.Status.Unread, Is.EqualTo(7), "only the one that may still read misses anything");
        await bench.DisposeAsync();
        List<int> read = [];
        await foreach (MempoolTransaction transaction in accepted)
        {
            read.Add(transaction.Data.Span[0] - '0');
        }

        Assert.That(read, Is.EqualTo(new[] { 7, 8, 9 }));
        Assert.That(async () => await never.GetAsyncEnumerator(cancellationToken).MoveNextAsync(), Throws.InstanceOf<OperationCanceledException>());
    }

    [Test, CancelAfter(60_000)]
    public async Task The_recorded_transactions_go_through_each_once(CancellationToken cancellationToken)
    {
        byte[][] messages = [.. Enumerable.Range(1, 3).SelectMany(Recordings.Session).Concat<RecordedMessage>(Recordings.Trace()).Where(message => message.Channel == 0x30).Select(message => message.Bytes)];
        HashSet<string> expected = [.. messages.SelectMany(bytes => StandardChannels.Mempool.Parser.ParseFrom(bytes).Txs.Txs_).Select(tx => tx.ToBase64())];

        // What four peers had sent comes from one here, so that it repeats itself.
        await using RelayBench bench = await RelayBench.StartAsync(Quick with { MaxRepeats = int.MaxValue });
        TestPeer from = await bench.ConnectPlainAsync();
        TestPeer to = await bench.ConnectPlainAsync();
        foreach (byte[] message in messages)
        {
            await bench.Switch.ReceiveAsync(from, StandardChannels.Mempool, message);
        }

        await UntilAsync(() => bench.Relay.Status.Sent == expected.Count, cancellationToken);
        Assert.That(messages, Has.Length.GreaterThan(7_361));
        Assert.That(to.SentOn(StandardChannels.Mempool).SelectMany(message => message.Txs.Txs_).Select(tx => tx.ToBase64()), Is.EquivalentTo(expected));
        Assert.That(Received(from), Is.Empty);
    }

    [Test, CancelAfter(120_000)]
    public async Task However_peers_send_each_gets_each_transaction_once_and_none_that_it_sent_first(CancellationToken cancellationToken) =>
        await Gen.Select(Gen.Int[0, 3], Gen.Int[0, 15]).Array[1, 60].SampleAsync(
            async sends =>
            {
                await using RelayBench bench = await RelayBench.StartAsync(Quick);
                TestPeer[] peers = [.. await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => bench.ConnectPlainAsync()))];
                HashSet<string>[] sent = [[], [], [], []];
                Dictionary<string, int> first = [];
                foreach ((int from, int number) in sends)
                {
                    await bench.SendAsync(peers[from], $"{number}");
                    sent[from].Add($"{number}");
                    first.TryAdd($"{number}", from);
                }

                Assert.That(bench.Relay.Status.Accepted, Is.EqualTo(first.Count));
                for (int i = 0; i < peers.Length; i++)
                {
                    TestPeer peer = peers[i];
                    HashSet<string> own = sent[i];
                    await UntilAsync(() => first.Keys.Except(own).Except(Received(peer)).Any() == false, cancellationToken);
                    IReadOnlyList<string> received = Received(peer);
                    Assert.That(received, Is.Unique);
                    Assert.That(received.Where(tx => first[tx] == i), Is.Empty);
                }
            },
            iter: 50);

    [Test, CancelAfter(120_000)]
    public async Task However_peers_send_come_and_go_the_cache_and_the_pool_keep_to_their_bounds(CancellationToken cancellationToken) =>
        await Gen.Select(Gen.Int[0, 4], Gen.Int[0, 2], Gen.Int[0, 300]).Array[1, 80].SampleAsync(
            async steps =>
            {
                MempoolRelayOptions options = Quick with
                {
                    CacheSize = 5,
                    MaxPoolTransactions = 6,
                    MaxPoolBytes = 40,
                    MaxTransactionBytes = 20,
                    MaxHoldBack = TimeSpan.FromMilliseconds(1),
                    SubmitTimeout = TimeSpan.FromMilliseconds(1),
                    MaxRepeats = 1000,
                };
                await using RelayBench bench = await RelayBench.StartAsync(options);
                TestPeer[] peers = [.. await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => bench.ConnectPlainAsync()))];
                List<Task> running = [];
                foreach ((int kind, int which, int number) in steps)
                {
                    switch (kind)
                    {
                        case 0:
                            peers[which].NextResult = peers[which].NextResult == SendResult.Queued ? SendResult.QueueFull : SendResult.Queued;
                            break;
                        case 1 when number % 5 == 0:
                            await Task.WhenAll(running);
                            await bench.Switch.DisconnectAsync(peers[which]);
                            peers[which] = await bench.ConnectPlainAsync();
                            break;
                        case 2:
                            running.Add(bench.Relay.SubmitAsync(Bytes($"{number}"), cancellationToken).AsTask());
                            break;
                        default:
                            running.Add(bench.SendAsync(peers[which], $"{number}", new string('y', number % 20 + 1)));
                            break;
                    }

                    MempoolRelayStatus status = bench.Relay.Status;
                    Assert.That(status.PoolTransactions, Is.LessThanOrEqualTo(6));
                    Assert.That(status.PoolBytes, Is.LessThanOrEqualTo(40));

                    // Three that are being received, and any number that is being submitted.
                    Assert.That(status.Remembered, Is.LessThanOrEqualTo(5 + 6 + 3 + running.Count(task => !task.IsCompleted)));
                }

                await Task.WhenAll(running).WaitAsync(cancellationToken);
                Assert.That(bench.Relay.Status.Remembered, Is.LessThanOrEqualTo(5 + 6));
            },
            iter: 50);

    [Test]
    public void Limits_that_contradict_each_other_are_explained() =>
        Assert.That(
            () => new MempoolRelayReactor(new MempoolRelayOptions { MaxPoolBytes = 1000 }),
            Throws.ArgumentException.With.Message.Contains("MaxPoolBytes").And.Message.Contains("1000"));

    [Test]
    public void Times_that_no_timer_could_keep_are_refused() =>
        Assert.Multiple(() =>
        {
            Assert.That(() => new MempoolRelayOptions { RequestTimeout = TimeSpan.FromMilliseconds(1) }, Throws.InstanceOf<ArgumentOutOfRangeException>().With.Message.Contains("RequestTimeout is 10 ms to 1 h"));
            Assert.That(() => new MempoolRelayOptions { MaxHoldBack = TimeSpan.MaxValue }, Throws.InstanceOf<ArgumentOutOfRangeException>().With.Message.Contains("at most 1 day"));
            Assert.That(() => new MempoolRelayOptions { SubmitTimeout = Timeout.InfiniteTimeSpan }, Throws.InstanceOf<ArgumentOutOfRangeException>());
        });

    private static void InterlockedMax(ref int most, int value)
    {
        int was = Volatile.Read(ref most);
        while (value > was)
        {
            int seen = Interlocked.CompareExchange(ref most, value, was);
            was = seen == was ? value : seen;
        }
    }
}
