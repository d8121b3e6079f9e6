using Google.Protobuf;
using Pipeline.Cli.Demo;
using Pipeline.Cli.Demo.Nodes;
using Pipeline.Cli.Tests.Traces;
using Pipeline.Cli.Traces;
using Pipeline.Protocols.Mempool;

namespace Pipeline.Cli.Tests.Demo;

/// <summary>The check, over a network that breaks what it delivers.</summary>
[TestFixture]
public sealed class DemoRunTests
{
    private static readonly byte[][] Messages = [.. Enumerable.Range(1, 5).Select(Transactions)];

    [Test, CancelAfter(30_000)]
    public async Task What_is_delivered_as_it_was_sent_passes(CancellationToken cancellationToken)
    {
        DemoSummary summary = await RunAsync((_, data) => [data], cancellationToken);

        Assert.That(summary.ExitCode, Is.Zero);
        Assert.That(await TextAsync(summary), Does.Contain("Check passed: all 5 messages arrived"));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_lost_message_fails_the_check_when_nothing_comes_any_more(CancellationToken cancellationToken)
    {
        DemoSummary summary = await RunAsync((number, data) => number == 2 ? [] : [data], cancellationToken);

        await AssertFailsAsync(summary, received: 4, outOfOrder: 0, corrupt: 0, "4 of 5 messages arrived", "Nothing has arrived for", "the first is number 3");
    }

    [Test, CancelAfter(30_000)]
    public async Task A_changed_message_fails_the_check(CancellationToken cancellationToken)
    {
        DemoSummary summary = await RunAsync((number, data) => number == 2 ? [Transactions(9)] : [data], cancellationToken);

        await AssertFailsAsync(summary, received: 5, outOfOrder: 0, corrupt: 1, "1 corrupt", "0x30 mempool: message 3 of 5", "changed from 0x03 to 0x09");
    }

    [Test, CancelAfter(30_000)]
    public async Task A_message_that_overtakes_another_fails_the_check(CancellationToken cancellationToken)
    {
        byte[] held = [];
        DemoSummary summary = await RunAsync(Swap, cancellationToken);

        await AssertFailsAsync(summary, received: 5, outOfOrder: 1, corrupt: 0, "1 out of order", "message 3 of 5 came after message 4 of 5");

        IEnumerable<byte[]> Swap(int number, byte[] data)
        {
            held = number == 2 ? data : held;
            return number switch
            {
                2 => [],
                3 => [data, held],
                _ => [data],
            };
        }
    }

    [Test, CancelAfter(30_000)]
    public async Task A_message_that_comes_twice_fails_the_check(CancellationToken cancellationToken)
    {
        DemoSummary summary = await RunAsync((number, data) => number == 2 ? [data, data] : [data], cancellationToken);

        await AssertFailsAsync(summary, received: 6, outOfOrder: 0, corrupt: 1, "message 3 of 5 came again");
    }

    [Test, CancelAfter(30_000)]
    public async Task A_peer_that_leaves_while_it_sends_fails_the_check_with_the_reason(CancellationToken cancellationToken)
    {
        DemoSummary summary = await RunAsync((_, data) => [data], cancellationToken, departsAfter: 3);

        await AssertFailsAsync(summary, received: 3, outOfOrder: 0, corrupt: 0, "3 of 5 messages arrived", "The peer is gone.");
    }

    [Test, CancelAfter(30_000)]
    public async Task A_peer_that_leaves_after_it_has_sent_fails_the_check_at_once(CancellationToken cancellationToken)
    {
        BrokenNetwork? network = null;
        DemoRun run = Make((number, data) => number == 4 ? [] : [data], n => network = n, patience: TimeSpan.FromHours(1));
        Task<DemoSummary> running = run.RunAsync(cancellationToken);
        network!.Depart();

        await AssertFailsAsync(await running, received: 4, outOfOrder: 0, corrupt: 0, "4 of 5 messages arrived", "The peer is gone.");
        Assert.That(network.IsDisposed, Is.True);
    }

    [Test, CancelAfter(30_000)]
    public async Task An_interrupted_run_is_no_failure_but_what_came_wrong_until_then_is(CancellationToken cancellationToken)
    {
        DemoSummary partial = await InterruptAsync((number, data) => number == 4 ? [] : [data], cancellationToken);
        DemoSummary wrong = await InterruptAsync((number, data) => number == 4 ? [] : number == 0 ? [Transactions(9)] : [data], cancellationToken);

        Assert.That(partial.ExitCode, Is.EqualTo(130));
        Assert.That(await TextAsync(partial), Does.Contain("Interrupted: 4 of 5 messages had arrived, in order and byte-identical."));
        await AssertFailsAsync(wrong, received: 4, outOfOrder: 0, corrupt: 1, "changed from 0x01 to 0x09");
    }

    [Test, CancelAfter(30_000)]
    public async Task Json_stays_one_object_when_the_check_fails_and_the_error_says_why(CancellationToken cancellationToken)
    {
        DemoSummary summary = await RunAsync((number, data) => number == 2 ? [Transactions(9)] : [data], cancellationToken);
        using StringWriter output = new();
        using StringWriter error = new();

        await summary.WriteAsync(new CommandHost(output, error, Terminal: null), json: true);

        Assert.That(output.ToString(), Does.StartWith("""{"nodes":3,"messages_expected":5,"messages_received":5,"""));
        Assert.That(output.ToString(), Does.Contain("\"out_of_order\":0,\"corrupt\":1,").And.EndsWith("}]}\n"));
        Assert.That(error.ToString(), Does.StartWith("Check failed: 5 of 5 messages arrived, 0 out of order and 1 corrupt."));
    }

    private static byte[] Transactions(int content) =>
        new Message { Txs = new Txs { Txs_ = { ByteString.CopyFrom((byte)content) } } }.ToByteArray();

    private static Task<DemoSummary> RunAsync(BrokenNetwork.Delivery deliver, CancellationToken cancellationToken, int departsAfter = int.MaxValue) =>
        Make(deliver, patience: TimeSpan.FromMilliseconds(50), departsAfter: departsAfter).RunAsync(cancellationToken);

    private static async Task<DemoSummary> InterruptAsync(BrokenNetwork.Delivery deliver, CancellationToken cancellationToken)
    {
        using CancellationTokenSource interrupt = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        DemoRun run = Make(InterruptAtLast, patience: TimeSpan.FromHours(1));
        return await run.RunAsync(interrupt.Token);

        IEnumerable<byte[]> InterruptAtLast(int number, byte[] data)
        {
            if (number == Messages.Length - 1)
            {
                interrupt.Cancel();
            }

            return deliver(number, data);
        }
    }

    private static DemoRun Make(
        BrokenNetwork.Delivery deliver,
        Action<BrokenNetwork>? started = null,
        TimeSpan patience = default,
        int departsAfter = int.MaxValue)
    {
        TraceBytes bytes = new();
        foreach (byte[] message in Messages)
        {
            bytes.Record(100, 1, 0x30, message);
        }

        Trace trace = Trace.Read(new MemoryStream(bytes.Plain), "made", StandardMessages.Channels, StandardMessages.FindFault);
        return new DemoRun(trace, new ReplayPace(ReplayPace.Max, Duration: null), TimeProvider.System)
        {
            Patience = patience,
            Start = (_, arrived, _) =>
            {
                BrokenNetwork network = new(arrived, deliver) { DepartsAfter = departsAfter };
                started?.Invoke(network);
                return Task.FromResult<IDemoNetwork>(network);
            },
        };
    }

    private static async Task AssertFailsAsync(DemoSummary summary, long received, long outOfOrder, long corrupt, params string[] named)
    {
        string text = await TextAsync(summary);
        Assert.That(summary.ExitCode, Is.EqualTo(1));
        Assert.That(summary.End.Total.Counts, Has.Property("Received").EqualTo(received));
        Assert.That(summary.End.Total.Counts, Has.Property("OutOfOrder").EqualTo(outOfOrder).And.Property("Corrupt").EqualTo(corrupt));
        Assert.That(text, Does.Contain("Check failed:"));
        foreach (string part in named)
        {
            Assert.That(text, Does.Contain(part));
        }
    }

    /// <summary>What people see, without the line breaks of a narrow screen.</summary>
    private static async Task<string> TextAsync(DemoSummary summary)
    {
        using StringWriter output = new();
        await summary.WriteAsync(new CommandHost(output, TextWriter.Null, Terminal: null), json: false);
        Assert.That(output.ToString().Split('\n'), Has.All.Length.LessThanOrEqualTo(80));
        return output.ToString().Replace("\n  ", " ", StringComparison.Ordinal);
    }
}
