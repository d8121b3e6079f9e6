using System.Diagnostics.Metrics;
using Pipeline.Dataflow;
using Pipeline.Reactors;

namespace Pipeline.Protocols.Consensus;

/// <summary>
/// Listens to the consensus of a network without taking part: it never sends a proposal, a part or a vote. What it heard is in
/// <see cref="Observer"/>. A peer that sends what no honest node does is stopped.
/// </summary>
public sealed class ConsensusObserverReactor : Reactor<Message>
{
    /// <summary>What the reactor is called.</summary>
    public const string ReactorName = "CONSENSUS";

    // What is larger on a channel holds something that this protocol does not have there; it bounds what parsing can take. The numbers of a
    // NewRoundStep and the tags around them take less than 64 bytes, a bit array of 10,000 validators up to 1,570, when it is all ones, as each
    // element of 64 bits takes up to ten bytes; a part 65,536 and its proof. A vote may carry an extension of any size.
    private const int LargestMirrored = 64;
    private const int LargestState = 4 << 10;
    private const int LargestData = 128 << 10;

    // How long a peer that does not read holds up what it sends itself.
    private static readonly TimeSpan MirrorTimeout = TimeSpan.FromSeconds(1);

    private readonly ConsensusObserverOptions _options;
    private readonly DateTimeOffset _startedAt;
    private readonly long _start;
    private readonly ConsensusCounts _counts = new();
    private Meter? _meter;

    /// <summary>Makes a reactor.</summary>
    /// <param name="options">Settings; null for the defaults.</param>
    public ConsensusObserverReactor(ConsensusObserverOptions? options = null)
        : base(ReactorName, StandardChannels.ConsensusState, StandardChannels.ConsensusData, StandardChannels.ConsensusVote, StandardChannels.ConsensusVoteSetBits)
    {
        _options = options ?? new ConsensusObserverOptions();
        Observer = new ConsensusObserver(_options);
        _startedAt = _options.TimeProvider.GetUtcNow();
        _start = _options.TimeProvider.GetTimestamp();
    }

    /// <summary>What was heard.</summary>
    public ConsensusObserver Observer { get; }

    // A clock that is set must not make a commit come before its proposal.
    private DateTimeOffset Now => _startedAt + _options.TimeProvider.GetElapsedTime(_start);

    /// <inheritdoc />
    protected override ValueTask OnStartAsync(CancellationToken cancellationToken)
    {
        _meter = CreateMeter();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        _meter?.Dispose();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override RawVerdict Inspect(Envelope raw)
    {
        int largest = raw.Channel.Id == StandardChannels.ConsensusData.Id ? LargestData
            : raw.Channel.Id == StandardChannels.ConsensusVote.Id ? raw.Channel.MaxMessageSize
            : LargestState;
        if (raw.Data.Length <= largest)
        {
            return RawVerdict.Accept;
        }

        _counts.TooLarge();
        return RawVerdict.Reject($"it has {raw.Data.Length} bytes, more than {largest}");
    }

    /// <inheritdoc />
    protected override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        // When there is no place for it, it is tried again at each of its messages.
        Observer.Join(peer.Id, peer.NodeInfo.Moniker);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason)
    {
        Observer.Leave(peer.Id);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override async ValueTask ReceiveAsync(Envelope<Message> envelope, CancellationToken cancellationToken)
    {
        MessageOutcome outcome = Observer.Observe(envelope.Peer.Id, envelope.Channel, envelope.Message, Now, out string? fault);
        if (outcome == MessageOutcome.Unheard && Observer.Join(envelope.Peer.Id, envelope.Peer.NodeInfo.Moniker))
        {
            outcome = Observer.Observe(envelope.Peer.Id, envelope.Channel, envelope.Message, Now, out fault);
        }

        _counts.Add(envelope.Message.SumCase, outcome);
        if (fault is not null)
        {
            envelope.Peer.Stop(new DisconnectReason(DisconnectKind.ProtocolViolation, $"A {envelope.Message.SumCase} on channel {envelope.Channel} was refused: {fault}."));
            return;
        }

        if (_options.MirrorsSteps
            && envelope.Message.SumCase == Message.SumOneofCase.NewRoundStep
            && envelope.Channel.Id == StandardChannels.ConsensusState.Id
            && envelope.Data.Length <= LargestMirrored)
        {
            // That there was no room says that the peer does not read; it is told of its next step.
            await envelope.Peer.SendAsync(envelope.Channel, envelope.Data.Span, MirrorTimeout, cancellationToken).ConfigureAwait(false);
        }
    }

    private Meter CreateMeter()
    {
        Meter meter = ReactorMeter.Create(_options.MeterFactory, Switch.NodeInfo, out KeyValuePair<string, object?> chain);
        meter.CreateObservableGauge("cometbft_consensus_height", () => new Measurement<long>(Observer.View.Height, chain), "{height}", "The height that more than half of the peers are at.");
        meter.CreateObservableGauge("cometbft_consensus_rounds", () => new Measurement<long>(Last(view => view.Height)?.Rounds.LastOrDefault()?.Round ?? 0, chain), "{round}", "The round of that height.");
        meter.CreateObservableGauge("cometbft_consensus_validators", () => new Measurement<long>(Last(CommittedOf)?.Validators ?? 0, chain), "{validator}", "Validators of the last height that was committed.");
        meter.CreateObservableGauge("pipeline_consensus_committed_height", () => new Measurement<long>(CommittedOf(Observer.View), chain), "{height}", "The last height that more than half of the peers have committed.");
        meter.CreateObservableGauge("pipeline_consensus_peers", Peers, "{peer}", "Peers that are remembered.");
        meter.CreateObservableCounter("pipeline_consensus_messages_total", () => _counts.Messages(chain), "{message}", "Messages, by their kind and what became of them.");
        meter.CreateObservableCounter("pipeline_consensus_faults_total", () => _counts.Faults(chain), "{fault}", "Peers that were stopped for what they sent.");
        return meter;

        HeightView? Last(Func<ConsensusView, long> heightOf) => Observer.View is var view ? view.Find(heightOf(view)) : null;

        static long CommittedOf(ConsensusView view) => view.Heights.LastOrDefault(height => height.CommittedAt is not null)?.Height ?? 0;

        IEnumerable<Measurement<long>> Peers()
        {
            ConsensusView view = Observer.View;
            int connected = view.Peers.Count(peer => peer.IsConnected);
            yield return new(connected, chain, new("state", "connected"));
            yield return new(view.Peers.Length - connected, chain, new("state", "left"));
        }
    }
}
