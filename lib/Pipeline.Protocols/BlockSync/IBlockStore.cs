using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.BlockSync;

/// <summary>A block and the signatures that made it final, as they are kept.</summary>
/// <param name="Height">The block's height, at least 1.</param>
/// <param name="Id">The block's id: the hash of its header, and that of its parts.</param>
/// <param name="Block">The serialised block.</param>
/// <param name="Commit">The serialised commit of the block.</param>
public sealed record StoredBlock(long Height, BlockID Id, ReadOnlyMemory<byte> Block, ReadOnlyMemory<byte> Commit);

/// <summary>Which blocks there are, without gaps.</summary>
/// <param name="Base">The lowest height; 0 when there are none.</param>
/// <param name="Height">The highest height; 0 when there are none.</param>
public readonly record struct BlockRange(long Base, long Height)
{
    /// <summary>Whether there are no blocks.</summary>
    public bool IsEmpty => Height == 0;

    /// <summary>Whether a block is among them.</summary>
    public bool Contains(long height) => height >= Base && height <= Height && !IsEmpty;

    /// <summary>The range once <paramref name="blocks"/> have been added, for those who write a store.</summary>
    /// <exception cref="ArgumentException">They leave a gap, or are not in order.</exception>
    public BlockRange With(IReadOnlyList<StoredBlock> blocks)
    {
        ArgumentNullException.ThrowIfNull(blocks);
        BlockRange range = this;
        foreach (StoredBlock block in blocks)
        {
            range = range.IsEmpty && block.Height > 0 ? new(block.Height, block.Height)
                : block.Height == range.Height + 1 && !range.IsEmpty ? range with { Height = block.Height }
                : throw new ArgumentException($"Block {block.Height} cannot follow block {range.Height} in a store.", nameof(blocks));
        }

        return range;
    }
}

/// <summary>Keeps the blocks of one chain. Safe for use by several threads at once.</summary>
public interface IBlockStore
{
    /// <summary>Which blocks there are.</summary>
    BlockRange Range { get; }

    /// <summary>Adds blocks, all or none, and returns once they are kept.</summary>
    /// <param name="blocks">Blocks in order: the first follows the highest there is, or is any when there are none.</param>
    /// <param name="cancellationToken">Ends it; none of the blocks is kept then.</param>
    /// <exception cref="ArgumentException">They leave a gap, or are not in order.</exception>
    /// <exception cref="BlockStoreException">They cannot be kept; the message says why.</exception>
    ValueTask AppendAsync(IReadOnlyList<StoredBlock> blocks, CancellationToken cancellationToken = default);

    /// <summary>Looks for a block; null when it is not there.</summary>
    /// <exception cref="BlockStoreException">The store is damaged; the message says how.</exception>
    ValueTask<StoredBlock?> LoadAsync(long height, CancellationToken cancellationToken = default);
}

/// <summary>A block store cannot be used.</summary>
/// <param name="message">What is wrong, and what to do about it.</param>
/// <param name="innerException">Where it comes from.</param>
public sealed class BlockStoreException(string message, Exception? innerException = null) : IOException(message, innerException);
