using System.Diagnostics;
using System.Text.Json;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Flooding;

/// <summary>An <see cref="Attacker"/> in a process of its own.</summary>
internal sealed class AttackerProcess : IAsyncDisposable
{
    private readonly Process _process;

    private AttackerProcess(Process process) => _process = process;

    /// <summary>Starts the process. What is not Linux cannot be flooded from many addresses.</summary>
    public static AttackerProcess Start() => new(OwnProcess.Start(Attacker.CommandName));

    /// <summary>Lets a flood happen, and returns when the last of its connections has been closed.</summary>
    public async Task<FloodOutcome> FloodAsync(Flood flood, CancellationToken cancellationToken)
    {
        await _process.StandardInput.WriteLineAsync(JsonSerializer.Serialize(flood).AsMemory(), cancellationToken);
        await _process.StandardInput.FlushAsync(cancellationToken);
        string? line = await _process.StandardOutput.ReadLineAsync(cancellationToken);
        return line is null ? throw new ExperimentException("The attacker ended in the middle of a flood.") : JsonSerializer.Deserialize<FloodOutcome>(line)!;
    }

    public async ValueTask DisposeAsync()
    {
        _process.StandardInput.Close();
        if (!_process.HasExited)
        {
            _process.Kill();
        }

        await _process.WaitForExitAsync();
        _process.Dispose();
    }
}
