using System.Buffers.Binary;
using Pipeline.Protocols.Mempool;

namespace Pipeline.Protocols.Tests.Relaying;

/// <summary>Relays that are connected with each other: what each of them sees.</summary>
public sealed class MempoolNetworkTests
{
    private static readonly (int, int)[] Line = [(0, 1), (1, 2), (2, 3)];
    private static readonly (int, int)[] Mesh = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
    private static readonly (int, int)[] Ring = [(0, 1), (1, 2), (2, 3), (3, 0)];

    private static IEnumerable<TestCaseData> Networks() =>
        from network in new[] { ("line", Line), ("mesh", Mesh), ("ring", Ring) }
        from withoutAnnouncing in new int?[] { null, 1 }
        select new TestCaseData(network.Item2, withoutAnnouncing).SetArgDisplayNames(network.Item1, withoutAnnouncing is null ? "all announce" : "one does not");

    [TestCaseSource(nameof(Networks)), CancelAfter(60_000)]
    public async Task Each_node_sees_each_transaction_once(object links, int? withoutAnnouncing, CancellationToken cancellationToken)
    {
        const int count = 2_000;
        RelayNode[] nodes = await RelayNode.StartAsync(new MempoolRelayOptions(), ((int, int)[])links, cancellationToken, withoutAnnouncing);
        try
        {
            // From both ends at once.
            await Task.WhenAll(SubmitAsync(nodes[0], 0, count / 2, cancellationToken), SubmitAsync(nodes[^1], count / 2, count, cancellationToken));
            foreach (RelayNode node in nodes)
            {
                await node.ArrivalsAsync(count, cancellationToken);
            }

            Assert.Multiple(() =>
            {
                foreach (RelayNode node in nodes)
                {
                    Assert.That(node.Seen, Has.Count.EqualTo(count));
                    Assert.That(node.Seen.Values, Is.All.EqualTo(1));
                    Assert.That(node.Relay.Status.Missed, Is.Zero);
                }
            });
        }
        finally
        {
            await Task.WhenAll(nodes.Select(node => node.DisposeAsync().AsTask()));
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task A_transaction_crosses_a_mesh_of_relays_that_announce_without_duplicates(CancellationToken cancellationToken)
    {
        const int count = 4_000;
        RelayNode[] nodes = await RelayNode.StartAsync(new MempoolRelayOptions { RequestTimeout = TimeSpan.FromSeconds(30) }, Mesh, cancellationToken);
        try
        {
            await Task.WhenAll(nodes.Select((node, i) => SubmitAsync(node, i * count / 4, (i + 1) * count / 4, cancellationToken)));
            foreach (RelayNode node in nodes)
            {
                await node.ArrivalsAsync(count, cancellationToken);
            }

            Assert.That(nodes.Sum(node => node.Relay.Status.Duplicates), Is.Zero);
        }
        finally
        {
            await Task.WhenAll(nodes.Select(node => node.DisposeAsync().AsTask()));
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task A_pool_that_is_smaller_than_what_is_submitted_holds_back_who_submits_and_nothing_is_lost(CancellationToken cancellationToken)
    {
        const int count = 2_000;
        MempoolRelayOptions options = new() { MaxPoolTransactions = 50, MaxHoldBack = TimeSpan.FromSeconds(30), CacheSize = 100 };
        RelayNode[] nodes = await RelayNode.StartAsync(options, Line, cancellationToken);
        try
        {
            await Task.WhenAll(SubmitAsync(nodes[0], 0, count / 2, cancellationToken), SubmitAsync(nodes[3], count / 2, count, cancellationToken));
            foreach (RelayNode node in nodes)
            {
                await node.ArrivalsAsync(count, cancellationToken);
                Assert.That(node.Seen, Has.Count.EqualTo(count));
                Assert.That(node.Relay.Status.Remembered, Is.LessThanOrEqualTo(150));
                Assert.That(node.Relay.Status.PoolTransactions, Is.LessThanOrEqualTo(50));
            }
        }
        finally
        {
            await Task.WhenAll(nodes.Select(node => node.DisposeAsync().AsTask()));
        }
    }

    [Test, CancelAfter(60_000)]
    public async Task Who_comes_later_gets_what_is_in_the_pool(CancellationToken cancellationToken)
    {
        RelayNode[] nodes = await RelayNode.StartAsync(new MempoolRelayOptions(), [(0, 1), (1, 2)], cancellationToken);
        try
        {
            await nodes[1].Switch.Peers.Single(peer => peer.Id == nodes[2].Switch.Id).StopGracefullyAsync();
            await SubmitAsync(nodes[0], 0, 100, cancellationToken);
            await nodes[1].ArrivalsAsync(100, cancellationToken);
            while (nodes[2].Switch.IsConnectedOrDialling(nodes[1].Switch.Id) || nodes[1].Switch.IsConnectedOrDialling(nodes[2].Switch.Id))
            {
                await Task.Yield();
                cancellationToken.ThrowIfCancellationRequested();
            }

            await nodes[2].Switch.DialAsync(nodes[1].Switch.ListenAddress, cancellationToken);
            await nodes[2].ArrivalsAsync(100, cancellationToken);
            Assert.That(nodes[2].Seen, Has.Count.EqualTo(100));
        }
        finally
        {
            await Task.WhenAll(nodes.Select(node => node.DisposeAsync().AsTask()));
        }
    }

    private static async Task SubmitAsync(RelayNode node, int first, int end, CancellationToken cancellationToken)
    {
        byte[] transaction = new byte[250];
        for (int i = first; i < end; i++)
        {
            BinaryPrimitives.WriteInt32LittleEndian(transaction, i);
            Assert.That(await node.Relay.SubmitAsync(transaction, cancellationToken), Is.EqualTo(SubmitResult.Accepted));
        }
    }
}
