using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Sqlite;
using Pipeline.Protocols.Tests.BlockSync;

namespace Pipeline.Cli.Tests.Commands;

/// <summary><c>pipeline sync</c> and <c>pipeline serve</c>, against each other.</summary>
[TestFixture, FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
public sealed class SyncCommandTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("pipeline-sync-").FullName;
    private readonly SignedChain _chain = new(blocks: 120);

    public void Dispose()
    {
        _chain.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Test, CancelAfter(90_000), Platform(Include = "Unix", Reason = "Sends signals with kill(1).")]
    public async Task What_two_nodes_serve_is_synced_row_by_row_and_a_sync_goes_on_where_it_ended(CancellationToken cancellationToken)
    {
        await using RunningCommand first = await ServeAsync("first");
        await using RunningCommand second = await ServeAsync("second");
        string[] peers = [await ReadAddressAsync(first, cancellationToken), await ReadAddressAsync(second, cancellationToken)];
        string genesis = Write("genesis.json", _chain.GenesisJson);
        string[] sync = ["sync", "--peers", string.Join(',', peers), "--store", PathOf("synced.db"), "--genesis", genesis, "--json"];

        Run half = await Run.CommandAsync(cancellationToken, [.. sync, "--to", "50"]);
        Assert.That(half.ExitCode, Is.Zero, half.Error);
        Assert.That(Rows("synced.db", upTo: 1000), Has.Count.EqualTo(50));

        Run whole = await Run.CommandAsync(cancellationToken, sync);
        Assert.That(whole.ExitCode, Is.Zero, whole.Error);
        JsonNode done = JsonNode.Parse(whole.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1])!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That((string?)done["event"], Is.EqualTo("done"));
            Assert.That((long?)done["verified"], Is.EqualTo(69));
            Assert.That(Rows("synced.db", upTo: 1000), Is.EqualTo(Rows("first.db", upTo: 119)));
        }

        Run again = await Run.CommandAsync(cancellationToken, [.. sync[..^1]]);
        Assert.That(again.ExitCode, Is.Zero, again.Error);
        Assert.That(again.Output, Does.Contain("Done: 0 blocks").And.Contain("blocks 1 to 119"));

        await first.SignalAsync("INT", cancellationToken);
        Assert.That((await first.WaitAsync(cancellationToken)).ExitCode, Is.Zero);
    }

    [Test, CancelAfter(60_000)]
    public async Task A_sync_with_other_validators_fails_and_says_what_does_not_fit(CancellationToken cancellationToken)
    {
        using SignedChain other = new(blocks: 1, validators: 5);
        await using RunningCommand served = await ServeAsync("served");
        string peer = await ReadAddressAsync(served, cancellationToken);

        Run run = await Run.CommandAsync(
            cancellationToken,
            "sync", "--peers", peer, "--store", PathOf("synced.db"), "--genesis", Write("other.json", other.GenesisJson), "--timeout", "2s");

        using (Assert.EnterMultipleScope())
        {
            Assert.That(run.ExitCode, Is.EqualTo(ExitCode.Failure));
            Assert.That(run.Error, Does.Contain("are trusted"));
            Assert.That(run.Output, Does.Contain("Ended early: 0 blocks").And.Contain("the store has none"));
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task A_sync_that_is_interrupted_keeps_what_it_has(CancellationToken cancellationToken)
    {
        await using RunningCommand served = await ServeAsync("served");
        string peer = await ReadAddressAsync(served, cancellationToken);
        string genesis = Write("genesis.json", _chain.GenesisJson);

        // More than there is, so that it waits for the rest.
        await using RunningCommand sync = RunningCommand.Start(
            new Dictionary<string, string>(), "sync", "--peers", peer, "--store", PathOf("synced.db"), "--genesis", genesis, "--to", "1000", "--json");
        JsonNode progress;
        do
        {
            progress = JsonNode.Parse((await sync.ReadLineAsync(cancellationToken))!)!;
        }
        while ((long)progress["height"]! < 119);

        await sync.SignalAsync("INT", cancellationToken);
        (int exitCode, string error) = await sync.WaitAsync(cancellationToken);
        Assert.That(exitCode, Is.EqualTo(ExitCode.Interrupted), error);
        Assert.That(Rows("synced.db", upTo: 1000), Is.EqualTo(Rows("served.db", upTo: 119)));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_network_that_is_not_that_of_the_genesis_file_is_refused_and_no_store_is_made(CancellationToken cancellationToken)
    {
        string genesis = Write("genesis.json", _chain.GenesisJson);

        Run run = await Run.CommandAsync(cancellationToken, "sync", "--peers", Peer, "--store", PathOf("synced.db"), "--genesis", genesis, "--network", "another");

        Assert.That(run.ExitCode, Is.EqualTo(ExitCode.Usage));
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1).And.Exactly(1).Contains("--network is 'another'").And.Exactly(1).Contains(_chain.ChainId));
        Assert.That(File.Exists(PathOf("synced.db")), Is.False);
    }

    [Test, CancelAfter(30_000)]
    public async Task When_no_peer_can_be_reached_no_store_is_made(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "sync", "--peers", Peer, "--store", PathOf("synced.db"), "--genesis", Write("genesis.json", _chain.GenesisJson));

        Assert.That(run.ExitCode, Is.EqualTo(ExitCode.Failure));
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1).And.Exactly(1).Contains("cannot be reached"));
        Assert.That(File.Exists(PathOf("synced.db")), Is.False);
    }

    [Test, CancelAfter(60_000)]
    public async Task A_peer_that_cannot_be_reached_is_named_and_the_others_are_asked(CancellationToken cancellationToken)
    {
        await using RunningCommand served = await ServeAsync("served");
        string peer = await ReadAddressAsync(served, cancellationToken);

        // With more wanted than there is, it is not over before that is said.
        Run run = await Run.CommandAsync(
            cancellationToken,
            "sync", "--peers", $"{Peer},{peer}", "--store", PathOf("synced.db"), "--genesis", Write("genesis.json", _chain.GenesisJson), "--to", "1000", "--timeout", "3s");

        Assert.That(run.ExitCode, Is.EqualTo(ExitCode.Failure));
        Assert.That(run.ErrorLines, Has.Exactly(1).Contains(Peer[..40]).And.Exactly(1).Contains("is not reached, and dialled again"));
        Assert.That(Rows("synced.db", upTo: 1000), Is.EqualTo(Rows("served.db", upTo: 119)));
    }

    [Test, CancelAfter(60_000)]
    public async Task When_the_output_breaks_the_sync_ends_and_its_store_can_be_used(CancellationToken cancellationToken)
    {
        await using RunningCommand served = await ServeAsync("served");
        string peer = await ReadAddressAsync(served, cancellationToken);
        using BrokenWriter output = new();
        using StringWriter error = new();
        using CommandHost host = new(output, error, Terminal: null);

        int exitCode = await CommandLine.RunAsync(
            ["sync", "--peers", peer, "--store", PathOf("synced.db"), "--genesis", Write("genesis.json", _chain.GenesisJson), "--to", "1000", "--json"],
            host,
            cancellationToken);

        Assert.That(exitCode, Is.EqualTo(ExitCode.Failure));
        Assert.That(error.ToString(), Is.EqualTo("The output cannot be written: the disk is full.\n"));
        Assert.That(Rows("synced.db", upTo: 1000), Has.Count.EqualTo(119));
    }

    private sealed class BrokenWriter : StringWriter
    {
        public override Task WriteLineAsync(string? value) => throw new IOException("the disk is full");
    }

    [TestCase("--peers names no node", "--peers", ",", "--genesis", "missing.json")]
    [TestCase("--peers names no node", "--peers", " , ,", "--genesis", "missing.json")]
    [TestCase("Blocks cannot be verified without validators", "--peers", Peer)]
    [TestCase("--from 'x' is not a height", "--peers", Peer, "--genesis", "genesis.json", "--from", "x")]
    [TestCase("cannot be read", "--peers", Peer, "--genesis", "missing.json")]
    [TestCase("not-an-address", "--peers", "not-an-address", "--genesis", "missing.json")]
    [CancelAfter(30_000)]
    public async Task A_sync_that_makes_no_sense_is_refused(string reason, string first, string second, string third = "", string fourth = "", string fifth = "", string sixth = "")
    {
        string[] args = [.. ((string[])[first, second, third, fourth, fifth, sixth]).Where(arg => arg.Length > 0)];

        Run run = await Run.CommandAsync(CancellationToken.None, ["sync", "--store", PathOf("synced.db"), .. args]);

        Assert.That(run.ExitCode, Is.EqualTo(ExitCode.Usage));
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1).And.Exactly(1).Contains(reason));
        Assert.That(File.Exists(PathOf("synced.db")), Is.False);
    }

    [Test]
    public async Task A_store_that_is_not_there_cannot_be_served()
    {
        Run run = await Run.CommandAsync(CancellationToken.None, "serve", "--home", _folder, "--store", PathOf("missing.db"));

        Assert.That(run.ExitCode, Is.EqualTo(ExitCode.Usage));
        Assert.That(run.Error, Does.Contain("There is no block store"));
    }

    private const string Peer = "0123456789012345678901234567890123456789@127.0.0.1:1";

    private async Task<RunningCommand> ServeAsync(string name)
    {
        using (SqliteBlockStore store = SqliteBlockStore.Open(PathOf($"{name}.db"), _chain.ChainId))
        {
            await _chain.FillAsync<IBlockStore>(store);
        }

        return RunningCommand.Start(
            new Dictionary<string, string>(),
            "serve", "--home", PathOf(name), "--store", PathOf($"{name}.db"), "--json", "--p2p.laddr", "tcp://127.0.0.1:0", "--p2p.allow_duplicate_ip", "true");
    }

    private static async Task<string> ReadAddressAsync(RunningCommand node, CancellationToken cancellationToken) =>
        (string)JsonNode.Parse((await node.ReadLineAsync(cancellationToken))!)!["address"]!;

    private List<string> Rows(string file, long upTo)
    {
        using SqliteConnection connection = new($"Data Source={PathOf(file)};Pooling=False");
        connection.Open();
        using SqliteCommand select = connection.CreateCommand();
        select.CommandText = "SELECT height, hex(hash), part_count, hex(part_hash), hex(block), hex(block_commit) FROM blocks WHERE height <= $to ORDER BY height";
        select.Parameters.AddWithValue("$to", upTo);
        using SqliteDataReader row = select.ExecuteReader();
        List<string> rows = [];
        while (row.Read())
        {
            rows.Add(string.Join(' ', Enumerable.Range(0, row.FieldCount).Select(i => row.GetValue(i).ToString())));
        }

        return rows;
    }

    private string Write(string name, string text)
    {
        File.WriteAllText(PathOf(name), text);
        return PathOf(name);
    }

    private string PathOf(string name) => Path.Combine(_folder, name);
}
