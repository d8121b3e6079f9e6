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
    private readonly Lazy<BufferBlock<Envelope<TMessage>>> _source;

    /// <summary>Makes a reactor.</summary>
    /// <param name="name">What logs, metrics and other reactors call it; unique within a switch.</param>
    /// <param name="channels">The channels of the protocol.</param>
    public DataflowReactor(string name, params IEnumerable<ChannelDescriptor<TMessage>> channels)
        : base(name, channels, hasHandler: false) => _source = new Lazy<BufferBlock<Envelope<TMessage>>>(StartSource);

    /// <summary>The messages that peers send, parsed; a peer that sends anything else is stopped.</summary>
    public ISourceBlock<Envelope<TMessage>> Source => _source.Value;

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
                if (Envelope<TMessage>.TryParse(raw, out Envelope<TMessage> envelope))
                {
                    yield return envelope;
                }
            }
        }
    }

    // The block has room for one message; the rest waits in the lanes of the inbox, where it is bounded and fair.
    private BufferBlock<Envelope<TMessage>> StartSource()
    {
        BufferBlock<Envelope<TMessage>> block = new(new DataflowBlockOptions { BoundedCapacity = 1 });
        _ = PumpAsync(block);
        return block;
    }

    private async Task PumpAsync(BufferBlock<Envelope<TMessage>> block)
    {
        await foreach (Envelope<TMessage> envelope in ReadAllAsync().ConfigureAwait(false))
        {
            if (!await block.SendAsync(envelope).ConfigureAwait(false))
            {
                envelope.Release();
            }
        }

        block.Complete();
    }
}
