using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;

namespace Pipeline.Cryptography;

/// <summary>
/// A node's identity: the first 20 bytes of the SHA-256 of its public key, written as 40 lower-case hexadecimal digits.
/// </summary>
public readonly record struct NodeId : IComparable<NodeId>
{
    /// <summary>The length of an id in bytes.</summary>
    public const int Size = 20;

    private readonly string? _hex;

    private NodeId(string hex) => _hex = hex;

    /// <summary>Whether this is no id at all: the default value.</summary>
    public bool IsEmpty => _hex is null;

    /// <summary>The id of the node that owns <paramref name="key"/>.</summary>
    public static NodeId FromPublicKey(PublicKey key)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(key.Span, hash);
        return new NodeId(Convert.ToHexStringLower(hash[..Size]));
    }

    /// <summary>Reads an id from 40 hexadecimal digits of either case.</summary>
    /// <exception cref="FormatException"><paramref name="text"/> is something else.</exception>
    public static NodeId Parse(string text) =>
        TryParse(text, out NodeId id)
            ? id
            : throw new FormatException($"'{text}' is not a node id: {2 * Size} hexadecimal digits were expected.");

    /// <summary>Reads an id from 40 hexadecimal digits of either case.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out NodeId id)
    {
        if (text is { Length: 2 * Size } && text.All(char.IsAsciiHexDigit))
        {
            id = new NodeId(text.ToLowerInvariant());
            return true;
        }

        id = default;
        return false;
    }

    /// <inheritdoc />
    public int CompareTo(NodeId other) => string.CompareOrdinal(_hex, other._hex);

    /// <summary>The 40 hexadecimal digits; empty for the default value.</summary>
    public override string ToString() => _hex ?? "";

    /// <summary>Whether <paramref name="left"/> sorts before <paramref name="right"/>.</summary>
    public static bool operator <(NodeId left, NodeId right) => left.CompareTo(right) < 0;

    /// <summary>Whether <paramref name="left"/> sorts after <paramref name="right"/>.</summary>
    public static bool operator >(NodeId left, NodeId right) => left.CompareTo(right) > 0;

    /// <summary>Whether <paramref name="left"/> does not sort after <paramref name="right"/>.</summary>
    public static bool operator <=(NodeId left, NodeId right) => left.CompareTo(right) <= 0;

    /// <summary>Whether <paramref name="left"/> does not sort before <paramref name="right"/>.</summary>
    public static bool operator >=(NodeId left, NodeId right) => left.CompareTo(right) >= 0;
}
