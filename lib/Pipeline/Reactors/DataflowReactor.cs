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
    private readonly BufferBlock<Envelope<TMessage>> _source = new(new DataflowBlockOptions { BoundedCapacity = 1 });

    /// <summary>Makes a reactor.</summary>
    /// <param name="name">What logs, metrics and other reactors call it; unique within a switch.</param>
    /// <param name="channels">The channels of the protocol.</param>
    public DataflowReactor(string name, params IEnumerable<ChannelDescriptor<TMessage>> channels)
        : base(name, channels, hasHandler: false)
    {
    }

    /// <summary>The messages that peers send, parsed; a peer that sends anything else is stopped.</summary>
    public ISourceBlock<Envelope<TMessage>> Source => _source;

    /// <inheritdoc />
    protected internal override ValueTask OnStartAsync(CancellationToken cancellationToken)
    {
        _ = ParseAsync();
        return ValueTask.CompletedTask;
    }

    // The rest waits in the lanes of the inbox, where it is bounded and fair.
    private async Task ParseAsync()
    {
        try
        {
            while (await Inbox.WaitToReadAsync().ConfigureAwait(false))
            {
                while (Inbox.TryRead(out Envelope raw))
                {
                    if (Envelope<TMessage>.TryParse(raw, out Envelope<TMessage> envelope) && !await _source.SendAsync(envelope).ConfigureAwait(false))
                    {
                        envelope.Release();
                    }
                }
            }

            _source.Complete();
        }
        catch (Exception e)
        {
            // A faulted block shows it to whoever is linked to it.
            ((IDataflowBlock)_source).Fault(e);
        }
    }
}
