using System.Collections.Immutable;
using System.Net;
using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Pipeline.Cryptography;
using Pipeline.Diagnostics;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>Who is kept out, and until when; in memory, or kept in a file (<see cref="Open"/>). Safe to use from any thread.</summary>
/// <remarks>
/// There is at most one ban for a target, and a ban that has ended is gone. A list that is full keeps those bans that end last. Changes reach
/// the file within a second of being made, or at <see cref="FlushAsync"/> and <see cref="DisposeAsync"/>; a write that fails is logged and
/// tried again with the next change. One process at a time may use a file. The format: docs/concepts/access.md.
/// </remarks>
public sealed class BanList : IAsyncDisposable
{
    /// <summary>How many bans a list keeps when nothing else is said.</summary>
    public const int DefaultCapacity = 10_000;

    /// <summary>How many characters of a reason are kept.</summary>
    public const int MaxReasonLength = 256;

    private readonly TimeProvider _timeProvider;
    private readonly ILogger _logger;
    private readonly BanStore? _store;

    // Guarded by _gate. Invariant: _byTarget and _byEnd hold the same entries, at most Capacity of them and one for a target.
    private readonly Lock _gate = new();
    private readonly TargetIndex<Entry> _byTarget = new();
    private readonly SortedSet<Entry> _byEnd = new(Comparer<Entry>.Create(static (one, other) =>
        one.Ban.End == other.Ban.End ? one.Number.CompareTo(other.Number) : one.Ban.End.CompareTo(other.Ban.End)));

    private long _added;
    private bool _wasFull;

    /// <summary>Makes a list that is forgotten when the process ends.</summary>
    /// <param name="capacity">The most bans it keeps. At least 1.</param>
    /// <param name="timeProvider">Where time comes from. Default: the system's clock.</param>
    /// <param name="logger">Where bans are logged. Default: nowhere.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="capacity"/> is less than 1.</exception>
    public BanList(int capacity = DefaultCapacity, TimeProvider? timeProvider = null, ILogger<BanList>? logger = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        Capacity = capacity;
        _timeProvider = timeProvider ?? TimeProvider.System;
        _logger = logger ?? NullLogger<BanList>.Instance;
    }

    internal BanList(string path, int capacity, TimeProvider? timeProvider, ILogger<BanList>? logger, Action<string, byte[]> replace)
        : this(capacity, timeProvider, logger)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (Directory.Exists(path))
        {
            throw new ArgumentException($"'{path}' is a folder. Bans are kept in a file, such as '{Path.Combine(path, "bans.json")}'.", nameof(path));
        }

        if (IsDevice(Path.GetFullPath(path)))
        {
            throw new ArgumentException($"'{path}' is no place for a file. For bans that are not kept, make a list without one.", nameof(path));
        }

        // A file that was written with a larger capacity is read all the same.
        long maxSize = BanFile.MaxSize(Math.Max(capacity, 2 * DefaultCapacity));
        _store = new BanStore(path, maxSize, () => Bans, replace, _timeProvider, _logger);
        DateTimeOffset now = _timeProvider.GetUtcNow();
        lock (_gate)
        {
            foreach (Ban ban in _store.OpenedBans)
            {
                TryAdd(WithShortReason(ban), now);
            }
        }

        if (_store.Problem is not null && _byEnd.Count > 0)
        {
            // The file that they were read from has been moved.
            _store.SetChanged();
        }
    }

    /// <summary>
    /// Raised when somebody was banned, or for longer, after lookups find the ban; on the thread of who did it, with no lock held. Not raised
    /// for bans that were in the file.
    /// </summary>
    public event Action<Ban>? Added;

    /// <summary>The most bans that are kept. When there are more, those that end first are dropped.</summary>
    public int Capacity { get; }

    /// <summary>
    /// What was wrong with the file when the list was opened, and where it is now, for people (it is logged too). Null when nothing was.
    /// </summary>
    public string? FileProblem => _store?.Problem;

    /// <summary>How many bans there are at this moment.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
            {
                DropEnded(_timeProvider.GetUtcNow());
                return _byEnd.Count;
            }
        }
    }

    /// <summary>The bans at this moment, those that end first in front.</summary>
    public ImmutableArray<Ban> Bans
    {
        get
        {
            lock (_gate)
            {
                DropEnded(_timeProvider.GetUtcNow());
                return [.. _byEnd.Select(entry => entry.Ban)];
            }
        }
    }

    /// <summary>
    /// Opens a list that is kept in a file, which is made with the first ban. A file that is damaged is moved aside, not lost: then the list
    /// starts with what could be read of it, and <see cref="FileProblem"/> says what is wrong.
    /// </summary>
    /// <param name="path">The file. Its folder must be there when it is written.</param>
    /// <param name="capacity">The most bans the list keeps. At least 1.</param>
    /// <param name="timeProvider">Where time comes from. Default: the system's clock.</param>
    /// <param name="logger">Where bans, and faults of the file, are logged. Default: nowhere.</param>
    /// <exception cref="ArgumentException"><paramref name="path"/> is empty, a folder or a device.</exception>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="capacity"/> is less than 1.</exception>
    public static BanList Open(
        string path,
        int capacity = DefaultCapacity,
        TimeProvider? timeProvider = null,
        ILogger<BanList>? logger = null) =>
        new(path, capacity, timeProvider, logger, static (path, content) => OwnerFile.Replace(path, content));

    /// <summary>Bans somebody from now on.</summary>
    /// <param name="target">Whom.</param>
    /// <param name="reason">Why, for people.</param>
    /// <param name="duration">For how long, more than 0; null: for ever.</param>
    /// <returns>See <see cref="Add(Ban)"/>.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="duration"/> is not more than 0.</exception>
    public bool Add(AccessTarget target, string reason, TimeSpan? duration)
    {
        if (duration is { } time)
        {
            ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(time, TimeSpan.Zero, nameof(duration));
        }

        DateTimeOffset now = _timeProvider.GetUtcNow();
        return Add(new Ban(target, reason, now, duration < DateTimeOffset.MaxValue - now ? now + duration : null));
    }

    /// <summary>Adds a ban. It takes the place of one for the same target that ends earlier.</summary>
    /// <returns>
    /// Whether the list has changed: not when the target is banned until then or longer, when the ban is over already, or when the list is full
    /// of bans that end later.
    /// </returns>
    public bool Add(Ban ban)
    {
        ArgumentNullException.ThrowIfNull(ban);
        ArgumentNullException.ThrowIfNull(ban.Target);
        ArgumentNullException.ThrowIfNull(ban.Reason);
        ban = WithShortReason(ban);
        bool isFullNow;
        lock (_gate)
        {
            bool wasFull = _wasFull;
            if (!TryAdd(ban, _timeProvider.GetUtcNow()))
            {
                return false;
            }

            isFullNow = _wasFull && !wasFull;
        }

        _store?.SetChanged();
        BanLog.Added(_logger, ban);
        if (isFullNow)
        {
            BanLog.Full(_logger, Capacity);
        }

        Added?.Invoke(ban);
        return true;
    }

    /// <summary>Lifts the ban of exactly this target. False when there is none.</summary>
    public bool Remove(AccessTarget target)
    {
        ArgumentNullException.ThrowIfNull(target);
        lock (_gate)
        {
            DropEnded(_timeProvider.GetUtcNow());
            if (_byTarget[target] is not { } entry)
            {
                return false;
            }

            Drop(entry);
        }

        _store?.SetChanged();
        BanLog.Removed(_logger, target);
        return true;
    }

    /// <summary>The ban of a node; null when there is none.</summary>
    public Ban? Find(NodeId id)
    {
        lock (_gate)
        {
            DropEnded(_timeProvider.GetUtcNow());
            return _byTarget.Find(id)?.Ban;
        }
    }

    /// <summary>The ban of an address or of a subnet that holds it, of several the one that ends last; null when there is none.</summary>
    public Ban? Find(IPAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        lock (_gate)
        {
            DropEnded(_timeProvider.GetUtcNow());
            return _byTarget.Find(address).MaxBy(entry => entry.Ban.End)?.Ban;
        }
    }

    /// <summary>Writes what was changed before to the file.</summary>
    /// <returns>True when all is on disk, or there is no file; false when it cannot be written, which is logged.</returns>
    public Task<bool> FlushAsync(CancellationToken cancellationToken = default) =>
        (_store?.FlushAsync() ?? Task.FromResult(true)).WaitAsync(cancellationToken);

    /// <summary>Writes what was changed before to the file, and ends. What is changed later is in memory only.</summary>
    public ValueTask DisposeAsync() => _store?.DisposeAsync() ?? ValueTask.CompletedTask;

    // A file that is damaged is moved, and one that is written is replaced: for root, /dev/null too, which people name to get rid of things.
    private static bool IsDevice(string fullPath) =>
        !OperatingSystem.IsWindows()
        && fullPath.StartsWith("/dev/", StringComparison.Ordinal)
        && !fullPath.StartsWith("/dev/shm/", StringComparison.Ordinal);

    // Called with the gate held, as those below.
    private bool TryAdd(Ban ban, DateTimeOffset now)
    {
        DropEnded(now);
        Entry? former = _byTarget[ban.Target];
        if (ban.End <= now || former?.Ban.End >= ban.End)
        {
            return false;
        }

        if (former is not null)
        {
            Drop(former);
        }
        else if (_byEnd.Count == Capacity)
        {
            _wasFull = true;
            if (_byEnd.Min!.Ban.End > ban.End)
            {
                return false;
            }

            Drop(_byEnd.Min);
        }

        Entry entry = new(ban, _added++);
        _byTarget[ban.Target] = entry;
        _byEnd.Add(entry);
        return true;
    }

    private void DropEnded(DateTimeOffset now)
    {
        while (_byEnd.Min is { } first && first.Ban.End <= now)
        {
            Drop(first);
        }
    }

    private void Drop(Entry entry)
    {
        _byTarget.Remove(entry.Ban.Target);
        _byEnd.Remove(entry);
    }

    // What is no Unicode cannot be written to the file, and a reason is one line of a log.
    private static Ban WithShortReason(Ban ban)
    {
        StringBuilder reason = new();
        foreach (Rune rune in ban.Reason.EnumerateRunes())
        {
            if (reason.Length + rune.Utf16SequenceLength > MaxReasonLength)
            {
                break;
            }

            reason.Append(Rune.IsControl(rune) ? new Rune(' ') : rune);
        }

        return ban with { Reason = reason.ToString() };
    }

    /// <param name="Ban">The ban.</param>
    /// <param name="Number">How many came before.</param>
    private sealed record Entry(Ban Ban, long Number);
}
