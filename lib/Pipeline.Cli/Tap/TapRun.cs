using System.Collections.Immutable;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Pipeline.Cli.Listening;
using Pipeline.Cli.Tap.Views;
using Pipeline.Cli.Traces;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Switching;
using Pipeline.Wire;

namespace Pipeline.Cli.Tap;

/// <summary>
/// Is a peer of some nodes and listens: what passes the filter is counted, recorded and shown. The view and the recording see the same
/// messages in the same order.
/// </summary>
internal sealed class TapRun : ITapListener
{
    // What a recording that is killed may lack.
    private static readonly TimeSpan FlushPeriod = TimeSpan.FromSeconds(1);

    private readonly TapOptions _options;
    private readonly ITapView _view;
    private readonly TraceWriter? _recording;
    private readonly TimeProvider _time;
    private readonly ILogger<Switch>? _logger;
    private readonly TapCounts _counts;
    private readonly Dictionary<NodeId, TappedNode> _nodes;
    private readonly TaskCompletionSource<string?> _over = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Guarded by _gate. Invariant: after the end nothing is counted, recorded or shown, so that all three agree.
    private readonly Lock _gate = new();
    private bool _hasBegun;
    private bool _isOver;
    private long _taken;
    private long _filtered;
    private string? _recordingEnded;
    private long _start;
    private TimeSpan? _elapsed;

    /// <summary>Prepares to listen.</summary>
    /// <param name="options">What to listen to.</param>
    /// <param name="view">Shows it.</param>
    /// <param name="recording">Records it; null when nobody does. Closed when the run is over.</param>
    /// <param name="time">Where time comes from.</param>
    /// <param name="loggers">Makes the log of the connections; null for none.</param>
    public TapRun(TapOptions options, ITapView view, TraceWriter? recording, TimeProvider time, ILoggerFactory? loggers = null)
    {
        _options = options;
        _view = view;
        _recording = recording;
        _time = time;
        _logger = loggers?.CreateLogger<Switch>();
        ImmutableArray<TappedNode> nodes = [.. options.Addresses.Select((address, index) => new TappedNode(index, address))];
        _nodes = nodes.ToDictionary(node => node.Id);
        _counts = new TapCounts(nodes);
    }

    /// <summary>Listens until it is to end, or is interrupted.</summary>
    /// <exception cref="IOException">No node could be reached; the message has a line for each, fit for a terminal.</exception>
    /// <exception cref="OperationCanceledException">Interrupted before a node was reached.</exception>
    public async Task<TapResult> RunAsync(CancellationToken cancellationToken)
    {
        TaskCompletionSource shown = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task showing = _view.RunAsync(TakeSnapshot, shown.Task);
        await using ListeningNode node = new(_options.Network, _options.Versions, "pipeline-tap", new TapReactor(this), _time, _logger);
        string? failure;
        bool isInterrupted = false;
        try
        {
            await node.ConnectAsync(
                _options.Addresses,
                Begin,
                (address, failure) => Tell("peer_unreachable", _nodes[address.Id], $"not reached, and dialled again. {failure.Message}"),
                cancellationToken);
            failure = await ListenAsync(showing, cancellationToken);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested && _hasBegun)
        {
            failure = null;
            isInterrupted = true;
        }
        finally
        {
            // Before anything that may take its time: what is recorded is safe, and no more comes.
            End();
            _recording?.Close();
            shown.TrySetResult();
            await node.StopAsync();
            await showing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        failure = _recording?.Failure ?? failure ?? await FinishAsync(showing);
        int exitCode = failure is not null ? ExitCode.Failure : isInterrupted ? ExitCode.Interrupted : ExitCode.Success;
        return new TapResult(TakeSnapshot(), exitCode)
        {
            Failure = failure,
            Filtered = _filtered,
            Skipped = _view.Skipped,
            Recording = _recording is null
                ? null
                : new RecordingResult(_recording.Path, new Traffic(_recording.Messages, _recording.Bytes), _recording.Failure ?? _recordingEnded),
        };
    }

    /// <summary>Says that the output cannot be written.</summary>
    public static string DescribeBroken(IOException e) => $"The output cannot be written: {e.Message.TrimEnd('.')}.";

    public void Join(IPeer peer)
    {
        TappedNode node = _nodes[peer.Id];
        node.Moniker = peer.NodeInfo.Moniker;
        string version = peer.NodeInfo.Version.Length == 0 ? "" : $", version {peer.NodeInfo.Version}";
        Tell("peer_connected", node, $"connected at {peer.RemoteEndPoint}, network {peer.NodeInfo.Network}{version}.");
    }

    public void Leave(IPeer peer, DisconnectReason reason) => Tell("peer_disconnected", _nodes[peer.Id], $"disconnected. {reason.Message}");

    public void Hear(IPeer peer, ChannelDescriptor channel, ReadOnlySpan<byte> data, IMessage? message)
    {
        TappedNode from = _nodes[peer.Id];
        string kind = message is null ? HeardMessage.Malformed : MessageName.Of(message);
        bool passes = _options.Filter.Passes(from.Id, channel.Id, kind);
        lock (_gate)
        {
            if (_isOver)
            {
                return;
            }

            if (!passes)
            {
                _filtered++;
                return;
            }

            Begin();
            HeardMessage heard = new(Elapsed, from, channel, kind, data.Length, message);
            _counts.Add(heard);
            if (message is not null)
            {
                Record(heard, data);
            }

            _view.Show(heard);
            if (++_taken == _options.Count)
            {
                _isOver = true;
                _over.TrySetResult(null);
            }
        }
    }

    /// <summary>The figures of this moment.</summary>
    private TapSnapshot TakeSnapshot() => _counts.Take(Elapsed);

    private TimeSpan Elapsed
    {
        get
        {
            lock (_gate)
            {
                return _elapsed ?? (_hasBegun ? _time.GetElapsedTime(_start) : TimeSpan.Zero);
            }
        }
    }

    private void Begin()
    {
        lock (_gate)
        {
            if (!_hasBegun)
            {
                _hasBegun = true;
                _start = _time.GetTimestamp();
                _recording?.Begin();
            }
        }
    }

    private void End()
    {
        lock (_gate)
        {
            _isOver = true;
            _elapsed = Elapsed;
        }
    }

    /// <summary>Waits for the end; returns why it came too early, or null.</summary>
    private async Task<string?> ListenAsync(Task showing, CancellationToken cancellationToken)
    {
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task duration = Task.Delay(_options.Duration ?? Timeout.InfiniteTimeSpan, _time, stop.Token);
        Task flushing = FlushAsync(stop.Token);
        try
        {
            await Task.WhenAny(_over.Task, duration, showing, flushing);
            if (_over.Task.IsCompleted)
            {
                return await _over.Task;
            }

            // Which ends the wait for the duration as well.
            cancellationToken.ThrowIfCancellationRequested();
            return null;
        }
        finally
        {
            await stop.CancelAsync();
            await flushing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task FlushAsync(CancellationToken cancellationToken)
    {
        using PeriodicTimer timer = new(FlushPeriod, _time);
        while (await timer.WaitForNextTickAsync(cancellationToken))
        {
            if (_recording?.Flush() is { } failure)
            {
                _over.TrySetResult(failure);
            }
        }
    }

    private static async Task<string?> FinishAsync(Task showing)
    {
        try
        {
            await showing;
            return null;
        }
        catch (IOException e)
        {
            return DescribeBroken(e);
        }
    }

    // Called with the gate held.
    private void Record(in HeardMessage heard, ReadOnlySpan<byte> data)
    {
        if (_recording?.Add(heard.From.Index, heard.Channel, data) is not { } ended)
        {
            return;
        }

        if (_recording.Failure is not null)
        {
            _isOver = true;
            _over.TrySetResult(ended);
            return;
        }

        _recordingEnded = ended;
        Tell("recording_ended", null, $"{ended} Listening goes on.");
    }

    // That nodes leave because it is over is no news.
    private void Tell(string what, TappedNode? node, string text)
    {
        lock (_gate)
        {
            if (!_isOver)
            {
                _view.Tell(new TapNews(Elapsed, what, node, text));
            }
        }
    }
}
