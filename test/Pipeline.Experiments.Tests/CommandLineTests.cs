namespace Pipeline.Experiments.Tests;

[TestFixture]
public sealed class CommandLineTests
{
    private static readonly string[] Names = ["drain", "latency", "priority", "shares", "stall", "fairness", "broadcast", "overload", "policies", "idle", "flood", "compare", "scale", "eclipse", "mempool", "blocksync", "all"];

    [Test, CancelAfter(30_000)]
    public async Task Help_names_every_experiment_and_goes_to_the_output(CancellationToken cancellationToken)
    {
        Run run = await Run.ProgramAsync(cancellationToken, "--help");

        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Error, Is.Empty);
        foreach (string name in Names)
        {
            Assert.That(run.Output, Does.Contain($"  {name} "));
        }
    }

    [TestCaseSource(nameof(Names)), CancelAfter(30_000)]
    public async Task Help_of_an_experiment_names_the_common_options(string name, CancellationToken cancellationToken)
    {
        Run run = await Run.ProgramAsync(cancellationToken, name, "--help");

        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output, Does.Contain("--out").And.Contain("--json").And.Contain("--duration").And.Contain("--seed"));
    }

    [TestCase(new string[0], "Required command")]
    [TestCase(new[] { "drian" }, "'drian'")]
    [TestCase(new[] { "drain", "--sizes", "1" }, "'--sizes'")]
    [TestCase(new[] { "drain", "--size", "19" }, "--size '19'")]
    [TestCase(new[] { "drain", "--size", "lots" }, "--size 'lots'")]
    [TestCase(new[] { "drain", "--total", "-5" }, "'-5'")]
    [TestCase(new[] { "latency", "--size", "19" }, "--size '19'")]
    [TestCase(new[] { "latency", "--interval", "0" }, "--interval '0' is not a duration from 1ms to 10s")]
    [TestCase(new[] { "priority", "--low", "101" }, "--low '101'")]
    [TestCase(new[] { "priority", "--runs", "0" }, "--runs '0'")]
    [TestCase(new[] { "priority", "--duration", "0" }, "--duration '0'")]
    [TestCase(new[] { "priority", "--duration" }, "--duration")]
    [TestCase(new[] { "priority", "--seed", "x" }, "--seed 'x'")]
    [TestCase(new[] { "shares", "--priorities", "1" }, "--priorities '1'")]
    [TestCase(new[] { "shares", "--priorities", "1,0" }, "--priorities '1,0'")]
    [TestCase(new[] { "broadcast", "--peers", "3", "--slow", "3" }, "--slow 3")]
    [TestCase(new[] { "broadcast", "--slow", "8" }, "--slow 8")]
    [TestCase(new[] { "fairness", "--peers", "1" }, "--peers '1'")]
    [TestCase(new[] { "overload", "--peers", "1" }, "'--peers'")]
    [TestCase(new[] { "idle", "--peers", "0" }, "--peers '0'")]
    [TestCase(new[] { "idle", "--ping-interval", "1ms" }, "--ping-interval '1ms'")]
    [TestCase(new[] { "flood", "--connections", "0" }, "--connections '0'")]
    [TestCase(new[] { "compare", "--size", "19" }, "--size '19'")]
    [TestCase(new[] { "compare", "--part", "throughput,speed" }, "--part 'throughput,speed' is not a list of some of throughput, latency, idle")]
    [TestCase(new[] { "compare", "--connections", "0" }, "--connections '0'")]
    [TestCase(new[] { "compare", "--senders", "0" }, "--senders '0'")]
    [TestCase(new[] { "scale", "--channels", "17" }, "--channels '17'")]
    [TestCase(new[] { "scale", "--part", "" }, "--part ''")]
    [TestCase(new[] { "all", "--duration", "never" }, "--duration 'never'")]
    [TestCase(new[] { "mempool", "--transactions", "3" }, "--transactions '3'")]
    [TestCase(new[] { "stall", "--delay", "soon" }, "--delay 'soon'")]
    [CancelAfter(30_000)]
    public async Task Bad_usage_gets_one_line_that_names_it_and_exit_code_2(string[] args, string named, CancellationToken cancellationToken)
    {
        Run run = await Run.ProgramAsync(cancellationToken, args);

        Assert.That(run.ExitCode, Is.EqualTo(2));
        Assert.That(run.Output, Is.Empty);
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        Assert.That(run.Error, Does.Contain(named).And.Contain("--help"));
    }

    [TestCase("1024", 1024)]
    [TestCase("64Ki", 65536)]
    [TestCase("64KiB", 65536)]
    [TestCase("5M", 5_000_000)]
    [TestCase("2GB", 2_000_000_000)]
    [TestCase("3B", 3)]
    public void Sizes_have_units_of_1000_and_1024(string text, long bytes) => Assert.That(OptionOf.ParseBytes(text), Is.EqualTo(bytes));

    [TestCase("")]
    [TestCase("Ki")]
    [TestCase("1.5M")]
    [TestCase("-1")]
    [TestCase("99999999999999999999")]
    [TestCase("9999999999999G")]
    public void What_is_no_size_is_none(string text) => Assert.That(OptionOf.ParseBytes(text), Is.Null);

    [TestCase("500ms", 0.5)]
    [TestCase("3s", 3)]
    [TestCase("2m", 120)]
    [TestCase("1.5", 1.5)]
    public void Durations_have_units_and_are_seconds_without(string text, double seconds) =>
        Assert.That(OptionOf.ParseDuration(text)?.TotalSeconds, Is.EqualTo(seconds).Within(1e-9));
}
