using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Mempool;
using Pipeline.Protocols.Tests.BlockSync;

namespace Pipeline.Samples.Tests;

public sealed class TransactionIndexTests
{
    [Test]
    [CancelAfter(60_000)]
    public async Task Each_transaction_of_the_verified_blocks_is_found(CancellationToken cancellationToken)
    {
        using SignedChain chain = new(30);
        using RunningSample server = new();
        using RunningSample client = new();
        BlockSyncReactor serving = new(store: await chain.FillAsync(new MemoryBlockStore()));
        await server.StartAsync("server", serving, _ => Task.CompletedTask);
        TransactionIndex.TransactionIndex index = new(chain.ChainId, chain.Validators, client.Output);
        await client.StartAsync("client", index.Reactor, index.FindAsync, null, server);

        await index.BuildAsync(cancellationToken);

        Assert.That(await client.NextLineAsync(_ => true), Is.EqualTo("87 transactions in 29 verified blocks"));
        client.Type(TransactionHash.Of(chain.Block(7).Data.Txs[2].Span).ToString().ToLowerInvariant());
        Assert.That(await client.NextLineAsync(_ => true), Is.EqualTo("block 7, transaction 2"));

        // The highest block is not proved by one after it.
        client.Type(TransactionHash.Of(chain.Block(30).Data.Txs[0].Span).ToString());
        Assert.That(await client.NextLineAsync(_ => true), Is.EqualTo("not in the blocks so far"));
    }
}
