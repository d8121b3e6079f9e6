using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Pipeline.Experiments.Measuring;

/// <summary>Another process of this program, for what must not share memory or threads with what is measured here.</summary>
internal static class OwnProcess
{
    /// <summary>Starts one; who calls writes to its standard input and reads its standard output.</summary>
    public static Process Start(params IEnumerable<string> arguments) => Start(readsError: false, arguments);

    /// <summary>Starts one; who calls writes to its standard input and reads its standard output, and the error when <paramref name="readsError"/>.</summary>
    public static Process Start(bool readsError, params IEnumerable<string> arguments)
    {
        // The runtime's own host, because this process may be a test's.
        string host = Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..", "dotnet");
        ProcessStartInfo start = new(host, [typeof(OwnProcess).Assembly.Location, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = readsError,
            UseShellExecute = false,
        };
        return Process.Start(start) ?? throw new ExperimentException($"Another process of this program could not be started, with {host}.");
    }
}
