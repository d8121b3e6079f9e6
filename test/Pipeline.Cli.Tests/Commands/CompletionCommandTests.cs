using System.Diagnostics;

namespace Pipeline.Cli.Tests.Commands;

[TestFixture]
public sealed class CompletionCommandTests
{
    [TestCase("pipeline con", "config")]
    [TestCase("pipeline config ", "show --json --home --log-level")]
    [TestCase("pipeline config show --p2p.se", "--p2p.seeds --p2p.send_rate --p2p.seed_mode --p2p.seed_disconnect_wait_period")]
    [TestCase("pipeline config show --p2p.pex ", "true false")]
    [TestCase("pipeline demo --log-level e", "error")]
    [TestCase("pipeline completion z", "zsh")]
    [CancelAfter(30_000)]
    public async Task What_may_come_next_is_suggested(string line, string suggestions, CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, $"[suggest:{line.Length}]", line);

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        Assert.That(run.Output.Split('\n'), Is.SupersetOf(suggestions.Split(' ')));
        Assert.That(run.Output, Does.Not.Contain("/h"));
    }

    [TestCase("bash")]
    [TestCase("zsh")]
    [TestCase("fish")]
    [CancelAfter(30_000)]
    public async Task There_is_a_script_for_each_shell(string shell, CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "completion", shell);

        Assert.That(run, Has.Property("ExitCode").Zero.And.Property("Error").Empty);
        Assert.That(run.Output, Does.Contain("[suggest:").And.Contain($"pipeline completion {shell} > "));
    }

    [Test, CancelAfter(30_000)]
    public async Task Another_shell_is_bad_usage(CancellationToken cancellationToken)
    {
        Run run = await Run.CommandAsync(cancellationToken, "completion", "csh");

        Assert.That(run, Has.Property("ExitCode").EqualTo(2).And.Property("Output").Empty);
        Assert.That(run.ErrorLines.Single(), Does.Contain("csh"));
    }

    [TestCase("pipeline show-n", "show-node-id")]
    [TestCase("pipeline config show --p2p.seed_m", "--p2p.seed_mode")]
    [Platform(Exclude = "Win")]
    [CancelAfter(120_000)]
    public async Task Bash_completes_with_its_script(string line, string completed, CancellationToken cancellationToken)
    {
        string script = (await Run.CommandAsync(cancellationToken, "completion", "bash")).Output;
        string[] words = line.Split(' ');
        ProcessStartInfo start = new("bash") { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.ArgumentList.Add("--norc");
        start.Environment["ASSEMBLY"] = Path.Combine(AppContext.BaseDirectory, "Pipeline.Cli.dll");

        // What the shell does when somebody presses the tabulator key.
        string press = $"""
            pipeline() ( exec dotnet "$ASSEMBLY" "$@" )
            {script}
            COMP_LINE='{line}' COMP_POINT={line.Length} COMP_WORDS=({line}) COMP_CWORD={words.Length - 1}
            _pipeline pipeline '{words[^1]}' '{words[^2]}'
            echo "${"{COMPREPLY[*]}"}"
            """;
        using Process bash = Process.Start(start)!;
        try
        {
            await bash.StandardInput.WriteAsync(press.AsMemory(), cancellationToken);
            bash.StandardInput.Close();
            Assert.That((await bash.StandardOutput.ReadToEndAsync(cancellationToken)).Trim(), Is.EqualTo(completed));
            await bash.WaitForExitAsync(cancellationToken);
        }
        finally
        {
            bash.Kill(entireProcessTree: true);
        }
    }
}
