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
/// Blame is exact. A commit in the upper block that its validators did not sign is the upper block's fault, since an honest node has only blocks whose
/// last commit is valid; a valid commit for another block than the lower one is the lower one's.
/// </remarks>
public sealed class BlockVerifier
{
    private readonly string _chainId;
    private readonly Dictionary<ByteString, TrustedValidators> _known;
    private ByteString _validatorsHash;
    private BlockID? _last;

    /// <summary>Makes a verifier.</summary>
    /// <param name="chainId">The network.</param>
    /// <param name="validators">
    /// The validators of the first block to verify. Those of later blocks may follow in any order and need no trust: a set is used only once a verified block has named it by its hash.
    /// </param>
    /// <param name="last">The last block that is trusted already, to go on after; null to begin anywhere.</param>
    /// <exception cref="ArgumentException">There are no validators.</exception>
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
            _last = last.Id;
            _validatorsHash = Block.Parser.ParseFrom(last.Block.Span).Header.NextValidatorsHash;
        }
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
            : _last is not null && !header.LastBlockId.Equals(_last) ? new(BlockFaultKind.WrongBlock, $"Block {block.Height} does not link to the one before it.")
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

        _last = block.Id;
        _validatorsHash = header.NextValidatorsHash;
        return new VerifiedBlock(block, next.Block.LastCommit);
    }

    private BlockFault WrongValidators(CheckedBlock block) => _last is null
        ? new BlockFault(
            BlockFaultKind.WrongValidators,
            $"Block {block.Height} is decided by the validators {Convert.ToHexString(block.Block.Header.ValidatorsHash.Span)}, where {Convert.ToHexString(_validatorsHash.Span)} are trusted.")
        : new(BlockFaultKind.WrongBlock, $"Block {block.Height} names other validators than the block before it did.");
}
