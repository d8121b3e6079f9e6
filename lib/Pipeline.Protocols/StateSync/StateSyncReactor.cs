using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using Google.Protobuf;
using Pipeline.Dataflow;
using Pipeline.Reactors;

namespace Pipeline.Protocols.StateSync;

/// <summary>
/// State sync: finds out which snapshots of the application's state peers have, downloads one from several of them at once, and offers those of
/// an <see cref="ISnapshotSource"/>. Whether a snapshot and its chunks are what they should be is for the application to say.
/// </summary>
/// <remarks>See <c>docs/concepts/state-sync.md</c> for the limits.</remarks>
public sealed class StateSyncReactor : Reactor<Message>
{
    /// <summary>What the reactor is called.</summary>
    public const string ReactorName = "STATESYNC";

    /// <summary>How many snapshots are offered to a peer, and taken of one.</summary>
    public const int SnapshotsPerPeer = 10;

    private const int MaxHash = 256;
    private const int MaxMetadata = 64 << 10;

    // The fields around a chunk take less than the rest of the channel's 16,000,000 bytes.
    private const int MaxChunk = 15_990_000;

    private readonly StateSyncOptions _options;
    private readonly PeerItemKey<ChunkPeer> _state = new("state sync");

    // Guarded by _gate.
    private readonly Lock _gate = new();
    private readonly List<ChunkPeer> _peers = [];
    private readonly HashSet<Snapshot> _rejected = [];
    private ChunkDownload? _download;
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Makes a reactor.</summary>
    /// <param name="options">Settings; null for the defaults.</param>
    public StateSyncReactor(StateSyncOptions? options = null)
        : base(ReactorName, StandardChannels.StateSyncSnapshots, StandardChannels.StateSyncChunks) => _options = options ?? new StateSyncOptions();

    /// <summary>
    /// What connected peers offer, without what was rejected: the best first, which has the greatest height, then the greatest format, then the
    /// most peers.
    /// </summary>
    public ImmutableArray<OfferedSnapshot> Snapshots
    {
        get
        {
            lock (_gate)
            {
                return
                [
                    .. _peers.SelectMany(peer => peer.Offers.Select(snapshot => (Snapshot: snapshot, peer.Peer.Id)))
                        .Where(offer => !_rejected.Contains(offer.Snapshot))
                        .GroupBy(offer => offer.Snapshot)
                        .Select(offers => new OfferedSnapshot(offers.Key, [.. offers.Select(offer => offer.Id)]))
                        .OrderByDescending(offer => offer.Snapshot.Height)
                        .ThenByDescending(offer => offer.Snapshot.Format)
                        .ThenByDescending(offer => offer.Peers.Length),
                ];
            }
        }
    }

    /// <summary>What is known of the connected peers as ones that chunks come from.</summary>
    public ImmutableArray<ChunkPeerReport> Reports
    {
        get
        {
            lock (_gate)
            {
                return [.. _peers.Select(peer => new ChunkPeerReport(peer.Peer.Id, peer.Chunks, peer.Failures))];
            }
        }
    }

    /// <summary>What peers offer, then what they offer after each change, without end. A reader that takes its time gets the latest.</summary>
    public async IAsyncEnumerable<ImmutableArray<OfferedSnapshot>> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (true)
        {
            Task changed;
            lock (_gate)
            {
                changed = _changed.Task;
            }

            yield return Snapshots;
            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Asks all peers again which snapshots they have, as those of the reference make new ones from time to time.</summary>
    public void Discover() => Switch.TryBroadcast(StandardChannels.StateSyncSnapshots, new Message { SnapshotsRequest = new SnapshotsRequest() });

    /// <summary>Says that a snapshot is not what it should be: it is not shown any more.</summary>
    /// <remarks>At most 1,000 are remembered.</remarks>
    public void Reject(Snapshot snapshot)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        lock (_gate)
        {
            if (_rejected.Count < 1_000)
            {
                _rejected.Add(snapshot);
            }

            Change();
        }
    }

    /// <summary>
    /// Downloads a snapshot from all peers that offer it. Chunks are asked for no further ahead than <see cref="StateSyncOptions.Window"/> of the
    /// one that is read, so a reader that takes its time holds back the peers.
    /// </summary>
    /// <param name="snapshot">The snapshot.</param>
    /// <param name="check">Says whether a chunk is what it should be; called from any thread, for several chunks at once. Null: accepts all.</param>
    /// <param name="cancellationToken">Ends the download.</param>
    /// <returns>The chunks, in order.</returns>
    /// <exception cref="StateSyncException">No peer offers it any more, or a chunk could not be had in as many tries as it may take.</exception>
    /// <exception cref="InvalidOperationException">Another download goes on.</exception>
    public async IAsyncEnumerable<SnapshotChunk> DownloadAsync(
        Snapshot snapshot,
        Func<SnapshotChunk, ChunkVerdict>? check = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        ChunkDownload download = new(snapshot, check ?? (static _ => ChunkVerdict.Accept), _options, PeersOf);
        lock (_gate)
        {
            _download = _download is null ? download : throw new InvalidOperationException("A snapshot is being downloaded; one is at a time.");
        }

        try
        {
            await foreach (SnapshotChunk chunk in download.RunAsync(cancellationToken).ConfigureAwait(false))
            {
                yield return chunk;
            }
        }
        finally
        {
            lock (_gate)
            {
                _download = null;
            }

            download.End();
        }
    }

    /// <inheritdoc />
    protected override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(peer);
        ChunkPeer state = new(peer);
        peer.Items.Set(_state, state);
        lock (_gate)
        {
            _peers.Add(state);
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        if (_options.Discovers)
        {
            peer.TrySend(StandardChannels.StateSyncSnapshots, new Message { SnapshotsRequest = new SnapshotsRequest() });
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason)
    {
        ChunkDownload? download;
        ChunkPeer? left;
        lock (_gate)
        {
            left = _peers.Find(known => known.Peer == peer);
            if (left is not null)
            {
                _peers.Remove(left);
                Change();
            }

            download = _download;
        }

        download?.Change(left);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask ReceiveAsync(Envelope<Message> envelope, CancellationToken cancellationToken)
    {
        if (!envelope.Peer.Items.TryGet(_state, out ChunkPeer? peer))
        {
            return ValueTask.CompletedTask;
        }

        bool isChunks = envelope.Channel.Id == StandardChannels.StateSyncChunks.Id;
        switch (envelope.Message.SumCase)
        {
            case Message.SumOneofCase.SnapshotsRequest when !isChunks:
                return OfferAsync(peer, cancellationToken);
            case Message.SumOneofCase.SnapshotsResponse when !isChunks:
                Learn(peer, envelope.Message.SnapshotsResponse);
                break;
            case Message.SumOneofCase.ChunkRequest when isChunks:
                return ServeAsync(peer, envelope.Message.ChunkRequest, cancellationToken);
            case Message.SumOneofCase.ChunkResponse when isChunks:
                Receive(peer, envelope.Message.ChunkResponse);
                break;
            default:
                Refuse(peer, $"a message of kind {envelope.Message.SumCase} that does not belong on channel {envelope.Channel}");
                break;
        }

        return ValueTask.CompletedTask;
    }

    private static void Refuse(ChunkPeer peer, string what) => peer.Peer.Stop(new DisconnectReason(DisconnectKind.ProtocolViolation, $"The peer sent {what}."));

    private List<ChunkPeer> PeersOf(ChunkDownload download)
    {
        lock (_gate)
        {
            return [.. _peers.Where(peer => peer.Offers.Contains(download.Snapshot) && !peer.Peer.Stopped.IsCancellationRequested)];
        }
    }

    private void Learn(ChunkPeer peer, SnapshotsResponse offer)
    {
        if (offer.Height == 0 || offer.Chunks == 0 || offer.Hash.IsEmpty || offer.Hash.Length > MaxHash || offer.Metadata.Length > MaxMetadata)
        {
            Refuse(peer, "a snapshot without a height, chunks or a hash, or with too much of it");
            return;
        }

        if (offer.Chunks > _options.MaxChunks)
        {
            return;
        }

        ChunkDownload? download;
        lock (_gate)
        {
            // Of more, the highest count: a node makes new ones and drops the old.
            peer.Offers.Add(new Snapshot(offer.Height, offer.Format, offer.Chunks, offer.Hash, offer.Metadata));
            if (peer.Offers.Count > SnapshotsPerPeer)
            {
                peer.Offers.Remove(peer.Offers.MinBy(snapshot => snapshot.Height)!);
            }

            download = _download;
            Change();
        }

        download?.Change(left: null);
    }

    private void Receive(ChunkPeer peer, ChunkResponse response)
    {
        if (!peer.TryAnswer())
        {
            Refuse(peer, "a chunk that it was not asked for");
            return;
        }

        if (response.Missing && !response.Chunk.IsEmpty)
        {
            Refuse(peer, "a chunk that is missing and has bytes");
            return;
        }

        ChunkDownload? download;
        lock (_gate)
        {
            download = _download;
        }

        // A late one, of a download before.
        if (download?.Snapshot is { } wanted && wanted.Height == response.Height && wanted.Format == response.Format)
        {
            // A plain null would become the empty array, and that an empty chunk.
            download.Receive(peer, response.Index, response.Missing ? default(ReadOnlyMemory<byte>?) : response.Chunk.Memory);
        }
    }

    private async ValueTask OfferAsync(ChunkPeer peer, CancellationToken cancellationToken)
    {
        if (_options.Source is not { } source || (peer.AnsweredAt is { } at && _options.TimeProvider.GetElapsedTime(at) < _options.AnswerPeriod))
        {
            return;
        }

        peer.AnsweredAt = _options.TimeProvider.GetTimestamp();
        IReadOnlyList<Snapshot> snapshots = await source.ListAsync(cancellationToken).ConfigureAwait(false);
        foreach (Snapshot snapshot in snapshots.OrderByDescending(snapshot => snapshot.Height).Take(SnapshotsPerPeer))
        {
            Message offer = new()
            {
                SnapshotsResponse = new SnapshotsResponse
                {
                    Height = snapshot.Height,
                    Format = snapshot.Format,
                    Chunks = snapshot.Chunks,
                    Hash = snapshot.Hash,
                    Metadata = snapshot.Metadata,
                },
            };
            await peer.Peer.SendAsync(StandardChannels.StateSyncSnapshots, offer, cancellationToken: cancellationToken).ConfigureAwait(false);
        }
    }

    // One at a time for each peer, and the next not before there is room for this one.
    private async ValueTask ServeAsync(ChunkPeer peer, ChunkRequest request, CancellationToken cancellationToken)
    {
        ReadOnlyMemory<byte>? chunk = _options.Source is { } source && request.Height > 0
            ? await source.ReadChunkAsync(request.Height, request.Format, request.Index, cancellationToken).ConfigureAwait(false)
            : null;
        chunk = chunk is { Length: > MaxChunk } ? null : chunk;
        Message response = new()
        {
            ChunkResponse = new ChunkResponse
            {
                Height = request.Height,
                Format = request.Format,
                Index = request.Index,
                Missing = chunk is null,
                Chunk = chunk is { } data ? UnsafeByteOperations.UnsafeWrap(data) : ByteString.Empty,
            },
        };
        await peer.Peer.SendAsync(StandardChannels.StateSyncChunks, response, cancellationToken: cancellationToken).ConfigureAwait(false);
    }

    // Called with the gate held.
    private void Change()
    {
        _changed.SetResult();
        _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
