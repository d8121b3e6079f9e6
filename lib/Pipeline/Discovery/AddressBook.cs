using System.Collections.Frozen;
using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Pipeline.Cryptography;
using Pipeline.Diagnostics;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <summary>
/// The addresses that a node has heard of, and which of them were of use; in memory, or kept in a file (<see cref="Open"/>). It is made so that
/// somebody who tells many lies, or owns many addresses of one network, gets few places in it. Safe to use from any thread.
/// </summary>
/// <remarks>
/// At most 16,384 addresses that were heard of and 4,096 that were of use, and 10,000 that are kept out for a time. Source of the rules:
/// <c>docs/protocol.md</c>, the address book; the idea is that of Bitcoin's address manager. Changes reach the file within two minutes, those of who is
/// kept out within seconds, and all at <see cref="FlushAsync"/> and <see cref="DisposeAsync"/>; a write that fails is logged and tried again with the
/// next change. One process at a time may use a file, which is the reference's: docs/concepts/addresses.md.
/// </remarks>
public sealed class AddressBook : IAddressBook, IAsyncDisposable
{
    /// <summary>Below how many addresses a book wants more.</summary>
    public const int EnoughAddresses = 1000;

    /// <summary>The most addresses of a selection.</summary>
    public const int MaxSelection = 250;

    /// <summary>The most addresses that are kept out of the buckets for a time: a remote that makes dials fail must not make the book grow.</summary>
    internal const int MaxKeptOut = 10_000;

    /// <summary>How long changes wait until they are written, as in the reference.</summary>
    internal static readonly TimeSpan SaveInterval = TimeSpan.FromMinutes(2);

    /// <summary>How long a change of who is kept out waits for others. A full book is megabytes, so it is longer than that of bans.</summary>
    internal static readonly TimeSpan SavePause = TimeSpan.FromSeconds(5);

    private const int MinSelection = 32;
    private const int SelectionPercent = 23;

    private static readonly TimeSpan MinBan = TimeSpan.FromSeconds(1);

    private readonly AddressBookOptions _options;
    private readonly FrozenSet<NodeId> _own;
    private readonly FrozenSet<NodeId> _private;
    private readonly KeptFile<AddressFile>? _file;

    // Guarded by _gate. Invariant: an entry is in _table or in _keptOut, never in both; _byEnd has each entry of _keptOut with its end, and may have
    // others. No entry of _table is banned: the handler of Bans.Added takes the gate, as does whoever asks Bans and adds.
    private readonly Lock _gate = new();
    private readonly AddressTable _table;
    private readonly Dictionary<NetAddress, KnownAddress> _keptOut = [];
    private readonly PriorityQueue<KnownAddress, DateTimeOffset> _byEnd = new();

    /// <summary>Makes an empty book that is forgotten when the process ends.</summary>
    /// <param name="options">Settings, or null for the defaults.</param>
    public AddressBook(AddressBookOptions? options = null)
        : this(options, path: null, logger: null, replace: null)
    {
    }

    internal AddressBook(AddressBookOptions? options, string? path, ILogger<AddressBook>? logger, Action<string, byte[]>? replace)
    {
        _options = options ?? new AddressBookOptions();
        _own = [.. _options.OwnIds];
        _private = [.. _options.PrivateIds];
        logger ??= NullLogger<AddressBook>.Instance;
        string key = BucketPlacement.CreateKey();
        AddressFile file = AddressFile.Nothing(fault: null);
        if (path is not null)
        {
            KeptFileOptions kept = new(path, "addresses", "book", "addrbook.json")
            {
                MaxSize = AddressFile.MaxSize,
                Pause = SavePause,
                Interval = SaveInterval,
                Save = () => replace!(path, AddressFile.Write(key, Record())),
                TimeProvider = _options.TimeProvider,
                LogDamage = problem => AddressBookLog.FileDamaged(logger, problem),
                LogFailure = (path, reason) => AddressBookLog.WriteFailed(logger, path, reason),
                LogRecovery = path => AddressBookLog.WrittenAgain(logger, path),
            };
            _file = new KeptFile<AddressFile>(kept, reload: null, out file);
            key = file.Key ?? key;
        }

        _table = new AddressTable(new BucketPlacement(key, _options.IsStrict), _options.Random);
        if (_options.Bans is { } bans)
        {
            bans.Added += OnBanAdded;
            bans.Lifted += OnBanLifted;
        }

        Restore(file, logger);
        if (file.Fault is not null && file.Count > 0)
        {
            // The file that they were read from has been moved.
            _file!.SaveSoon();
        }
    }

    /// <summary>How many addresses the book has.</summary>
    public int Count => Ask(static table => table.Count);

    /// <summary>How many of them were only heard of.</summary>
    public int NewCount => Ask(static table => table.NewCount);

    /// <summary>How many of them were of use.</summary>
    public int OldCount => Ask(static table => table.OldCount);

    /// <summary>
    /// What was wrong with the file when the book was opened, and where it is now, for people (it is logged too). Null when nothing was.
    /// </summary>
    public string? FileProblem => _file?.Problem;

    /// <summary>Whether the book has fewer than <see cref="EnoughAddresses"/>.</summary>
    public bool NeedsMore => Count < EnoughAddresses;

    /// <summary>All entries at this moment, in no order.</summary>
    public ImmutableArray<AddressBookEntry> Entries => Ask<ImmutableArray<AddressBookEntry>>(static table => [.. table.Entries.Select(Show)]);

    /// <summary>
    /// Opens a book that is kept in a file, which is made with the first change. A file that is damaged is moved aside, not lost: then the book
    /// starts with what could be read of it, and <see cref="FileProblem"/> says what is wrong. Addresses that the options refuse, such as local ones when
    /// the book is strict, are left out.
    /// </summary>
    /// <param name="path">The file. Its folder must be there when it is written.</param>
    /// <param name="options">Settings, or null for the defaults.</param>
    /// <param name="logger">Where faults of the file are logged. Default: nowhere.</param>
    /// <exception cref="ArgumentException"><paramref name="path"/> is empty, a folder or a device.</exception>
    /// <exception cref="IOException">The file is there and cannot be read.</exception>
    public static AddressBook Open(string path, AddressBookOptions? options = null, ILogger<AddressBook>? logger = null) =>
        new(options, path, logger, static (path, content) => OwnerFile.Replace(path, content));

    /// <summary>What the book knows of a node; null when it does not know it.</summary>
    public AddressBookEntry? Find(NodeId id) => Ask(table => table.Find(id) is { } entry ? Show(entry) : null);

    /// <summary>Adds an address that was heard of.</summary>
    /// <param name="address">Where a node is said to be.</param>
    /// <param name="source">Who says so; the same address for a node that speaks of itself.</param>
    public AddressVerdict Add(NetAddress address, NetAddress source)
    {
        ArgumentNullException.ThrowIfNull(address);
        ArgumentNullException.ThrowIfNull(source);
        if (FindRefusal(address, source) is { } refusal)
        {
            return refusal;
        }

        // Else one address could be written in several ways, which would be in other buckets.
        address = address.WithPlainHost();

        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        lock (_gate)
        {
            Reinstate(now);
            return IsBanned(address, now) ? AddressVerdict.Banned : Add(address, source, now);
        }
    }

    /// <summary>Forgets a node. False when it was not in the book.</summary>
    public bool Remove(NodeId id)
    {
        lock (_gate)
        {
            if (_table.Find(id) is not { } entry)
            {
                return false;
            }

            _table.Remove(entry);
            _file?.SaveLater();
            return true;
        }
    }

    /// <summary>
    /// Picks an address to dial: a random one of a random bucket, so that many addresses of one network are not picked more often than few. Null
    /// when the book is empty.
    /// </summary>
    /// <param name="biasTowardsNew">The weight of addresses that were only heard of against those that were of use, 0 to 100 percent.</param>
    public NetAddress? Pick(int biasTowardsNew)
    {
        EnsureIsPercent(biasTowardsNew);
        return Ask(table => table.Pick(biasTowardsNew)?.Address);
    }

    /// <summary>Different random addresses to tell others: 23 % of the book, but at least 32 if it has so many, and at most 250.</summary>
    public ImmutableArray<NetAddress> Select() =>
        Ask<ImmutableArray<NetAddress>>(static table => [.. table.Select(SelectionSize(table)).Select(entry => entry.Address)]);

    /// <summary>Different random addresses to tell others, as many as of <see cref="Select()"/>.</summary>
    /// <param name="biasTowardsNew">
    /// How many percent of them should be ones that were only heard of, 0 to 100; more are when there are too few others, and fewer when there are
    /// too few of them.
    /// </param>
    public ImmutableArray<NetAddress> Select(int biasTowardsNew)
    {
        EnsureIsPercent(biasTowardsNew);
        return Ask<ImmutableArray<NetAddress>>(table =>
        {
            int size = SelectionSize(table);
            int wanted = (int)Math.Round(size * biasTowardsNew / 100.0, MidpointRounding.AwayFromZero);
            KnownAddress[] chosen = table.Select(Math.Max(wanted, size - table.OldCount), isOld: false);
            return [.. chosen.Concat(table.Select(size - chosen.Length, isOld: true)).Select(entry => entry.Address)];
        });
    }

    /// <summary>Says that the node at an address was of use, which makes it an old one. Ignored when the book does not have exactly this address.</summary>
    public void MarkGood(NetAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        lock (_gate)
        {
            if (FindExactly(address) is { } entry)
            {
                entry.Attempts = 0;
                entry.LastAttempt = now;
                entry.LastSuccess = now;
                if (!entry.IsOld)
                {
                    _table.Promote(entry, now);
                }

                _file?.SaveLater();
            }
        }
    }

    /// <summary>
    /// Says that the node was reached at an address, and has proved who it is: hearsay does not move it elsewhere any more. That it was of use is for
    /// <see cref="MarkGood"/> to say. Ignored when the book does not have exactly this address.
    /// </summary>
    public void MarkReached(NetAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        lock (_gate)
        {
            if (FindExactly(address) is { } entry)
            {
                entry.Attempts = 0;
                entry.LastAttempt = _options.TimeProvider.GetUtcNow();
                _file?.SaveLater();
            }
        }
    }

    /// <summary>Says that a dial has failed. Ignored when the book does not have exactly this address.</summary>
    public void MarkAttempt(NetAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        lock (_gate)
        {
            if (FindExactly(address) is { } entry)
            {
                entry.Attempts = Math.Min(entry.Attempts, int.MaxValue - 1) + 1;
                entry.LastAttempt = _options.TimeProvider.GetUtcNow();
                _file?.SaveLater();
            }
        }
    }

    /// <summary>
    /// Keeps an address out of the book for a time: nobody answers there, or somebody else. Neither the node nor the IP address is banned, because
    /// it may be a lie that the node is there. Ignored when the book does not have exactly this address.
    /// </summary>
    /// <param name="address">The address.</param>
    /// <param name="duration">For how long, more than 0.</param>
    public void KeepOut(NetAddress address, TimeSpan duration)
    {
        ArgumentNullException.ThrowIfNull(address);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(duration, TimeSpan.Zero);
        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        lock (_gate)
        {
            if (FindExactly(address) is { } entry)
            {
                KeepOut(entry, duration < DateTimeOffset.MaxValue - now ? now + duration : DateTimeOffset.MaxValue, isOnBanList: false);
                _file?.SaveSoon();
            }
        }
    }

    /// <summary>Writes what was changed before to the file.</summary>
    /// <returns>True when all is on disk, or there is no file; false when it cannot be written, which is logged.</returns>
    public Task<bool> FlushAsync(CancellationToken cancellationToken = default) =>
        (_file?.FlushAsync() ?? Task.FromResult(true)).WaitAsync(cancellationToken);

    /// <summary>Writes what was changed before to the file, and ends: what is changed or banned later is of no account.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_options.Bans is { } bans)
        {
            bans.Added -= OnBanAdded;
            bans.Lifted -= OnBanLifted;
        }

        if (_file is not null)
        {
            await _file.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static void EnsureIsPercent(int biasTowardsNew)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(biasTowardsNew);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(biasTowardsNew, 100);
    }

    private static AddressBookEntry Show(KnownAddress entry) => new(
        entry.Address,
        entry.Source,
        entry.IsOld,
        entry.Buckets.ToImmutableArray(),
        entry.Attempts,
        entry.LastAttempt,
        entry.HasSucceeded ? entry.LastSuccess : null);

    private static int SelectionSize(AddressTable table) =>
        Math.Min(MaxSelection, Math.Max(Math.Min(MinSelection, table.Count), table.Count * SelectionPercent / 100));

    private AddressVerdict? FindRefusal(NetAddress address, NetAddress source) =>
        !address.IsValid || address.Ip is null || address.Port == 0 || source.Ip is null || source.Id.IsEmpty ? AddressVerdict.Invalid
        : _own.Contains(address.Id) ? AddressVerdict.Own
        : _private.Contains(address.Id) || _private.Contains(source.Id) ? AddressVerdict.Private
        : _options.IsStrict && !address.IsRoutable ? AddressVerdict.Unroutable
        : null;

    private T Ask<T>(Func<AddressTable, T> question)
    {
        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        lock (_gate)
        {
            Reinstate(now);
            return question(_table);
        }
    }

    private void Restore(AddressFile file, ILogger logger)
    {
        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        int refused = 0;
        lock (_gate)
        {
            // Those in the buckets first, because of a node that is elsewhere too they are what counts.
            foreach ((AddressBookEntry known, DateTimeOffset keptOutUntil, bool isKeptOut) in file.Addresses.OrderBy(record => record.IsKeptOut))
            {
                if (FindRefusal(known.Address, known.Source) is not null)
                {
                    refused++;
                    continue;
                }

                // A time to come, by a clock that went wrong, would keep an address in its place for as long.
                KnownAddress entry = new(known.Address, known.Source)
                {
                    IsOld = known.IsOld,
                    Attempts = known.Attempts,
                    LastAttempt = known.LastAttempt < now ? known.LastAttempt : now,
                    LastSuccess = known.LastSuccess < now ? known.LastSuccess.Value : known.LastSuccess is null ? default : now,
                    KeptOutUntil = keptOutUntil,
                };
                if (keptOutUntil > now)
                {
                    KeepOut(entry, keptOutUntil, isOnBanList: false);
                }
                else if (isKeptOut || FindBan(known.Address) is not null)
                {
                    Reinstate(entry, now);
                }
                else
                {
                    _table.Restore(entry, known.Buckets, now);
                }
            }
        }

        if (refused > 0)
        {
            AddressBookLog.Refused(logger, refused);
        }
    }

    private List<AddressRecord> Record()
    {
        lock (_gate)
        {
            List<AddressRecord> records = new(_table.Count + _keptOut.Count);
            records.AddRange(_table.Entries.Select(entry => new AddressRecord(Show(entry), entry.KeptOutUntil, IsKeptOut: false)));

            // How long a ban lasts is a matter of the list, which may be changed while nobody looks.
            records.AddRange(_keptOut.Values.Select(entry => new AddressRecord(Show(entry), entry.IsOnBanList ? default : entry.KeptOutUntil, IsKeptOut: true)));
            return records;
        }
    }

    // What follows is called with the gate held.
    private AddressVerdict Add(NetAddress address, NetAddress source, DateTimeOffset now)
    {
        if (_table.Find(address.Id) is { } known)
        {
            if (known.Address != address)
            {
                // Else the first lie about a node would keep the truth out for as long as it is in the book.
                if (known.IsOld || known.HasSucceeded || known.Attempts == 0)
                {
                    return AddressVerdict.KnownElsewhere;
                }

                _table.Remove(known);
            }
            else
            {
                // The more buckets it is in, the less likely it gets into another.
                int buckets = known.Buckets.Count;
                if (!known.IsOld && buckets < AddressTable.MaxNewBuckets && _options.Random.Next(1 << buckets) == 0 && _table.AddNew(known, source, now))
                {
                    _file?.SaveLater();
                }

                return AddressVerdict.Known;
            }
        }

        _table.AddNew(new KnownAddress(address, source) { LastAttempt = now }, source, now);
        _file?.SaveLater();
        return AddressVerdict.Added;
    }

    private KnownAddress? FindExactly(NetAddress address) =>
        _table.Find(address.Id) is { } entry && entry.Address == address.WithPlainHost() ? entry : null;

    private bool IsBanned(NetAddress address, DateTimeOffset now)
    {
        if (FindBan(address) is not null)
        {
            return true;
        }

        if (!_keptOut.TryGetValue(address, out KnownAddress? entry))
        {
            return false;
        }

        if (!entry.IsOnBanList)
        {
            return true;
        }

        // A ban that made room for others in a full list.
        Reinstate(entry, now);
        return false;
    }

    private Ban? FindBan(NetAddress address) => _options.Bans is { } bans ? bans.Find(address.Id) ?? bans.Find(address.Ip!) : null;

    private void KeepOut(KnownAddress entry, DateTimeOffset until, bool isOnBanList)
    {
        _table.Remove(entry);
        entry.KeptOutUntil = until;
        entry.IsOnBanList = isOnBanList;
        _keptOut[entry.Address] = entry;
        _byEnd.Enqueue(entry, until);
        while (_byEnd.Count > MaxKeptOut)
        {
            Dequeue();
        }
    }

    /// <summary>Puts back what was kept out for long enough.</summary>
    private void Reinstate(DateTimeOffset now)
    {
        while (_byEnd.TryPeek(out _, out DateTimeOffset end) && end <= now)
        {
            if (Dequeue() is { } entry)
            {
                Reinstate(entry, now);
            }
        }
    }

    /// <summary>Takes out the one whose end comes first. Null when that has been put back before, or is kept out until another time.</summary>
    private KnownAddress? Dequeue() =>
        _byEnd.TryDequeue(out KnownAddress? entry, out DateTimeOffset end)
        && entry.KeptOutUntil == end
        && _keptOut.GetValueOrDefault(entry.Address) == entry
        && _keptOut.Remove(entry.Address) ? entry : null;

    private void Reinstate(KnownAddress entry, DateTimeOffset now)
    {
        _keptOut.Remove(entry.Address);
        if (FindBan(entry.Address) is { } ban)
        {
            // The list may have another clock, by which the ban is not over yet.
            DateTimeOffset soon = now + MinBan;
            KeepOut(entry, ban.Until is null ? DateTimeOffset.MaxValue : ban.Until > soon ? ban.Until.Value : soon, isOnBanList: true);
        }
        else if (_table.Find(entry.Address.Id) is null)
        {
            // What it did before is forgiven, but not that it was of no use.
            entry.IsOld = false;
            entry.IsOnBanList = false;
            entry.KeptOutUntil = entry.KeptOutUntil < now ? entry.KeptOutUntil : now;
            entry.Attempts = 0;
            _table.AddNew(entry, entry.Source, now);
            _file?.SaveLater();
        }
    }

    private void OnBanAdded(Ban ban)
    {
        lock (_gate)
        {
            KnownAddress[] banned = ban.Target.Id is { } id
                ? _table.Find(id) is { } found ? [found] : []
                : [.. _table.Entries.Where(entry => ban.Target.Matches(entry.Address.Ip!))];
            foreach (KnownAddress entry in banned)
            {
                KeepOut(entry, ban.End, isOnBanList: true);
                _file?.SaveSoon();
            }
        }
    }

    private void OnBanLifted(AccessTarget target)
    {
        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        lock (_gate)
        {
            foreach (KnownAddress entry in _keptOut.Values.Where(entry => entry.IsOnBanList && (target.Matches(entry.Address.Id) || target.Matches(entry.Address.Ip!))).ToArray())
            {
                Reinstate(entry, now);
                _file?.SaveSoon();
            }
        }
    }
}
