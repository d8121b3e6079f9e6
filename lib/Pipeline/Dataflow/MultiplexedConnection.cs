using System.Collections.Immutable;
using System.Security.Cryptography;
using Pipeline.Transport;
using Pipeline.Wire;

namespace Pipeline.Dataflow;

/// <summary>
/// One secret connection with its two loops: what the send block holds goes out, what comes in goes to the lanes. Whatever happens first,
/// an end of the stream, an error, a pong that does not come, or a stop, is the reason for which all of it ends.
/// </summary>
internal sealed class MultiplexedConnection : IKeepAliveTarget, IAsyncDisposable
{
    private readonly ConnectionOptions _options;
    private readonly SecretConnection _connection;
    private readonly ChannelTable _channels;
    private readonly KeepAlive _keepAlive;
    private readonly FrameEncoder _encoder;
    private readonly CancellationTokenSource _stopping = new();
    private readonly CancellationTokenSource _stopped = new();
    private readonly TaskCompletionSource<DisconnectReason> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Completes when nothing more will be sent; the stop may come before it.
    private readonly TaskCompletionSource _sent = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly long _start;

    // Set by Start; the owner and the lane of the channel at each index.
    private FrameDecoder? _decoder;
    private ChannelDemultiplexer? _demultiplexer;
    private (PeerLanes Owner, Lane Lane)[] _lanes = [];

    // Invariant: each is set once. _reason is the first reason to end; _stopping, which ends the loops, and _stopped, which is what others
    // see of it, are cancelled right after it. _reasonAfterFlush becomes it when everything has been sent.
    private DisconnectReason? _reason;
    private DisconnectReason? _reasonAfterFlush;

    // Guarded by _keepAliveGate, as _traffic and what has to do with pauses; times since _start. Invariant: _pongDeadline is null unless a ping waits for its answer and reading goes
    // on: while this node does not read, a pong cannot be seen and nobody is to be blamed. _nextUnaskedPong is set while it does not read.
    private readonly Lock _keepAliveGate = new();
    private TimeSpan _nextPing;
    private TimeSpan? _pongDeadline;
    private TimeSpan? _nextUnaskedPong;
    private bool _pongIsAwaited;

    private readonly TrafficMeter _traffic;
    private TimeSpan _pausedAt;
    private TimeSpan _pausedTime;
    private long _pauses;

    public MultiplexedConnection(
        ConnectionOptions options,
        SecretConnection connection,
        ChannelTable channels,
        ImmutableArray<byte> remoteChannels,
        KeepAlive keepAlive)
    {
        _options = options;
        _connection = connection;
        _channels = channels;
        _keepAlive = keepAlive;
        _start = options.TimeProvider.GetTimestamp();
        _nextPing = options.PingInterval;
        Allowance = new ReceiveAllowance(options.ReceiveAllowance);
        Outgoing = new PrioritySendBlock(channels, remoteChannels, options.MaxPacketDataSize, options.TimeProvider, options.MessageCounter);
        _traffic = new TrafficMeter(Outgoing, channels.Count);
        _encoder = new FrameEncoder(Outgoing, connection.Output, options);
        Stopped = _stopped.Token;
    }

    public PrioritySendBlock Outgoing { get; }

    /// <summary>What the lanes of this connection may hold beyond their bounds.</summary>
    public ReceiveAllowance Allowance { get; }

    /// <summary>Cancelled as soon as there is a reason to end.</summary>
    public CancellationToken Stopped { get; }

    /// <summary>Whether, of a graceful stop of this node, the remote has seen the end, and closed when it had sent all it had. Known when completed.</summary>
    public bool HasEndedGracefully { get; private set; }

    /// <summary>Completes when both loops are over and the stream is closed.</summary>
    public Task<DisconnectReason> Completion => _completion.Task;

    /// <summary>Starts both loops. Called once, also when the connection was stopped before: it closes the stream.</summary>
    /// <param name="peer">The sender of the envelopes.</param>
    /// <param name="owners">The lanes of all reactors, which together have each channel once.</param>
    public void Start(IPeer peer, IEnumerable<PeerLanes> owners)
    {
        _lanes = new (PeerLanes, Lane)[_channels.Count];
        foreach (PeerLanes owner in owners)
        {
            foreach (Lane lane in owner.Lanes)
            {
                _lanes[_channels.IndexOf(lane.Channel.Id)] = (owner, lane);
            }
        }

        _demultiplexer = new ChannelDemultiplexer(_channels, peer, [.. _lanes.Select(entry => entry.Lane)], Allowance, this, _options.Pool, _options.MessageCounter);
        _decoder = new FrameDecoder(_connection.Input, _demultiplexer, _options);
        _keepAlive.Add(this);
        _ = RunAsync(_demultiplexer, _decoder);
    }

    /// <summary>Ends the connection at once; what waits to be sent is dropped. The first reason counts.</summary>
    public void Stop(DisconnectReason reason) => TryStop(reason);

    /// <summary>Takes no more messages, sends those that wait, and ends the connection, within <see cref="ConnectionOptions.FlushTimeout"/>.</summary>
    public async Task StopGracefullyAsync(DisconnectReason reason)
    {
        Interlocked.CompareExchange(ref _reasonAfterFlush, reason, null);
        Outgoing.Complete();
        try
        {
            await Completion.WaitAsync(_options.FlushTimeout, _options.TimeProvider).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            Stop(reason);
            await Completion.ConfigureAwait(false);
        }
    }

    /// <summary>Ends the connection, once started, and waits until it has ended.</summary>
    public async ValueTask DisposeAsync()
    {
        // The token source holds nothing that would have to be disposed of, and a late Stop may still want to cancel it.
        Stop(new DisconnectReason(DisconnectKind.Stopped, "The connection was disposed of."));
        await Completion.ConfigureAwait(false);
    }

    public ConnectionStatus GetStatus()
    {
        lock (_keepAliveGate)
        {
            TimeSpan now = Elapsed();
            MeasureTraffic(now);
            bool isPaused = _nextUnaskedPong is not null;
            return new ConnectionStatus(
                now,
                BytesSent: _encoder.BytesSent,
                BytesReceived: _decoder?.BytesReceived ?? 0,
                isPaused,
                [.. _channels.Select((channel, index) => GetStatus(channel, index))])
            {
                SendRate = _traffic.Sent.BytesPerSecond,
                ReceiveRate = _traffic.Received.BytesPerSecond,
                SendIdle = now - _traffic.Sent.LastMoved,
                ReceiveIdle = now - _traffic.Received.LastMoved,
                Pauses = _pauses,
                PausedTime = isPaused ? _pausedTime + (now - _pausedAt) : _pausedTime,
            };
        }
    }

    /// <summary>Called by the timer of all connections, often enough.</summary>
    public void OnTick()
    {
        TimeSpan now = Elapsed();
        bool pongIsDue = false;
        bool pongIsLate = false;
        bool pingIsDue = false;
        lock (_keepAliveGate)
        {
            MeasureTraffic(now);
            if (_nextUnaskedPong is { } nextPong)
            {
                pongIsDue = now >= nextPong;
                _nextUnaskedPong = pongIsDue ? now + UnaskedPongInterval : nextPong;
            }
            else
            {
                pongIsLate = now >= _pongDeadline;
                pingIsDue = now >= _nextPing;
            }

            if (pingIsDue)
            {
                _nextPing = now + _options.PingInterval;
                if (!_pongIsAwaited)
                {
                    _pongIsAwaited = true;
                    _pongDeadline = now + _options.PongTimeout;
                }
            }
        }

        if (pongIsDue)
        {
            Outgoing.RequestPong();
        }

        if (pingIsDue)
        {
            Outgoing.RequestPing();
        }

        if (pongIsLate)
        {
            Stop(new DisconnectReason(
                DisconnectKind.PongTimeout,
                $"The remote did not answer a ping within {_options.PongTimeout.TotalSeconds:0.###} s."));
        }
    }

    void IKeepAliveTarget.OnPing() => Outgoing.RequestPong();

    void IKeepAliveTarget.OnPong()
    {
        lock (_keepAliveGate)
        {
            _pongIsAwaited = false;
            _pongDeadline = null;
        }
    }

    void IKeepAliveTarget.OnPause()
    {
        lock (_keepAliveGate)
        {
            _pongDeadline = null;
            _nextUnaskedPong = _pausedAt = Elapsed();
            _pauses++;
        }
    }

    void IKeepAliveTarget.OnResume()
    {
        lock (_keepAliveGate)
        {
            TimeSpan now = Elapsed();
            _pausedTime += now - _pausedAt;
            _nextUnaskedPong = null;
            _pongDeadline = _pongIsAwaited ? now + _options.PongTimeout : null;
        }
    }

    // A remote with the same settings gives us this long to answer its ping, which we cannot see while we do not read.
    private TimeSpan UnaskedPongInterval => _options.PongTimeout / 3;

    private TimeSpan Elapsed() => _options.TimeProvider.GetElapsedTime(_start);

    private void MeasureTraffic(TimeSpan now) => _traffic.Measure(now, _encoder.BytesSent, _decoder?.BytesReceived ?? 0);

    private ChannelStatus GetStatus(ChannelDescriptor channel, int index)
    {
        SendQueueStatus queue = Outgoing.GetStatus(index);
        (int waiting, long waitingBytes, long received, long receivedBytes, long dropped) =
            index < _lanes.Length ? _lanes[index].Owner.GetStatus(_lanes[index].Lane) : default;
        return new ChannelStatus(
            channel,
            queue.Messages,
            queue.Bytes,
            queue.MessagesSent,
            queue.BytesSent,
            waiting,
            waitingBytes,
            received,
            receivedBytes,
            dropped)
        {
            PartialBytes = _demultiplexer?.GetPartialBytes(index) ?? 0,
            RecentlySent = _traffic.RecentlySent(index),
            SendersWaiting = queue.Waiting,
            SendWaits = queue.Waits,
            SendWaitTime = queue.WaitTime,
        };
    }

    private bool TryStop(DisconnectReason reason)
    {
        bool isFirst = Interlocked.CompareExchange(ref _reason, reason, null) is null;
        if (isFirst)
        {
            Outgoing.Abort();

            // Not on this thread, and not one after the other: callbacks of the user's may block or throw.
            _ = _stopping.CancelAsync();
            _ = NotifyAsync();
        }

        return isFirst;

        async Task NotifyAsync()
        {
            try
            {
                await _stopped.CancelAsync().ConfigureAwait(false);
            }
            catch (AggregateException)
            {
                // What a callback of the user's throws is no reason for anything here.
            }
        }
    }

    private async Task RunAsync(ChannelDemultiplexer demultiplexer, FrameDecoder decoder)
    {
        // Not on the caller's thread: it is in the middle of adding a peer.
        Task receiving = Task.Run(() => ReceiveAsync(decoder));
        Task loops = Task.WhenAll(receiving, Task.Run(() => SendAsync(receiving)));
        await loops.WaitAsync(_stopping.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _keepAlive.Remove(this);
        try
        {
            // Under the loops, in case that the stream does not heed their token.
            await _connection.DisposeAsync().ConfigureAwait(false);
        }
        catch (Exception)
        {
            // Whatever a stream throws when it is closed: it is closed as well as it can be.
        }

        await loops.ConfigureAwait(false);
        demultiplexer.Dispose();
        _completion.SetResult(_reason!);
    }

    private async Task ReceiveAsync(FrameDecoder decoder)
    {
        try
        {
            bool isWhole = await decoder.RunAsync(_stopping.Token).ConfigureAwait(false);
            if (Volatile.Read(ref _reasonAfterFlush) is { } reason)
            {
                // The remote has sent all it had, perhaps because it stops gracefully as well; what waits here may still reach it.
                await _sent.Task.WaitAsync(_stopping.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                HasEndedGracefully = TryStop(reason);
            }

            Stop(isWhole
                ? new DisconnectReason(DisconnectKind.RemoteClosed, "The remote closed the connection.")
                : new DisconnectReason(DisconnectKind.ConnectionLost, "The remote closed the connection in the middle of a packet."));
        }
        catch (Exception e)
        {
            Stop(Explain(e));
        }
    }

    private async Task SendAsync(Task receiving)
    {
        try
        {
            await _encoder.RunAsync(_stopping.Token).ConfigureAwait(false);
            if (Volatile.Read(ref _reason) is not null)
            {
                // It has been stopped, and what was left was dropped.
                return;
            }

            if (Outgoing.Completion.Exception?.InnerException is { } fault)
            {
                Stop(new DisconnectReason(DisconnectKind.Stopped, $"Its sending side was faulted: {fault.Message}", fault));
                return;
            }

            // Everything was sent. To close now could make what the remote has not read yet be lost: a socket that is closed with unread
            // data resets the connection. So the remote closes, when it has read to the end, or the graceful stop runs out of time.
            // When nobody has begun a graceful stop, a block that is linked to the sending side has passed its completion on.
            _ = StopGracefullyAsync(new DisconnectReason(DisconnectKind.Stopped, "Its sending side was completed."));
            await _connection.CompleteWritesAsync().ConfigureAwait(false);
            _sent.TrySetResult();
        }
        catch (IOException e)
        {
            // What the remote sent before it closed may not have been read yet. Reading finds the end by itself, unless it has to wait for
            // reactors that are behind.
            _sent.TrySetResult();
            await receiving.WaitAsync(_options.FlushTimeout, _options.TimeProvider).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            Stop(Explain(e));
        }
        catch (Exception e)
        {
            Stop(Explain(e));
        }
    }

    // Whatever a loop ends with ends the connection with a reason; nothing may get lost in a task that nobody awaits.
    private static DisconnectReason Explain(Exception exception) => exception switch
    {
        PacketException e => new DisconnectReason(DisconnectKind.ProtocolViolation, e.Message, e),
        SecretConnectionException { Fault: not SecretConnectionFault.TruncatedFrame } e =>
            new DisconnectReason(DisconnectKind.ProtocolViolation, e.Message, e),
        IOException or ObjectDisposedException or OperationCanceledException or CryptographicException =>
            new DisconnectReason(DisconnectKind.ConnectionLost, $"The connection broke: {exception.Message}", exception),
        _ => new DisconnectReason(DisconnectKind.ConnectionLost, $"The connection failed in an unforeseen way: {exception.Message}", exception),
    };
}
