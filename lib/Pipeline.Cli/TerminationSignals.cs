using System.Runtime.InteropServices;

namespace Pipeline.Cli;

/// <summary>
/// Turns the first Ctrl+C (SIGINT) or SIGTERM into a cancelled token, so that a command can end cleanly and sum up what it did. The
/// second one ends the process at once.
/// </summary>
internal sealed class TerminationSignals : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly PosixSignalRegistration[] _registrations;
    private PosixSignal? _first;

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
        if (_first is null)
        {
            _first = context.Signal;
            context.Cancel = true;
            _stop.Cancel();
        }
    }
}
