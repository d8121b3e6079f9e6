using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>That a node, an address or a subnet is kept out for a time.</summary>
/// <param name="Target">Who is kept out.</param>
/// <param name="Reason">Why, for people. A <see cref="BanList"/> keeps the first 256 characters.</param>
/// <param name="Since">When it was banned.</param>
/// <param name="Until">When the ban ends; null: never.</param>
public sealed record Ban(AccessTarget Target, string Reason, DateTimeOffset Since, DateTimeOffset? Until)
{
    // For ever is later than any time.
    internal DateTimeOffset End => Until ?? DateTimeOffset.MaxValue;

    /// <summary>A sentence: who is banned until when, and why.</summary>
    public override string ToString() => $"{Target} is banned {(Until is { } until ? $"until {until:u}" : "for ever")}: {Reason}";
}
