using System.Buffers;
using Google.Protobuf;
using Pipeline.Protocols.Types;
using Pipeline.Wire;

namespace Pipeline.Protocols.BlockSync;

/// <summary>A block whose parts fit together: its header has the hashes of its transactions, evidence and last commit.</summary>
/// <remarks>That says nothing yet of whether it is one of the chain, see <see cref="BlockVerifier"/>.</remarks>
public sealed class CheckedBlock
{
    // The first field of a block: its number and type.
    private const byte HeaderTag = 0x0a;

    private CheckedBlock(Block block, byte[] bytes)
    {
        Block = block;
        Bytes = bytes;
        Id = new BlockID { Hash = UnsafeByteOperations.UnsafeWrap(BlockHash.OfHeader(block.Header)), PartSetHeader = BlockHash.OfParts(bytes) };
    }

    /// <summary>The block.</summary>
    public Block Block { get; }

    /// <summary>Its height, at least 1.</summary>
    public long Height => Block.Header.Height;

    /// <summary>The block as bytes, which its parts are cut from.</summary>
    public ReadOnlyMemory<byte> Bytes { get; }

    /// <summary>What the block after it calls it: the hash of its header, and that of its parts.</summary>
    public BlockID Id { get; }

    /// <summary>Checks a block by itself.</summary>
    /// <returns>The block, or null and the <paramref name="fault"/> as a sentence.</returns>
    public static CheckedBlock? TryCheck(Block? block, out string? fault)
    {
        fault = FindFault(block);
        return fault is null ? new CheckedBlock(block!, block!.ToByteArray()) : null;
    }

    /// <summary>
    /// Whether a block that was kept has the header of its id, and as many parts. The rest of it is not looked at: to hash a block of 100 KiB takes four times as long.
    /// </summary>
    internal static bool FitsItsHeader(StoredBlock block)
    {
        ReadOnlySpan<byte> bytes = block.Block.Span;
        try
        {
            return bytes.Length > 0
                && bytes[0] == HeaderTag
                && Varint.TryRead(bytes[1..], out ulong size, out int length) == OperationStatus.Done
                && size <= (ulong)(bytes.Length - 1 - length)
                && Header.Parser.ParseFrom(bytes.Slice(1 + length, (int)size)) is var header
                && header.Height == block.Height
                && block.Id.Hash.Span.SequenceEqual(BlockHash.OfHeader(header))
                && block.Id.PartSetHeader?.Total == (bytes.Length + BlockHash.PartSize - 1) / BlockHash.PartSize;
        }
        catch (InvalidProtocolBufferException)
        {
            return false;
        }
    }

    private static string? FindFault(Block? block) => block switch
    {
        null => "There is no block in the answer.",
        { Header: null or { Version: null } or { Time: null } or { LastBlockId.PartSetHeader: null } or { LastBlockId: null } } =>
            "The block has no header, or one with no version, time or last block.",
        { Header.Height: <= 0 } => $"The block has height {block.Header.Height}.",
        { Header.Height: var height } and ({ Data: null } or { Evidence: null } or { LastCommit: null }) =>
            $"Block {height} lacks its transactions, its evidence or its last commit.",
        { Header: { ValidatorsHash.Length: not BlockHash.Size } or { NextValidatorsHash.Length: not BlockHash.Size } } =>
            $"Block {block.Header.Height} does not name its validators by hashes of {BlockHash.Size} bytes.",
        { Header: var header } =>
            !header.DataHash.Span.SequenceEqual(BlockHash.OfData(block.Data)) ? $"The transactions of block {header.Height} are not those of its header."
            : !header.EvidenceHash.Span.SequenceEqual(BlockHash.OfEvidence(block.Evidence)) ? $"The evidence of block {header.Height} is not that of its header."
            : !header.LastCommitHash.Span.SequenceEqual(BlockHash.OfCommit(block.LastCommit)) ? $"The last commit of block {header.Height} is not that of its header."
            : null,
    };
}
