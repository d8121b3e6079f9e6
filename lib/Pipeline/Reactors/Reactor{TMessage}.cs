using Google.Protobuf;
using Pipeline.Dataflow;

namespace Pipeline.Reactors;

/// <summary>A reactor whose channels carry messages of one type, which it sees parsed. A peer that sends anything else is stopped.</summary>
/// <typeparam name="TMessage">The type of the messages.</typeparam>
public abstract class Reactor<TMessage> : Reactor
    where TMessage : class, IMessage<TMessage>
{
    private readonly Func<Envelope, RawVerdict> _inspect;

    /// <summary>Makes a reactor.</summary>
    /// <param name="name">What logs, metrics and other reactors call it; unique within a switch.</param>
    /// <param name="channels">The channels of the protocol.</param>
    protected Reactor(string name, params IEnumerable<ChannelDescriptor<TMessage>> channels)
        : base(name, channels)
    {
        _inspect = Inspect;
    }

    /// <summary>
    /// Looks at the bytes of a message before they are parsed, as one that wants to keep a flood of useless ones from costing more than
    /// that. Default: accepts all. What it throws stops the peer.
    /// </summary>
    protected virtual RawVerdict Inspect(Envelope raw) => RawVerdict.Accept;

    /// <summary>A peer sent a message.</summary>
    protected internal abstract ValueTask ReceiveAsync(Envelope<TMessage> envelope, CancellationToken cancellationToken);

    /// <inheritdoc />
    protected internal sealed override ValueTask ReceiveAsync(Envelope envelope, CancellationToken cancellationToken) =>
        Envelope<TMessage>.TryParse(envelope, _inspect, out Envelope<TMessage> parsed) ? ReceiveAsync(parsed, cancellationToken) : ValueTask.CompletedTask;
}
