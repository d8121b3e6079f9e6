namespace Pipeline.Experiments.Measuring;

/// <summary>What an experiment found.</summary>
/// <param name="Test">The name of the experiment.</param>
internal sealed record ExperimentResult(string Test)
{
    /// <summary>What the names of its files begin with, where an experiment is run in more than one way.</summary>
    public string FilePrefix { get; init; } = Test;

    /// <summary>The options it ran with, and the figures it is about; in this order in the JSON object.</summary>
    public required IReadOnlyDictionary<string, object?> Fields { get; init; }

    public required IReadOnlyList<Verdict> Verdicts { get; init; }

    public IReadOnlyList<Table> Tables { get; init; } = [];

    public IReadOnlyList<Figure> Figures { get; init; } = [];

    /// <summary>Whether all that was promised holds.</summary>
    public bool Holds => Verdicts.All(verdict => verdict.Holds);
}

/// <summary>A plot, which is only drawn when somebody wants it.</summary>
/// <param name="Name">What its file is called, in lower case with dashes.</param>
/// <param name="Caption">What there is to see in it.</param>
/// <param name="Draw">Draws it, as PNG.</param>
internal sealed record Figure(string Name, string Caption, Func<byte[]> Draw);
