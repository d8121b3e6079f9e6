using System.Runtime.CompilerServices;
using System.Threading.Tasks.Dataflow;
using Google.Protobuf;
using Pipeline.Dataflow;

namespace Pipeline.Reactors;

/// <summary>
/// A reactor that is made of linked blocks, with no class of its own: link <see cref="Source"/> to what deals with the messages, and what
/// makes messages to <see cref="Reactor.Outbox"/>. Blocks with a bounded capacity hold back the peers when they are behind.
/// </summary>
/// <remarks>
/// What was handed to a block may be dealt with after its peer has left. Completion is propagated from <see cref="Source"/> when the
/// switch stops.
/// </remarks>
/// <typeparam name="TMessage">The type of the messages.</typeparam>
public sealed class DataflowReactor<TMessage> : Reactor
    where TMessage : class, IMessage<TMessage>
{
    /// <summary>Makes a reactor.</summary>
    /// <param name="name">What logs, metrics and other reactors call it; unique within a switch.</param>
    /// <param name="channels">The channels of the protocol.</param>
    public DataflowReactor(string name, params IEnumerable<ChannelDescriptor<TMessage>> channels)
        : base(name, channels, hasHandler: false)
    {
        InboxSource<Envelope<TMessage>> source = new(Inbox, TryParse);
        Inbox.Source = source;
        Source = source;
    }

    /// <summary>
    /// Looks at the bytes of a message before they are parsed, as one that wants to keep a flood of useless ones from costing more than
    /// that. What it throws stops the peer. Null, the default: accepts all.
    /// </summary>
    public Func<Envelope, RawVerdict>? Inspect { get; init; }

    /// <summary>The messages that peers send, parsed; a peer that sends anything else is stopped.</summary>
    public ISourceBlock<Envelope<TMessage>> Source { get; }

    /// <summary>
    /// The same messages for those who prefer to read them in a loop, which ends when the switch stops. Each message comes to one reader,
    /// or to <see cref="Source"/>.
    /// </summary>
    public async IAsyncEnumerable<Envelope<TMessage>> ReadAllAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (await Inbox.WaitToReadAsync(cancellationToken).ConfigureAwait(false))
        {
            while (Inbox.TryRead(out Envelope raw))
            {
                if (TryParse(raw, out Envelope<TMessage> envelope))
                {
                    yield return envelope;
                }
            }
        }
    }

    private bool TryParse(Envelope raw, out Envelope<TMessage> parsed)
    {
        try
        {
            return Envelope<TMessage>.TryParse(raw, Inspect, out parsed);
        }
        catch (Exception e)
        {
            raw.Peer.Stop(ReactorFailure.Of(this, nameof(Inspect), e));
            raw.Release();
            parsed = default;
            return false;
        }
    }
}
