using System.Diagnostics;
using System.Globalization;

namespace Pipeline.Cli.Tests;

[TestFixture, Platform(Include = "Unix", Reason = "Sends signals with kill(1).")]
public sealed class TerminationSignalsTests
{
    [TestCase("INT", 130)]
    [TestCase("TERM", 143)]
    [CancelAfter(60_000)]
    public async Task A_signal_ends_the_process_with_a_summary_and_the_exit_code_of_the_signal(string signal, int exitCode, CancellationToken cancellationToken)
    {
        using Process process = Process.Start(new ProcessStartInfo(
            "dotnet",
            [Path.Combine(AppContext.BaseDirectory, "Pipeline.Cli.dll"), "demo", "--speed", "1"])
        {
            RedirectStandardOutput = true,
        })!;
        try
        {
            string? first = await process.StandardOutput.ReadLineAsync(cancellationToken);
            using Process kill = Process.Start("kill", ["-s", signal, process.Id.ToString(CultureInfo.InvariantCulture)]);
            string rest = await process.StandardOutput.ReadToEndAsync(cancellationToken);
            await process.WaitForExitAsync(cancellationToken);

            Assert.That(first, Does.Contain("of 9,725 messages"));
            Assert.That(rest, Does.Contain("Interrupted: ").And.EndsWith("messages had arrived, in order and byte-identical.\n"));
            Assert.That(process.ExitCode, Is.EqualTo(exitCode));
        }
        finally
        {
            process.Kill();
        }
    }
}
