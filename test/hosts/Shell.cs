using System.ComponentModel;
using System.Diagnostics;

namespace Pipeline.Hosts;

/// <summary>Commands of the system.</summary>
internal static class Shell
{
    /// <summary>Runs <c>ip</c>.</summary>
    /// <exception cref="ExpectationException">It says no.</exception>
    public static async Task IpAsync(string arguments)
    {
        if (await TryAsync("ip", arguments) is { } problem)
        {
            throw new ExpectationException($"'ip {arguments}' failed: {problem}");
        }
    }

    /// <summary>Runs a command, and returns what it printed.</summary>
    /// <exception cref="ExpectationException">It failed.</exception>
    public static async Task<string> ReadAsync(string command, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(command, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> problem = process.StandardError.ReadToEndAsync();
        string output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return process.ExitCode == 0 ? output : throw new ExpectationException($"'{command} {string.Join(' ', arguments)}' failed: {(await problem).Trim()}");
    }

    /// <summary>Runs a command. Null when it did what it is for, else what it said.</summary>
    public static async Task<string?> TryAsync(string command, string arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(command, arguments) { RedirectStandardError = true })!;
            string problem = await process.StandardError.ReadToEndAsync();
            await process.WaitForExitAsync();
            return process.ExitCode == 0 ? null : $"exit code {process.ExitCode}. {problem.Trim()}";
        }
        catch (Win32Exception e)
        {
            return e.Message;
        }
    }
}
