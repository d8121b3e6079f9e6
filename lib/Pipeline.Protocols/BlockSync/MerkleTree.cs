using System.Numerics;
using System.Security.Cryptography;
using Pipeline.Protocols.Crypto;

namespace Pipeline.Protocols.BlockSync;

/// <summary>A Merkle tree as RFC 6962 (2.1) has it, of which only what the root needs is kept. Not safe for concurrent use.</summary>
internal sealed class MerkleTree : IDisposable
{
    public const int HashSize = SHA256.HashSizeInBytes;

    // Tell a leaf from a pair of hashes, so that neither can be passed off as the other.
    private const byte LeafPrefix = 0;
    private const byte NodePrefix = 1;

    private const int MostBytesInOneCall = 256;

    // Invariant: each one bit of _count stands for a whole subtree of as many leaves, whose root is in _roots, the largest first.
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly byte[] _roots = new byte[64 * HashSize];
    private ulong _count;

    /// <summary>Adds the next leaf.</summary>
    public void Add(ReadOnlySpan<byte> leaf)
    {
        int depth = BitOperations.PopCount(_count);
        HashLeaf(leaf, Root(depth));
        for (ulong rest = _count++; (rest & 1) != 0; rest >>= 1)
        {
            depth--;
            HashNode(Root(depth), Root(depth + 1), Root(depth));
        }
    }

    /// <summary>The root over all leaves; the hash of nothing when there are none. The tree is empty afterwards.</summary>
    public byte[] TakeRoot()
    {
        int depth = BitOperations.PopCount(_count) - 1;
        if (depth < 0)
        {
            return SHA256.HashData([]);
        }

        for (; depth > 0; depth--)
        {
            HashNode(Root(depth - 1), Root(depth), Root(depth - 1));
        }

        _count = 0;
        return Root(0).ToArray();
    }

    /// <summary>Whether <paramref name="proof"/> shows that <paramref name="leaf"/> is where it says in the tree of <paramref name="root"/>.</summary>
    public static bool Proves(Proof proof, ReadOnlySpan<byte> leaf, ReadOnlySpan<byte> root)
    {
        if (proof.Index < 0 || proof.Index >= proof.Total || proof.Aunts.Any(static aunt => aunt.Length != HashSize))
        {
            return false;
        }

        using MerkleTree tree = new();
        Span<byte> hash = stackalloc byte[HashSize];
        tree.HashLeaf(leaf, hash);
        return hash.SequenceEqual(proof.LeafHash.Span)
            && TryClimb(proof, proof.Index, proof.Total, proof.Aunts.Count, hash)
            && hash.SequenceEqual(root);
    }

    public void Dispose() => _hash.Dispose();

    // Turns the hash of the leaf with an index among those of a subtree into the subtree's root; the aunts go from the leaf upwards.
    private static bool TryClimb(Proof proof, long index, long total, int aunts, Span<byte> hash)
    {
        if (total == 1 || aunts == 0)
        {
            return total == 1 && aunts == 0;
        }

        long left = 1L << BitOperations.Log2((ulong)total - 1);
        bool isLeft = index < left;
        if (!TryClimb(proof, isLeft ? index : index - left, isLeft ? left : total - left, aunts - 1, hash))
        {
            return false;
        }

        ReadOnlySpan<byte> aunt = proof.Aunts[aunts - 1].Span;
        HashNode(isLeft ? hash : aunt, isLeft ? aunt : hash, hash);
        return true;
    }

    private Span<byte> Root(int depth) => _roots.AsSpan(depth * HashSize, HashSize);

    // Trees have mostly short leaves. One call that hashes all of it costs a third of one each for the prefix, the leaf and the result.
    private void HashLeaf(ReadOnlySpan<byte> leaf, Span<byte> hash)
    {
        if (leaf.Length <= MostBytesInOneCall)
        {
            Span<byte> prefixed = stackalloc byte[1 + MostBytesInOneCall];
            prefixed[0] = LeafPrefix;
            leaf.CopyTo(prefixed[1..]);
            SHA256.HashData(prefixed[..(1 + leaf.Length)], hash);
            return;
        }

        _hash.AppendData([LeafPrefix]);
        _hash.AppendData(leaf);
        _hash.GetHashAndReset(hash);
    }

    private static void HashNode(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right, Span<byte> hash)
    {
        Span<byte> both = stackalloc byte[1 + (2 * HashSize)];
        both[0] = NodePrefix;
        left.CopyTo(both[1..]);
        right.CopyTo(both[(1 + HashSize)..]);
        SHA256.HashData(both, hash);
    }
}
