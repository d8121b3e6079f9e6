namespace Pipeline.Experiments.Measuring;

/// <summary>What one part of an experiment found, where its parts can be run by themselves.</summary>
internal sealed record Findings(IReadOnlyList<Verdict> Verdicts, IReadOnlyList<Table> Tables, IReadOnlyList<Figure> Figures);
