using System.Collections.Immutable;

namespace Pipeline.Protocols.BlockSync;

/// <summary>Keeps blocks in memory, for tests and small chains.</summary>
public sealed class MemoryBlockStore : IBlockStore
{
    // Invariant: the blocks have consecutive heights. Guarded by _gate for writing; the array is replaced, never changed.
    private readonly Lock _gate = new();
    private ImmutableList<StoredBlock> _blocks = [];

    /// <inheritdoc />
    public BlockRange Range => Volatile.Read(ref _blocks) is { IsEmpty: false } blocks ? new(blocks[0].Height, blocks[^1].Height) : default;

    /// <inheritdoc />
    public ValueTask AppendAsync(IReadOnlyList<StoredBlock> blocks, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(blocks);
        cancellationToken.ThrowIfCancellationRequested();
        lock (_gate)
        {
            Range.With(blocks);
            Volatile.Write(ref _blocks, _blocks.AddRange(blocks));
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    public ValueTask<StoredBlock?> LoadAsync(long height, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ImmutableList<StoredBlock> blocks = Volatile.Read(ref _blocks);
        long index = blocks.IsEmpty ? -1 : height - blocks[0].Height;
        return new ValueTask<StoredBlock?>(index >= 0 && index < blocks.Count ? blocks[(int)index] : null);
    }
}
