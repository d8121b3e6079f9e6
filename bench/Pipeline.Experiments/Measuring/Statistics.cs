namespace Pipeline.Experiments.Measuring;

/// <summary>The little arithmetic behind the figures.</summary>
internal static class Statistics
{
    /// <summary>The middle of <paramref name="values"/>, the mean of the middle two when their number is even.</summary>
    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length == 0 ? double.NaN : (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    /// <summary>The smallest value that <paramref name="fraction"/> (0 to 1) of all do not exceed (nearest rank); NaN when there are none.</summary>
    public static double Percentile(ReadOnlySpan<double> sorted, double fraction) =>
        sorted.IsEmpty ? double.NaN : sorted[Math.Clamp((int)Math.Ceiling(fraction * sorted.Length) - 1, 0, sorted.Length - 1)];

    /// <summary>What part of the bytes each channel should get: its priority over the sum of those of the busy channels; an idle one gets 0.</summary>
    public static double[] IdealShares(IReadOnlyList<int> priorities, IReadOnlyList<bool> busy)
    {
        double sum = priorities.Where((_, i) => busy[i]).Sum();
        return [.. priorities.Select((priority, i) => busy[i] ? priority / sum : 0)];
    }

    /// <summary>What part of all bytes each channel got.</summary>
    public static double[] Shares(IReadOnlyList<long> bytes)
    {
        double sum = bytes.Sum();
        return [.. bytes.Select(part => sum == 0 ? 0 : part / sum)];
    }

    /// <summary>By what part of itself <paramref name="ideal"/> was missed; 0.05 is five percent. An idle channel should have got nothing.</summary>
    public static double Deviation(double share, double ideal) => ideal == 0 ? share : Math.Abs(share - ideal) / ideal;
}
