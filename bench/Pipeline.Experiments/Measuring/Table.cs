namespace Pipeline.Experiments.Measuring;

/// <summary>Figures in rows and columns.</summary>
/// <param name="Name">What its file is called, in lower case with dashes.</param>
/// <param name="Title">What people read above it.</param>
/// <param name="Columns">The names of the columns, with their units, as <c>p99_ms</c>.</param>
internal sealed record Table(string Name, string Title, params IReadOnlyList<string> Columns)
{
    /// <summary>Whether it is a long series, which goes to a file and a plot, and is not printed.</summary>
    public bool IsSeries { get; init; }

    /// <summary>Numbers, texts and truth values; null for what there is none of.</summary>
    public List<object?[]> Rows { get; } = [];

    public void Add(params object?[] cells)
    {
        if (cells.Length != Columns.Count)
        {
            throw new ArgumentException($"A row of table '{Name}' has {cells.Length} cells for {Columns.Count} columns.", nameof(cells));
        }

        Rows.Add(cells);
    }
}
