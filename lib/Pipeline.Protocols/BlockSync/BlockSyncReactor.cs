using System.Buffers;
using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using Pipeline.Dataflow;
using Pipeline.Protocols.Types;
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

    // All others have two numbers at most.
    private const int MaxOtherSize = 64;

    // Of one peer within a status interval; nodes of the reference send one when they connect.
    private const int MaxUnaskedStatuses = 10;

    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(100);

    private readonly BlockSyncOptions _options;
    private readonly IBlockStore? _store;
    private readonly TimeProvider _time;
    private readonly ChannelDescriptor<Message> _channel;
    private readonly BlockSyncMetrics _metrics = new();
    private Meter? _meter;

    // Guards what is known of peers, and the run. Held for a moment, never while calling out.
    private readonly Lock _gate = new();
    private readonly List<SyncPeer> _peers = [];
    private SyncRun? _run;
    private bool _isStopped;

    /// <summary>Makes a reactor.</summary>
    /// <param name="options">Bounds; null for the defaults.</param>
    /// <param name="store">The blocks that others are answered from; null: this node has none for others.</param>
    /// <param name="time">The clock; null for the system's.</param>
    public BlockSyncReactor(BlockSyncOptions? options = null, IBlockStore? store = null, TimeProvider? time = null)
        : this(options ?? new(), store, time ?? TimeProvider.System, ChannelFor(options ?? new()))
    {
    }

    private BlockSyncReactor(BlockSyncOptions options, IBlockStore? store, TimeProvider time, ChannelDescriptor<Message> channel)
        : base("BLOCKSYNC", channel)
    {
        _options = options;
        _store = store;
        _time = time;
        _channel = channel;
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
    /// <exception cref="ArgumentException">There are no validators, or there is no such first block.</exception>
    /// <exception cref="BlockStoreException">The block to go on after is damaged, or of another network.</exception>
    /// <exception cref="BlockSyncException">No peer has what is wanted, the chain has got to validators that are not known, or the node has stopped.</exception>
    /// <exception cref="InvalidOperationException">Another sync runs.</exception>
    public async IAsyncEnumerable<VerifiedBlock> SyncAsync(BlockSyncRequest request, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        SyncRun run = new(request, _options, _time, _gate, _peers, _channel, (peer, why) => Switch.MarkBad(peer.Peer, why), _metrics);
        lock (_gate)
        {
            _run = _run is { IsOver: false } ? throw new InvalidOperationException("A block sync runs already; there is one at a time.")
                : _isStopped ? throw Stopped()
                : run;
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
    /// When it has blocks, the sync goes on after them.
    /// </summary>
    /// <exception cref="ArgumentException">What is asked for makes no sense, or is to go on after another block than the store's last.</exception>
    /// <exception cref="BlockStoreException">The store cannot keep them, or its last block is damaged.</exception>
    /// <exception cref="BlockSyncException">As for <see cref="SyncAsync"/>.</exception>
    /// <exception cref="InvalidOperationException">Another sync runs.</exception>
    public async Task SyncToAsync(IBlockStore store, BlockSyncRequest request, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(request);
        const int MostAtOnce = 64;
        const long MostBytesAtOnce = 8 << 20;
        request = await GoOnAsync(store, request, cancellationToken).ConfigureAwait(false);
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
    protected override ValueTask OnStartAsync(CancellationToken cancellationToken)
    {
        _meter = _metrics.Show(_options.MeterFactory, Switch.NodeInfo, () =>
        {
            lock (_gate)
            {
                return _run is { IsOver: false } run ? run.Progress : null;
            }
        });
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        SyncRun? run;
        lock (_gate)
        {
            _isStopped = true;
            run = _run;
        }

        run?.Fail(Stopped());
        _meter?.Dispose();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        SyncPeer known = new(peer, _options);
        peer.Items.Set(SyncPeer.Key, known);
        known.Serving = ServeAsync(known);
        lock (_gate)
        {
            _peers.Add(known);
            _run?.Add(known);
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        if (_store is not null && peer.HasChannel(_channel.Id))
        {
            peer.TrySend(_channel, StatusMessage());
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

            Run?.Remove(known, reason);
            known.Requests.Writer.TryComplete();
            await known.Serving.ConfigureAwait(false);
        }
    }

    /// <inheritdoc />
    protected override RawVerdict Inspect(Envelope raw)
    {
        if (!raw.Peer.Items.TryGet(SyncPeer.Key, out SyncPeer? known))
        {
            return RawVerdict.Ignore;
        }

        // A message says what it is by its last field, not its first; so what does not begin with a block must be too short to bring one.
        if (raw.Data.IsEmpty || raw.Data.Span[0] != BlockResponseTag)
        {
            return raw.Data.Length <= MaxOtherSize ? RawVerdict.Accept : Reject("malformed", $"It has {raw.Data.Length} bytes and does not begin with a block; no other has more than {MaxOtherSize}.");
        }

        lock (_gate)
        {
            if (known.Owed.Count + known.OwedBefore.Count > 0)
            {
                return RawVerdict.Accept;
            }
        }

        return Reject("unasked", "A block came that was not asked for.");

        RawVerdict Reject(string fault, string why)
        {
            _metrics.Fault(fault);
            Run?.Dismiss(known);
            return RawVerdict.Reject(why);
        }
    }

    /// <inheritdoc />
    protected override ValueTask ReceiveAsync(Envelope<Message> envelope, CancellationToken cancellationToken)
    {
        if (envelope.Peer.Items.TryGet(SyncPeer.Key, out SyncPeer? peer))
        {
            Handle(peer, envelope.Message, envelope.Data.Length);
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

    private static BlockSyncException Stopped() => new("The node has stopped, so that no more blocks can come.");

    private static ChannelDescriptor<Message> ChannelFor(BlockSyncOptions options)
    {
        // What nobody knows is left out of what is kept and hashed, as the reference does.
        ChannelDescriptor<Message> standard = StandardChannels.BlockSync;
        return new ChannelDescriptor<Message>(standard.Id, standard.Name, standard.Parser.WithDiscardUnknownFields(true))
        {
            Priority = standard.Priority,
            SendQueueCapacity = standard.SendQueueCapacity,
            MaxMessageSize = Math.Max(MaxOtherSize, options.MaxBlockSize),
        };
    }

    private static async ValueTask<BlockSyncRequest> GoOnAsync(IBlockStore store, BlockSyncRequest request, CancellationToken cancellationToken)
    {
        BlockRange range = store.Range;
        return range.IsEmpty ? request
            : request.Last is null ? request with
            {
                Last = await store.LoadAsync(range.Height, cancellationToken).ConfigureAwait(false)
                    ?? throw new BlockStoreException($"The store says that it has the blocks from {range.Base} to {range.Height}, and does not have the last."),
            }
            : request.Last.Height == range.Height ? request
            : throw new ArgumentException($"The store has the blocks from {range.Base} to {range.Height}, so a sync into it cannot go on after block {request.Last.Height}.", nameof(request));
    }

    private void Handle(SyncPeer peer, Message message, int size)
    {
        switch (message.SumCase)
        {
            case Message.SumOneofCase.StatusRequest:
                Queue(peer, SyncPeer.Status);
                break;

            case Message.SumOneofCase.BlockRequest when message.BlockRequest.Height <= 0:
                Ban(peer, $"A block of height {message.BlockRequest.Height} was asked for.");
                break;

            case Message.SumOneofCase.BlockRequest:
                Queue(peer, message.BlockRequest.Height);
                break;

            case Message.SumOneofCase.StatusResponse:
                TakeStatus(peer, message.StatusResponse);
                break;

            case Message.SumOneofCase.NoBlockResponse:
                long missing = message.NoBlockResponse.Height;
                if (TryTake(peer, missing, out _))
                {
                    Run?.OnMissing(peer, missing);
                }
                else
                {
                    StopUnasked(peer, $"The peer says that it has no block {missing}, which it was not asked for.");
                }

                break;

            case Message.SumOneofCase.BlockResponse:
                TakeBlock(peer, message.BlockResponse, size);
                break;

            default:
                Ban(peer, "A message of block sync says nothing that is known.");
                break;
        }
    }

    private void TakeStatus(SyncPeer peer, StatusResponse status)
    {
        if (status.Base < 0 || status.Height < status.Base)
        {
            Ban(peer, $"The peer says that it has the blocks from {status.Base} to {status.Height}.");
            return;
        }

        BlockRange range = new(status.Base, status.Height);
        bool isNews;
        lock (_gate)
        {
            long now = _time.GetTimestamp();
            if (peer.StatusesOwed > 0)
            {
                peer.StatusAskedAt = --peer.StatusesOwed == 0 ? null : peer.StatusAskedAt;
                isNews = true;
            }
            else
            {
                // What is left out is asked for before long.
                (int count, long since) = peer.UnaskedStatuses;
                bool isNewTime = count == 0 || _time.GetElapsedTime(since, now) >= _options.StatusInterval;
                peer.UnaskedStatuses = isNewTime ? (1, now) : (count + 1, since);
                if (peer.UnaskedStatuses.Count > MaxUnaskedStatuses)
                {
                    return;
                }

                isNews = peer.Range != range;
            }

            peer.Range = range;
        }

        if (isNews)
        {
            Run?.OnStatus();
        }
    }

    private void TakeBlock(SyncPeer peer, BlockResponse response, int size)
    {
        Block? block = response.Block;
        long height = block?.Header?.Height ?? 0;
        int signatures = Math.Max(block?.LastCommit?.Signatures.Count ?? 0, response.ExtCommit?.ExtendedSignatures.Count ?? 0);
        if (!TryTake(peer, height, out TimeSpan? latency))
        {
            StopUnasked(peer, $"A block of height {height} came that was not asked for.");
        }
        else if (signatures > TrustedValidators.MaxCount)
        {
            Ban(peer, $"Block {height} came with {signatures} signatures, where there are {TrustedValidators.MaxCount} validators at most.");
        }
        else
        {
            peer.Peer.MarkUseful();
            Run?.OnBlock(peer, height, block!, size, latency);
        }
    }

    private bool TryTake(SyncPeer peer, long height, out TimeSpan? latency)
    {
        lock (_gate)
        {
            long now = _time.GetTimestamp();
            bool isOwed = peer.TryTake(height, now, out long? askedAt);
            latency = askedAt is { } at ? _time.GetElapsedTime(at, now) : null;
            return isOwed;
        }
    }

    private void Ban(SyncPeer peer, string why)
    {
        _metrics.Fault("malformed");
        Run?.Dismiss(peer);
        Switch.MarkBad(peer.Peer, why);
    }

    // No node that keeps the rules does that; but what it says of the chain may be true, so it is no lie.
    private void StopUnasked(SyncPeer peer, string why)
    {
        Run?.Dismiss(peer);
        Stop(peer, "unasked", why);
    }

    private void Stop(SyncPeer peer, string fault, string why)
    {
        _metrics.Fault(fault);
        peer.Peer.Stop(new DisconnectReason(DisconnectKind.ProtocolViolation, why));
    }

    private void Queue(SyncPeer peer, long request)
    {
        if (!peer.Requests.Writer.TryWrite(request) && !peer.Peer.Stopped.IsCancellationRequested)
        {
            Stop(peer, "too_many_requests", $"More than {_options.MaxWaitingRequests} requests wait to be answered.");
        }
    }

    // Apart from the receiving, so that a peer that does not read what it asked for can still answer what it was asked.
    private async Task ServeAsync(SyncPeer peer)
    {
        CancellationToken stopped = peer.Peer.Stopped;
        try
        {
            double tokens = _options.MaxAnswersPerSecond;
            long at = _time.GetTimestamp();
            await foreach (long request in peer.Requests.Reader.ReadAllAsync(stopped).ConfigureAwait(false))
            {
                long now = _time.GetTimestamp();
                tokens = Math.Min(_options.MaxAnswersPerSecond, tokens + (_time.GetElapsedTime(at, now).TotalSeconds * _options.MaxAnswersPerSecond)) - 1;
                at = now;
                if (tokens < 0)
                {
                    await Task.Delay(TimeSpan.FromSeconds(-tokens / _options.MaxAnswersPerSecond), _time, stopped).ConfigureAwait(false);
                }

                using SerializedMessage answer = await AnswerAsync(request, stopped).ConfigureAwait(false);
                while (await peer.Peer.SendAsync(answer, timeout: null, stopped).ConfigureAwait(false) == SendResult.QueueFull)
                {
                    // It reads slowly, and has its answer when it has read those before.
                    await Task.Delay(RetryDelay, _time, stopped).ConfigureAwait(false);
                }
            }
        }
        catch (OperationCanceledException) when (stopped.IsCancellationRequested)
        {
            // The peer has gone.
        }
        catch (Exception e)
        {
            peer.Peer.Stop(new DisconnectReason(DisconnectKind.ReactorFailed, $"Reactor '{Name}' could not answer: {e.Message}", e));
        }
    }

    private Message StatusMessage()
    {
        BlockRange range = _store?.Range ?? default;
        return new Message { StatusResponse = new StatusResponse { Base = range.Base, Height = range.Height } };
    }

    // Serialised once, whatever it takes to send it: while it waits for room nothing else is held.
    private async ValueTask<SerializedMessage> AnswerAsync(long request, CancellationToken stopped)
    {
        if (request == SyncPeer.Status)
        {
            _metrics.Answer("status");
            return SerializedMessage.Create(_channel, StatusMessage());
        }

        StoredBlock? block = null;
        string? none = "none";
        try
        {
            block = _store is null ? null : await _store.LoadAsync(request, stopped).ConfigureAwait(false);
        }
        catch (Exception) when (!stopped.IsCancellationRequested)
        {
            // A store may throw anything. That it cannot be read is not the fault of those who ask.
            none = "unreadable";
        }

        none = block is null ? none : FindFault(block);
        _metrics.Answer(none ?? "block");
        if (none is null)
        {
            return Serialize(block!.Block.Span);
        }

        return SerializedMessage.Create(_channel, new Message { NoBlockResponse = new NoBlockResponse { Height = request } });
    }

    // A damaged block would be taken for a lie. All of it is not hashed for each who asks, which would take a good part of the time that sending it takes.
    private string? FindFault(StoredBlock block) =>
        LengthOf(block.Block.Length) > _channel.MaxMessageSize ? "too_large" : CheckedBlock.FitsItsHeader(block) ? null : "damaged";

    // The block goes as it is kept: to parse it only to serialise it again would take longer than to seal it.
    private SerializedMessage Serialize(ReadOnlySpan<byte> block)
    {
        int length = LengthOf(block.Length);
        byte[] bytes = ArrayPool<byte>.Shared.Rent(length);
        try
        {
            int at = 0;
            bytes[at++] = BlockResponseTag;
            at += Varint.Write(bytes.AsSpan(at), (ulong)InnerLengthOf(block.Length));
            bytes[at++] = BlockTag;
            at += Varint.Write(bytes.AsSpan(at), (ulong)block.Length);
            block.CopyTo(bytes.AsSpan(at));
            return SerializedMessage.Create(_channel, bytes.AsSpan(0, length));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(bytes);
        }
    }

    private static int InnerLengthOf(int block) => 1 + Varint.Length((ulong)block) + block;

    private static int LengthOf(int block) => 1 + Varint.Length((ulong)InnerLengthOf(block)) + InnerLengthOf(block);
}
