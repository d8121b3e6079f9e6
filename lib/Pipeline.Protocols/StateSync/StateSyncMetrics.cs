using System.Diagnostics.Metrics;
using Pipeline.Reactors;

namespace Pipeline.Protocols.StateSync;

/// <summary>Counts what state sync does, also while nobody listens.</summary>
internal sealed class StateSyncMetrics
{
    private readonly KindCounter _chunks = new("outcome");
    private readonly KindCounter _served = new("outcome");
    private readonly KindCounter _faults = new("fault");
    private long _bytes;

    public void Accepted(int bytes)
    {
        Chunk("accepted");
        Interlocked.Add(ref _bytes, bytes);
    }

    public void Chunk(string outcome) => _chunks.Add(outcome);

    public void Served(string outcome) => _served.Add(outcome);

    public void Fault(string fault) => _faults.Add(fault);

    /// <summary>Makes the meter.</summary>
    public Meter Show(ISwitch node, StateSyncOptions options, Func<bool> isDownloading, Func<int> snapshots)
    {
        Meter meter = ReactorMeter.Create(options.MeterFactory, node.NodeInfo, out KeyValuePair<string, object?> chain);
        meter.CreateObservableGauge("cometbft_statesync_syncing", () => new Measurement<int>(isDownloading() ? 1 : 0, chain), description: "Whether a snapshot is being downloaded.");
        meter.CreateObservableGauge("pipeline_statesync_snapshots", () => new Measurement<int>(snapshots(), chain), "{snapshot}", "Snapshots that peers offer.");
        meter.CreateObservableCounter("pipeline_statesync_chunks_total", () => _chunks.Read(chain), "{chunk}", "Chunks that peers were asked for, by what became of them.");
        meter.CreateObservableCounter("pipeline_statesync_bytes_total", () => new Measurement<long>(Volatile.Read(ref _bytes), chain), "By", "Bytes of the chunks that were accepted.");
        meter.CreateObservableCounter("pipeline_statesync_served_total", () => _served.Read(chain), "{chunk}", "Chunks that peers asked for, by what became of that.");
        meter.CreateObservableCounter("pipeline_statesync_faults_total", () => _faults.Read(chain), "{fault}", "What peers, or the source of snapshots, did wrong.");
        return meter;
    }
}
