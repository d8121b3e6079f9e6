using System.Diagnostics;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <summary>
/// The buckets of an address book. An address that was heard of is in up to four new buckets, one that was of use in an old one. Whoever fills a
/// bucket pushes out what is in that bucket, and nothing else.
/// </summary>
/// <remarks>Source: <c>docs/protocol.md</c>, the address book. Not safe for several threads.</remarks>
internal sealed class AddressTable(BucketPlacement placement, Random random)
{
    public const int BucketSize = 64;

    /// <summary>In how many new buckets an address may be.</summary>
    public const int MaxNewBuckets = BucketNumbers.Capacity;

    /// <summary>The most entries, whatever comes: one that finds its bucket full pushes another out.</summary>
    public const int Capacity = BucketSize * (BucketPlacement.NewBuckets + BucketPlacement.OldBuckets);

    // Invariant: _byId holds each entry that is in a bucket, once, under the id of its address, and no other; so does the list of its kind, at its
    // Position; a bucket holds at most BucketSize entries, each once; an entry's numbers of buckets say exactly where it is.
    private readonly Dictionary<NodeId, KnownAddress> _byId = [];
    private readonly List<KnownAddress> _allNew = [];
    private readonly List<KnownAddress> _allOld = [];
    private readonly List<KnownAddress>?[] _new = new List<KnownAddress>?[BucketPlacement.NewBuckets];
    private readonly List<KnownAddress>?[] _old = new List<KnownAddress>?[BucketPlacement.OldBuckets];

    public int NewCount => _allNew.Count;

    public int OldCount => _allOld.Count;

    public int Count => NewCount + OldCount;

    public IEnumerable<KnownAddress> Entries => _allNew.Concat(_allOld);

    public KnownAddress? Find(NodeId id) => _byId.GetValueOrDefault(id);

    /// <summary>Puts an entry that is not there, or is a new one in fewer than four buckets, into one new bucket. Whether it was not in it already.</summary>
    public bool AddNew(KnownAddress entry, NetAddress source, DateTimeOffset now)
    {
        Debug.Assert(!entry.IsOld && entry.Buckets.Count < MaxNewBuckets, "Only a new entry with room for more may be added.");
        int index = placement.NewBucket(entry.Address, source);
        if (entry.Buckets.Contains(index))
        {
            return false;
        }

        if (_new[index] is { Count: BucketSize } full)
        {
            Leave(full.Find(other => other.IsBad(now)) ?? Oldest(full), index);
        }

        Enter(entry, index);
        return true;
    }

    /// <summary>Moves a new entry to its old bucket. When that is full, the one there that was not tried for longest becomes new again.</summary>
    public void Promote(KnownAddress entry, DateTimeOffset now)
    {
        Debug.Assert(!entry.IsOld && entry.Buckets.Count > 0, "Only an entry in a new bucket may become old.");
        Remove(entry);
        entry.IsOld = true;
        AddOld(entry, now);
    }

    /// <summary>Takes an entry out of all its buckets.</summary>
    public void Remove(KnownAddress entry)
    {
        for (int i = entry.Buckets.Count - 1; i >= 0; i--)
        {
            Leave(entry, entry.Buckets[i]);
        }
    }

    /// <summary>Puts an entry into the buckets that a file names, as far as they exist and have room; into that of its source when none does.</summary>
    public void Restore(KnownAddress entry, IEnumerable<int> buckets, DateTimeOffset now)
    {
        Debug.Assert(entry.Buckets.Count == 0 && !_byId.ContainsKey(entry.Address.Id), "An entry is restored once.");
        List<KnownAddress>?[] all = entry.IsOld ? _old : _new;
        foreach (int index in buckets)
        {
            bool hasRoom = index >= 0 && index < all.Length && all[index] is not { Count: BucketSize };
            if (hasRoom && !entry.Buckets.Contains(index) && entry.Buckets.Count < (entry.IsOld ? 1 : MaxNewBuckets))
            {
                Enter(entry, index);
            }
        }

        if (entry.Buckets.Count == 0)
        {
            if (entry.IsOld)
            {
                AddOld(entry, now);
            }
            else
            {
                AddNew(entry, entry.Source, now);
            }
        }
    }

    /// <summary>
    /// A random entry of a random bucket that is not empty, so that who owns many addresses of one bucket is not picked more often. Old and new
    /// ones are weighed by the square root of their number; null when there is none.
    /// </summary>
    /// <param name="biasTowardsNew">The weight of new ones, 0 to 100 percent.</param>
    public KnownAddress? Pick(int biasTowardsNew)
    {
        if (Count == 0)
        {
            return null;
        }

        double ofNew = Math.Sqrt(NewCount) * biasTowardsNew;
        double ofOld = Math.Sqrt(OldCount) * (100 - biasTowardsNew);

        // With a bias of 0 or 100 there may be nothing of the kind that is wanted: then the other is better than none.
        bool isOld = OldCount > 0 && (NewCount == 0 || (ofNew + ofOld) * random.NextDouble() < ofOld);
        List<KnownAddress>?[] buckets = isOld ? _old : _new;
        int chosen = random.Next(buckets.Count(static bucket => bucket is { Count: > 0 }));
        List<KnownAddress> bucket = buckets.Where(static bucket => bucket is { Count: > 0 }).ElementAt(chosen)!;
        return bucket[random.Next(bucket.Count)];
    }

    /// <summary>Different entries of both kinds, in random order.</summary>
    /// <param name="count">The most of them.</param>
    public KnownAddress[] Select(int count)
    {
        KnownAddress[] chosen = new KnownAddress[Math.Min(count, Count)];
        int ofNew = 0;
        for (int i = 0; i < chosen.Length; i++)
        {
            bool isNew = random.Next(Count - i) < NewCount - ofNew;
            chosen[i] = isNew ? Shuffle(_allNew, ofNew++) : Shuffle(_allOld, i - ofNew);
        }

        return chosen;
    }

    /// <summary>Different entries of one kind, in random order.</summary>
    /// <param name="count">The most of them.</param>
    /// <param name="isOld">Whether old ones or new ones.</param>
    public KnownAddress[] Select(int count, bool isOld)
    {
        List<KnownAddress> all = isOld ? _allOld : _allNew;
        KnownAddress[] chosen = new KnownAddress[Math.Min(count, all.Count)];
        for (int i = 0; i < chosen.Length; i++)
        {
            chosen[i] = Shuffle(all, i);
        }

        return chosen;
    }

    private void AddOld(KnownAddress entry, DateTimeOffset now)
    {
        int index = placement.OldBucket(entry.Address);
        if (_old[index] is { Count: BucketSize } full)
        {
            KnownAddress displaced = Oldest(full);
            Leave(displaced, index);
            displaced.IsOld = false;
            AddNew(displaced, displaced.Source, now);
        }

        Enter(entry, index);
    }

    private static KnownAddress Oldest(List<KnownAddress> bucket) => bucket.MinBy(entry => entry.LastAttempt)!;

    /// <summary>Puts a random one of those from a position on there, so that a few are chosen at the cost of a few.</summary>
    private KnownAddress Shuffle(List<KnownAddress> all, int position)
    {
        int other = random.Next(position, all.Count);
        (all[position], all[other]) = (all[other], all[position]);
        all[other].Position = other;
        all[position].Position = position;
        return all[position];
    }

    private void Enter(KnownAddress entry, int index)
    {
        List<KnownAddress> bucket = (entry.IsOld ? _old : _new)[index] ??= [];
        bucket.Add(entry);
        entry.Buckets.Add(index);
        if (entry.Buckets.Count == 1)
        {
            List<KnownAddress> all = entry.IsOld ? _allOld : _allNew;
            _byId.Add(entry.Address.Id, entry);
            entry.Position = all.Count;
            all.Add(entry);
        }
    }

    private void Leave(KnownAddress entry, int index)
    {
        List<KnownAddress> bucket = (entry.IsOld ? _old : _new)[index]!;
        int position = bucket.IndexOf(entry);
        bucket[position] = bucket[^1];
        bucket.RemoveAt(bucket.Count - 1);
        entry.Buckets.Remove(index);
        if (entry.Buckets.Count == 0)
        {
            List<KnownAddress> all = entry.IsOld ? _allOld : _allNew;
            _byId.Remove(entry.Address.Id);
            all[^1].Position = entry.Position;
            all[entry.Position] = all[^1];
            all.RemoveAt(all.Count - 1);
        }
    }
}
