using Microsoft.Extensions.Time.Testing;
using Pipeline.Cli.Syncing;
using Pipeline.Cryptography;
using Pipeline.Protocols.BlockSync;
using Spectre.Console;

namespace Pipeline.Cli.Tests.Syncing;

[TestFixture]
public sealed class SyncViewTests
{
    private static readonly NodeId Peer = NodeId.Parse(new string('a', 40));

    // 400 of 1,000 blocks were there before, and half of the others are verified.
    private static readonly BlockSyncProgress Half = new(Height: 700, Target: 1_000, Verified: 300, BlocksPerSecond: 0.04, Peers: 3, Asked: 20, Buffered: 1_234_567);

    [Test]
    public void The_bar_shows_what_part_of_this_sync_is_done_and_what_is_left() =>
        Assert.That(SyncBar.Of(Half, 80).Split('\n'), Is.EqualTo(
        [
            new string('━', 29) + new string('─', 30) + "  50 %  02:05:00 left",
            "block 700 of 1000, 0 blocks/s, 3 peers, 20 asked for, 1.23 MB waiting",
        ]));

    [Test]
    public void When_all_is_done_nothing_is_left() =>
        Assert.That(SyncBar.Of(Half with { Height = 1_000, Verified = 600 }, 80), Does.StartWith(new string('━', 59) + " 100 %\n"));

    [Test]
    public void One_block_before_the_end_it_is_not_yet_all() =>
        Assert.That(SyncBar.Of(Half with { Height = 999, Verified = 599, BlocksPerSecond = 1 }, 80), Does.StartWith(new string('━', 58) + "─  99 %  00:00:01 left\n"));

    [Test]
    public void While_it_is_not_known_what_the_peers_have_there_is_no_percentage()
    {
        string bar = SyncBar.Of(default, 80);

        Assert.That(bar, Does.StartWith(new string('─', 59) + " asking the peers\n").And.Not.Contain("%").And.Contain("block 0 of ?"));
    }

    [TestCase(0)]
    [TestCase(0.0001)]
    public void How_long_a_sync_takes_that_stands_still_is_not_known(double rate) =>
        Assert.That(SyncBar.Of(Half with { BlocksPerSecond = rate }, 80), Does.Contain(" 50 %  --:--:-- left\n"));

    [Test]
    public void A_store_that_has_all_needs_no_bar() =>
        Assert.That(SyncBar.Of(new BlockSyncProgress(Height: 0, Target: 1_000, Verified: 0, 0, 1, 0, 0) with { Height = 1_000 }, 80), Does.StartWith(new string('─', 59) + "\n"));

    [TestCase(1)]
    [TestCase(10)]
    [TestCase(40)]
    [TestCase(80)]
    [TestCase(300)]
    public void No_line_is_longer_than_the_screen(int width)
    {
        BlockSyncProgress huge = new(Height: long.MaxValue - 1, Target: long.MaxValue, Verified: 1, 1_000_000, 1_000_000, 1_000_000, long.MaxValue);

        Assert.That(SyncBar.Of(huge, width).Split('\n'), Has.Length.EqualTo(2).And.All.Length.LessThanOrEqualTo(width));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_terminal_shows_the_bar_and_the_faults_of_peers_as_long_as_it_syncs(CancellationToken cancellationToken)
    {
        using StringWriter screen = new();
        IAnsiConsole terminal = AnsiConsole.Create(new AnsiConsoleSettings { Out = new Screen(screen, 120, 24), Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors });
        FakeTimeProvider time = new();
        SyncView view = new(new CommandHost(TextWriter.Null, TextWriter.Null, terminal), isJson: false, time);
        TaskCompletionSource syncing = new();
        int read = 0;
        TaskCompletionSource redrawn = new(TaskCreationOptions.RunContinuationsAsynchronously);

        Task showing = view.ShowAsync(syncing.Task, Read);
        view.Tell(new BlockSyncFault(Peer, IsLie: true, "It sent \u001b[2J[bold]."));
        while (!redrawn.Task.IsCompleted)
        {
            // The view may not have begun to wait yet.
            cancellationToken.ThrowIfCancellationRequested();
            time.Advance(TimeSpan.FromMilliseconds(200));
            await Task.Yield();
        }

        syncing.SetResult();
        await showing.WaitAsync(cancellationToken);

        Assert.That(screen.ToString(), Does.Contain(" 50 %  02:05:00 left").And.Contain("3 peers"));
        Assert.That(screen.ToString(), Does.Contain($"{Peer} lied and is banned: It sent \\u001b[2J[bold]."));

        BlockSyncProgress Read()
        {
            if (++read == 2)
            {
                redrawn.TrySetResult();
            }

            return Half;
        }
    }

    [TestCase(true)]
    [TestCase(false)]
    [CancelAfter(30_000)]
    public async Task Who_tells_of_a_fault_does_not_wait_for_an_output_that_is_stuck(bool isJson, CancellationToken cancellationToken)
    {
        using StuckWriter output = new();
        SyncView view = new(new CommandHost(output, output, Terminal: null), isJson, new FakeTimeProvider());
        TaskCompletionSource syncing = new();
        Task showing = Task.Run(() => view.ShowAsync(syncing.Task, () => Half), cancellationToken);

        view.Tell(new BlockSyncFault(Peer, IsLie: false, "It is slow: \u001b]0;\u0007\u009b31m"));
        view.Tell(Peer, new IOException("It is \u001b[2J away"));
        output.Release();
        syncing.SetResult();
        await showing.WaitAsync(cancellationToken);

        string[] lines = output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.That(lines, Has.Length.EqualTo(2).And.Exactly(1).Contains("slow").And.Exactly(1).Contains("away"));
        Assert.That(string.Concat(lines).Where(char.IsControl), Is.Empty);
    }
}
