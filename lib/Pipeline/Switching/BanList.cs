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

    /// <summary>How long a change waits for others before all are written.</summary>
    internal static readonly TimeSpan SavePause = TimeSpan.FromMilliseconds(250);

    private readonly TimeProvider _timeProvider;
    private readonly ILogger _logger;
    private readonly KeptFile<BanFile>? _file;

    // What the file has, as far as is known; owned by the loop of the file.
    private ImmutableArray<Ban> _saved = [];

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
        _file = new KeptFile<BanFile>(
            new KeptFileOptions(path, "bans", "list", "bans.json")
            {
                // A file that was written with a larger capacity is read all the same.
                MaxSize = BanFile.MaxSize(Math.Max(capacity, 2 * DefaultCapacity)),
                Pause = SavePause,
                Save = () =>
                {
                    ImmutableArray<Ban> bans = Bans;
                    replace(path, BanFile.Write(bans));
                    _saved = bans;
                },
                TimeProvider = _timeProvider,
                LogDamage = problem => BanLog.FileDamaged(_logger, problem),
                LogFailure = (path, reason) => BanLog.WriteFailed(_logger, path, reason),
                LogRecovery = path => BanLog.WrittenAgain(_logger, path),
            },
            TakeAgain,
            out BanFile file);
        DateTimeOffset now = _timeProvider.GetUtcNow();
        lock (_gate)
        {
            foreach (Ban ban in file.Bans)
            {
                TryAdd(WithShortReason(ban), now);
            }

            _saved = [.. _byEnd.Select(entry => entry.Ban)];
        }

        if (_file.Problem is not null && _saved.Length > 0)
        {
            // The file that they were read from has been moved.
            _file.SaveSoon();
        }
    }

    /// <summary>
    /// Raised when somebody was banned, or for longer, after lookups find the ban; on the thread of who did it, with no lock held. Not raised
    /// for bans that were in the file when it was opened; for those that <see cref="ReloadAsync"/> found it is.
    /// </summary>
    public event Action<Ban>? Added;

    /// <summary>Raised when a ban was lifted before its end, or ends sooner now, like <see cref="Added"/>.</summary>
    internal event Action<AccessTarget>? Lifted;

    /// <summary>The most bans that are kept. When there are more, those that end first are dropped.</summary>
    public int Capacity { get; }

    /// <summary>
    /// What was wrong with the file when it was last read, and where it is now, for people (it is logged too). Null when nothing was.
    /// </summary>
    public string? FileProblem => _file?.Problem;

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
    /// <exception cref="IOException">The file is there and cannot be read.</exception>
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

        _file?.SaveSoon();
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

        _file?.SaveSoon();
        BanLog.Removed(_logger, target);
        Lifted?.Invoke(target);
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
        (_file?.FlushAsync() ?? Task.FromResult(true)).WaitAsync(cancellationToken);

    /// <summary>
    /// Reads the file again, after somebody has edited it: what it has holds, and what is not in it any more is lifted, as is everything when it is
    /// gone. Changes that were made here and were not yet written are kept, and written. A file that is damaged is moved aside, and the list stays as it
    /// is and is written; see <see cref="FileProblem"/>. Without a file nothing happens.
    /// </summary>
    /// <returns>True when the file was read; false when it was damaged, or could not be written when that was necessary, which is logged.</returns>
    /// <exception cref="ObjectDisposedException">The list has been disposed of.</exception>
    /// <exception cref="AggregateException">Handlers of <see cref="Added"/> have thrown. The list is as the file has it all the same.</exception>
    public Task<bool> ReloadAsync(CancellationToken cancellationToken = default) =>
        (_file?.ReloadAsync() ?? Task.FromResult(true)).WaitAsync(cancellationToken);

    /// <summary>Writes what was changed before to the file, and ends. What is changed later is in memory only.</summary>
    public ValueTask DisposeAsync() => _file?.DisposeAsync() ?? ValueTask.CompletedTask;

    // Called by the loop of the file. What was changed here since the file was written wins over what it has, unless both ban and it does so for longer.
    private bool TakeAgain(BanFile file)
    {
        DateTimeOffset now = _timeProvider.GetUtcNow();
        Dictionary<AccessTarget, Ban> theirs = [];
        foreach (Ban ban in file.Bans.Where(ban => ban.End > now))
        {
            if (!theirs.TryGetValue(ban.Target, out Ban? other) || other.End < ban.End)
            {
                theirs[ban.Target] = WithShortReason(ban);
            }
        }

        Dictionary<AccessTarget, Ban> saved = _saved.ToDictionary(ban => ban.Target);
        List<Ban> added = [];
        List<AccessTarget> lifted = [];
        bool isNewer = false;
        lock (_gate)
        {
            DropEnded(now);
            Dictionary<AccessTarget, Ban> mine = _byEnd.ToDictionary(entry => entry.Ban.Target, entry => entry.Ban);
            foreach (AccessTarget target in mine.Keys.Union(theirs.Keys))
            {
                Ban? here = mine.GetValueOrDefault(target);
                Ban? there = theirs.GetValueOrDefault(target);
                Ban? before = saved.GetValueOrDefault(target);
                bool isOfHere = !IsSame(here, before)
                    && (here is null ? IsSame(there, before) : there is null || there.End <= here.End);
                if (isOfHere)
                {
                    isNewer |= !IsSame(here, there);
                }
                else if (!IsSame(here, there))
                {
                    if (here is not null)
                    {
                        Drop(_byTarget[target]!);
                    }

                    if (there is null || (here is not null && there.End < here.End))
                    {
                        // Whoever waits for the end of the ban must hear of the new one.
                        lifted.Add(target);
                    }

                    if (there is null)
                    {
                        continue;
                    }

                    if (TryAdd(there, now) && (here is null || here.End < there.End))
                    {
                        added.Add(there);
                    }
                }
            }
        }

        _saved = [.. theirs.Values];
        BanLog.ReadAgain(_logger, added.Count, lifted.Count);
        List<Exception> faults = [];
        Raise(added, Added);
        Raise(lifted, Lifted);
        return faults.Count == 0 ? isNewer : throw new AggregateException(faults);

        // One handler's fault must not keep the others from the rest.
        void Raise<TChange>(List<TChange> changes, Action<TChange>? handlers)
        {
            foreach (TChange change in changes)
            {
                foreach (Action<TChange> handler in Delegate.EnumerateInvocationList(handlers))
                {
                    try
                    {
                        handler(change);
                    }
                    catch (Exception e)
                    {
                        faults.Add(e);
                    }
                }
            }
        }

        // A beginning that the file does not tell is another at each reading.
        static bool IsSame(Ban? one, Ban? other) => (one?.End, one?.Reason) == (other?.End, other?.Reason);
    }

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
