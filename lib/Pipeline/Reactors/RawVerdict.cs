namespace Pipeline.Reactors;

/// <summary>What a reactor says of the bytes of a message before it is parsed. The default accepts it.</summary>
public readonly record struct RawVerdict
{
    /// <summary>The message is parsed and dealt with.</summary>
    public static RawVerdict Accept => default;

    /// <summary>The message is dropped, and nobody hears of it.</summary>
    public static RawVerdict Ignore => new() { IsIgnored = true };

    internal bool IsIgnored { get; private init; }

    internal string? Violation { get; private init; }

    /// <summary>The message is dropped, and its peer stopped for a violation of the protocol.</summary>
    /// <param name="why">A sentence for people.</param>
    public static RawVerdict Reject(string why)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(why);
        return new RawVerdict { IsIgnored = true, Violation = why };
    }
}
