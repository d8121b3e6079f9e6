using System.Threading.Channels;
using Pipeline.Dataflow;

namespace Pipeline.Protocols.BlockSync;

/// <summary>What block sync knows of a peer.</summary>
internal sealed class SyncPeer(IPeer peer, BlockSyncOptions options)
{
    public static readonly PeerItemKey<SyncPeer> Key = new("block sync");

    public IPeer Peer => peer;

    /// <summary>The heights that the peer has asked for and not been answered; <see cref="Status"/> for what blocks there are.</summary>
    public Channel<long> Requests { get; } = Channel.CreateBounded<long>(new BoundedChannelOptions(options.MaxWaitingRequests) { SingleReader = true });

    public const long Status = 0;

    public Task Serving { get; set; } = Task.CompletedTask;

    // The rest is guarded by the reactor's gate.

    /// <summary>What the peer says that it has.</summary>
    public BlockRange Range { get; set; }

    /// <summary>What it owes to the sync that runs, by height. One that was asked again owes as many answers as it was asked for.</summary>
    public Dictionary<long, (int Answers, long AskedAt)> Owed { get; } = [];

    /// <summary>How many answers it owes to syncs that are over, by height. They may still come, and are no violation then.</summary>
    public Dictionary<long, int> OwedBefore { get; } = [];

    /// <summary>Since when it has sent nothing of what it owes, or has last been found not to have.</summary>
    public long SilentSince { get; set; }

    /// <summary>How often in a row it has been found to have sent nothing for <see cref="BlockSyncOptions.RequestTimeout"/>.</summary>
    public int Silences { get; set; }

    /// <summary>How many statuses it was asked for and has not sent; since when the first is awaited.</summary>
    public int StatusesOwed { get; set; }

    public long? StatusAskedAt { get; set; }

    /// <summary>How many statuses came that were not asked for, since when.</summary>
    public (int Count, long Since) UnaskedStatuses { get; set; }

    /// <summary>How many blocks it may owe.</summary>
    public int Limit { get; set; } = Math.Min(2, options.MaxAskedOfPeer);

    public SyncStanding Standing { get; set; }

    /// <summary>How long it takes from asking to answering; zero while that is not known.</summary>
    public TimeSpan Latency { get; set; }

    public void Ask(long height, long now)
    {
        SilentSince = Owed.Count == 0 ? now : SilentSince;
        Owed[height] = (Owed.GetValueOrDefault(height).Answers + 1, now);
    }

    /// <summary>Notes an answer.</summary>
    /// <param name="height">What for.</param>
    /// <param name="now">When it came.</param>
    /// <param name="askedAt">When it was asked for; null when that is not sure.</param>
    /// <returns>Whether the peer owed it.</returns>
    public bool TryTake(long height, long now, out long? askedAt)
    {
        askedAt = null;
        if (Owed.TryGetValue(height, out (int Answers, long AskedAt) owed))
        {
            if (owed.Answers == 1)
            {
                askedAt = owed.AskedAt;
                Owed.Remove(height);
            }
            else
            {
                Owed[height] = owed with { Answers = owed.Answers - 1 };
            }
        }
        else if (!OwedBefore.TryGetValue(height, out int answers))
        {
            return false;
        }
        else if (answers == 1)
        {
            OwedBefore.Remove(height);
        }
        else
        {
            OwedBefore[height] = answers - 1;
        }

        (SilentSince, Silences) = (now, 0);
        return true;
    }

    /// <summary>The sync is over that it owes something to.</summary>
    public void EndSync()
    {
        foreach ((long height, (int answers, _)) in Owed)
        {
            OwedBefore[height] = OwedBefore.GetValueOrDefault(height) + answers;
        }

        Owed.Clear();
    }
}

/// <summary>How a sync thinks of a node, also when it is connected again.</summary>
/// <param name="Failures">How often in a row it has failed.</param>
/// <param name="IsExcluded">Asked no more in this sync.</param>
/// <param name="IsRefused">Nor is anything used that it has sent.</param>
internal readonly record struct SyncStanding(int Failures, bool IsExcluded, bool IsRefused);
