using System.Diagnostics;
using System.Globalization;
using Pipeline.Discovery;
using Pipeline.Experiments.Keeping;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Tests;

/// <summary>A process that writes all the time is killed at any moment, and what it leaves behind is whole.</summary>
[TestFixture]
public sealed class KilledProcessTests
{
    private const int Kills = 100;

    // More than a write takes, so that each part of one is met.
    private const int MaxMillisecondsToLive = 80;

    // Processes at the same time, each with a file of its own: starting one takes longer than what is tested.
    private const int Books = 4;

    [Test, CancelAfter(180_000)]
    public async Task A_book_is_whole_after_its_process_was_killed_a_hundred_times(CancellationToken cancellationToken)
    {
        string folder = Directory.CreateTempSubdirectory("pipeline-").FullName;
        try
        {
            long start = Stopwatch.GetTimestamp();
            Outcome[] outcomes = await Task.WhenAll(Enumerable.Range(0, Books).Select(i => KillAsync(Path.Combine(folder, $"{i}", "addrbook.json"), i, cancellationToken)));
            int killed = outcomes.Sum(outcome => outcome.Killed);
            TestContext.Out.WriteLine(
                $"{killed} processes were killed in {Stopwatch.GetElapsedTime(start).TotalSeconds:0.0} s, {outcomes.Sum(outcome => outcome.InTheMiddle)} of them in the middle of a write,"
                + $" after {outcomes.Sum(outcome => outcome.States)} writes; every file was whole.");
            Assert.That(killed, Is.EqualTo(Kills));
            Assert.That(outcomes.Sum(outcome => outcome.States), Is.GreaterThanOrEqualTo(Kills));
            Assert.That(outcomes.Sum(outcome => outcome.InTheMiddle), Is.Positive, "without any in the middle of a write, nothing is shown");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<Outcome> KillAsync(string path, int seed, CancellationToken cancellationToken)
    {
        Random random = new(seed);
        string folder = Directory.CreateDirectory(Path.GetDirectoryName(path)!).FullName;
        int state = 0;
        int inTheMiddle = 0;
        for (int i = 0; i < Kills / Books; i++)
        {
            int told = await RunAndKillAsync(path, TimeSpan.FromMilliseconds(random.NextDouble() * MaxMillisecondsToLive), cancellationToken);
            string[] leftovers = [.. Directory.GetFiles(folder).Where(file => file != path)];
            Assert.That(leftovers, Has.Length.LessThanOrEqualTo(1).And.All.EndsWith(".tmp"));
            inTheMiddle += leftovers.Length;

            await using (AddressBook book = AddressBook.Open(path))
            {
                Assert.That(book.FileProblem, Is.Null);
                Assert.That((int?)BookKeeper.StateOf(book), Is.EqualTo(told).Or.EqualTo(told + 1), "what was told to be on disk, or the one in the making");
                Assert.That(told, Is.GreaterThan(state), "it went on from what was there");
                state = BookKeeper.StateOf(book)!.Value;
            }

            Assert.That(Directory.GetFiles(folder), Is.EqualTo(new[] { path }));
        }

        return new Outcome(Kills / Books, state, inTheMiddle);
    }

    /// <summary>Lets a process write for a while after its first write, which takes longest, and kills it. The last state that it told to be on disk.</summary>
    private static async Task<int> RunAndKillAsync(string path, TimeSpan time, CancellationToken cancellationToken)
    {
        using Process process = OwnProcess.Start(BookKeeper.CommandName, path);
        try
        {
            string? last = null;
            for (int line = 0; line < 2; line++)
            {
                last = await process.StandardOutput.ReadLineAsync(cancellationToken) ?? throw new InvalidOperationException("The process ended by itself.");
            }

            using PeriodicTimer life = new(time + TimeSpan.FromMilliseconds(1));
            await life.WaitForNextTickAsync(cancellationToken);
            process.Kill();
            while (await process.StandardOutput.ReadLineAsync(cancellationToken) is { } line)
            {
                last = line;
            }

            return int.Parse(last!, CultureInfo.InvariantCulture);
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync(cancellationToken);
        }
    }

    /// <param name="Killed">How many processes were killed.</param>
    /// <param name="States">How many states were written.</param>
    /// <param name="InTheMiddle">How many processes left an unfinished file.</param>
    private sealed record Outcome(int Killed, int States, int InTheMiddle);
}
