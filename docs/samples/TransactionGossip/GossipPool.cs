using System.Text;
using Pipeline.Protocols.Mempool;
using Pipeline.Reactors;

namespace Pipeline.Samples.TransactionGossip;

/// <summary>
/// Spreads transactions through a network with the library's relay: what is new goes to every peer that does not have it, what has been seen goes nowhere. A pool
/// that is behind holds back who submits and the peers that send.
/// </summary>
public sealed class GossipPool
{
    private readonly MempoolRelayReactor _relay;

    /// <summary>Makes a pool.</summary>
    /// <param name="onNew">Called once for each transaction that is valid, with its text and the moniker of the peer that it came from, or null.</param>
    /// <param name="remembered">How many transactions are remembered as seen, besides at most 5,000 that are kept to be sent. At least 1.</param>
    public GossipPool(Action<string, string?> onNew, int remembered = 10_000)
    {
        _relay = new MempoolRelayReactor(new MempoolRelayOptions
        {
            CacheSize = remembered,
            MaxPoolTransactions = Math.Clamp(remembered, 4, 5_000),
            MaxTransactionBytes = 64 * 1024,
            Check = (transaction, _) =>
            {
                if (transaction.Data.Span.ContainsAnyInRange((byte)0, (byte)31))
                {
                    // No node of ours sends control characters.
                    return ValueTask.FromResult(MempoolVerdict.Ban);
                }

                onNew(Encoding.UTF8.GetString(transaction.Data.Span), transaction.From?.NodeInfo.Moniker);
                return ValueTask.FromResult(MempoolVerdict.Accept);
            },
        });
    }

    /// <summary>What to add to a switch.</summary>
    public Reactor Reactor => _relay;

    /// <summary>Spreads a transaction of our own; waits while the pool is behind.</summary>
    /// <returns>What became of it.</returns>
    public async Task<SubmitResult> SubmitAsync(string text) => await _relay.SubmitAsync(Encoding.UTF8.GetBytes(text));

    /// <summary>Waits until a peer has each transaction that was submitted, if there is any peer.</summary>
    public Task FlushAsync() => _relay.FlushAsync();
}
