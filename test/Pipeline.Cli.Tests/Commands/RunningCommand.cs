using System.Diagnostics;
using System.Globalization;

namespace Pipeline.Cli.Tests.Commands;

/// <summary>The command in a process of its own, as a service would run it.</summary>
internal sealed class RunningCommand : IAsyncDisposable
{
    private readonly Process _process;
    private readonly Task<string> _error;

    private RunningCommand(Process process)
    {
        _process = process;
        _error = process.StandardError.ReadToEndAsync();
    }

    /// <summary>Starts the command.</summary>
    /// <param name="environment">Variables besides those of this process.</param>
    /// <param name="args">Its arguments.</param>
    public static RunningCommand Start(IReadOnlyDictionary<string, string> environment, params IEnumerable<string> args)
    {
        string[] command = ["dotnet", Path.Combine(AppContext.BaseDirectory, "Pipeline.Cli.dll"), .. args];

        // A process inherits that a signal is ignored, as nohup(1) has it, and then cannot be told to reload.
        command = IsHangUpIgnored() ? ["env", "--default-signal=HUP", .. command] : command;
        ProcessStartInfo info = new(command[0], command[1..])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach ((string name, string value) in environment)
        {
            info.Environment[name] = value;
        }

        return new RunningCommand(Process.Start(info)!);
    }

    /// <summary>The next line of its output; null at the end.</summary>
    public async Task<string?> ReadLineAsync(CancellationToken cancellationToken) => await _process.StandardOutput.ReadLineAsync(cancellationToken);

    public async Task SignalAsync(string signal, CancellationToken cancellationToken)
    {
        using Process kill = Process.Start("kill", ["-s", signal, _process.Id.ToString(CultureInfo.InvariantCulture)]);
        await kill.WaitForExitAsync(cancellationToken);
    }

    /// <summary>Waits for its end: its exit code and all that it wrote to the error.</summary>
    public async Task<(int ExitCode, string Error)> WaitAsync(CancellationToken cancellationToken)
    {
        string error = await _error.WaitAsync(cancellationToken);
        await _process.WaitForExitAsync(cancellationToken);
        return (_process.ExitCode, error);
    }

    private static bool IsHangUpIgnored()
    {
        const string status = "/proc/self/status";
        const string ignored = "SigIgn:";
        string? mask = File.Exists(status) ? File.ReadLines(status).FirstOrDefault(line => line.StartsWith(ignored, StringComparison.Ordinal)) : null;
        return mask is not null && (Convert.ToUInt64(mask[ignored.Length..].Trim(), 16) & 1) != 0;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            await _process.WaitForExitAsync();
        }

        _process.Dispose();
    }
}
