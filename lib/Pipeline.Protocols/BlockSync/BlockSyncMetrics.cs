using System.Diagnostics.Metrics;
using Pipeline.Transport;

namespace Pipeline.Protocols.BlockSync;

/// <summary>What block sync has done since it was made, as counted. <c>docs/concepts/block-sync.md</c> lists what is measured.</summary>
internal sealed class BlockSyncMetrics
{
    private readonly KindCounter _faults = new("fault");
    private readonly KindCounter _answers = new("answer");

    // Written by one sync at a time.
    private long _blocks;
    private long _bytes;
    private long _transactions;
    private long _height;
    private long _latestBytes;
    private long _latestTransactions;

    /// <summary>A peer failed, lied or broke a rule.</summary>
    public void Fault(string kind) => _faults.Add(kind);

    /// <summary>A request was answered.</summary>
    public void Answer(string kind) => _answers.Add(kind);

    public void Verified(VerifiedBlock block)
    {
        int transactions = block.Block.Data.Txs.Count;
        Interlocked.Increment(ref _blocks);
        Interlocked.Add(ref _bytes, block.Bytes.Length);
        Interlocked.Add(ref _transactions, transactions);
        Volatile.Write(ref _height, block.Height);
        Volatile.Write(ref _latestBytes, block.Bytes.Length);
        Volatile.Write(ref _latestTransactions, transactions);
    }

    /// <summary>Makes the meter.</summary>
    /// <param name="factory">Who makes it; null: it is made here, for whoever gets it to end.</param>
    /// <param name="node">The node.</param>
    /// <param name="sync">How far the sync is that runs; null when none does.</param>
    public Meter Show(IMeterFactory? factory, NodeInfo node, Func<BlockSyncProgress?> sync)
    {
        Meter meter = ReactorMeter.Create(factory, node, out KeyValuePair<string, object?> chain);
        const string block = "{block}";
        const string transaction = "{transaction}";
        meter.CreateObservableGauge("cometbft_blocksync_syncing", () => Now(sync() is null ? 0 : 1), null, "1 while a sync runs, else 0.");
        meter.CreateObservableGauge("cometbft_blocksync_latest_block_height", () => Now(Volatile.Read(ref _height)), null, "Height of the block that was verified last.");
        meter.CreateObservableGauge("cometbft_blocksync_block_size_bytes", () => Now(Volatile.Read(ref _latestBytes)), "By", "Its bytes.");
        meter.CreateObservableGauge("cometbft_blocksync_num_txs", () => Now(Volatile.Read(ref _latestTransactions)), transaction, "Its transactions.");
        meter.CreateObservableGauge("cometbft_blocksync_total_txs", () => Now(Interlocked.Read(ref _transactions)), transaction, "Transactions of all blocks that were verified.");
        meter.CreateObservableCounter("pipeline_blocksync_verified_total", () => Now(Interlocked.Read(ref _blocks)), block, "Blocks that were verified.");
        meter.CreateObservableCounter("pipeline_blocksync_verified_bytes_total", () => Now(Interlocked.Read(ref _bytes)), "By", "Their bytes.");
        meter.CreateObservableGauge("pipeline_blocksync_target_height", () => Now(sync()?.Target ?? 0), null, "Height that the sync that runs goes to, as far as it is known; else 0.");
        meter.CreateObservableGauge("pipeline_blocksync_buffered_bytes", () => Now(sync()?.Buffered ?? 0), "By", "Memory of blocks that wait to be verified or taken.");
        meter.CreateObservableCounter("pipeline_blocksync_faults_total", () => _faults.Read(chain), "{fault}", "What peers did wrong.");
        meter.CreateObservableCounter("pipeline_blocksync_answers_total", () => _answers.Read(chain), "{answer}", "Requests of others that were answered, by what with.");
        return meter;

        Measurement<long> Now(long value) => new(value, chain);
    }
}
