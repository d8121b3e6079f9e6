using System.Threading.Channels;
using Pipeline.Cryptography;
using Pipeline.Dataflow;

namespace Pipeline.Protocols.StateSync;

/// <summary>Which chunk of all is meant, as far as messages say it.</summary>
internal readonly record struct ChunkKey(ulong Height, uint Format, uint Index);

/// <summary>A chunk that a peer is asked for and has not answered. Guarded by the gate.</summary>
internal sealed class AskedChunk(ChunkKey key, long at)
{
    public ChunkKey Key => key;

    /// <summary>When it was asked for; a timestamp.</summary>
    public long At => at;

    /// <summary>The peer is not expected to answer any more, but may.</summary>
    public bool IsLate { get; set; }

    /// <summary>It has been counted as a failure already.</summary>
    public bool IsFailed { get; set; }

    /// <summary>The answer has come and is looked at by the user's check.</summary>
    public bool IsChecked { get; set; }
}

/// <summary>A connected peer as one that snapshots and chunks come from and go to.</summary>
internal sealed class ChunkPeer(IPeer peer)
{
    // What a peer has to send of a chunk in the time that it has, to be one that is slow and not one that is silent.
    private const int LeastProgress = 64 << 10;

    // What has come of the chunk under way when that was found to be progress.
    private int _partialBytes;
    private long _progressAt;
    private (int Bytes, bool IsHeldUpHere) _measured;

    public IPeer Peer => peer;

    public NodeId Id => peer.Id;

    /// <summary>The chunks that it waits for, in order; as many as there are in <see cref="Waiting"/>.</summary>
    public Channel<ChunkKey> Queue { get; } = Channel.CreateUnbounded<ChunkKey>(new UnboundedChannelOptions { SingleReader = true });

    public Task Serving { get; set; } = Task.CompletedTask;

    /// <summary>Tells it which snapshots there are. Of its own messages, which come one after the other.</summary>
    public Task Offering { get; set; } = Task.CompletedTask;

    /// <summary>When it was told last. Of its own messages as well.</summary>
    public long? OfferedAt { get; set; }

    // The rest is guarded by the gate.

    /// <summary>The chunks that it has asked for and that have not been handed over to be sent.</summary>
    public HashSet<ChunkKey> Waiting { get; } = [];

    /// <summary>What it offers.</summary>
    public Dictionary<SnapshotKey, Snapshot> Offers { get; } = [];

    /// <summary>How many snapshots more it may offer, having been asked; of what it did not answer, no more than one request counts.</summary>
    public int OffersExpected { get; set; }

    /// <summary>How many chunks more it may send, having been asked, however late.</summary>
    public int ChunksExpected { get; set; }

    /// <summary>What it was asked for and has not answered, of whichever download.</summary>
    public List<AskedChunk> Asked { get; } = [];

    public int InFlight => Asked.Count(asked => !asked.IsLate);

    public int Chunks { get; set; }

    public int Failures { get; set; }

    public void ExpectOffers() => OffersExpected = Math.Min(OffersExpected, StateSyncReactor.SnapshotsPerPeer) + StateSyncReactor.SnapshotsPerPeer;

    public bool IsAskedFor(ChunkKey key) => Asked.Exists(asked => !asked.IsLate && asked.Key == key);

    public void Ask(ChunkKey key, long now)
    {
        if (InFlight == 0)
        {
            Progress(now);
        }

        Asked.RemoveAll(asked => asked.Key == key);
        Asked.Add(new AskedChunk(key, now));
        ChunksExpected++;
    }

    /// <summary>It has answered, or begins to be waited for.</summary>
    public void Progress(long now) => (_progressAt, _partialBytes) = (now, 0);

    /// <summary>For how long it may still be waited for; null when it owes nothing, or what it sent is being looked at.</summary>
    public TimeSpan? TimeLeft(StateSyncOptions options, long now) =>
        InFlight == 0 || Asked.Exists(asked => asked.IsChecked) ? null : options.ChunkTimeout - options.TimeProvider.GetElapsedTime(_progressAt, now);

    /// <summary>Looks at what has come of the chunk under way; without the gate.</summary>
    public void Measure()
    {
        ConnectionStatus status = peer.GetStatus();
        ChannelStatus? channel = status.Channels.FirstOrDefault(channel => channel.Channel.Id == StandardChannels.StateSyncChunks.Id);
        _measured = (channel?.PartialBytes ?? 0, status.IsPaused || channel?.InboxMessages > 0);
    }

    /// <summary>Whether, by what <see cref="Measure"/> saw, it goes on sending, or this node does not take what it sends.</summary>
    public bool TryProgress(long now)
    {
        bool isProgress = _measured.IsHeldUpHere || _measured.Bytes - _partialBytes >= LeastProgress;
        if (isProgress)
        {
            (_progressAt, _partialBytes) = (now, _measured.Bytes);
        }

        return isProgress;
    }
}
