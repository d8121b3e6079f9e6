using System.Collections.Frozen;
using System.Collections.Immutable;
using Pipeline.Cryptography;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <summary>
/// The addresses that a node has heard of, and which of them were of use. It is made so that somebody who tells many lies, or owns many
/// addresses of one network, gets few places in it. Safe to use from any thread.
/// </summary>
/// <remarks>
/// At most 16,384 addresses that were heard of and 4,096 that were of use. Source of the rules: <c>docs/protocol.md</c>, the address book;
/// the idea is that of Bitcoin's address manager.
/// </remarks>
public sealed partial class AddressBook : IAddressBook
{
    /// <summary>Below how many addresses a book wants more.</summary>
    public const int EnoughAddresses = 1000;

    /// <summary>The most addresses of a selection.</summary>
    public const int MaxSelection = 250;

    private const int MinSelection = 32;
    private const int SelectionPercent = 23;

    /// <summary>The most addresses that are kept out of the buckets for a time: a remote that makes dials fail must not make the book grow.</summary>
    private const int MaxKeptOut = 10_000;

    private static readonly TimeSpan _minBan = TimeSpan.FromSeconds(1);

    private readonly AddressBookOptions _options;
    private readonly FrozenSet<NodeId> _own;
    private readonly FrozenSet<NodeId> _private;
    private readonly BucketPlacement _placement;

    // Guarded by _gate. Invariant: an entry is in _table or in _keptOut, never in both; _byEnd has each entry of _keptOut with its end, and may have
    // entries that are there no more. No entry of _table is banned: the handler of Bans.Added takes the gate, as does whoever asks Bans and adds.
    private readonly Lock _gate = new();
    private readonly AddressTable _table;
    private readonly Dictionary<NetAddress, KnownAddress> _keptOut = [];
    private readonly PriorityQueue<KnownAddress, DateTimeOffset> _byEnd = new();

    /// <summary>Makes an empty book that is forgotten when the process ends.</summary>
    /// <param name="options">Settings, or null for the defaults.</param>
    public AddressBook(AddressBookOptions? options = null)
        : this(options, BucketPlacement.CreateKey())
    {
    }

    private AddressBook(AddressBookOptions? options, string key)
    {
        _options = options ?? new AddressBookOptions();
        _own = [.. _options.OwnIds];
        _private = [.. _options.PrivateIds];
        _placement = new BucketPlacement(key, _options.IsStrict);
        _table = new AddressTable(_placement, _options.Random);
        if (_options.Bans is { } bans)
        {
            bans.Added += OnBanAdded;
        }
    }

    /// <summary>How many addresses the book has.</summary>
    public int Count => NewCount + OldCount;

    /// <summary>How many of them were only heard of.</summary>
    public int NewCount
    {
        get
        {
            lock (_gate)
            {
                return _table.NewCount;
            }
        }
    }

    /// <summary>How many of them were of use.</summary>
    public int OldCount
    {
        get
        {
            lock (_gate)
            {
                return _table.OldCount;
            }
        }
    }

    /// <summary>Whether the book has fewer than <see cref="EnoughAddresses"/>.</summary>
    public bool NeedsMore => Count < EnoughAddresses;

    /// <summary>All entries at this moment, in no order.</summary>
    public ImmutableArray<AddressBookEntry> Entries
    {
        get
        {
            lock (_gate)
            {
                return [.. _table.Entries.Select(Show)];
            }
        }
    }

    /// <summary>What the book knows of a node; null when it does not know it.</summary>
    public AddressBookEntry? Find(NodeId id)
    {
        lock (_gate)
        {
            return _table.Find(id) is { } entry ? Show(entry) : null;
        }
    }

    /// <summary>Adds an address that was heard of.</summary>
    /// <param name="address">Where a node is said to be.</param>
    /// <param name="source">Who says so; the same address for a node that speaks of itself.</param>
    public AddressVerdict Add(NetAddress address, NetAddress source)
    {
        ArgumentNullException.ThrowIfNull(address);
        ArgumentNullException.ThrowIfNull(source);
        if (!address.IsValid || address.Ip is null || address.Port == 0 || source.Ip is null)
        {
            return AddressVerdict.Invalid;
        }

        if (_own.Contains(address.Id))
        {
            return AddressVerdict.Own;
        }

        if (_private.Contains(address.Id) || _private.Contains(source.Id))
        {
            return AddressVerdict.Private;
        }

        if (_options.IsStrict && !address.IsRoutable)
        {
            return AddressVerdict.Unroutable;
        }

        DateTimeOffset now = _options.TimeProvider.GetUtcNow();
        lock (_gate)
        {
            Reinstate(now);
            return IsBanned(address) ? AddressVerdict.Banned : Add(address, source, now);
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
        lock (_gate)
        {
            Reinstate(_options.TimeProvider.GetUtcNow());
            return _table.Pick(biasTowardsNew)?.Address;
        }
    }

    /// <summary>Different random addresses to tell others: 23 % of the book, but at least 32 if it has so many, and at most 250.</summary>
    public ImmutableArray<NetAddress> Select()
    {
        lock (_gate)
        {
            Reinstate(_options.TimeProvider.GetUtcNow());
            return [.. _table.Select(SelectionSize()).Select(entry => entry.Address)];
        }
    }

    /// <summary>Different random addresses to tell others, as many as of <see cref="Select()"/>.</summary>
    /// <param name="biasTowardsNew">
    /// How many percent of them should be ones that were only heard of, 0 to 100; more are when there are too few others, and fewer when there are
    /// too few of them.
    /// </param>
    public ImmutableArray<NetAddress> Select(int biasTowardsNew)
    {
        EnsureIsPercent(biasTowardsNew);
        lock (_gate)
        {
            Reinstate(_options.TimeProvider.GetUtcNow());
            int size = SelectionSize();
            int wanted = (int)Math.Round(size * biasTowardsNew / 100.0, MidpointRounding.AwayFromZero);
            KnownAddress[] chosen = _table.Select(Math.Max(wanted, size - _table.OldCount), isOld: false);
            return [.. chosen.Concat(_table.Select(size - chosen.Length, isOld: true)).Select(entry => entry.Address)];
        }
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
                entry.Attempts++;
                entry.LastAttempt = _options.TimeProvider.GetUtcNow();
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
            }
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
        [.. entry.Buckets],
        entry.Attempts,
        entry.LastAttempt,
        entry.HasSucceeded ? entry.LastSuccess : null);

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
                if (!known.IsOld && buckets < AddressTable.MaxNewBuckets && _options.Random.Next(1 << buckets) == 0)
                {
                    _table.AddNew(known, source, now);
                }

                return AddressVerdict.Known;
            }
        }

        _table.AddNew(new KnownAddress(address, source) { LastAttempt = now }, source, now);
        return AddressVerdict.Added;
    }

    private KnownAddress? FindExactly(NetAddress address) => _table.Find(address.Id) is { } entry && entry.Address == address ? entry : null;

    private int SelectionSize() =>
        Math.Min(MaxSelection, Math.Max(Math.Min(MinSelection, _table.Count), _table.Count * SelectionPercent / 100));

    private bool IsBanned(NetAddress address)
    {
        if (FindBan(address) is not null)
        {
            return true;
        }

        if (!_keptOut.TryGetValue(address, out KnownAddress? entry))
        {
            return false;
        }

        // A ban that was lifted before its end.
        if (entry.IsOnBanList)
        {
            Reinstate(entry, _options.TimeProvider.GetUtcNow());
        }

        return !entry.IsOnBanList;
    }

    private Ban? FindBan(NetAddress address) => _options.Bans is { } bans ? bans.Find(address.Id) ?? bans.Find(address.Ip!) : null;

    private void KeepOut(KnownAddress entry, DateTimeOffset until, bool isOnBanList)
    {
        _table.Remove(entry);
        entry.BannedUntil = until;
        entry.IsOnBanList = isOnBanList;
        _keptOut[entry.Address] = entry;
        _byEnd.Enqueue(entry, until);
        while (_byEnd.Count > MaxKeptOut)
        {
            KnownAddress first = _byEnd.Dequeue();
            if (_keptOut.GetValueOrDefault(first.Address) == first)
            {
                _keptOut.Remove(first.Address);
            }
        }
    }

    /// <summary>Puts back what was kept out for long enough.</summary>
    private void Reinstate(DateTimeOffset now)
    {
        while (_byEnd.TryPeek(out KnownAddress? entry, out DateTimeOffset end) && end <= now)
        {
            _byEnd.Dequeue();

            // It may have been put back before, or be kept out for longer since.
            if (_keptOut.GetValueOrDefault(entry.Address) == entry && entry.BannedUntil <= now)
            {
                Reinstate(entry, now);
            }
        }
    }

    private void Reinstate(KnownAddress entry, DateTimeOffset now)
    {
        _keptOut.Remove(entry.Address);
        if (FindBan(entry.Address) is { } ban)
        {
            // The list may have another clock, by which the ban is not over yet.
            DateTimeOffset soon = now + _minBan;
            KeepOut(entry, ban.Until is null ? DateTimeOffset.MaxValue : ban.Until > soon ? ban.Until.Value : soon, isOnBanList: true);
        }
        else if (_table.Find(entry.Address.Id) is null)
        {
            // What it did before is forgiven, but not that it was of no use.
            entry.IsOld = false;
            entry.Attempts = 0;
            _table.AddNew(entry, entry.Source, now);
        }
    }

    private void OnBanAdded(Ban ban)
    {
        lock (_gate)
        {
            foreach (KnownAddress entry in _table.Entries.Where(entry => ban.Target.Matches(entry.Address.Id) || ban.Target.Matches(entry.Address.Ip!)).ToArray())
            {
                KeepOut(entry, ban.Until ?? DateTimeOffset.MaxValue, isOnBanList: true);
            }
        }
    }
}
