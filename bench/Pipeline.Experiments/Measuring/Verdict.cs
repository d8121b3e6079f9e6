namespace Pipeline.Experiments.Measuring;

/// <summary>What was promised, what was measured, and whether the one keeps to the other.</summary>
/// <param name="Promise">What must hold, as a sentence with its threshold.</param>
/// <param name="Measured">What was found, with its unit.</param>
/// <param name="Holds">Whether it holds.</param>
internal sealed record Verdict(string Promise, string Measured, bool Holds)
{
    /// <summary>A figure that may be as large as <paramref name="limit"/>. What could not be measured does not hold.</summary>
    public static Verdict AtMost(string promise, double measured, double limit, string unit) =>
        new(promise, $"{Readable.Number(measured)} {unit}", measured <= limit);

    /// <summary>A figure that may be as small as <paramref name="limit"/>.</summary>
    public static Verdict AtLeast(string promise, double measured, double limit, string unit) =>
        new(promise, $"{Readable.Number(measured)} {unit}", measured >= limit);
}
