using System.Collections.Concurrent;
using System.Collections.Immutable;
using Google.Protobuf;
using Microsoft.Extensions.Logging.Abstractions;
using Pipeline.Cli.Demo.Nodes;
using Pipeline.Cli.Traces;
using Pipeline.Dataflow;
using Pipeline.Protocols;

namespace Pipeline.Cli.Demo;

/// <summary>
/// One run of the demonstration: the messages of a trace go from a node for each of its peers through encrypted connections into
/// the reactors of one more, and everything that arrives is held against what was sent.
/// </summary>
internal sealed class DemoRun
{
    private readonly int _peers;
    private readonly ReplayPace _pace;
    private readonly TimeProvider _time;
    private readonly ImmutableArray<ReplayLane> _lanes;
    private readonly Dictionary<(int Peer, byte Channel), ReplayLane> _laneOf;
    private readonly ConcurrentDictionary<string, long> _kinds = [];
    private readonly TaskCompletionSource _allArrived = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private IDemoNetwork? _network;
    private long _start;
    private long _lastArrival;
    private long _arrived;

    // How many messages have been sent, once no more will be.
    private long _sent = long.MaxValue;

    /// <summary>Prepares a run.</summary>
    /// <param name="trace">What is sent.</param>
    /// <param name="pace">When it is sent.</param>
    /// <param name="time">Where time comes from.</param>
    public DemoRun(Trace trace, ReplayPace pace, TimeProvider time)
    {
        _peers = trace.Peers;
        _pace = pace;
        _time = time;
        ILookup<(int Peer, byte Channel), TraceMessage> messages = trace.Messages.ToLookup(message => (message.Peer, message.Channel.Id));
        _lanes =
        [
            .. from peer in Enumerable.Range(0, _peers)
               from channel in StandardChannels.All
               select new ReplayLane(peer, channel, [.. messages[(peer, channel.Id)]], time),
        ];
        _laneOf = _lanes.ToDictionary(lane => (lane.Peer, lane.Channel.Id));
    }

    /// <summary>How long nothing may arrive after all was sent before what is missing counts as lost.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Starts the nodes. Default: those of <see cref="DemoNetwork"/>, which log nothing.</summary>
    public StartNetwork Start { get; init; } = static (peers, arrived, cancellationToken) =>
        DemoNetwork.StartAsync(peers, arrived, NullLoggerFactory.Instance, cancellationToken);

    /// <summary>The figures of this moment.</summary>
    public DemoSnapshot TakeSnapshot()
    {
        IDemoNetwork? network = Volatile.Read(ref _network);
        IReadOnlyDictionary<byte, (int SendQueue, int Inbox)>[]? waiting =
            network is null ? null : [.. Enumerable.Range(0, _peers).Select(network.GetWaiting)];
        return DemoSnapshot.Take(_lanes, Waiting, Elapsed);

        // Of lanes that the trace does not use, the room does not count.
        (Fill SendQueue, Fill Inbox) Waiting(ReplayLane lane)
        {
            (int sendQueue, int inbox) = waiting?[lane.Peer].GetValueOrDefault(lane.Channel.Id) ?? default;
            int used = lane.Messages.Count > 0 ? 1 : 0;
            return (new Fill(sendQueue, used * lane.Channel.SendQueueCapacity), new Fill(inbox, used * lane.Channel.ReceiveQueueCapacity));
        }
    }

    /// <summary>Runs to the end, or until it is cancelled, which is no failure: the summary then says how far it came.</summary>
    /// <exception cref="IOException">The nodes could not be started, or not reach each other.</exception>
    public async Task<DemoSummary> RunAsync(CancellationToken cancellationToken)
    {
        string? failure = null;
        IDemoNetwork? network = null;
        try
        {
            network = await Start(_peers, OnArrived, cancellationToken);
            _start = _lastArrival = _time.GetTimestamp();
            Volatile.Write(ref _network, network);
            failure = await PlayAsync(network, cancellationToken);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // How far it came is summed up below.
        }
        finally
        {
            if (network is not null)
            {
                await network.DisposeAsync();
            }
        }

        DemoSnapshot end = TakeSnapshot() with { Elapsed = _time.GetElapsedTime(_start, _lastArrival) };
        bool isInterrupted = cancellationToken.IsCancellationRequested && !_allArrived.Task.IsCompleted;
        return new DemoSummary(end)
        {
            Expected = _pace.Duration is null || isInterrupted ? end.Total.Expected : end.Total.Counts.Sent,
            IsInterrupted = isInterrupted,
            Failure = failure,
            Differences = [.. _lanes.SelectMany(lane => lane.DescribeDifferences(expectAll: !isInterrupted))],
            Kinds = [.. _kinds.OrderByDescending(kind => kind.Value).ThenBy(kind => kind.Key, StringComparer.Ordinal)],
            Transactions = network?.Transactions ?? 0,
        };
    }

    private TimeSpan Elapsed => Volatile.Read(ref _network) is null ? TimeSpan.Zero : _time.GetElapsedTime(_start);

    private async Task<string?> PlayAsync(IDemoNetwork network, CancellationToken cancellationToken)
    {
        if (await new Replay(_lanes, _pace, _time).RunAsync(network.SendAsync, cancellationToken) is { } refusal)
        {
            return refusal;
        }

        Volatile.Write(ref _sent, _lanes.Sum(lane => lane.Counts.Sent));
        CheckAllArrived();
        Task<string> departed = network.WhenDepartedAsync();
        while (!_allArrived.Task.IsCompleted)
        {
            long before = Volatile.Read(ref _arrived);
            try
            {
                if (await Task.WhenAny(_allArrived.Task, departed).WaitAsync(Patience, _time, cancellationToken) == departed)
                {
                    return await departed;
                }
            }
            catch (TimeoutException) when (Volatile.Read(ref _arrived) > before)
            {
                // It goes on, slowly.
            }
            catch (TimeoutException)
            {
                return $"Nothing has arrived for {Patience.TotalSeconds:0.#} s.";
            }
        }

        return null;
    }

    private void OnArrived(int peer, ChannelDescriptor channel, ReadOnlySpan<byte> data, IMessage message)
    {
        _laneOf[(peer, channel.Id)].Receive(data);
        _kinds.AddOrUpdate(StandardMessages.KindOf(message), 1, static (_, count) => count + 1);
        Volatile.Write(ref _lastArrival, _time.GetTimestamp());
        Interlocked.Increment(ref _arrived);
        CheckAllArrived();
    }

    private void CheckAllArrived()
    {
        if (Volatile.Read(ref _arrived) >= Volatile.Read(ref _sent))
        {
            _allArrived.TrySetResult();
        }
    }
}
