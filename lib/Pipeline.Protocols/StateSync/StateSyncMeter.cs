using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Pipeline.Diagnostics;
using Pipeline.Reactors;

namespace Pipeline.Protocols.StateSync;

/// <summary>Counts what state sync does, also while nobody listens.</summary>
internal sealed class StateSyncMeter
{
    private readonly ConcurrentDictionary<string, long> _chunks = new();
    private readonly ConcurrentDictionary<string, long> _served = new();
    private readonly ConcurrentDictionary<string, long> _faults = new();
    private long _bytes;

    public void Accepted(int bytes)
    {
        Chunk("accepted");
        Interlocked.Add(ref _bytes, bytes);
    }

    public void Chunk(string outcome) => Count(_chunks, outcome);

    public void Served(string outcome) => Count(_served, outcome);

    public void Fault(string fault) => Count(_faults, fault);

    /// <summary>Makes the instruments of a node, which end with the meter.</summary>
    public Meter Create(ISwitch node, StateSyncOptions options, Func<bool> isDownloading, Func<int> snapshots)
    {
        MeterOptions meterOptions = new(PipelineDiagnostics.MeterName) { Tags = [new("node_id", node.NodeInfo.Id.ToString())] };
        Meter meter = options.MeterFactory?.Create(meterOptions) ?? new Meter(meterOptions);
        KeyValuePair<string, object?> chain = new("chain_id", node.NodeInfo.Network);
        meter.CreateObservableGauge("cometbft_statesync_syncing", () => new Measurement<int>(isDownloading() ? 1 : 0, chain), description: "Whether a snapshot is being downloaded.");
        meter.CreateObservableGauge("pipeline_statesync_snapshots", () => new Measurement<int>(snapshots(), chain), "{snapshot}", "Snapshots that peers offer.");
        meter.CreateObservableCounter("pipeline_statesync_chunks_total", () => Measure(_chunks, "outcome"), "{chunk}", "Chunks that peers were asked for, by what became of them.");
        meter.CreateObservableCounter("pipeline_statesync_bytes_total", () => new Measurement<long>(Volatile.Read(ref _bytes), chain), "By", "Bytes of the chunks that were accepted.");
        meter.CreateObservableCounter("pipeline_statesync_served_total", () => Measure(_served, "outcome"), "{chunk}", "Chunks that peers asked for, by what became of that.");
        meter.CreateObservableCounter("pipeline_statesync_faults_total", () => Measure(_faults, "fault"), "{fault}", "What peers, or the source of snapshots, did wrong.");
        return meter;

        IEnumerable<Measurement<long>> Measure(ConcurrentDictionary<string, long> counts, string tag) =>
            counts.Select(count => new Measurement<long>(count.Value, chain, new(tag, count.Key)));
    }

    private static void Count(ConcurrentDictionary<string, long> counts, string key) => counts.AddOrUpdate(key, 1, static (_, count) => count + 1);
}
