using System.Collections.Immutable;
using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Pipeline.Cryptography;
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

    // The fields around a chunk take less than the rest of the channel's 16,000,000 bytes.
    private const int MaxChunk = 15_990_000;

    // The first byte of a message: its field's number and type.
    private const byte OfferTag = 0x12;
    private const byte ChunkTag = 0x22;

    private readonly StateSyncOptions _options;
    private readonly StateSyncState _state;
    private readonly ILogger _logger;
    private readonly PeerItemKey<ChunkPeer> _peer = new("state sync");
    private Meter? _meter;

    /// <summary>Makes a reactor.</summary>
    /// <param name="options">Settings; null for the defaults.</param>
    /// <param name="logger">Where it says what went wrong, or null for nowhere.</param>
    public StateSyncReactor(StateSyncOptions? options = null, ILogger<StateSyncReactor>? logger = null)
        : base(ReactorName, StandardChannels.StateSyncSnapshots, StandardChannels.StateSyncChunks)
    {
        _options = options ?? new StateSyncOptions();
        _state = new StateSyncState(_options);
        _logger = logger ?? NullLogger<StateSyncReactor>.Instance;
    }

    /// <summary>
    /// What connected peers offer, without what was rejected: the best first, which has the greatest height, then the greatest format, then the
    /// most peers.
    /// </summary>
    public ImmutableArray<OfferedSnapshot> Snapshots
    {
        get
        {
            lock (_state.Gate)
            {
                return _state.Pool.Ranked;
            }
        }
    }

    /// <summary>What is known of the connected peers as ones that chunks come from.</summary>
    public ImmutableArray<ChunkPeerReport> Reports
    {
        get
        {
            lock (_state.Gate)
            {
                return [.. _state.Peers.Select(peer => new ChunkPeerReport(peer.Id, peer.Chunks, peer.Failures))];
            }
        }
    }

    /// <summary>What peers offer, then what they offer after each change, without end. A reader that takes its time gets the latest.</summary>
    public async IAsyncEnumerable<ImmutableArray<OfferedSnapshot>> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (true)
        {
            Task changed;
            lock (_state.Gate)
            {
                changed = _state.Changed;
            }

            yield return Snapshots;
            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Asks all peers again which snapshots they have, as those of the reference make new ones from time to time.</summary>
    public void Discover()
    {
        lock (_state.Gate)
        {
            foreach (ChunkPeer peer in _state.Peers)
            {
                peer.ExpectOffers();
            }
        }

        Switch.TryBroadcast(StandardChannels.StateSyncSnapshots, new Message { SnapshotsRequest = new SnapshotsRequest() });
    }

    /// <summary>Says that a snapshot is not what it should be: it is not shown any more, whoever offers it, and a download of it fails.</summary>
    /// <remarks>The 1,000 that were rejected last are remembered.</remarks>
    public void Reject(Snapshot snapshot)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        SnapshotKey key = SnapshotKey.Of(snapshot);
        lock (_state.Gate)
        {
            _state.Change(_state.Pool.Reject(key));
        }
    }

    /// <summary>Says that a form of snapshots is of no use: none of it is shown any more, and a download of one fails.</summary>
    /// <remarks>The 1,000 that were rejected last are remembered.</remarks>
    public void RejectFormat(uint format)
    {
        lock (_state.Gate)
        {
            _state.Change(_state.Pool.RejectFormat(format));
        }
    }

    /// <summary>
    /// Says that a node is not to be believed: what it offers is not shown any more, also when it connects again; it is asked for no chunk, and what came from it and has
    /// not been handed out comes from others. It is not disconnected.
    /// </summary>
    /// <remarks>The 1,000 that were rejected last are remembered.</remarks>
    public void RejectPeer(NodeId peer)
    {
        lock (_state.Gate)
        {
            ChunkPeer? connected = _state.Peers.Find(known => known.Id == peer);
            connected?.Asked.Clear();
            _state.Download?.Forget(peer);
            _state.Change(_state.Pool.RejectPeer(peer, connected));
        }
    }

    /// <summary>
    /// Downloads a snapshot from all peers that offer it. Chunks are asked for no further ahead than <see cref="StateSyncOptions.Window"/> of the
    /// one that is read, so a reader that takes its time holds back the peers.
    /// </summary>
    /// <param name="snapshot">The snapshot.</param>
    /// <param name="check">
    /// Says whether a chunk is what it should be; called from any thread, for several chunks at once. What it throws ends the download and is thrown to its reader. Null:
    /// accepts all.
    /// </param>
    /// <param name="from">The first chunk that is wanted, for a download that goes on where another has ended; 0 to the number of chunks, with which nothing is wanted.</param>
    /// <param name="cancellationToken">Ends the download.</param>
    /// <returns>
    /// The chunks, in order. Reading them throws a <see cref="StateSyncException"/> when no peer has offered the snapshot for
    /// <see cref="StateSyncOptions.OfferTimeout"/>; when each that offers it has failed with a chunk, in <see cref="StateSyncOptions.TriesPerChunk"/> tries; or when it is
    /// rejected. It throws an <see cref="InvalidOperationException"/> when another download has begun after this call.
    /// </returns>
    /// <exception cref="ArgumentException">The snapshot has no height, chunks or hash.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The snapshot has no chunk <paramref name="from"/>.</exception>
    /// <exception cref="InvalidOperationException">Another download goes on.</exception>
    public SnapshotDownload DownloadAsync(
        Snapshot snapshot,
        Func<SnapshotChunk, ChunkVerdict>? check = null,
        uint from = 0,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        if (!snapshot.IsValid)
        {
            throw new ArgumentException("A snapshot has a height, chunks and a hash.", nameof(snapshot));
        }

        ArgumentOutOfRangeException.ThrowIfGreaterThan(from, snapshot.Chunks);
        lock (_state.Gate)
        {
            _state.ThrowIfDownloading();
        }

        return new SnapshotDownload(_state, snapshot, SnapshotKey.Of(snapshot), check ?? (static _ => ChunkVerdict.Accept), from, cancellationToken);
    }

    /// <inheritdoc />
    protected override ValueTask OnStartAsync(CancellationToken cancellationToken)
    {
        _meter = _state.Metrics.Show(Switch, _options, () => Read(static state => state.Download is not null), () => Read(static state => state.Pool.Count));
        return ValueTask.CompletedTask;

        T Read<T>(Func<StateSyncState, T> what)
        {
            lock (_state.Gate)
            {
                return what(_state);
            }
        }
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        _meter?.Dispose();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(peer);
        ChunkPeer known = new(peer);
        peer.Items.Set(_peer, known);
        known.Serving = ServeAsync(known);
        lock (_state.Gate)
        {
            _state.Peers.Add(known);
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        if (_options.Discovers && peer.Items.TryGet(_peer, out ChunkPeer? known))
        {
            lock (_state.Gate)
            {
                known.ExpectOffers();
            }

            peer.TrySend(StandardChannels.StateSyncSnapshots, new Message { SnapshotsRequest = new SnapshotsRequest() });
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override async ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason)
    {
        if (peer.Items.TryGet(_peer, out ChunkPeer? left))
        {
            lock (_state.Gate)
            {
                _state.Download?.Leave(left);
                _state.Peers.Remove(left);
                _state.Change(_state.Pool.Remove(left));
            }

            left.Queue.Writer.TryComplete();
            await left.Serving.ConfigureAwait(false);
            await left.Offering.ConfigureAwait(false);
        }
    }

    /// <inheritdoc />
    protected override RawVerdict Inspect(Envelope raw)
    {
        if (raw.Data.IsEmpty || raw.Data.Span[0] is not (OfferTag or ChunkTag) || !raw.Peer.Items.TryGet(_peer, out ChunkPeer? peer))
        {
            return RawVerdict.Accept;
        }

        lock (_state.Gate)
        {
            if (raw.Data.Span[0] == ChunkTag ? peer.ChunksExpected > 0 : peer.OffersExpected > 0)
            {
                return RawVerdict.Accept;
            }
        }

        _state.Metrics.Fault("unasked");
        return raw.Data.Span[0] == ChunkTag ? RawVerdict.Reject("A chunk came that was not asked for.") : RawVerdict.Ignore;
    }

    /// <inheritdoc />
    protected override ValueTask ReceiveAsync(Envelope<Message> envelope, CancellationToken cancellationToken)
    {
        if (!envelope.Peer.Items.TryGet(_peer, out ChunkPeer? peer))
        {
            return ValueTask.CompletedTask;
        }

        bool isChunks = envelope.Channel.Id == StandardChannels.StateSyncChunks.Id;
        switch (envelope.Message.SumCase)
        {
            case Message.SumOneofCase.SnapshotsRequest when !isChunks:
                Offer(peer);
                break;
            case Message.SumOneofCase.SnapshotsResponse when !isChunks:
                Learn(peer, envelope.Message.SnapshotsResponse);
                break;
            case Message.SumOneofCase.ChunkRequest when isChunks:
                Queue(peer, envelope.Message.ChunkRequest);
                break;
            case Message.SumOneofCase.ChunkResponse when isChunks:
                Receive(peer, envelope.Message.ChunkResponse);
                break;
            default:
                Stop(peer, "malformed", $"The peer sent a message of kind {envelope.Message.SumCase} that does not belong on channel {envelope.Channel}.");
                break;
        }

        return ValueTask.CompletedTask;
    }

    private void Learn(ChunkPeer peer, SnapshotsResponse offer)
    {
        Snapshot snapshot = new(offer.Height, offer.Format, offer.Chunks, offer.Hash, offer.Metadata);
        if (!snapshot.IsValid)
        {
            Stop(peer, "malformed", "The peer sent a snapshot without a height, chunks or a hash.");
            return;
        }

        SnapshotKey key = SnapshotKey.Of(snapshot);
        lock (_state.Gate)
        {
            if (peer.OffersExpected == 0)
            {
                return;
            }

            peer.OffersExpected--;
            if (offer.Chunks <= _options.MaxChunks && _state.Pool.Add(peer, key, snapshot))
            {
                _state.Change(isOffers: true);
            }
        }
    }

    private void Receive(ChunkPeer peer, ChunkResponse response)
    {
        if (response.Missing && !response.Chunk.IsEmpty)
        {
            Stop(peer, "malformed", "The peer sent a chunk that is missing and has bytes.");
            return;
        }

        ChunkKey key = new(response.Height, response.Format, response.Index);
        AskedChunk? asked;
        SnapshotDownload? download;
        bool isExpected;
        lock (_state.Gate)
        {
            isExpected = peer.ChunksExpected > 0;
            peer.ChunksExpected -= isExpected ? 1 : 0;
            asked = peer.Asked.Find(asked => asked.Key == key);
            download = _state.Download;
            if (download is null && asked is not null)
            {
                peer.Asked.Remove(asked);
            }
        }

        if (!isExpected)
        {
            Stop(peer, "unasked", "A chunk came that was not asked for.");
        }
        else if (asked is null || download is null)
        {
            // A late one, of a download before, or of which it was said that it is wanted no more.
            _state.Metrics.Chunk("unused");
        }
        else if (download.Receive(peer, asked, response.Missing ? default(ReadOnlyMemory<byte>?) : response.Chunk.Memory))
        {
            // A plain null would have become the empty array, and that an empty chunk.
            RejectPeer(peer.Id);
            Stop(peer, "rejected", $"Chunk {key.Index} of the snapshot of height {key.Height} was rejected.");
        }
    }

    // One answer at a time, and that apart from the receiving, which must not wait for a peer that does not read.
    private void Offer(ChunkPeer peer)
    {
        if (_options.Source is { } source
            && peer.Offering.IsCompleted
            && (peer.OfferedAt is not { } at || _options.TimeProvider.GetElapsedTime(at) >= _options.AnswerPeriod))
        {
            peer.OfferedAt = _options.TimeProvider.GetTimestamp();
            peer.Offering = OfferAsync(peer, source);
        }
    }

    private async Task OfferAsync(ChunkPeer peer, ISnapshotSource source)
    {
        try
        {
            IReadOnlyList<Snapshot> snapshots = await source.ListAsync(peer.Peer.Stopped).ConfigureAwait(false);
            foreach (Snapshot snapshot in snapshots.Where(snapshot => snapshot.IsValid).OrderByDescending(snapshot => (snapshot.Height, snapshot.Format)).Take(SnapshotsPerPeer))
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
                SendResult result = await peer.Peer.SendAsync(StandardChannels.StateSyncSnapshots, offer, Timeout.InfiniteTimeSpan, peer.Peer.Stopped).ConfigureAwait(false);
                if (result == SendResult.MessageTooLarge)
                {
                    throw new InvalidDataException($"The snapshot of height {snapshot.Height} and format {snapshot.Format} is larger than a message may be.");
                }
            }
        }
        catch (Exception e) when (IsOfSource(peer, e))
        {
            StateSyncLog.ListFailed(_logger, peer.Id, e);
        }
        catch (OperationCanceledException)
        {
            // The peer has gone.
        }
    }

    // A node of the reference asks again for what is slow to come; one answer is enough.
    private void Queue(ChunkPeer peer, ChunkRequest request)
    {
        ChunkKey key = new(request.Height, request.Format, request.Index);
        lock (_state.Gate)
        {
            if (peer.Waiting.Contains(key))
            {
                return;
            }

            if (peer.Waiting.Count < _options.MaxWaitingRequests)
            {
                peer.Waiting.Add(key);
                peer.Queue.Writer.TryWrite(key);
                return;
            }
        }

        _state.Metrics.Fault("too_many_requests");
    }

    // One at a time for each peer, and the next not before there is room for this one, for as long as the peer lives: apart from the receiving, so that a peer on a slow line
    // can still answer what it was asked.
    private async Task ServeAsync(ChunkPeer peer)
    {
        try
        {
            await foreach (ChunkKey key in peer.Queue.Reader.ReadAllAsync(peer.Peer.Stopped).ConfigureAwait(false))
            {
                ReadOnlyMemory<byte>? chunk = await ReadAsync(peer, key).ConfigureAwait(false);
                Message response = new()
                {
                    ChunkResponse = new ChunkResponse
                    {
                        Height = key.Height,
                        Format = key.Format,
                        Index = key.Index,
                        Missing = chunk is null,
                        Chunk = chunk is { } data ? UnsafeByteOperations.UnsafeWrap(data) : ByteString.Empty,
                    },
                };
                SendResult result = await peer.Peer.SendAsync(StandardChannels.StateSyncChunks, response, Timeout.InfiniteTimeSpan, peer.Peer.Stopped).ConfigureAwait(false);
                _state.Metrics.Served(result != SendResult.Queued ? "unsent" : chunk is null ? "missing" : "served");
                lock (_state.Gate)
                {
                    peer.Waiting.Remove(key);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The peer has gone.
        }
    }

    private async ValueTask<ReadOnlyMemory<byte>?> ReadAsync(ChunkPeer peer, ChunkKey key)
    {
        if (_options.Source is not { } source || key.Height == 0)
        {
            return null;
        }

        try
        {
            ReadOnlyMemory<byte>? chunk = await source.ReadChunkAsync(key.Height, key.Format, key.Index, peer.Peer.Stopped).ConfigureAwait(false);
            return chunk is { Length: > MaxChunk } ? null : chunk;
        }
        catch (Exception e) when (IsOfSource(peer, e))
        {
            StateSyncLog.ReadFailed(_logger, key.Index, key.Height, key.Format, peer.Id, e);
            return null;
        }
    }

    // Being cancelled because the peer has gone is no failure.
    private bool IsOfSource(ChunkPeer peer, Exception exception)
    {
        bool isFailure = exception is not OperationCanceledException || !peer.Peer.Stopped.IsCancellationRequested;
        if (isFailure)
        {
            _state.Metrics.Fault("source");
        }

        return isFailure;
    }

    private void Stop(ChunkPeer peer, string fault, string why)
    {
        _state.Metrics.Fault(fault);
        StateSyncLog.RuleBroken(_logger, peer.Id, why);
        peer.Peer.Stop(new DisconnectReason(DisconnectKind.ProtocolViolation, why));
    }
}
