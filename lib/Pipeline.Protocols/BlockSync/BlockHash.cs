using System.Security.Cryptography;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.BlockSync;

/// <summary>The hashes that hold a block together: 32 bytes each, roots of Merkle trees (RFC 6962) over SHA-256.</summary>
/// <remarks>Source: <c>types/block.go</c>, <c>types/part_set.go</c> and <c>crypto/merkle</c> of the reference; see <c>docs/concepts/block-sync.md</c>.</remarks>
public static class BlockHash
{
    /// <summary>The length of a hash in bytes.</summary>
    public const int Size = MerkleTree.HashSize;

    /// <summary>The bytes of a serialised block that are in one part; the last part may have fewer.</summary>
    public const int PartSize = 64 << 10;

    /// <summary>The hash of a header, which is the hash that its block is known by: over its 14 fields.</summary>
    public static byte[] OfHeader(Header header)
    {
        ArgumentNullException.ThrowIfNull(header);
        using MerkleTree tree = new();
        tree.Add((header.Version ?? new()).ToByteArray());
        tree.Add(new StringValue { Value = header.ChainId }.ToByteArray());
        tree.Add(new Int64Value { Value = header.Height }.ToByteArray());
        tree.Add((header.Time ?? new()).ToByteArray());
        tree.Add((header.LastBlockId ?? new() { PartSetHeader = new() }).ToByteArray());
        foreach (ByteString field in (ReadOnlySpan<ByteString>)[
            header.LastCommitHash, header.DataHash, header.ValidatorsHash, header.NextValidatorsHash, header.ConsensusHash,
            header.AppHash, header.LastResultsHash, header.EvidenceHash, header.ProposerAddress])
        {
            tree.Add(new BytesValue { Value = field }.ToByteArray());
        }

        return tree.TakeRoot();
    }

    /// <summary>The hash of a block's transactions, <c>data_hash</c>: over the SHA-256 of each.</summary>
    public static byte[] OfData(Data data)
    {
        ArgumentNullException.ThrowIfNull(data);
        using MerkleTree tree = new();
        Span<byte> hash = stackalloc byte[Size];
        foreach (ByteString transaction in data.Txs)
        {
            SHA256.HashData(transaction.Span, hash);
            tree.Add(hash);
        }

        return tree.TakeRoot();
    }

    /// <summary>The hash of a commit, <c>last_commit_hash</c> of the block after: over its signatures.</summary>
    public static byte[] OfCommit(Commit commit)
    {
        ArgumentNullException.ThrowIfNull(commit);
        using MerkleTree tree = new();
        foreach (CommitSig signature in commit.Signatures)
        {
            tree.Add(signature.ToByteArray());
        }

        return tree.TakeRoot();
    }

    /// <summary>The hash of a block's evidence, <c>evidence_hash</c>.</summary>
    public static byte[] OfEvidence(EvidenceList evidence)
    {
        ArgumentNullException.ThrowIfNull(evidence);
        using MerkleTree tree = new();
        foreach (Evidence item in evidence.Evidence)
        {
            tree.Add(item.SumCase switch
            {
                Evidence.SumOneofCase.DuplicateVoteEvidence => item.DuplicateVoteEvidence.ToByteArray(),
                Evidence.SumOneofCase.LightClientAttackEvidence => item.LightClientAttackEvidence.ToByteArray(),
                _ => [],
            });
        }

        return tree.TakeRoot();
    }

    /// <summary>How many parts a serialised block has, and the hash over them.</summary>
    public static PartSetHeader OfParts(ReadOnlySpan<byte> block)
    {
        using MerkleTree tree = new();
        uint total = 0;
        for (; !block.IsEmpty; total++)
        {
            int length = Math.Min(PartSize, block.Length);
            tree.Add(block[..length]);
            block = block[length..];
        }

        return new PartSetHeader { Total = total, Hash = UnsafeByteOperations.UnsafeWrap(tree.TakeRoot()) };
    }

    /// <summary>Whether a part proves to be one of the block whose parts <paramref name="parts"/> names.</summary>
    public static bool IsPartOf(Part part, PartSetHeader parts)
    {
        ArgumentNullException.ThrowIfNull(part);
        ArgumentNullException.ThrowIfNull(parts);
        return part.Bytes.Length <= PartSize
            && part.Proof is { } proof
            && proof.Total == parts.Total
            && proof.Index == part.Index
            && MerkleTree.Proves(proof, part.Bytes.Span, parts.Hash.Span);
    }

    /// <summary>What validators sign of the vote for a block (for none: null), as bytes behind their length.</summary>
    public static byte[] SignBytes(string chainId, SignedMsgType type, long height, int round, BlockID? blockId, Timestamp? timestamp)
    {
        ArgumentNullException.ThrowIfNull(chainId);
        CanonicalVote vote = new()
        {
            Type = type,
            Height = height,
            Round = round,
            BlockId = blockId is null ? null : new CanonicalBlockID
            {
                Hash = blockId.Hash,
                PartSetHeader = new() { Total = blockId.PartSetHeader?.Total ?? 0, Hash = blockId.PartSetHeader?.Hash ?? ByteString.Empty },
            },
            Timestamp = timestamp ?? new(),
            ChainId = chainId,
        };
        int size = vote.CalculateSize();
        byte[] bytes = new byte[CodedOutputStream.ComputeLengthSize(size) + size];
        using CodedOutputStream output = new(bytes);
        output.WriteMessage(vote);
        output.Flush();
        return bytes;
    }
}
