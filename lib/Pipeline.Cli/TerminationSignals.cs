using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Pipeline.Cli;

/// <summary>
/// Turns the first Ctrl+C (SIGINT) or SIGTERM into a cancelled token, so that a command can end cleanly and sum up what it did. The
/// next one ends the process at once.
/// </summary>
internal sealed class TerminationSignals : IDisposable
{
    // Wrappers such as timeout(1) send the same signal to the process and to its group: that is still the first one.
    private static readonly TimeSpan SameSignal = TimeSpan.FromMilliseconds(500);

    private readonly CancellationTokenSource _stop = new();
    private readonly PosixSignalRegistration[] _registrations;

    // Guarded by _gate: signals come on any thread.
    private readonly Lock _gate = new();
    private PosixSignal? _first;
    private long _firstAt;

    public TerminationSignals() =>
        _registrations = [.. new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM }.Select(signal => PosixSignalRegistration.Create(signal, OnSignal))];

    /// <summary>Cancelled by the first signal.</summary>
    public CancellationToken Token => _stop.Token;

    /// <summary>What the process exits with: an interrupted command by the signal that interrupted it, 128 and the signal's number.</summary>
    public int ExitCode(int commandExitCode) =>
        commandExitCode == Cli.ExitCode.Interrupted && _first == PosixSignal.SIGTERM ? Cli.ExitCode.Terminated : commandExitCode;

    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations)
        {
            registration.Dispose();
        }

        _stop.Dispose();
    }

    private void OnSignal(PosixSignalContext context)
    {
        lock (_gate)
        {
            if (_first is not null)
            {
                context.Cancel = Stopwatch.GetElapsedTime(_firstAt) < SameSignal;
                return;
            }

            _first = context.Signal;
            _firstAt = Stopwatch.GetTimestamp();
            context.Cancel = true;
        }

        _stop.Cancel();
    }
}
