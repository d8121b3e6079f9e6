using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using Pipeline.Cli.Listening;
using Pipeline.Cli.Tap;
using Pipeline.Cli.Traces;
using Pipeline.Protocols.Consensus;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Cli.Watching;

/// <summary>What is watched, and for how long.</summary>
internal sealed record WatchOptions
{
    /// <summary>How long, since the first node is connected; null: until interrupted.</summary>
    public TimeSpan? Duration { get; init; }

    /// <summary>How many heights that are committed; null: without end.</summary>
    public long? Count { get; init; }

    /// <summary>What is kept of them.</summary>
    public static ConsensusObserverOptions Observer { get; } = new() { Heights = RoundChart.MostHeights, FactsPerPeer = 100_000 };
}

/// <summary>Watches the consensus and shows each height when it is committed.</summary>
internal sealed class WatchRun(WatchOptions options, IWatchView view, TimeProvider time)
{
    private readonly TaskCompletionSource _shown = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<TimeSpan> _times = [];
    private long _start;
    private long _last;
    private int _committed;

    private TimeSpan Elapsed => _start == 0 ? TimeSpan.Zero : time.GetElapsedTime(_start);

    /// <summary>Watches nodes of a live network until it is to end, or is interrupted.</summary>
    /// <exception cref="IOException">No node could be reached; the message has a line for each, fit for a terminal.</exception>
    /// <exception cref="OperationCanceledException">Interrupted before a node was reached.</exception>
    public async Task<WatchResult> RunAsync(
        ImmutableArray<NetAddress> addresses,
        string network,
        ProtocolVersions versions,
        ILoggerFactory loggers,
        CancellationToken cancellationToken)
    {
        ConsensusObserverReactor reactor = new(WatchOptions.Observer with { TimeProvider = time });
        Task showing = view.RunAsync(() => reactor.Observer.View, _shown.Task);
        await using ListeningNode node = new(network, versions, "pipeline-watch", reactor, time, loggers.CreateLogger<Switch>());
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task telling = Task.CompletedTask;
        TimeSpan elapsed;
        bool isInterrupted = false;
        try
        {
            await node.ConnectAsync(
                addresses,
                () => Interlocked.CompareExchange(ref _start, time.GetTimestamp(), 0),
                (address, failure) => view.Tell(new WatchNews(Elapsed, "peer_unreachable", address.Id, "", $"not reached, and dialled again. {failure.Message}")),
                cancellationToken);
            telling = TellPeersAsync(reactor.Switch, stop.Token);
            Task duration = Task.Delay(options.Duration ?? Timeout.InfiniteTimeSpan, time, stop.Token);
            Task watching = WatchAsync(reactor.Observer, stop.Token);
            await Task.WhenAny(duration, watching, showing);
            isInterrupted = cancellationToken.IsCancellationRequested;
            await stop.CancelAsync();

            // It reads from one view to the next only, and is done with the last.
            await EndAsync(watching, stop.Token);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested && _start != 0)
        {
            isInterrupted = true;
        }
        finally
        {
            elapsed = Elapsed;
            await stop.CancelAsync();
            _shown.TrySetResult();
            await node.StopAsync();
            await showing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await EndAsync(telling, stop.Token);
        }

        return await FinishAsync(reactor.Observer.View, elapsed, showing, isInterrupted ? ExitCode.Interrupted : ExitCode.Success);
    }

    /// <summary>Watches what was recorded, as fast as it goes.</summary>
    public async Task<WatchResult> RunAsync(Trace trace, CancellationToken cancellationToken)
    {
        ConsensusView end = new ConsensusObserver().View;
        Task showing = view.RunAsync(() => end, _shown.Task);
        bool isOver = false;
        _ = ConsensusReplay.Run(trace, WatchOptions.Observer, observer =>
        {
            if (!isOver)
            {
                end = observer.View;
                isOver = Show(end) || cancellationToken.IsCancellationRequested || end.At - ConsensusReplay.Start >= options.Duration;
            }
        });
        _shown.TrySetResult();
        await showing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return await FinishAsync(end, end.At - ConsensusReplay.Start, showing, cancellationToken.IsCancellationRequested ? ExitCode.Interrupted : ExitCode.Success);
    }

    private async Task<WatchResult> FinishAsync(ConsensusView end, TimeSpan elapsed, Task showing, int exitCode)
    {
        WatchResult result = new(end, elapsed, _committed, exitCode) { Times = [.. _times] };
        try
        {
            await showing;
            return result;
        }
        catch (IOException e)
        {
            return result with { ExitCode = ExitCode.Failure, Failure = TapRun.DescribeBroken(e) };
        }
    }

    // What else ends it is a mistake in this program, and is not hidden.
    private static async Task EndAsync(Task task, CancellationToken stopped)
    {
        try
        {
            await task;
        }
        catch (OperationCanceledException) when (stopped.IsCancellationRequested)
        {
            // It was told to end.
        }
    }

    private async Task WatchAsync(ConsensusObserver observer, CancellationToken cancellationToken)
    {
        await foreach (ConsensusView seen in observer.WatchAsync(cancellationToken))
        {
            if (Show(seen))
            {
                return;
            }
        }
    }

    /// <returns>Whether that were enough.</returns>
    private bool Show(ConsensusView seen)
    {
        foreach (HeightView height in seen.Heights.Where(height => height.Height > _last && height.CommittedAt is not null))
        {
            if (_committed == options.Count)
            {
                break;
            }

            _last = height.Height;
            _committed++;
            if (height.ProposalToCommit is { } took)
            {
                _times.Add(took);
            }

            view.Show(height);
        }

        return _committed == options.Count;
    }

    private async Task TellPeersAsync(ISwitch node, CancellationToken cancellationToken)
    {
        await foreach (PeerChange change in node.WatchPeersAsync(cancellationToken))
        {
            view.Tell(change.IsConnected
                ? new WatchNews(Elapsed, "peer_connected", change.Peer.Id, change.Peer.NodeInfo.Moniker, $"connected at {change.Peer.RemoteEndPoint}, network {change.Peer.NodeInfo.Network}.")
                : new WatchNews(Elapsed, "peer_disconnected", change.Peer.Id, change.Peer.NodeInfo.Moniker, $"disconnected. {(await change.Peer.Completion).Message}"));
        }
    }
}
