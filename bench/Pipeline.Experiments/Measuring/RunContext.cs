using System.Diagnostics;
using System.Globalization;

namespace Pipeline.Experiments.Measuring;

/// <summary>How an experiment is to be run, and whom it tells how far it is.</summary>
/// <param name="Name">The name of the experiment.</param>
/// <param name="Progress">Where progress goes.</param>
/// <param name="Duration">How long a run measures; null for the experiment's own default.</param>
/// <param name="Runs">How many runs the medians are of; null for the experiment's own default.</param>
/// <param name="Seed">What random contents and moments depend on.</param>
/// <param name="CancellationToken">Ends the experiment without a result.</param>
internal sealed record RunContext(string Name, TextWriter Progress, TimeSpan? Duration, int? Runs, int Seed, CancellationToken CancellationToken)
{
    private readonly long _start = Stopwatch.GetTimestamp();

    public void Report(string message) =>
        Progress.WriteLine(string.Create(CultureInfo.InvariantCulture, $"[{Stopwatch.GetElapsedTime(_start).TotalSeconds,5:0.0} s] {Name}: {message}"));

    /// <summary>Random bytes, the same for the same seed.</summary>
    public byte[] CreatePayload(int size)
    {
        byte[] payload = new byte[size];
        CreateRandom(size).NextBytes(payload);
        return payload;
    }

    /// <summary>Random numbers, the same for the same seed and purpose.</summary>
    public Random CreateRandom(int purpose) => new(unchecked((Seed * 397) ^ purpose));
}

/// <summary>The experiment could not be carried out; the message says why.</summary>
internal sealed class ExperimentException(string message) : Exception(message);
