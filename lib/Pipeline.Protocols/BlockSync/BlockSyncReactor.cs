using System.Buffers;
using System.Runtime.CompilerServices;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Wire;

namespace Pipeline.Protocols.BlockSync;

/// <summary>
/// Block sync (channel 0x40): answers others from a store, and fetches blocks from others, verified. A node may do both, also at once.
/// </summary>
/// <remarks>Source: <c>blocksync/reactor.go</c> of the reference at v0.38.25; see <c>docs/concepts/block-sync.md</c>.</remarks>
public sealed class BlockSyncReactor : Reactor<Message>
{
    // The first byte of a message that brings a block: its field's number and type.
    private const byte BlockResponseTag = 0x1a;
    private const byte BlockTag = 0x0a;

    private static readonly ChannelDescriptor<Message> Blocks = StandardChannels.BlockSync;

    private readonly BlockSyncOptions _options;
    private readonly IBlockStore? _store;
    private readonly TimeProvider _time;

    // Guards what is known of peers, and the run. Held for a moment, never while calling out.
    private readonly Lock _gate = new();
    private readonly List<SyncPeer> _peers = [];
    private SyncRun? _run;

    /// <summary>Makes a reactor.</summary>
    /// <param name="options">Bounds; null for the defaults.</param>
    /// <param name="store">The blocks that others are answered from; null: this node has none for others.</param>
    /// <param name="time">The clock; null for the system's.</param>
    public BlockSyncReactor(BlockSyncOptions? options = null, IBlockStore? store = null, TimeProvider? time = null)
        : base("BLOCKSYNC", Blocks)
    {
        _options = options ?? new();
        _store = store;
        _time = time ?? TimeProvider.System;
    }

    /// <summary>How far the sync is that runs, or the last one was.</summary>
    public BlockSyncProgress Progress
    {
        get
        {
            lock (_gate)
            {
                return _run?.Progress ?? default;
            }
        }
    }

    /// <summary>
    /// Fetches blocks from all peers, and yields each once it is verified, in order. Ends after the last that is wanted, or when peers have no more. No more is fetched
    /// than there is room for, so a consumer that takes its time slows the peers. One sync at a time.
    /// </summary>
    /// <exception cref="BlockSyncException">No peer has what is wanted, or the chain has got to validators that are not known.</exception>
    /// <exception cref="InvalidOperationException">Another sync runs.</exception>
    public async IAsyncEnumerable<VerifiedBlock> SyncAsync(BlockSyncRequest request, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        SyncRun run;
        lock (_gate)
        {
            _run = run = _run is { IsOver: false }
                ? throw new InvalidOperationException("A block sync runs already; there is one at a time.")
                : new SyncRun(request, _options, _time, _gate, _peers, (peer, why) => Switch.MarkBad(peer, why));
        }

        try
        {
            run.Start();
            while (await run.NextAsync(cancellationToken).ConfigureAwait(false) is { } block)
            {
                yield return block;
            }
        }
        finally
        {
            run.End();
        }
    }

    /// <summary>
    /// Fetches blocks, see <see cref="SyncAsync"/>, into a store: as many at a time as have come, at most 64 and about 8 MiB. The store has the blocks that came before also when this fails or is cancelled.
    /// </summary>
    /// <exception cref="BlockStoreException">The store cannot keep them.</exception>
    public async Task SyncToAsync(IBlockStore store, BlockSyncRequest request, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(store);
        const int MostAtOnce = 64;
        const long MostBytesAtOnce = 8 << 20;
        List<StoredBlock> batch = new(MostAtOnce);
        using CancellationTokenSource ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        IAsyncEnumerator<VerifiedBlock> blocks = SyncAsync(request, ending.Token).GetAsyncEnumerator(CancellationToken.None);
        Task<bool> coming = Task.FromResult(false);
        try
        {
            do
            {
                coming = blocks.MoveNextAsync().AsTask();
                if (batch.Count == MostAtOnce || !coming.IsCompleted || batch.Sum(static block => (long)block.Block.Length) >= MostBytesAtOnce)
                {
                    await KeepAsync().ConfigureAwait(false);
                }

                if (await coming.ConfigureAwait(false))
                {
                    batch.Add(blocks.Current.ToStored());
                }
            }
            while (coming.Result);
        }
        finally
        {
            await ending.CancelAsync().ConfigureAwait(false);
            await ((Task)coming).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await blocks.DisposeAsync().ConfigureAwait(false);

            // What has been verified is not fetched a second time, whatever ended the sync.
            await KeepAsync().ConfigureAwait(false);
        }

        async ValueTask KeepAsync()
        {
            if (batch.Count > 0)
            {
                StoredBlock[] kept = [.. batch];
                batch.Clear();
                await store.AppendAsync(kept, CancellationToken.None).ConfigureAwait(false);
            }
        }
    }

    /// <inheritdoc />
    protected override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        SyncPeer known = new(peer, _options.MaxWaitingRequests);
        peer.Items.Set(SyncPeer.Key, known);
        known.Serving = ServeAsync(known);
        lock (_gate)
        {
            _peers.Add(known);
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        if (_store is not null && peer.HasChannel(Blocks.Id))
        {
            peer.TrySend(Blocks, StatusMessage());
        }

        if (peer.Items.TryGet(SyncPeer.Key, out SyncPeer? known))
        {
            Run?.AskStatus(known);
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override async ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason)
    {
        if (peer.Items.TryGet(SyncPeer.Key, out SyncPeer? known))
        {
            lock (_gate)
            {
                _peers.Remove(known);
            }

            Run?.Remove(known);
            known.Requests.Writer.TryComplete();
            await known.Serving.ConfigureAwait(false);
        }
    }

    /// <inheritdoc />
    protected override RawVerdict Inspect(Envelope raw)
    {
        if (raw.Data.IsEmpty || raw.Data.Span[0] != BlockResponseTag)
        {
            return RawVerdict.Accept;
        }

        if (raw.Data.Length > _options.MaxBlockSize)
        {
            return RawVerdict.Reject($"An answer with a block has {raw.Data.Length} bytes, where {_options.MaxBlockSize} are allowed.");
        }

        lock (_gate)
        {
            return raw.Peer.Items.TryGet(SyncPeer.Key, out SyncPeer? known) && known.Asked.Count + known.Late.Count > 0
                ? RawVerdict.Accept
                : RawVerdict.Reject("A block came that was not asked for.");
        }
    }

    /// <inheritdoc />
    protected override ValueTask ReceiveAsync(Envelope<Message> envelope, CancellationToken cancellationToken)
    {
        Message message = envelope.Message;
        if (envelope.Peer.Items.TryGet(SyncPeer.Key, out SyncPeer? peer) && Handle(peer, message, envelope.Data.Length) is { } violation)
        {
            Switch.MarkBad(envelope.Peer, violation);
        }

        return ValueTask.CompletedTask;
    }

    private SyncRun? Run
    {
        get
        {
            lock (_gate)
            {
                return _run is { IsOver: false } ? _run : null;
            }
        }
    }

    // What the peer did wrong, if it did.
    private string? Handle(SyncPeer peer, Message message, int size)
    {
        switch (message.SumCase)
        {
            case Message.SumOneofCase.StatusRequest:
                return Queue(peer, SyncPeer.Status);

            case Message.SumOneofCase.BlockRequest:
                return message.BlockRequest.Height <= 0
                    ? $"A block of height {message.BlockRequest.Height} was asked for."
                    : Queue(peer, message.BlockRequest.Height);

            case Message.SumOneofCase.StatusResponse:
                StatusResponse status = message.StatusResponse;
                if (status.Base < 0 || status.Height < status.Base)
                {
                    return $"The peer says that it has the blocks from {status.Base} to {status.Height}.";
                }

                lock (_gate)
                {
                    peer.Range = new BlockRange(status.Base, status.Height);
                    peer.StatusAskedAt = null;
                }

                Run?.OnStatus();
                return null;

            case Message.SumOneofCase.NoBlockResponse:
                long missing = message.NoBlockResponse.Height;
                if (TakeAsked(peer, missing) is null)
                {
                    return $"The peer says that it has no block {missing}, which it was not asked for.";
                }

                Run?.OnMissing(peer, missing);
                return null;

            case Message.SumOneofCase.BlockResponse:
                long height = message.BlockResponse.Block?.Header?.Height ?? 0;
                if (TakeAsked(peer, height) is not { } latency)
                {
                    return $"A block of height {height} came that was not asked for.";
                }

                peer.Peer.MarkUseful();
                Run?.OnBlock(peer, height, message.BlockResponse.Block!, size, latency);
                return null;

            default:
                return "A message of block sync says nothing that is known.";
        }
    }

    // How long the answer took; null when it was not asked for.
    private TimeSpan? TakeAsked(SyncPeer peer, long height)
    {
        lock (_gate)
        {
            return peer.Asked.Remove(height, out long askedAt) ? _time.GetElapsedTime(askedAt)
                : peer.Late.Remove(height) ? _options.RequestTimeout
                : null;
        }
    }

    private string? Queue(SyncPeer peer, long request) => peer.Requests.Writer.TryWrite(request) || peer.Peer.Stopped.IsCancellationRequested
        ? null
        : $"More than {_options.MaxWaitingRequests} requests wait to be answered.";

    // Apart from the receiving, so that a peer that does not read what it asked for can still answer what it was asked.
    private async Task ServeAsync(SyncPeer peer)
    {
        try
        {
            double tokens = _options.MaxAnswersPerSecond;
            long at = _time.GetTimestamp();
            await foreach (long request in peer.Requests.Reader.ReadAllAsync(peer.Peer.Stopped).ConfigureAwait(false))
            {
                long now = _time.GetTimestamp();
                tokens = Math.Min(_options.MaxAnswersPerSecond, tokens + (_time.GetElapsedTime(at, now).TotalSeconds * _options.MaxAnswersPerSecond)) - 1;
                at = now;
                if (tokens < 0)
                {
                    await Task.Delay(TimeSpan.FromSeconds(-tokens / _options.MaxAnswersPerSecond), _time, peer.Peer.Stopped).ConfigureAwait(false);
                }

                if (request == SyncPeer.Status)
                {
                    await peer.Peer.SendAsync(Blocks, StatusMessage(), cancellationToken: peer.Peer.Stopped).ConfigureAwait(false);
                }
                else
                {
                    await SendBlockAsync(peer.Peer, request).ConfigureAwait(false);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The peer has gone.
        }
        catch (Exception e)
        {
            // A store may throw anything; as everywhere, that stops the peer that it was about.
            peer.Peer.Stop(new DisconnectReason(DisconnectKind.ReactorFailed, $"Reactor '{Name}' could not answer: {e.Message}", e));
        }
    }

    private Message StatusMessage()
    {
        BlockRange range = _store?.Range ?? default;
        return new Message { StatusResponse = new StatusResponse { Base = range.Base, Height = range.Height } };
    }

    private async ValueTask SendBlockAsync(IPeer peer, long height)
    {
        StoredBlock? block = _store is null ? null : await _store.LoadAsync(height, peer.Stopped).ConfigureAwait(false);
        if (block is null)
        {
            await peer.SendAsync(Blocks, new Message { NoBlockResponse = new NoBlockResponse { Height = height } }, cancellationToken: peer.Stopped).ConfigureAwait(false);
            return;
        }

        // The block goes as it is kept: to parse it only to serialise it again would take longer than to seal it.
        int inner = 1 + Varint.Length((ulong)block.Block.Length) + block.Block.Length;
        int length = 1 + Varint.Length((ulong)inner) + inner;
        byte[] bytes = ArrayPool<byte>.Shared.Rent(length);
        try
        {
            Write(bytes.AsSpan(0, length), inner, block.Block.Span);
            await peer.SendAsync(Blocks, bytes.AsSpan(0, length), cancellationToken: peer.Stopped).ConfigureAwait(false);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(bytes);
        }
    }

    private static void Write(Span<byte> bytes, int inner, ReadOnlySpan<byte> block)
    {
        int at = 0;
        bytes[at++] = BlockResponseTag;
        at += Varint.Write(bytes[at..], (ulong)inner);
        bytes[at++] = BlockTag;
        at += Varint.Write(bytes[at..], (ulong)block.Length);
        block.CopyTo(bytes[at..]);
    }
}
