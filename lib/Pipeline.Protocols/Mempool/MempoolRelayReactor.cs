using System.Buffers;
using System.Diagnostics.Metrics;
using System.Runtime.InteropServices;
using System.Threading.Channels;
using Google.Protobuf;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Wire;

namespace Pipeline.Protocols.Mempool;

/// <summary>
/// Passes transactions on: each that is new and that the check accepts goes to every peer that is not known to have it, at the pace at which peers
/// take them, and never back to one that sent it.
/// </summary>
/// <remarks>
/// Relays that both have <see cref="RelayChannel"/> tell each other hashes first, so that a transaction comes from one peer only; a peer without it is sent all
/// transactions, as nodes of the reference do. Memory is bounded by <see cref="MempoolRelayOptions"/>. Source: the reference's mempool reactor at v0.38;
/// <c>docs/concepts/protocols.md</c> has the limits.
/// </remarks>
public sealed class MempoolRelayReactor : Reactor
{
    /// <summary>What the reactor is called.</summary>
    public const string ReactorName = "MEMPOOL";

    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan RepeatPeriod = TimeSpan.FromMinutes(1);

    private readonly MempoolRelayOptions _options;
    private readonly RelayLog _log;
    private readonly Fanout<MempoolTransaction> _told;
    private readonly ChannelDescriptor _channel;

    // Holds one item for each check that runs.
    private readonly Channel<bool> _checks;
    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly PeerItemKey<RelayFeed> _feed = new("mempool relay");
    private readonly KindCounter _faults = new("fault");
    private Meter? _meter;
    private Task _expiring = Task.CompletedTask;
    private volatile bool _isRunning;
    private long _received;
    private long _accepted;
    private long _duplicates;
    private long _rejected;
    private long _sent;

    /// <summary>Makes a relay.</summary>
    /// <param name="options">Settings, or null for the defaults.</param>
    /// <exception cref="ArgumentException">The pool has no room for the largest transaction.</exception>
    public MempoolRelayReactor(MempoolRelayOptions? options = null)
        : this(options ?? new MempoolRelayOptions(), ChannelFor(options))
    {
    }

    private MempoolRelayReactor(MempoolRelayOptions options, ChannelDescriptor channel)
        : base(ReactorName, options.Announce ? [channel, RelayChannel] : [channel])
    {
        if (options.MaxPoolBytes < options.MaxTransactionBytes)
        {
            throw new ArgumentException(
                $"{nameof(options.MaxPoolBytes)} is {options.MaxPoolBytes}: the pool has no room for a transaction of {nameof(options.MaxTransactionBytes)}, {options.MaxTransactionBytes}.",
                nameof(options));
        }

        _options = options;
        _channel = channel;
        _log = new RelayLog(options);
        _told = new Fanout<MempoolTransaction>(options.MaxPoolTransactions, options.MaxPoolBytes, static transaction => transaction.Data.Length);
        _checks = Channel.CreateBounded<bool>(options.MaxConcurrentChecks);
    }

    /// <summary>
    /// Channel 0x32, on which relays of this library agree who sends what: priority 5, 8 messages queued to send, at most 40,000 bytes a message. Nodes of the
    /// reference do not have it.
    /// </summary>
    public static ChannelDescriptor<RelayMessage> RelayChannel { get; } = new(0x32, "mempool relay", RelayMessage.Parser)
    {
        Priority = 5,
        SendQueueCapacity = 8,
        MaxMessageSize = 40_000,
        ReceiveQueueCapacity = 16,
    };

    /// <summary>What the relay has done and holds at this moment.</summary>
    public MempoolRelayStatus Status => _log.Read() with
    {
        Received = Volatile.Read(ref _received),
        Accepted = Volatile.Read(ref _accepted),
        Duplicates = Volatile.Read(ref _duplicates),
        Rejected = Volatile.Read(ref _rejected),
        Sent = Volatile.Read(ref _sent),
        Unread = _told.Missed,
    };

    /// <summary>Passes on a transaction of this node's own; waits while the peers are behind with those before it.</summary>
    /// <param name="transaction">The transaction, of which a copy is taken.</param>
    /// <param name="cancellationToken">Ends the wait; the transaction is not passed on then.</param>
    /// <returns>What became of it.</returns>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    public async ValueTask<SubmitResult> SubmitAsync(ReadOnlyMemory<byte> transaction, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (!_isRunning)
        {
            return SubmitResult.NotRunning;
        }

        if (transaction.IsEmpty)
        {
            return SubmitResult.Empty;
        }

        if (transaction.Length > _options.MaxTransactionBytes)
        {
            return SubmitResult.TooLarge;
        }

        Interlocked.Increment(ref _received);
        if (_log.See(TransactionHash.Of(transaction.Span), feed: null, out RelayTransaction seen) != RelayLog.Sighting.New)
        {
            Interlocked.Increment(ref _duplicates);
            return SubmitResult.AlreadySeen;
        }

        bool isAccepted = false;
        try
        {
            MempoolTransaction own = new(seen.Hash, transaction.ToArray(), From: null);
            if (await CheckAsync(own, seen, cancellationToken).ConfigureAwait(false) != MempoolVerdict.Accept)
            {
                // It has been dropped already.
                isAccepted = true;
                return SubmitResult.Rejected;
            }

            long start = _options.TimeProvider.GetTimestamp();
            while (!(isAccepted = _log.TryAppend(seen, BytesOf(own), evict: false)))
            {
                TimeSpan left = _options.SubmitTimeout - _options.TimeProvider.GetElapsedTime(start);
                if (!await _log.WaitForRoomAsync(source: null, own.Data.Length, left, cancellationToken).ConfigureAwait(false))
                {
                    return _isRunning ? SubmitResult.PoolFull : SubmitResult.NotRunning;
                }
            }

            Tell(own);
            return SubmitResult.Accepted;
        }
        finally
        {
            if (!isAccepted)
            {
                _log.Drop(seen, isRemembered: false);
            }
        }
    }

    /// <summary>
    /// Waits until each transaction of the pool has been sent to a peer, or a peer has said that it has it; at once when there are no peers. For a node that is
    /// about to stop.
    /// </summary>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    public Task FlushAsync(CancellationToken cancellationToken = default) => _log.WhenSettledAsync(cancellationToken);

    /// <summary>
    /// The transactions that are accepted from now on, this node's own included, until the node stops. A reader that is more than
    /// <see cref="MempoolRelayOptions.MaxPoolTransactions"/> or <see cref="MempoolRelayOptions.MaxPoolBytes"/> behind misses the oldest, see <see cref="MempoolRelayStatus.Unread"/>; who must have each puts
    /// <see cref="MempoolRelayOptions.Check"/> in its place, which holds back who sends.
    /// </summary>
    /// <remarks>
    /// It listens from this call on, not from the first <c>MoveNextAsync</c>. Until its enumerator is disposed, as <c>await foreach</c> does, or <paramref name="cancellationToken"/>
    /// is cancelled, whether anybody enumerates it or not, it holds what is not read.
    /// </remarks>
    /// <param name="cancellationToken">Ends it.</param>
    public IAsyncEnumerable<MempoolTransaction> ReadAcceptedAsync(CancellationToken cancellationToken = default) => _told.ReadAsync(cancellationToken);

    /// <inheritdoc />
    protected override ValueTask OnStartAsync(CancellationToken cancellationToken)
    {
        _meter = CreateMeter();
        _expiring = ExpireAsync();
        _isRunning = true;
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override async ValueTask OnStopAsync()
    {
        Close();
        _stopped.TrySetResult();
        await _expiring.ConfigureAwait(false);
        _told.Complete();
        _meter?.Dispose();
    }

    /// <inheritdoc />
    protected override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(peer);
        if (peer.HasChannel(_channel.Id))
        {
            RelayFeed feed = new(peer, _options.Announce && peer.HasChannel(RelayChannel.Id));
            peer.Items.Set(_feed, feed);
            _log.Add(feed);
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(peer);
        if (peer.Items.TryGet(_feed, out RelayFeed? feed))
        {
            feed.Loop = Task.Run(() => FeedAsync(feed), CancellationToken.None);
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override async ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason)
    {
        ArgumentNullException.ThrowIfNull(peer);
        ArgumentNullException.ThrowIfNull(reason);
        if (peer.Items.TryGet(_feed, out RelayFeed? feed))
        {
            await feed.Loop.ConfigureAwait(false);
            await feed.Answering.ConfigureAwait(false);
            if (reason.Kind == DisconnectKind.SwitchStopped)
            {
                // Or what waits for room would get it, when there is nobody any more that it could be sent to.
                Close();
            }

            _log.Remove(feed);
        }
    }

    /// <inheritdoc />
    protected override ValueTask ReceiveAsync(Envelope envelope, CancellationToken cancellationToken)
    {
        if (!envelope.Peer.Items.TryGet(_feed, out RelayFeed? feed))
        {
            envelope.Peer.Stop(new DisconnectReason(DisconnectKind.ProtocolViolation, $"It has sent something about transactions without channel {_channel}."));
            return ValueTask.CompletedTask;
        }

        if (envelope.Channel.Id == _channel.Id)
        {
            return ReceiveTransactionsAsync(feed, envelope.Data, cancellationToken);
        }

        try
        {
            return ReceiveAsync(feed, RelayChannel.Parser.ParseFrom(envelope.Data.Span));
        }
        catch (InvalidProtocolBufferException e)
        {
            Stop(feed, "malformed", $"A message of the mempool relay cannot be read: {e.Message}");
            return ValueTask.CompletedTask;
        }
    }

    private static ChannelDescriptor<Message> ChannelFor(MempoolRelayOptions? options)
    {
        ChannelDescriptor<Message> standard = StandardChannels.Mempool;
        if (options is null || options.MaxTransactionBytes == new MempoolRelayOptions().MaxTransactionBytes)
        {
            return standard;
        }

        // One transaction in two messages around it, each with a tag and a length.
        int inner = options.MaxTransactionBytes + 1 + Varint.Length((ulong)options.MaxTransactionBytes);
        return new ChannelDescriptor<Message>(standard.Id, standard.Name, standard.Parser)
        {
            Priority = standard.Priority,
            SendQueueCapacity = standard.SendQueueCapacity,
            MaxMessageSize = inner + 1 + Varint.Length((ulong)inner),
        };
    }

    // Made by the relay, so that it is a whole array.
    private static byte[] BytesOf(in MempoolTransaction transaction) =>
        MemoryMarshal.TryGetArray(transaction.Data, out ArraySegment<byte> segment) ? segment.Array! : transaction.Data.ToArray();

    private async ValueTask ReceiveTransactionsAsync(RelayFeed feed, ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
    {
        if (!TransactionsCodec.TryFind(message.Span, feed.Found, _options.MaxReceivedTransactions) || feed.Found.Count == 0)
        {
            Stop(feed, "malformed", $"A message of {message.Length} bytes on channel {_channel} holds no transactions.");
            return;
        }

        if (feed.Found.Count > _options.MaxReceivedTransactions)
        {
            Stop(feed, "too_many", $"It has sent more than {_options.MaxReceivedTransactions} transactions in one message.");
            return;
        }

        bool isUseful = false;
        foreach ((int start, int length) in feed.Found)
        {
            if (length == 0 || length > _options.MaxTransactionBytes)
            {
                Stop(feed, length == 0 ? "empty" : "too_large", $"It has sent a transaction of {length} bytes; there may be 1 to {_options.MaxTransactionBytes}.");
                return;
            }

            Interlocked.Increment(ref _received);
            ReadOnlyMemory<byte> data = message.Slice(start, length);
            switch (_log.See(TransactionHash.Of(data.Span), feed, out RelayTransaction seen))
            {
                case RelayLog.Sighting.New:
                    MempoolVerdict verdict = await AcceptAsync(feed, data.ToArray(), seen, cancellationToken).ConfigureAwait(false);
                    if (verdict == MempoolVerdict.Ban)
                    {
                        return;
                    }

                    isUseful |= verdict == MempoolVerdict.Accept;
                    break;
                case RelayLog.Sighting.Repeat when IsTooOften(feed):
                    Interlocked.Increment(ref _duplicates);
                    Ban(feed, "repeats", $"It has sent more than {_options.MaxRepeats} transactions again within a minute.");
                    return;
                default:
                    Interlocked.Increment(ref _duplicates);
                    break;
            }
        }

        // Without a check anything is accepted, and proves nothing.
        if (isUseful && _options.Check is not null)
        {
            feed.Peer.MarkUseful();
        }
    }

    private async ValueTask<MempoolVerdict> AcceptAsync(RelayFeed feed, byte[] data, RelayTransaction seen, CancellationToken cancellationToken)
    {
        MempoolTransaction transaction = new(seen.Hash, data, feed.Peer);
        bool isDone = false;
        try
        {
            MempoolVerdict verdict = await CheckAsync(transaction, seen, cancellationToken).ConfigureAwait(false);
            isDone = verdict != MempoolVerdict.Accept;
            if (isDone)
            {
                if (verdict == MempoolVerdict.Ban)
                {
                    Ban(feed, "banned", $"It has sent transaction {seen.Hash}, which no honest node sends.");
                }

                return verdict;
            }

            // What was asked for has its room.
            if (!(isDone = _log.TryAppend(seen, data, evict: false)))
            {
                await _log.WaitForRoomAsync(feed, data.Length, _options.MaxHoldBack, cancellationToken).ConfigureAwait(false);
                isDone = _log.TryAppend(seen, data, evict: true);
            }

            if (isDone)
            {
                Tell(transaction);
            }

            return verdict;
        }
        finally
        {
            if (!isDone)
            {
                _log.Drop(seen, isRemembered: false);
            }
        }
    }

    // What is not accepted is dropped.
    private async ValueTask<MempoolVerdict> CheckAsync(MempoolTransaction transaction, RelayTransaction seen, CancellationToken cancellationToken)
    {
        if (_options.Check is not { } check)
        {
            return MempoolVerdict.Accept;
        }

        await _checks.Writer.WriteAsync(true, cancellationToken).ConfigureAwait(false);
        MempoolVerdict verdict;
        try
        {
            verdict = await check(transaction, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _checks.Reader.TryRead(out _);
        }

        if (verdict != MempoolVerdict.Accept)
        {
            Interlocked.Increment(ref _rejected);
            _log.Drop(seen, _options.KeepRejected);
        }

        return verdict;
    }

    private void Close()
    {
        _isRunning = false;
        _log.Close();
    }

    private void Tell(in MempoolTransaction transaction)
    {
        Interlocked.Increment(ref _accepted);
        _told.Tell(transaction);
    }

    private bool IsTooOften(RelayFeed feed)
    {
        if (feed.RepeatsSince == 0 || _options.TimeProvider.GetElapsedTime(feed.RepeatsSince) >= RepeatPeriod)
        {
            feed.RepeatsSince = _options.TimeProvider.GetTimestamp();
            feed.Repeats = 0;
        }

        return ++feed.Repeats > _options.MaxRepeats;
    }

    private ValueTask ReceiveAsync(RelayFeed feed, RelayMessage message)
    {
        switch (message.SumCase)
        {
            case RelayMessage.SumOneofCase.Have when feed.IsAnswering:
                Stop(feed, "unasked", "It has announced transactions before those before them were answered.");
                break;
            case RelayMessage.SumOneofCase.Have
                when message.Have.Length is > 0 and <= RelayLog.MaxAnnounced * TransactionHash.Size && message.Have.Length % TransactionHash.Size == 0:
                feed.IsAnswering = true;
                feed.Answering = AnswerAsync(feed, message.Have.Memory, feed.Answering);
                break;
            case RelayMessage.SumOneofCase.Answer when feed.TrySetAnswer(message.Answer):
            case RelayMessage.SumOneofCase.Ask when _log.TryAsk(feed, message.Ask.Span):
                break;
            default:
                Stop(feed, "malformed", "A message of the mempool relay says nothing that may be said there.");
                break;
        }

        return ValueTask.CompletedTask;
    }

    // Waits for room in the pool by not answering, so that the peer announces no more.
    private async Task AnswerAsync(RelayFeed feed, ReadOnlyMemory<byte> hashes, Task last)
    {
        await last.ConfigureAwait(false);
        await GuardAsync(feed, async () =>
        {
            byte[] wanted = new byte[((hashes.Length / TransactionHash.Size) + 7) / 8];
            int count = _log.Answer(feed, hashes.Span, isForced: false, wanted);
            while (count == 0)
            {
                bool hasRoom = await _log.WaitForRoomAsync(feed, 0, _options.MaxHoldBack, feed.Peer.Stopped).ConfigureAwait(false);
                count = _log.Answer(feed, hashes.Span, isForced: !hasRoom, wanted);
            }

            // The peer may go on as soon as it has the answer.
            feed.IsAnswering = false;
            RelayMessage.Types.Answer answer = new() { Count = (uint)count, Wanted = UnsafeByteOperations.UnsafeWrap(wanted.AsMemory(0, (count + 7) / 8)) };
            await SendAsync(feed, new RelayMessage { Answer = answer }).ConfigureAwait(false);
        }).ConfigureAwait(false);
    }

    // A loop for each peer, as in the reference: it takes what comes from the log when the peer has taken what came before.
    private Task FeedAsync(RelayFeed feed) => GuardAsync(feed, async () =>
    {
        List<RelayTransaction> batch = [];
        List<RelayTransaction> wanted = [];
        bool isAnswerDue = false;
        while (true)
        {
            wanted.Clear();
            if (_log.TakeAsks(feed) is { } asks)
            {
                await SendAsync(feed, new RelayMessage { Ask = UnsafeByteOperations.UnsafeWrap(asks) }).ConfigureAwait(false);
            }
            else if (_log.TakeAsked(feed, wanted))
            {
                await SendAsync(feed, wanted).ConfigureAwait(false);
            }
            else if (isAnswerDue && feed.TakeAnswer() is { } answer)
            {
                int count = (int)answer.Count;
                wanted.AddRange(batch.Take(count).Where((_, i) => ((answer.Wanted[i / 8] >> (i % 8)) & 1) != 0));
                await SendAsync(feed, wanted).ConfigureAwait(false);
                isAnswerDue = count < batch.Count;
                _log.Settle(feed, CollectionsMarshal.AsSpan(batch)[..count]);
                batch.RemoveRange(0, count);
                if (isAnswerDue)
                {
                    await AnnounceAsync(feed, batch).ConfigureAwait(false);
                }
            }
            else if (isAnswerDue || !_log.HasMore(feed))
            {
                await feed.WaitAsync(feed.Peer.Stopped).ConfigureAwait(false);
            }
            else if (feed.Announces)
            {
                isAnswerDue = _log.Collect(feed, batch, RelayLog.MaxAnnounced, long.MaxValue);
                if (isAnswerDue)
                {
                    await AnnounceAsync(feed, batch).ConfigureAwait(false);
                }
            }
            else
            {
                if (_options.MaxHoldTime > TimeSpan.Zero)
                {
                    await Task.Delay(_options.MaxHoldTime * Random.Shared.NextDouble(), _options.TimeProvider, feed.Peer.Stopped).ConfigureAwait(false);
                }

                _log.Collect(feed, batch, _options.MaxBatchTransactions, _options.MaxBatchBytes);
                await SendAsync(feed, batch).ConfigureAwait(false);
                _log.Settle(feed, CollectionsMarshal.AsSpan(batch));
                batch.Clear();
            }
        }
    });

    private async ValueTask AnnounceAsync(RelayFeed feed, List<RelayTransaction> batch)
    {
        byte[] hashes = new byte[batch.Count * TransactionHash.Size];
        for (int i = 0; i < batch.Count; i++)
        {
            batch[i].Hash.CopyTo(hashes.AsSpan(i * TransactionHash.Size));
        }

        feed.Expect(batch.Count);
        await SendAsync(feed, new RelayMessage { Have = UnsafeByteOperations.UnsafeWrap(hashes) }).ConfigureAwait(false);
    }

    private async ValueTask SendAsync(RelayFeed feed, RelayMessage message)
    {
        using SerializedMessage serialized = SerializedMessage.Create(RelayChannel, message);
        await SendAsync(feed, serialized).ConfigureAwait(false);
    }

    private async ValueTask SendAsync(RelayFeed feed, List<RelayTransaction> transactions)
    {
        // One message's bytes at a time: what is only to be sent later may leave the pool until then, and its memory with it.
        List<byte[]> bytes = [];
        for (int done = 0; ; bytes.Clear())
        {
            ReadOnlySpan<RelayTransaction> left = CollectionsMarshal.AsSpan(transactions)[done..];
            _log.TakeBytes(ref left, bytes, _channel.MaxMessageSize);
            done = transactions.Count - left.Length;
            if (bytes.Count == 0)
            {
                return;
            }

            using SerializedMessage serialized = Serialize(bytes);
            await SendAsync(feed, serialized).ConfigureAwait(false);
            Interlocked.Add(ref _sent, bytes.Count);
        }
    }

    private SerializedMessage Serialize(List<byte[]> transactions)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(TransactionsCodec.MaxLength(transactions.Count, transactions.Sum(bytes => (long)bytes.Length)));
        int length = TransactionsCodec.Write(buffer, CollectionsMarshal.AsSpan(transactions));
        SerializedMessage serialized = SerializedMessage.Create(_channel, buffer.AsSpan(0, length));
        ArrayPool<byte>.Shared.Return(buffer);
        return serialized;
    }

    // Until there is room: the peer takes what it takes, and what it is too slow for leaves the pool.
    private async ValueTask SendAsync(RelayFeed feed, SerializedMessage message)
    {
        CancellationToken stopped = feed.Peer.Stopped;
        while (await feed.Peer.SendAsync(message, timeout: null, stopped).ConfigureAwait(false) is var result && result != SendResult.Queued)
        {
            if (result != SendResult.QueueFull)
            {
                throw result == SendResult.PeerStopped
                    ? new OperationCanceledException(stopped)
                    : new InvalidOperationException($"A message of {message.Length} bytes on channel {message.Channel} cannot be sent: {result}.");
            }

            await Task.Delay(RetryDelay, _options.TimeProvider, stopped).ConfigureAwait(false);
        }
    }

    private async Task ExpireAsync()
    {
        using PeriodicTimer timer = new(_options.RequestTimeout / 2, _options.TimeProvider);
        _ = _stopped.Task.ContinueWith(_ => timer.Dispose(), TaskScheduler.Default);
        while (await timer.WaitForNextTickAsync().ConfigureAwait(false))
        {
            foreach ((RelayFeed feed, int owed) in _log.Expire() ?? [])
            {
                Stop(feed, "undelivered", $"It has announced {owed} transactions, and sent none of them when it was asked.");
            }
        }
    }

    private async Task GuardAsync(RelayFeed feed, Func<Task> work)
    {
        try
        {
            await work().ConfigureAwait(false);
        }
        catch (OperationCanceledException e) when (feed.Peer.Stopped.IsCancellationRequested || e.CancellationToken == feed.Peer.Stopped)
        {
            // Also one that is still being sent what waits for it.
        }
        catch (Exception e)
        {
            feed.Peer.Stop(new DisconnectReason(DisconnectKind.ReactorFailed, $"Reactor '{Name}' failed: {e.Message}", e));
        }
    }

    private void Stop(RelayFeed feed, string fault, string why)
    {
        _faults.Add(fault);
        feed.Peer.Stop(new DisconnectReason(DisconnectKind.ProtocolViolation, why));
    }

    private void Ban(RelayFeed feed, string fault, string why)
    {
        _faults.Add(fault);
        Switch.MarkBad(feed.Peer, why);
    }

    private Meter CreateMeter()
    {
        Meter meter = ReactorMeter.Create(_options.MeterFactory, Switch.NodeInfo, out KeyValuePair<string, object?> chain);
        const string unit = "{transaction}";
        meter.CreateObservableGauge("cometbft_mempool_size", () => new Measurement<long>(Status.PoolTransactions, chain), unit, "Transactions that are kept to be sent.");
        meter.CreateObservableGauge("cometbft_mempool_size_bytes", () => new Measurement<long>(Status.PoolBytes, chain), "By", "Their bytes.");
        meter.CreateObservableCounter("pipeline_mempool_transactions_total", Outcomes, unit, "Transactions that came or were submitted, by what became of them.");
        meter.CreateObservableCounter("pipeline_mempool_sent_total", () => new Measurement<long>(Status.Sent, chain), unit, "Transactions sent, counted for each peer.");
        meter.CreateObservableCounter("pipeline_mempool_missed_total", () => new Measurement<long>(Status.Missed, chain), unit, "Transactions that peers were too slow for.");
        meter.CreateObservableCounter(
            "pipeline_mempool_undelivered_total",
            () => new Measurement<long>(Status.Undelivered, chain),
            unit,
            "Transactions that peers announced and did not send in time, counted for each that was asked.");
        meter.CreateObservableCounter("pipeline_mempool_faults_total", () => _faults.Read(chain), "{fault}", "Peers that were stopped or banned for what they sent.");
        return meter;

        IEnumerable<Measurement<long>> Outcomes()
        {
            MempoolRelayStatus status = Status;
            yield return new(status.Accepted, chain, new("outcome", "accepted"));
            yield return new(status.Duplicates, chain, new("outcome", "duplicate"));
            yield return new(status.Rejected, chain, new("outcome", "rejected"));
        }
    }
}
