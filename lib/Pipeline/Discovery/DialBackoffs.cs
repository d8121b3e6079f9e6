using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <summary>Which addresses are not to be dialled yet, because that has failed.</summary>
/// <remarks>Source: <c>docs/protocol.md</c>, peer exchange.</remarks>
internal sealed class DialBackoffs(TimeProvider time, Random random)
{
    /// <summary>After more failures in a row an address is given up for a time; by then it has been tried for a day and a half.</summary>
    public const int MaxFailures = 16;

    private static readonly TimeSpan MaxJitter = TimeSpan.FromSeconds(1);

    // Guarded by _gate.
    private readonly Lock _gate = new();
    private readonly Dictionary<NetAddress, (int Failures, long Since, TimeSpan Pause)> _failed = [];

    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _failed.Count;
            }
        }
    }

    public bool IsWaiting(NetAddress address)
    {
        lock (_gate)
        {
            return _failed.TryGetValue(address, out (int Failures, long Since, TimeSpan Pause) entry) && time.GetElapsedTime(entry.Since) < entry.Pause;
        }
    }

    /// <summary>How long it is until the next of those that wait may be dialled; null when none waits.</summary>
    public TimeSpan? UntilNext()
    {
        lock (_gate)
        {
            TimeSpan? next = null;
            foreach ((_, long since, TimeSpan pause) in _failed.Values)
            {
                TimeSpan left = pause - time.GetElapsedTime(since);
                next = left > TimeSpan.Zero && !(left >= next) ? left : next;
            }

            return next;
        }
    }

    /// <summary>Says that a dial has failed, and how many have in a row.</summary>
    public int Failed(NetAddress address)
    {
        lock (_gate)
        {
            int failures = _failed.GetValueOrDefault(address).Failures + 1;
            TimeSpan pause = TimeSpan.FromSeconds(1L << Math.Min(failures, MaxFailures)) + (MaxJitter * random.NextDouble());
            _failed[address] = (failures, time.GetTimestamp(), pause);
            return failures;
        }
    }

    public void Forget(NetAddress address)
    {
        lock (_gate)
        {
            _failed.Remove(address);
        }
    }

    /// <summary>Forgets the addresses that nobody knows any more, so that there are never many more than those.</summary>
    public void Prune(Func<NetAddress, bool> isKnown)
    {
        NetAddress[] all;
        lock (_gate)
        {
            all = [.. _failed.Keys];
        }

        foreach (NetAddress address in all.Where(address => !isKnown(address)))
        {
            Forget(address);
        }
    }
}
