namespace Pipeline.Cli.Tests;

[TestFixture]
public sealed class CommandLineTests
{
    [Test, CancelAfter(30_000)]
    public async Task Help_names_every_command_and_goes_to_the_output(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "--help");

        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Error, Is.Empty);
        Assert.That(run.Output, Does.Contain("pipeline").And.Contain("dial"));
    }

    [Test, CancelAfter(30_000)]
    public async Task The_version_is_that_of_the_build(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "--version");

        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output.Trim(), Does.StartWith(typeof(CommandLine).Assembly.GetName().Version!.ToString(3)));
    }

    [TestCase(new string[0], "Required command")]
    [TestCase(new[] { "dail" }, "'dail'")]
    [TestCase(new[] { "--verbose" }, "'--verbose'")]
    [TestCase(new[] { "dial" }, "ID@HOST:PORT")]
    [TestCase(new[] { "dial", "0123456789012345678901234567890123456789@127.0.0.1:1", "--jsn" }, "--json")]
    [TestCase(new[] { "dial", "0123456789012345678901234567890123456789@127.0.0.1:1", "more" }, "'more'")]
    [CancelAfter(30_000)]
    public async Task Bad_usage_gets_one_line_that_names_it_and_exit_code_2(string[] args, string named, CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, args);

        Assert.That(run.ExitCode, Is.EqualTo(2));
        Assert.That(run.Output, Is.Empty);
        Assert.That(run.ErrorLines, Has.Length.EqualTo(1));
        Assert.That(run.Error, Does.Contain(named).And.Contain("--help"));
    }
}
