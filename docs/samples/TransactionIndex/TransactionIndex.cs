using System.Collections.Concurrent;
using Google.Protobuf;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Mempool;
using Pipeline.Reactors;

namespace Pipeline.Samples.TransactionIndex;

/// <summary>
/// Knows in which block each transaction of a chain is. The blocks come from all peers at once by the library's block sync, each verified by the signatures of the
/// validators in the genesis file, so no peer has to be trusted.
/// </summary>
/// <param name="chainId">The network.</param>
/// <param name="validators">Those of its first block.</param>
/// <param name="output">Where it says how far it is.</param>
public sealed class TransactionIndex(string chainId, TrustedValidators validators, TextWriter output)
{
    private readonly ConcurrentDictionary<string, (long Height, int Index)> _places = new(StringComparer.OrdinalIgnoreCase);
    private readonly BlockSyncReactor _reactor = new();

    /// <summary>What to add to a switch.</summary>
    public Reactor Reactor => _reactor;

    /// <summary>Reads the chain, from its first block to the last that peers can prove.</summary>
    public async Task BuildAsync(CancellationToken cancellationToken = default)
    {
        BlockSyncRequest request = new(chainId, [validators])
        {
            Faulted = fault => output.WriteLine($"{fault.Peer} {(fault.IsLie ? "lies" : "fails")}: {fault.Message}"),
        };
        long blocks = 0;
        try
        {
            await foreach (VerifiedBlock block in _reactor.SyncAsync(request, cancellationToken))
            {
                int index = 0;
                foreach (ByteString transaction in block.Block.Data.Txs)
                {
                    _places[TransactionHash.Of(transaction.Span).ToString()] = (block.Height, index++);
                }

                if (++blocks % 1000 == 0)
                {
                    await output.WriteLineAsync($"{block.Height} of {_reactor.Progress.Target}, {_reactor.Progress.BlocksPerSecond:0} blocks/s");
                }
            }
        }
        catch (Exception e) when (e is BlockSyncException or OperationCanceledException)
        {
            await output.WriteLineAsync(e.Message);
        }

        await output.WriteLineAsync($"{_places.Count} transactions in {blocks} verified blocks");
    }

    /// <summary>Says where a transaction is.</summary>
    /// <param name="hash">Its SHA-256 hash in hexadecimal digits.</param>
    public Task FindAsync(string hash) => output.WriteLineAsync(_places.TryGetValue(hash.Trim(), out (long Height, int Index) place)
        ? $"block {place.Height}, transaction {place.Index}"
        : "not in the blocks so far");
}
