using Google.Protobuf;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.BlockSync;

/// <summary>A block that more than two thirds of its validators' voting power have made final.</summary>
public sealed class VerifiedBlock
{
    internal VerifiedBlock(CheckedBlock block, Commit commit)
    {
        Checked = block;
        Commit = commit;
    }

    /// <summary>Its height, at least 1.</summary>
    public long Height => Checked.Height;

    /// <summary>The block.</summary>
    public Block Block => Checked.Block;

    /// <summary>The block as bytes, which its parts are cut from.</summary>
    public ReadOnlyMemory<byte> Bytes => Checked.Bytes;

    /// <summary>What the block after it calls it.</summary>
    public BlockID Id => Checked.Id;

    /// <summary>The signatures that made it final.</summary>
    public Commit Commit { get; }

    internal CheckedBlock Checked { get; }

    /// <summary>What a store keeps of it.</summary>
    public StoredBlock ToStored() => new(Height, Id, Bytes, Commit.ToByteArray());
}

/// <summary>What is wrong with one of two blocks that follow each other.</summary>
public enum BlockFaultKind
{
    /// <summary>The lower block is not one of the chain; whoever sent it lied.</summary>
    WrongBlock,

    /// <summary>The upper block does not prove the lower one; whoever sent it lied.</summary>
    WrongNext,

    /// <summary>
    /// The first block names other validators than those that are trusted: whoever sent it lied, or those that are trusted are not those of
    /// this chain at this height.
    /// </summary>
    WrongValidators,

    /// <summary>The chain has got to validators that are not known; they have to be named to go on.</summary>
    UnknownValidators,

    /// <summary>
    /// The first block does not link to the one that is trusted: whoever sent it lied, or the block that is trusted is not of this chain.
    /// </summary>
    WrongStart,
}

/// <summary>Why a block is not verified.</summary>
/// <param name="Kind">Which of the two blocks is at fault, if one is.</param>
/// <param name="Message">A sentence for people.</param>
public sealed record BlockFault(BlockFaultKind Kind, string Message);

/// <summary>
/// Follows a chain block by block: each links to the one before, is decided by the validators that the one before named, and is signed in
/// the last commit of the one after by more than two thirds of their power. Not safe for concurrent use, but for <see cref="FindCommitFault"/>.
/// </summary>
/// <remarks>
/// Blame is exact once a block has been verified; the first may not fit because of what was said to be trusted. A commit in the upper block that its validators did not sign is the upper block's fault, since an honest node has only blocks whose
/// last commit is valid; a valid commit for another block than the lower one is the lower one's.
/// </remarks>
public sealed class BlockVerifier
{
    private readonly string _chainId;
    private readonly Dictionary<ByteString, TrustedValidators> _known;
    private ByteString _validatorsHash;
    private BlockID? _last;

    // Whether _last is what was given, and not a block that was verified here.
    private bool _isStart;

    /// <summary>Makes a verifier.</summary>
    /// <param name="chainId">The network.</param>
    /// <param name="validators">
    /// The validators of the first block to verify. Those of later blocks may follow in any order and need no trust: a set is used only once a verified block has named it by its hash.
    /// </param>
    /// <param name="last">The last block that is trusted already, to go on after; null to begin anywhere.</param>
    /// <exception cref="ArgumentException">There are no validators.</exception>
    /// <exception cref="BlockStoreException">The last block is damaged, or of another network.</exception>
    public BlockVerifier(string chainId, IReadOnlyList<TrustedValidators> validators, StoredBlock? last = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(chainId);
        ArgumentNullException.ThrowIfNull(validators);
        if (validators.Count == 0)
        {
            throw new ArgumentException("Blocks cannot be verified without validators.", nameof(validators));
        }

        _chainId = chainId;
        _known = validators.DistinctBy(static set => ByteString.CopyFrom(set.Hash.Span)).ToDictionary(static set => ByteString.CopyFrom(set.Hash.Span));
        _validatorsHash = ByteString.CopyFrom(validators[0].Hash.Span);
        if (last is not null)
        {
            (_last, _isStart) = (last.Id, true);
            _validatorsHash = ReadHeader(last).NextValidatorsHash;
        }
    }

    // The header of a block as it was kept, once it is sure that it is that block's.
    private Header ReadHeader(StoredBlock last)
    {
        Header? header = null;
        try
        {
            header = Block.Parser.ParseFrom(last.Block.Span).Header;
        }
        catch (InvalidProtocolBufferException)
        {
            // It is as if it had none.
        }

        string? fault = header is not { NextValidatorsHash.Length: BlockHash.Size } ? "its bytes are no block"
            : header.Height != last.Height ? $"its bytes are those of block {header.Height}"
            : !last.Id.Hash.Span.SequenceEqual(BlockHash.OfHeader(header)) || !BlockHash.OfParts(last.Block.Span).Equals(last.Id.PartSetHeader) ? "its bytes have another hash than its id"
            : header.ChainId != _chainId ? $"it is of network '{header.ChainId}', not of '{_chainId}'"
            : null;
        return fault is null ? header! : throw new BlockStoreException(
            $"Block {last.Height}, which is to be gone on after, cannot be used as it is kept: {fault}. Restore the store that it is from, or sync again into a new one.");
    }

    /// <summary>Checks the signatures that an upper block has for the lower one, which takes nearly all the time. Safe for concurrent use.</summary>
    /// <returns>What is wrong, as a sentence; null when nothing is, or when the lower block's validators are not known.</returns>
    public string? FindCommitFault(CheckedBlock block, CheckedBlock next)
    {
        ArgumentNullException.ThrowIfNull(block);
        ArgumentNullException.ThrowIfNull(next);
        Commit commit = next.Block.LastCommit;
        return commit.Height != block.Height ? $"Block {next.Height} has a last commit of block {commit.Height}."
            : commit.BlockId is null || !commit.BlockId.Equals(next.Block.Header.LastBlockId) ? $"Block {next.Height} links to another block than its last commit."
            : _known.TryGetValue(block.Block.Header.ValidatorsHash, out TrustedValidators? validators) ? validators.FindFault(_chainId, commit)
            : null;
    }

    /// <summary>Verifies the next block of the chain with the help of the one after it.</summary>
    /// <returns>The block, or null and the <paramref name="fault"/>.</returns>
    public VerifiedBlock? TryVerify(CheckedBlock block, CheckedBlock next, out BlockFault? fault) =>
        TryVerify(block, next, () => FindCommitFault(block, next), out fault);

    internal VerifiedBlock? TryVerify(CheckedBlock block, CheckedBlock next, Func<string?> commitFault, out BlockFault? fault)
    {
        ArgumentNullException.ThrowIfNull(block);
        ArgumentNullException.ThrowIfNull(next);
        Header header = block.Block.Header;
        fault = header.ChainId != _chainId ? new BlockFault(BlockFaultKind.WrongBlock, $"Block {block.Height} is of another network.")
            : _last is not null && !header.LastBlockId.Equals(_last) ? WrongLink(block)
            : header.ValidatorsHash != _validatorsHash ? WrongValidators(block)
            : !_known.ContainsKey(_validatorsHash) ? new(
                BlockFaultKind.UnknownValidators,
                $"From block {block.Height} on other validators decide, whose hash is {Convert.ToHexString(_validatorsHash.Span)}; they have to be named to go on.")
            : commitFault() is { } wrong ? new(BlockFaultKind.WrongNext, wrong)
            : !next.Block.LastCommit.BlockId.Equals(block.Id) ? new(BlockFaultKind.WrongBlock, $"Block {block.Height} is not the one that its validators signed.")
            : null;
        if (fault is not null)
        {
            return null;
        }

        (_last, _isStart) = (block.Id, false);
        _validatorsHash = header.NextValidatorsHash;
        return new VerifiedBlock(block, next.Block.LastCommit);
    }

    private BlockFault WrongLink(CheckedBlock block) => _isStart
        ? new BlockFault(
            BlockFaultKind.WrongStart,
            $"Block {block.Height} does not link to the block {Convert.ToHexString(_last!.Hash.Span)} that is to be gone on after: it is a lie, or that block, as it is kept, is not of this chain.")
        : new(BlockFaultKind.WrongBlock, $"Block {block.Height} does not link to the one before it.");

    private BlockFault WrongValidators(CheckedBlock block) => _last is null
        ? new BlockFault(
            BlockFaultKind.WrongValidators,
            $"Block {block.Height} is decided by the validators {Convert.ToHexString(block.Block.Header.ValidatorsHash.Span)}, where {Convert.ToHexString(_validatorsHash.Span)} are trusted.")
        : new(BlockFaultKind.WrongBlock, $"Block {block.Height} names other validators than the block before it did.");
}
