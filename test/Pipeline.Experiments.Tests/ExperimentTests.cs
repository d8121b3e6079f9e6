using System.Text.Json;

namespace Pipeline.Experiments.Tests;

/// <summary>
/// Each experiment, for a moment: it gives one JSON object with the figures it is about, and its exit code says what the object says.
/// Whether a promise about time holds is up to the machine, so these tests do not ask for that; what may never break, they do.
/// </summary>
[TestFixture]
public sealed class ExperimentTests
{
    [CancelAfter(60_000)]
    [TestCase("drain --size 64 --senders 2 --total 256Ki --runs 1", "size,senders,msgs_s,MB_s", new[] { "arrives" })]
    [TestCase("drain --size 64,4Ki --total 1Mi --runs 1 --duration 0.5", "size,senders", new[] { "arrives" })]
    [TestCase("shares --priorities 1,3 --duration 0.6", "priorities,worst_deviation_%", new string[0])]
    [TestCase("stall --delay 20 --duration 0.5 --runs 1", "delay_ms,sent,recv,p50_ms,p99_ms,max_ms,pings_answered", new[] { "arrives" })]
    [TestCase("stall --delay never --duration 0.3 --runs 1", "delay_ms,sent,recv,p50_ms,p99_ms,max_ms,pings_answered", new[] { "arrives" })]
    [TestCase("priority --bulk 32Ki --low 2 --high 7 --rate 5M --duration 0.4 --runs 1", "sent,recv,p50_ms,p99_ms,max_ms,bulk_MB_s,bulk_alone_MB_s", new[] { "arrives" })]
    public async Task An_experiment_gives_one_object_with_its_figures(string arguments, string fields, string[] certain, CancellationToken cancellationToken)
    {
        string[] args = arguments.Split(' ');

        Run run = await Run.ProgramAsync(cancellationToken, [.. args, "--json", "--seed", "7"]);

        Assert.That(run.Output, Is.Not.Empty, run.Error);
        JsonElement json = run.Json;
        Assert.That(json.GetProperty("test").GetString(), Is.EqualTo(args[0]));
        foreach (string field in fields.Split(','))
        {
            Assert.That(json.TryGetProperty(field, out JsonElement value), Is.True, field);
            Assert.That(value.ValueKind, Is.Not.EqualTo(JsonValueKind.Null), field);
        }

        bool holds = true;
        foreach (JsonElement promise in json.GetProperty("promises").EnumerateArray())
        {
            holds &= promise.GetProperty("holds").GetBoolean();
            string sentence = promise.GetProperty("promise").GetString()!;
            if (certain.Any(word => sentence.Contains(word, StringComparison.Ordinal)))
            {
                Assert.That(promise.GetProperty("holds").GetBoolean(), Is.True, $"{sentence}: {promise.GetProperty("measured")}");
            }
        }

        Assert.That(json.GetProperty("holds").GetBoolean(), Is.EqualTo(holds));
        Assert.That(run.ExitCode, Is.EqualTo(holds ? 0 : 1));
        Assert.That(run.ErrorLines, Is.Not.Empty, "there is progress while it runs");
    }
}
