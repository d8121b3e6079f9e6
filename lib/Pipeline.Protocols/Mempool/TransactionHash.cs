using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Pipeline.Protocols.Mempool;

/// <summary>The SHA-256 hash of a transaction, by which networks name it.</summary>
/// <remarks>Source: the reference's transaction key, <c>types/tx.go</c>.</remarks>
public readonly struct TransactionHash : IEquatable<TransactionHash>
{
    /// <summary>The length of a hash: 32 bytes.</summary>
    public const int Size = SHA256.HashSizeInBytes;

    private readonly ulong _a;
    private readonly ulong _b;
    private readonly ulong _c;
    private readonly ulong _d;

    /// <summary>Takes a hash as it is.</summary>
    /// <param name="hash">32 bytes.</param>
    /// <exception cref="ArgumentException">There are more, or fewer.</exception>
    public TransactionHash(ReadOnlySpan<byte> hash)
    {
        if (hash.Length != Size)
        {
            throw new ArgumentException($"A hash has {Size} bytes, not {hash.Length}.", nameof(hash));
        }

        _a = BinaryPrimitives.ReadUInt64LittleEndian(hash);
        _b = BinaryPrimitives.ReadUInt64LittleEndian(hash[8..]);
        _c = BinaryPrimitives.ReadUInt64LittleEndian(hash[16..]);
        _d = BinaryPrimitives.ReadUInt64LittleEndian(hash[24..]);
    }

    /// <summary>Hashes a transaction.</summary>
    public static TransactionHash Of(ReadOnlySpan<byte> transaction)
    {
        Span<byte> hash = stackalloc byte[Size];
        SHA256.HashData(transaction, hash);
        return new TransactionHash(hash);
    }

    /// <summary>Writes the 32 bytes of the hash.</summary>
    /// <param name="destination">At least 32 bytes.</param>
    public void CopyTo(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(destination, _a);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], _b);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[16..], _c);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[24..], _d);
    }

    /// <inheritdoc />
    public bool Equals(TransactionHash other) => _a == other._a && _b == other._b && _c == other._c && _d == other._d;

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is TransactionHash other && Equals(other);

    // Salted for each process, or a peer could make transactions that all fall into one bucket of a table.
    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(_a, _b);

    /// <summary>The hash as 64 upper-case hexadecimal digits, as the reference shows it.</summary>
    public override string ToString()
    {
        Span<byte> bytes = stackalloc byte[Size];
        CopyTo(bytes);
        return Convert.ToHexString(bytes);
    }

    /// <summary>Whether two hashes are the same.</summary>
    public static bool operator ==(TransactionHash left, TransactionHash right) => left.Equals(right);

    /// <summary>Whether two hashes differ.</summary>
    public static bool operator !=(TransactionHash left, TransactionHash right) => !left.Equals(right);
}
