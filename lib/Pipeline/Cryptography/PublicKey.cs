namespace Pipeline.Cryptography;

/// <summary>An Ed25519 public key: 32 bytes (RFC 8032).</summary>
public sealed class PublicKey : IEquatable<PublicKey>
{
    /// <summary>The length of a key in bytes.</summary>
    public const int Size = 32;

    /// <summary>The length of a signature in bytes.</summary>
    public const int SignatureSize = 64;

    private readonly byte[] _bytes;

    /// <summary>Takes the bytes of a key. Whether they are a point on the curve shows when a signature is verified.</summary>
    /// <exception cref="ArgumentException"><paramref name="bytes"/> are not <see cref="Size"/> bytes.</exception>
    public PublicKey(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length != Size)
        {
            throw new ArgumentException($"An Ed25519 public key has {Size} bytes, not {bytes.Length}.", nameof(bytes));
        }

        _bytes = bytes.ToArray();
    }

    /// <summary>The bytes of the key.</summary>
    public ReadOnlySpan<byte> Span => _bytes;

    /// <summary>Whether <paramref name="signature"/> is this key's over <paramref name="message"/>. Never throws.</summary>
    public bool Verify(ReadOnlySpan<byte> message, ReadOnlySpan<byte> signature) => Provider.Verify(_bytes, message, signature);

    /// <inheritdoc />
    public bool Equals(PublicKey? other) => other is not null && Span.SequenceEqual(other.Span);

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as PublicKey);

    /// <inheritdoc />
    public override int GetHashCode() => BitConverter.ToInt32(_bytes);

    /// <summary>The key in lower-case hexadecimal.</summary>
    public override string ToString() => Convert.ToHexStringLower(_bytes);
}
