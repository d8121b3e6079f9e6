using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Security.Cryptography;
using Pipeline.Cryptography;

namespace Pipeline.Protocols.StateSync;

/// <summary>What a snapshot is known by: a hash of all that is said of it, so that large metadata are looked at once.</summary>
internal readonly record struct SnapshotKey(UInt128 High, UInt128 Low)
{
    public static SnapshotKey Of(Snapshot snapshot)
    {
        Span<byte> bytes = stackalloc byte[SHA256.HashSizeInBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, snapshot.Height);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[8..], snapshot.Format);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[12..], snapshot.Chunks);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[16..], snapshot.Hash.Length);
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(bytes[..20]);
        hash.AppendData(snapshot.Hash.Span);
        hash.AppendData(snapshot.Metadata.Span);
        hash.GetHashAndReset(bytes);
        return new SnapshotKey(BinaryPrimitives.ReadUInt128BigEndian(bytes), BinaryPrimitives.ReadUInt128BigEndian(bytes[16..]));
    }
}

/// <summary>What connected peers offer, and what of it was rejected. Guarded by the gate.</summary>
internal sealed class SnapshotPool(int maxOfferBytes)
{
    private const int MaxRejected = 1_000;

    // Invariant: a peer is in _offered at a key exactly when the key is in its offers, and nothing that was rejected is in either.
    private readonly Dictionary<SnapshotKey, (Snapshot Snapshot, HashSet<ChunkPeer> Peers)> _offered = [];
    private readonly RecentSet<SnapshotKey> _snapshots = new(MaxRejected);
    private readonly RecentSet<uint> _formats = new(MaxRejected);
    private readonly RecentSet<NodeId> _peers = new(MaxRejected);

    public int Count => _offered.Count;

    public ImmutableArray<OfferedSnapshot> Ranked =>
    [
        .. _offered.Values.OrderByDescending(offer => offer.Snapshot.Height)
            .ThenByDescending(offer => offer.Snapshot.Format)
            .ThenByDescending(offer => offer.Peers.Count)
            .Select(offer => new OfferedSnapshot(offer.Snapshot, [.. offer.Peers.Select(peer => peer.Id)])),
    ];

    public IEnumerable<ChunkPeer> PeersOf(SnapshotKey key) => _offered.TryGetValue(key, out (Snapshot, HashSet<ChunkPeer> Peers) offer) ? offer.Peers : [];

    public bool IsRejected(SnapshotKey key, uint format) => _snapshots.Contains(key) || _formats.Contains(format);

    public bool IsRejected(NodeId peer) => _peers.Contains(peer);

    /// <summary>Of more than is kept of a peer, the highest is: a node makes new ones and drops the old.</summary>
    /// <returns>False when that changes nothing.</returns>
    public bool Add(ChunkPeer peer, SnapshotKey key, Snapshot snapshot)
    {
        if (IsRejected(key, snapshot.Format) || IsRejected(peer.Id) || peer.Offers.ContainsKey(key) || BytesOf(snapshot) > maxOfferBytes)
        {
            return false;
        }

        // One object for all who offer it.
        (Snapshot Snapshot, HashSet<ChunkPeer> Peers) offer = _offered.TryGetValue(key, out (Snapshot, HashSet<ChunkPeer>) known) ? known : (snapshot, []);
        _offered[key] = offer;
        offer.Peers.Add(peer);
        peer.Offers.Add(key, offer.Snapshot);
        while (peer.Offers.Count > StateSyncReactor.SnapshotsPerPeer || peer.Offers.Values.Sum(BytesOf) > maxOfferBytes)
        {
            Remove(peer, peer.Offers.MinBy(own => own.Value.Height).Key);
        }

        return peer.Offers.ContainsKey(key);
    }

    /// <returns>False when that changes nothing.</returns>
    public bool Remove(ChunkPeer peer) => Remove(peer, static (_, _) => true);

    public bool Reject(SnapshotKey key)
    {
        _snapshots.Add(key);
        return Remove((other, _) => other == key);
    }

    public bool RejectFormat(uint format)
    {
        _formats.Add(format);
        return Remove((_, snapshot) => snapshot.Format == format);
    }

    public bool RejectPeer(NodeId id, ChunkPeer? peer)
    {
        _peers.Add(id);
        return peer is not null && Remove(peer);
    }

    private bool Remove(Func<SnapshotKey, Snapshot, bool> isMeant)
    {
        ChunkPeer[] peers = [.. _offered.Where(offer => isMeant(offer.Key, offer.Value.Snapshot)).SelectMany(offer => offer.Value.Peers).Distinct()];
        foreach (ChunkPeer peer in peers)
        {
            Remove(peer, isMeant);
        }

        return peers.Length > 0;
    }

    private bool Remove(ChunkPeer peer, Func<SnapshotKey, Snapshot, bool> isMeant)
    {
        SnapshotKey[] keys = [.. peer.Offers.Where(offer => isMeant(offer.Key, offer.Value)).Select(offer => offer.Key)];
        foreach (SnapshotKey key in keys)
        {
            Remove(peer, key);
        }

        return keys.Length > 0;
    }

    private void Remove(ChunkPeer peer, SnapshotKey key)
    {
        peer.Offers.Remove(key);
        HashSet<ChunkPeer> peers = _offered[key].Peers;
        peers.Remove(peer);
        if (peers.Count == 0)
        {
            _offered.Remove(key);
        }
    }

    private static long BytesOf(Snapshot snapshot) => (long)snapshot.Hash.Length + snapshot.Metadata.Length;

    /// <summary>What was added last.</summary>
    private sealed class RecentSet<T>(int capacity)
        where T : notnull
    {
        // Invariant: both have the same items.
        private readonly HashSet<T> _items = [];
        private readonly Queue<T> _order = [];

        public bool Contains(T item) => _items.Contains(item);

        public void Add(T item)
        {
            if (_items.Add(item))
            {
                _order.Enqueue(item);
                if (_order.Count > capacity)
                {
                    _items.Remove(_order.Dequeue());
                }
            }
        }
    }
}
