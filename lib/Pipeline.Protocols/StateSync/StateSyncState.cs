namespace Pipeline.Protocols.StateSync;

/// <summary>What the reactor and its download share. The gate guards all of it, and is never held while calling out.</summary>
internal sealed class StateSyncState(StateSyncOptions options)
{
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public StateSyncOptions Options => options;

    public Lock Gate { get; } = new();

    public List<ChunkPeer> Peers { get; } = [];

    public SnapshotPool Pool { get; } = new(options.MaxOfferBytes);

    /// <summary>The download that goes on.</summary>
    public SnapshotDownload? Download { get; set; }

    /// <summary>Completes when what peers offer has changed.</summary>
    public Task Changed => _changed.Task;

    /// <summary>Not guarded: it guards itself.</summary>
    public StateSyncMetrics Metrics { get; } = new();

    /// <exception cref="InvalidOperationException">A download goes on.</exception>
    public void ThrowIfDownloading()
    {
        if (Download is not null)
        {
            throw new InvalidOperationException("A snapshot is being downloaded; one is at a time.");
        }
    }

    /// <summary>What peers offer has changed, or what was rejected alone, which a download has to know.</summary>
    public void Change(bool isOffers)
    {
        if (isOffers)
        {
            _changed.SetResult();
            _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        Download?.Wake();
    }
}
