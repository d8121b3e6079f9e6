using Google.Protobuf;
using Pipeline.Dataflow;
using Pipeline.Reactors;

namespace Pipeline.Cli.Demo.Nodes;

/// <summary>A protocol of the receiver as a class: it gets each message parsed, and hands it on to be counted and checked.</summary>
internal sealed class CountingReactor<TMessage>(string name, IReceiver receiver, params IEnumerable<ChannelDescriptor<TMessage>> channels)
    : Reactor<TMessage>(name, channels)
    where TMessage : class, IMessage<TMessage>
{
    protected override ValueTask InitPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        receiver.Join(peer);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask ReceiveAsync(Envelope<TMessage> envelope, CancellationToken cancellationToken)
    {
        receiver.Receive(envelope.Peer, envelope.Channel, envelope.Data.Span, envelope.Message);
        return ValueTask.CompletedTask;
    }
}
