using System.Globalization;
using CsCheck;
using Pipeline.Dataflow;

namespace Pipeline.Tests.Switching;

/// <summary>
/// The rules of reactor calls and of peer sets under random histories: nodes that dial each other in all ways, reactors that do in each callback
/// whatever a reactor can, a network that parts and breaks, switches that stop in the middle and come back.
/// </summary>
/// <remarks>
/// <para>Seeds: each run has new ones. When a history fails, CsCheck looks for a shorter one, and prints it with its seed:
/// <c>CsCheck_Seed=000… dotnet test --filter HistoryTests</c> runs that history first, then others. A seed gives the same steps, delays and
/// places of faults; what happens at the same moment of the simulated time is up to the threads, so that a failure may need
/// some repetitions.</para>
/// <para>The environment variable <c>PIPELINE_HISTORIES</c> says how many histories are run; 1,500 when there is none.</para>
/// </remarks>
[NonParallelizable]
public sealed class HistoryTests
{
    private const int DefaultHistories = 1500;

    [Test]
    public void Whatever_happens_reactors_are_told_words_of_the_grammar_both_sides_agree_and_nothing_is_left()
    {
        string? wanted = Environment.GetEnvironmentVariable("PIPELINE_HISTORIES");
        int histories = wanted is null ? DefaultHistories : int.Parse(wanted, CultureInfo.InvariantCulture);
        HistoryTally tally = new();
        History.Any.Sample(
            history =>
            {
                using HistoryRun run = new(history);
                run.Execute();
                tally.Add(run.Tally);
            },
            iter: histories,
            threads: 1,
            print: history => history.ToString());
        TestContext.Out.WriteLine(tally);

        // They hold what they are for.
        Assert.That(tally.Histories, Is.GreaterThanOrEqualTo(histories));
        Assert.That(tally.Added, Is.GreaterThan(histories));
        Assert.That(tally.GivenUp, Is.GreaterThan(histories / 20));
        Assert.That(tally.CameBack, Is.GreaterThan(histories / 2));
        Assert.That(tally.MostAddsAtOnce, Is.GreaterThan(1));
        Assert.That(
            tally.Reasons.Keys,
            Is.SupersetOf([DisconnectKind.RemoteClosed, DisconnectKind.ConnectionLost, DisconnectKind.ProtocolViolation, DisconnectKind.ReactorFailed, DisconnectKind.Misbehaved, DisconnectKind.Banned, DisconnectKind.Stopped, DisconnectKind.SwitchStopped]));
    }

    // A dial is done after several times the latency, of which the other comes before, within and after each.
    [Test]
    public void Dials_that_cross_leave_one_connection_however_long_one_comes_after_the_other([Values(0, 1)] int first)
    {
        Step dial = new(StepKind.Dial, first, 1, 0, default, default, 0);
        for (int milliseconds = 0; milliseconds <= 60; milliseconds++)
        {
            Connect(latency: 10, dial, dial with { Kind = StepKind.Advance, Milliseconds = milliseconds }, dial with { Node = 1 - first });
        }
    }

    [Test]
    public void Dials_at_the_same_moment_leave_one_connection([Values(0, 10)] int latency)
    {
        for (int i = 0; i < 100; i++)
        {
            Connect(latency, new Step(StepKind.CrossingDials, i, 1, 0, default, default, 0));
        }
    }

    private static void Connect(int latency, params Step[] steps)
    {
        History history = new(2, Seed: 0, latency, FaultLevel.None, IsMesh: false, HistoryEnd.Released, steps);
        using HistoryRun run = new(history);
        run.Execute();
        Assert.That(run.Tally.Pairs, Is.EqualTo(1), history.ToString());
    }
}
