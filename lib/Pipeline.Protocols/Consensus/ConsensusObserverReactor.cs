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
    // NewRoundStep and the tags around them take less than 64 bytes, a bit array of 10,000 validators 12,500 when it is all ones, a part
    // 65,536 and its proof. A vote may carry an extension of any size.
    private const int LargestMirrored = 64;
    private const int LargestState = 16 << 10;
    private const int LargestData = 128 << 10;

    // How long a peer that does not read holds up what it sends itself.
    private static readonly TimeSpan MirrorTimeout = TimeSpan.FromSeconds(1);

    private readonly ConsensusObserverOptions _options;
    private readonly DateTimeOffset _startedAt;
    private readonly long _start;

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
    protected override RawVerdict Inspect(Envelope raw)
    {
        int largest = raw.Channel.Id == StandardChannels.ConsensusData.Id ? LargestData
            : raw.Channel.Id == StandardChannels.ConsensusVote.Id ? raw.Channel.MaxMessageSize
            : LargestState;
        return raw.Data.Length <= largest ? RawVerdict.Accept : RawVerdict.Reject($"it has {raw.Data.Length} bytes, more than {largest}");
    }

    /// <inheritdoc />
    protected override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
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
        if (Observer.Observe(envelope.Peer.Id, envelope.Channel, envelope.Message, Now) is { } fault)
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
}
