using System.Text.Json;
using Pipeline.Cryptography;

namespace Pipeline.Cli.Tests.Commands;

/// <summary>The commands that need no more than a home folder.</summary>
[TestFixture]
public sealed class NodeCommandTests
{
    private string _folder = "";
    private Dictionary<string, string> _environment = [];

    private string Home => Path.Combine(_folder, "home");

    private string ConfigurationFile => Path.Combine(Home, "config", "config.toml");

    private string KeyFile => Path.Combine(Home, "config", "node_key.json");

    [SetUp]
    public void MakeFolder()
    {
        _folder = Directory.CreateTempSubdirectory("pipeline-home-").FullName;
        _environment = new() { ["PIPELINE_HOME"] = Home };
    }

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [Test, CancelAfter(30_000)]
    public async Task A_new_home_has_a_configuration_and_a_key_of_its_owners_own(CancellationToken cancellationToken)
    {
        Run run = await RunAsync(cancellationToken, "init", "--network", "chain-1", "--moniker", "alice");

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        using NodeKey key = NodeKey.Load(KeyFile);
        Assert.That(
            run.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries),
            Is.EqualTo(new[] { $"Made     {ConfigurationFile}", $"Made     {KeyFile}", $"Node id  {key.Id}", "Network  chain-1" }));
        Assert.That(File.ReadAllText(ConfigurationFile), Does.Contain("\nmoniker = \"alice\"\n").And.Contain("\nnetwork = \"chain-1\"\n"));
        Assert.That(Directory.GetFiles(Path.Combine(Home, "config")), Has.Length.EqualTo(2), "nothing temporary is left");
        if (!OperatingSystem.IsWindows())
        {
            Assert.That(File.GetUnixFileMode(KeyFile), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
            Assert.That(File.GetUnixFileMode(Home), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute));
        }
    }

    [Test, CancelAfter(30_000)]
    public async Task What_a_home_has_already_stays_as_it_is(CancellationToken cancellationToken)
    {
        await RunAsync(cancellationToken, "init", "--network", "chain-1");
        string before = File.ReadAllText(ConfigurationFile) + File.ReadAllText(KeyFile);

        Run again = await RunAsync(cancellationToken, "init");
        Run other = await RunAsync(cancellationToken, "init", "--network", "chain-2", "--json");

        Assert.That(again, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        Assert.That(again.Output, Does.Contain($"Kept     {ConfigurationFile}, which was there").And.Contain($"Kept     {KeyFile}, which was there"));
        Assert.That(other.ExitCode, Is.Zero);
        Assert.That(other.ErrorLines.Single(), Does.Contain("was not written"));
        JsonElement json = JsonElement.Parse(other.Output);
        Assert.That((json.GetProperty("config_file_made").GetBoolean(), json.GetProperty("node_key_made").GetBoolean()), Is.EqualTo((false, false)));
        Assert.That(File.ReadAllText(ConfigurationFile) + File.ReadAllText(KeyFile), Is.EqualTo(before));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_home_that_lacks_its_key_gets_one_where_its_configuration_says(CancellationToken cancellationToken)
    {
        WriteConfiguration("node_key_file = 'keys/node.json'\nnetwork = 'n'");

        Run run = await RunAsync(cancellationToken, "init", "--json");

        using NodeKey key = NodeKey.Load(Path.Combine(Home, "keys", "node.json"));
        JsonElement json = JsonElement.Parse(run.Output);
        Assert.That(json.GetProperty("id").GetString(), Is.EqualTo(key.Id.ToString()));
        Assert.That((json.GetProperty("config_file_made").GetBoolean(), json.GetProperty("node_key_made").GetBoolean()), Is.EqualTo((false, true)));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_home_that_cannot_be_made_is_bad_usage(CancellationToken cancellationToken)
    {
        File.WriteAllText(Path.Combine(_folder, "file"), "");

        Run file = await RunAsync(cancellationToken, "init", "--home", Path.Combine(_folder, "file"));
        Run below = await RunAsync(cancellationToken, "init", "--home", Path.Combine(_folder, "file", "home"));

        Assert.That(file, Has.Property("ExitCode").EqualTo(2).And.Property("Output").Empty);
        Assert.That(file.ErrorLines.Single(), Does.Contain("is a file"));
        Assert.That(below, Has.Property("ExitCode").EqualTo(2).And.Property("Output").Empty);
        Assert.That(below.ErrorLines.Single(), Does.Contain("cannot be made"));
    }

    [Test, CancelAfter(30_000)]
    public async Task A_node_id_is_printed_alone(CancellationToken cancellationToken)
    {
        await RunAsync(cancellationToken, "init");
        using NodeKey key = NodeKey.Load(KeyFile);

        Run text = await RunAsync(cancellationToken, "show-node-id");
        Run json = await RunAsync(cancellationToken, "--json", "show-node-id");

        Assert.That(text, Is.EqualTo(new Run(0, key.Id + Environment.NewLine, "")));
        Assert.That(JsonElement.Parse(json.Output).GetProperty("id").GetString(), Is.EqualTo(key.Id.ToString()));
    }

    [TestCase(null, "pipeline init")]
    [TestCase("{}", "priv_key")]
    [CancelAfter(30_000)]
    public async Task A_key_that_is_missing_or_damaged_is_bad_usage(string? content, string named, CancellationToken cancellationToken)
    {
        if (content is not null)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(KeyFile)!);
            File.WriteAllText(KeyFile, content);
        }

        Run run = await RunAsync(cancellationToken, "show-node-id");

        Assert.That(run, Has.Property("ExitCode").EqualTo(2).And.Property("Output").Empty);
        Assert.That(run.ErrorLines.Single(), Does.Contain(KeyFile).And.Contain(named));
    }

    [Test, CancelAfter(30_000)]
    public async Task The_configuration_is_shown_with_where_it_came_from(CancellationToken cancellationToken)
    {
        WriteConfiguration("moniker = \"a\"\n[p2p]\nseeds = ''\n");
        _environment["PIPELINE_P2P_SEND_RATE"] = "7";

        Run run = await RunAsync(cancellationToken, "config", "show", "--network", "n", "--p2p.seed_mode", "--p2p.addr_book_strict=false", "--log_level", "debug");

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        string[] rows = [.. run.Output.Split('\n').Select(line => string.Join(' ', line.Split(' ', StringSplitOptions.RemoveEmptyEntries)))];
        Assert.That(
            rows,
            Is.SupersetOf(new[]
            {
                "KEY VALUE FROM", $"moniker a {ConfigurationFile}:1", "network n --network", "log_level debug --log_level", $"p2p.seeds - {ConfigurationFile}:3",
                "p2p.send_rate 7 PIPELINE_P2P_SEND_RATE", "p2p.recv_rate 5120000 default", "p2p.seed_mode true --p2p.seed_mode", "p2p.addr_book_strict false --p2p.addr_book_strict",
            }));
    }

    [Test, CancelAfter(30_000)]
    public async Task Without_a_file_the_defaults_are_shown_and_said_to_be_them(CancellationToken cancellationToken)
    {
        Run text = await RunAsync(cancellationToken, "config", "show");
        Run json = await RunAsync(cancellationToken, "config", "show", "--json");

        Assert.That(text.ExitCode, Is.Zero);
        Assert.That(text.ErrorLines, Has.Length.EqualTo(2));
        Assert.That(text.Error, Does.Contain($"no file {ConfigurationFile}").And.Contain("The network is not known"));
        Assert.That(json, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        JsonElement shown = JsonElement.Parse(json.Output);
        Assert.That(shown.GetProperty("config_file_exists").GetBoolean(), Is.False);
        Assert.That(shown.GetProperty("network_problem").GetString(), Does.Contain("--network"));
        Assert.That(shown.GetProperty("values").EnumerateArray().Select(value => value.GetProperty("source").GetString()), Is.All.EqualTo("default"));
    }

    [Test, CancelAfter(30_000)]
    public async Task All_that_is_wrong_with_a_configuration_is_bad_usage_in_a_line_each(CancellationToken cancellationToken)
    {
        WriteConfiguration("[p2p]\nsend_rate = \"fast\"\n");
        _environment["PIPELINE_P2P_PEX"] = "maybe";

        Run run = await RunAsync(cancellationToken, "config", "show", "--moniker", "");

        Assert.That(run, Has.Property("ExitCode").EqualTo(2).And.Property("Output").Empty);
        Assert.That(
            run.ErrorLines.Select(line => line[..line.IndexOf(" is ", StringComparison.Ordinal)]),
            Is.EqualTo(new[] { "--moniker", $"{ConfigurationFile}:2: p2p.send_rate", "PIPELINE_P2P_PEX" }));
    }

    [Test, CancelAfter(30_000)]
    public async Task Warnings_do_not_keep_a_command_from_running(CancellationToken cancellationToken)
    {
        WriteConfiguration("monicker = 'a'\nnetwork = 'n'\n");

        Run text = await RunAsync(cancellationToken, "config", "show");
        Run json = await RunAsync(cancellationToken, "config", "show", "--json");

        Assert.That(text.ExitCode, Is.Zero);
        Assert.That(text.ErrorLines, Is.EqualTo(new[] { $"Warning: {ConfigurationFile}:1: monicker is not known and has no effect; did you mean moniker?" }));
        Assert.That(JsonElement.Parse(json.Output).GetProperty("warnings").GetArrayLength(), Is.EqualTo(1));
    }

    private Task<Run> RunAsync(CancellationToken cancellationToken, params string[] args) => Run.CommandAsync(_environment, cancellationToken, args);

    private void WriteConfiguration(string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(ConfigurationFile)!);
        File.WriteAllText(ConfigurationFile, text);
    }
}
