using System.Threading.Tasks.Dataflow;
using Google.Protobuf;
using Pipeline.Protocols;
using Pipeline.Protocols.Mempool;
using Pipeline.Reactors;

namespace Pipeline.Cli.Demo.Nodes;

/// <summary>
/// The mempool of the receiver as linked blocks, with no class of its own: messages are counted and checked, taken apart into
/// transactions, and the transactions counted. Every block is bounded, so one that is behind holds back the peers.
/// </summary>
internal sealed class MempoolBlocks
{
    private long _transactions;

    public MempoolBlocks(IReceiver receiver)
    {
        DataflowReactor<Message> reactor = new("mempool", StandardChannels.Mempool);
        ExecutionDataflowBlockOptions bounded = new() { BoundedCapacity = 64 };
        DataflowLinkOptions propagate = new() { PropagateCompletion = true };

        TransformBlock<Envelope<Message>, Message> check = new(envelope => Check(receiver, envelope), bounded);
        TransformManyBlock<Message, ByteString> unpack = new(static message => message.Txs.Txs_, bounded);
        ActionBlock<ByteString> count = new(_ => Interlocked.Increment(ref _transactions), bounded);

        reactor.Source.LinkTo(check, propagate);
        check.LinkTo(unpack, propagate, HasTransactions);

        // With the opposite filter, because a link without one would also take what the full block before it has to wait for.
        check.LinkTo(DataflowBlock.NullTarget<Message>(), static message => !HasTransactions(message));
        unpack.LinkTo(count, propagate);
        Reactor = reactor;
        Completion = count.Completion;
    }

    public Reactor Reactor { get; }

    /// <summary>Completes when the switch has stopped and the last transaction has been counted.</summary>
    public Task Completion { get; }

    /// <summary>The transactions that have arrived.</summary>
    public long Transactions => Volatile.Read(ref _transactions);

    private static bool HasTransactions(Message message) => message.SumCase == Message.SumOneofCase.Txs;

    private static Message Check(IReceiver receiver, Envelope<Message> envelope)
    {
        receiver.Receive(envelope.Peer, envelope.Channel, envelope.Data.Span, envelope.Message);
        envelope.Release();
        return envelope.Message;
    }
}
