namespace Pipeline.Testing;

/// <summary>
/// Numbers that follow from a seed, and will with every version of the framework: SplitMix64 (Steele, Lea, Flood, "Fast splittable
/// pseudorandom number generators", 2014).
/// </summary>
internal sealed class SeededRandom
{
    private const ulong GoldenGamma = 0x9e37_79b9_7f4a_7c15;

    private ulong _state;

    public SeededRandom(params ReadOnlySpan<ulong> seeds)
    {
        foreach (ulong seed in seeds)
        {
            _state = Mix(_state + GoldenGamma) ^ seed;
        }
    }

    /// <summary>A number that depends on all of <paramref name="seeds"/> and their order.</summary>
    public static ulong Combine(params ReadOnlySpan<ulong> seeds) => new SeededRandom(seeds).NextBits();

    /// <summary>0 to <paramref name="below"/>, which it is not.</summary>
    public long Next(long below) => (long)Math.BigMul(NextBits(), (ulong)below, out _);

    /// <inheritdoc cref="Next(long)" />
    public int Next(int below) => (int)Next((long)below);

    /// <summary>At least 1; <paramref name="mean"/> on average, if that is not small: the distance between events that happen at random.</summary>
    public long NextDistance(long mean) => Math.Max(1, (long)(-Math.Log(1 - NextFraction()) * mean));

    /// <summary>1 to <paramref name="most"/>, each order of magnitude as likely as another.</summary>
    public long NextScale(int most) => Math.Min(most, (long)Math.Pow(most + 1L, NextFraction()));

    private double NextFraction() => (NextBits() >> 11) * (1.0 / (1L << 53));

    private ulong NextBits() => Mix(_state += GoldenGamma);

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xbf58_476d_1ce4_e5b9;
        z = (z ^ (z >> 27)) * 0x94d0_49bb_1331_11eb;
        return z ^ (z >> 31);
    }
}
