namespace Pipeline.Tests.Support;

/// <summary>How a stream cuts what it delivers: each call gives the most bytes of the next read.</summary>
internal static class Splits
{
    public static Func<int> None => () => int.MaxValue;

    public static Func<int> OneByte => () => 1;

    /// <summary>Sizes from one byte to a few frames, small ones as likely as large ones.</summary>
    public static Func<int> Random(int seed)
    {
        Random random = new(seed);
        return () => random.Next(1, 1 << random.Next(1, 14));
    }
}
