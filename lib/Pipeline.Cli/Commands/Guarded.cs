using Pipeline.Hosting.Configuration;
using Pipeline.Protocols.BlockSync;

namespace Pipeline.Cli.Commands;

/// <summary>What the commands that listen to nodes do about what goes wrong before they have reached one.</summary>
internal static class Guarded
{
    /// <summary>Runs a command; what keeps it from running goes to the error.</summary>
    public static async Task<int> RunAsync(CommandHost host, Func<Task<int>> run)
    {
        try
        {
            return await run();
        }
        catch (Exception e) when (e is FormatException or BlockStoreException)
        {
            await host.Error.WriteLineAsync(UserText.Escape(e.Message));
            return ExitCode.Usage;
        }
        catch (IOException e)
        {
            // With a line for each node, fit for a terminal.
            await host.Error.WriteLineAsync(e.Message);
            return ExitCode.Failure;
        }
        catch (OperationCanceledException)
        {
            await host.Error.WriteLineAsync("Interrupted before a node was reached.");
            return ExitCode.Interrupted;
        }
    }
}
