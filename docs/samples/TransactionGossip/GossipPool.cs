using System.Security.Cryptography;
using System.Threading.Tasks.Dataflow;
using Google.Protobuf;
using Pipeline.Dataflow;
using Pipeline.Reactors;

namespace Pipeline.Samples.TransactionGossip;

/// <summary>
/// Spreads transactions through a network: what is new goes to every peer but the one that it came from, what has been seen goes nowhere.
/// A reactor of linked blocks, each with a bound: a pool that is behind holds back who submits and the peers that send to it. A peer that does
/// not read misses transactions, instead of holding up all others; <see cref="ReactorOutbox.Undelivered"/> counts them.
/// </summary>
/// <remarks><code>Reactor.Source ─▶ unwrap ─▶ hash (on all cores) ─▶ select what is new ─▶ Reactor.Outbox</code></remarks>
public sealed class GossipPool
{
    /// <summary>The channel of the protocol.</summary>
    public static readonly ChannelDescriptor<Transaction> Channel = new(0xC1, "transactions", Transaction.Parser)
    {
        MaxMessageSize = 64 * 1024,
        SendQueueCapacity = 256,
    };

    private readonly DataflowReactor<Transaction> _reactor = new("gossip", Channel);
    private readonly TransformBlock<Arrival, Arrival> _hash;
    private readonly SeenHashes _seen;
    private readonly Action<Transaction, IPeer?> _onNew;

    /// <summary>Makes a pool.</summary>
    /// <param name="onNew">Called once for each transaction, with the peer that it came from, or null; for one at a time.</param>
    /// <param name="remembered">How many transactions are remembered as seen. At least 1.</param>
    public GossipPool(Action<Transaction, IPeer?> onNew, int remembered = 100_000)
    {
        _onNew = onNew;
        _seen = new SeenHashes(remembered);

        ExecutionDataflowBlockOptions bounded = new() { BoundedCapacity = 128 };
        ExecutionDataflowBlockOptions parallel = new() { BoundedCapacity = 128, MaxDegreeOfParallelism = Environment.ProcessorCount };
        DataflowLinkOptions propagate = new() { PropagateCompletion = true };

        TransformBlock<Envelope<Transaction>, Arrival> unwrap = new(Unwrap, bounded);
        _hash = new TransformBlock<Arrival, Arrival>(Hash, parallel);
        TransformManyBlock<Arrival, OutboundEnvelope> select = new(SelectNew, bounded);

        _reactor.Source.LinkTo(unwrap, propagate);
        unwrap.LinkTo(_hash, propagate);
        _hash.LinkTo(select, propagate);
        select.LinkTo(_reactor.Outbox, propagate);
    }

    /// <summary>What to add to a switch.</summary>
    public Reactor Reactor => _reactor;

    /// <summary>Spreads a transaction of our own; waits while the pool is behind.</summary>
    public Task SubmitAsync(string text) => _hash.SendAsync(new Arrival(new Transaction { Data = ByteString.CopyFromUtf8(text) }, From: null));

    /// <summary>Takes no more, and waits until all that was taken is in the queues of the peers.</summary>
    public Task FlushAsync()
    {
        _hash.Complete();
        return _reactor.Outbox.Completion;
    }

    private static Arrival Unwrap(Envelope<Transaction> envelope)
    {
        // The parsed message has its own memory; the bytes that it was parsed from can go back to the pool.
        envelope.Release();
        return new Arrival(envelope.Message, envelope.Peer);
    }

    private static Arrival Hash(Arrival arrival) =>
        arrival with { Hash = Convert.ToHexString(SHA256.HashData(arrival.Transaction.Data.Span)) };

    private IEnumerable<OutboundEnvelope> SelectNew(Arrival arrival)
    {
        if (!_seen.Add(arrival.Hash))
        {
            return [];
        }

        _onNew(arrival.Transaction, arrival.From);
        return [new OutboundEnvelope<Transaction>(Channel, arrival.Transaction) { Except = arrival.From }];
    }

    private sealed record Arrival(Transaction Transaction, IPeer? From, string Hash = "");
}
