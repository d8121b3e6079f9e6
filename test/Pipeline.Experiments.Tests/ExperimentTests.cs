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
    [TestCase("latency --duration 0.4 --interval 4ms --size 64 --runs 1", "size,interval_ms,sent,recv,p50_us,p90_us,p99_us,max_us", new[] { "arrives" })]
    [TestCase("mempool --transactions 400 --runs 1", "transactions,size,line_txs_s,mesh_txs_s,flood_txs_s", new[] { "exactly once" })]
    [TestCase("shares --priorities 1,3 --duration 0.6", "priorities,worst_deviation_%", new string[0])]
    [TestCase("stall --delay 20 --duration 0.5 --runs 1", "delay_ms,sent,recv,p50_ms,p99_ms,max_ms,pings_answered", new[] { "arrives" })]
    [TestCase("stall --delay never --duration 0.3 --runs 1", "delay_ms,sent,recv,p50_ms,p99_ms,max_ms,pings_answered", new[] { "arrives" })]
    [TestCase("priority --bulk 32Ki --low 2 --high 7 --rate 5M --duration 0.4 --runs 1", "sent,recv,p50_ms,p99_ms,max_ms,bulk_MB_s,bulk_alone_MB_s", new[] { "arrives" })]
    [TestCase("fairness --peers 3 --duration 0.4 --runs 1", "peers,sent,recv,p50_ms,p99_ms,max_ms", new[] { "arrives", "served" })]
    [TestCase("broadcast --size 2Ki --peers 3 --slow 1 --duration 0.3 --runs 1", "size,peers,slow,deliveries_s,MB_s,ratio_beside_slow", new[] { "arrives" })]
    [TestCase("broadcast --peers 2 --duration 0.2 --runs 1", "size,peers,slow,deliveries_s,MB_s", new[] { "arrives" })]
    [TestCase("overload --duration 1", "sent,recv,sender_msgs_s,sender_slow_msgs_s,managed_MiB_max", new[] { "bound", "handled" })]
    [TestCase("policies --duration 0.5", "wait_handled,dropNewest_dropped,dropOldest_dropped,disconnect_sent", new[] { "Wait", "either", "Disconnect", "holds more" })]
    [TestCase(
        "idle --peers 20 --duration 0.3 --ping-interval 100ms",
        "peers,handshakes_s,KiB_per_end,managed_KiB_per_end,native_KiB_per_end,resident_growth_MiB,resident_MiB,idle_cpu_%,ping_interval_ms",
        new[] { "made", "up after" })]
    [TestCase("blocksync --blocks 30 --size 4Ki --runs 1", "blocks,size,validators,checking_blocks_s,sending_blocks_s,sync_blocks_s,possible_blocks_s,sync_MB_s,share_of_possible_%,share_of_the_lesser_%", new[] { "arrives" })]
    [TestCase("compare --part throughput --size 64,100Ki --total 256Ki --runs 1", "parts,size,senders,total,runs", new[] { "arrives" })]
    [TestCase("compare --part throughput --size 1Ki --senders 3 --total 64Ki --runs 2", "parts,size,senders,total,runs", new[] { "arrives" })]
    [TestCase("scale --part peers --peers 1,5 --duration 0.3", "parts,peers,seconds", new[] { "arrives" })]
    [TestCase("scale --part channels --channels 1,16 --duration 0.2 --runs 1", "parts,channels,runs", new[] { "arrives" })]
    [TestCase("scale --part senders,sizes --senders 1,5 --size 64,20Mi --total 256Ki --runs 1", "parts,senders,size,total,runs", new[] { "arrives" })]
    [TestCase(
        "eclipse --rounds 60 --runs 1 --duration 3s",
        "attackers,honest,own_book_picks_%,own_list_picks_%,invented_book_picks_%,invented_list_picks_%,live_honest_outbound,live_attackers_inbound,rounds,runs",
        new[] { "Its own", "What it makes up", "old buckets", "With a list" })]
    [TestCase(
        "flood --connections 300 --duration 0.3",
        "connections,made,before_p99_ms,sink_p99_ms,p50_ms,p99_ms,before_MB_s,MB_s,newcomer_max_ms,resident_MiB_max,open_max,open_after,close_wait_after",
        new[] { "of the floods is made", "arrives", "more than before", "never more", "left", "CLOSE_WAIT" },
        IncludePlatform = "Linux")]
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

    [Test, CancelAfter(60_000)]
    public async Task A_promise_that_does_not_hold_gives_exit_code_1(CancellationToken cancellationToken)
    {
        // At this rate the sender may go on every 50 ms only, so what is sent in between waits for longer than is promised.
        Run run = await Run.ProgramAsync(cancellationToken, "priority", "--bulk", "8Ki", "--rate", "200k", "--duration", "0.5", "--runs", "1", "--json");

        Assert.That(run.ExitCode, Is.EqualTo(1), run.Error);
        Assert.That(run.Json.GetProperty("holds").GetBoolean(), Is.False);
        Assert.That(run.Json.GetProperty("p99_ms").GetDouble(), Is.GreaterThan(2));
    }

    [Test, CancelAfter(60_000)]
    public async Task Tables_and_plots_are_written_to_the_folder(CancellationToken cancellationToken)
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("experiments-");
        try
        {
            Run run = await Run.ProgramAsync(cancellationToken, "drain", "--size", "64,1Ki", "--total", "128Ki", "--runs", "2", "--out", Path.Combine(folder.FullName, "new"));

            Assert.That(run.ExitCode, Is.Zero, run.Error);
            Assert.That(run.Output, Does.Contain("msgs/s").And.Contain("holds"));
            string[] lines = await File.ReadAllLinesAsync(Path.Combine(folder.FullName, "new", "drain.csv"), cancellationToken);
            Assert.That(lines[0], Is.EqualTo("size,senders,messages,msgs_s,MB_s"));
            Assert.That(lines[1], Does.StartWith("64,1,2048,"));
            Assert.That(lines[2], Does.StartWith("1024,1,128,"));
            byte[] plot = await File.ReadAllBytesAsync(Path.Combine(folder.FullName, "new", "drain.png"), cancellationToken);
            Assert.That(plot[..4], Is.EqualTo(new byte[] { 0x89, (byte)'P', (byte)'N', (byte)'G' }));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task What_is_compared_stands_beside_the_ceiling_and_the_pipeline(CancellationToken cancellationToken)
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("experiments-");
        try
        {
            Run run = await Run.ProgramAsync(cancellationToken, "compare", "--part", "throughput", "--size", "64,8Ki", "--total", "256Ki", "--runs", "2", "--json", "--out", folder.FullName);

            Assert.That(run.Output, Is.Not.Empty, run.Error);
            JsonElement[] rows = [.. run.Json.GetProperty("tables").GetProperty("compare").EnumerateArray()];
            string[] names = [.. rows.Select(row => row.GetProperty("contender").GetString()!).Distinct()];
            Assert.That(names, Is.SupersetOf(new[] { "pipeline", "pipeline-plain", "ceiling", "plain", "tls-ceiling", "tls", "nerdbank", "grpc" }));
            Assert.That(rows, Has.Length.EqualTo(2 * names.Length));
            foreach (JsonElement row in rows)
            {
                string name = row.GetProperty("contender").GetString()!;
                double bytes = row.GetProperty("msgs_s").GetDouble() * row.GetProperty("size").GetInt32();
                Assert.That(bytes / 1e6, Is.EqualTo(row.GetProperty("MB_s").GetDouble()).Within(1).Percent, name);
                Assert.That(row.GetProperty("of_ceiling").GetDouble(), name == "ceiling" ? Is.EqualTo(1) : Is.Positive, name);
                Assert.That(row.GetProperty("of_pipeline").GetDouble(), name == "pipeline" ? Is.EqualTo(1) : Is.Positive, name);
            }

            // Both runs of each, and no message less than was asked for.
            string[] lines = await File.ReadAllLinesAsync(Path.Combine(folder.FullName, "compare-runs.csv"), cancellationToken);
            Assert.That(lines, Has.Length.EqualTo(1 + (2 * 2 * names.Length)));
            Assert.That(lines.Count(line => line.Contains(",4096,4096,0,", StringComparison.Ordinal)), Is.EqualTo(2 * names.Count(name => !name.EndsWith("ceiling", StringComparison.Ordinal))));
            Assert.That(new FileInfo(Path.Combine(folder.FullName, "compare.png")).Length, Is.Positive);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task Latency_beside_bulk_and_idle_memory_stand_beside_those_of_others(CancellationToken cancellationToken)
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("experiments-");
        try
        {
            Run run = await Run.ProgramAsync(
                cancellationToken,
                "compare", "--part", "latency,idle", "--duration", "0.2", "--runs", "1", "--connections", "100", "--json", "--out", folder.FullName);

            Assert.That(run.Output, Is.Not.Empty, run.Error);
            JsonElement tables = run.Json.GetProperty("tables");
            Assert.That(tables.TryGetProperty("compare", out _), Is.False);
            JsonElement[] latency = [.. tables.GetProperty("latency").EnumerateArray()];
            JsonElement[] idle = [.. tables.GetProperty("idle").EnumerateArray()];
            string[] names = ["pipeline", "tls", "nerdbank", "grpc"];
            Assert.That(latency.Select(row => row.GetProperty("contender").GetString()), Is.EqualTo(names));
            Assert.That(idle.Select(row => row.GetProperty("contender").GetString()), Is.EqualTo(names));
            foreach (JsonElement row in latency)
            {
                Assert.That(row.GetProperty("sent").GetInt64(), Is.Positive, $"{row}");
                Assert.That(row.GetProperty("recv").GetInt64(), Is.EqualTo(row.GetProperty("sent").GetInt64()), $"{row}");
                Assert.That(row.GetProperty("p99_ms").GetDouble(), Is.GreaterThanOrEqualTo(row.GetProperty("p50_ms").GetDouble()).And.Positive, $"{row}");
                Assert.That(row.GetProperty("bulk_MB_s").GetDouble(), Is.Positive, $"{row}");
            }

            Assert.That(idle.Select(row => row.GetProperty("managed_KiB_per_end").GetDouble()), Is.All.GreaterThan(1));
            Assert.That(new FileInfo(Path.Combine(folder.FullName, "compare-latency.png")).Length, Is.Positive);
            Assert.That(new FileInfo(Path.Combine(folder.FullName, "compare-idle.png")).Length, Is.Positive);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task What_grows_has_a_row_for_each_step_and_a_plot_for_each_part(CancellationToken cancellationToken)
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("experiments-");
        try
        {
            Run run = await Run.ProgramAsync(
                cancellationToken,
                "scale", "--peers", "2,4", "--channels", "1,3", "--senders", "1,2", "--size", "100,1Mi", "--total", "64Ki", "--duration", "0.2", "--runs", "1", "--json", "--out", folder.FullName);

            Assert.That(run.ExitCode, Is.Zero, run.Error);
            JsonElement tables = run.Json.GetProperty("tables");
            Assert.That(tables.GetProperty("peers").EnumerateArray().Select(row => (row.GetProperty("peers").GetInt32(), row.GetProperty("recv").GetInt32())), Is.EqualTo(new[] { (2, 4), (4, 8) }));
            Assert.That(tables.GetProperty("channels").EnumerateArray().Select(row => row.GetProperty("channels").GetInt32()), Is.EqualTo(new[] { 1, 3 }));
            Assert.That(tables.GetProperty("senders").EnumerateArray().Select(row => row.GetProperty("messages").GetInt32()), Is.EqualTo(new[] { 64, 64 }));
            Assert.That(tables.GetProperty("sizes").EnumerateArray().Select(row => row.GetProperty("messages").GetInt32()), Is.EqualTo(new[] { 655, 8 }));
            Assert.That(folder.EnumerateFiles("*.png").Select(file => file.Name), Is.EquivalentTo(new[] { "scale-peers.png", "scale-channels.png", "scale-senders.png", "scale-sizes.png" }));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task A_folder_that_cannot_be_made_is_one_line_and_exit_code_1(CancellationToken cancellationToken)
    {
        string file = Path.GetTempFileName();
        try
        {
            Run run = await Run.ProgramAsync(cancellationToken, "drain", "--total", "4Ki", "--runs", "1", "--out", Path.Combine(file, "below"));

            Assert.That(run.ExitCode, Is.EqualTo(1));
            Assert.That(run.ErrorLines[^1], Does.Contain(file));
        }
        finally
        {
            File.Delete(file);
        }
    }
}
