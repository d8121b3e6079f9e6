using Google.Protobuf;
using Pipeline.Cli.Traces;
using Pipeline.Dataflow;
using Pipeline.Protocols;
using Pipeline.Reactors;
using Consensus = Pipeline.Protocols.Consensus;
using PeerExchange = Pipeline.Wire.Protos.P2P;

namespace Pipeline.Cli.Tap;

/// <summary>Who is told what the reactor hears; from any thread, of one peer one thing at a time.</summary>
internal interface ITapListener
{
    /// <summary>A peer is there, and is about to send.</summary>
    void Join(IPeer peer);

    /// <summary>A peer sent a message.</summary>
    /// <param name="peer">The sender.</param>
    /// <param name="channel">The channel.</param>
    /// <param name="data">The bytes that came.</param>
    /// <param name="message">What they say; null when they are not a message of the channel.</param>
    void Hear(IPeer peer, ChannelDescriptor channel, ReadOnlySpan<byte> data, IMessage? message);

    /// <summary>A peer has left.</summary>
    void Leave(IPeer peer, DisconnectReason reason);
}

/// <summary>
/// All protocols of a node that only listens. It says as little as makes nodes of the reference gossip to it, and nothing that is not so of a
/// node without blocks, votes and transactions:
/// </summary>
/// <remarks>
/// <para>Each NewRoundStep is answered with itself. A node of the reference sends proposals, block parts and votes to a peer at its own height and
/// round, and transactions to one at its height.</para>
/// <para>A request for addresses is answered with none, so that the remote does not wait.</para>
/// <para>A block sync StatusRequest is not answered: a node that catches up, and hears from a first peer that there are no blocks, takes
/// itself for caught up.</para>
/// </remarks>
internal sealed class TapReactor(ITapListener listener) : Reactor("tap", Channels)
{
    // The numbers of a NewRoundStep and the tags around them take less; whatever is larger holds something that this node should not repeat.
    private const int LargestRoundStep = 64;

    // Nobody asks for blocks or chunks of snapshots here, and all else is smaller. It bounds what parsing can take.
    private const int LargestMessage = 4 << 20;

    // How long a peer that does not read holds up what it sends itself.
    private static readonly TimeSpan MirrorTimeout = TimeSpan.FromSeconds(1);

    private static readonly byte[] NoAddresses = new PeerExchange.Message { PexAddrs = new PeerExchange.PexAddrs() }.ToByteArray();

    /// <summary>The standard channels, with bounds that suit a listener.</summary>
    public static new IReadOnlyList<ChannelDescriptor> Channels { get; } =
    [
        .. StandardChannels.All.Select(channel => new ChannelDescriptor(channel.Id, channel.Name)
        {
            Priority = channel.Priority,
            SendQueueCapacity = channel.SendQueueCapacity,
            MaxMessageSize = Math.Min(channel.MaxMessageSize, LargestMessage),
        }),
    ];

    protected override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        listener.Join(peer);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason)
    {
        listener.Leave(peer, reason);
        return ValueTask.CompletedTask;
    }

    protected override async ValueTask ReceiveAsync(Envelope envelope, CancellationToken cancellationToken)
    {
        IMessage? message = StandardMessages.TryParse(envelope.Channel.Id, envelope.Data.Span);
        listener.Hear(envelope.Peer, envelope.Channel, envelope.Data.Span, message);
        switch (message)
        {
            case Consensus.Message { SumCase: Consensus.Message.SumOneofCase.NewRoundStep }
                when envelope.Channel.Id == StandardChannels.ConsensusState.Id && envelope.Data.Length <= LargestRoundStep:
                // That there was no room says that the peer does not read; it is told of its next step.
                await envelope.Peer.SendAsync(envelope.Channel, envelope.Data.Span, MirrorTimeout, cancellationToken);
                break;
            case PeerExchange.Message { SumCase: PeerExchange.Message.SumOneofCase.PexRequest }:
                envelope.Peer.TrySend(envelope.Channel, NoAddresses);
                break;
        }
    }
}
