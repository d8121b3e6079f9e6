using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

/// <summary>Two nodes that dial each other at the same moment.</summary>
public sealed class CrossingDialTests
{
    private static readonly ChannelDescriptor Chat = new(0x70, "chat");

    [Test]
    [CancelAfter(60_000)]
    public async Task Crossing_dials_leave_one_connection_that_both_sides_keep(CancellationToken cancellationToken)
    {
        const int rounds = 200;
        await using TestNode a = await TestNode.StartAsync(null, new RecordingReactor("chat", Chat)), b = await TestNode.StartAsync(null, new RecordingReactor("chat", Chat));
        for (byte round = 0; round < rounds; round++)
        {
            using Barrier start = new(2);
            await Task.WhenAll(DialAsync(a, b, start), DialAsync(b, a, start)).WaitAsync(cancellationToken);

            // The one that lives carries messages both ways; one that is being left does not.
            await Task.WhenAll(ReachAsync(a, b, round), ReachAsync(b, a, round));
            IPeer toB = a.Switch.Peers.Single(), toA = b.Switch.Peers.Single();
            Assert.That(toB.IsOutbound, Is.Not.EqualTo(toA.IsOutbound));
            toB.Stop(new DisconnectReason(DisconnectKind.Stopped, "The round is over."));
            await a.UntilAsync(() => a.Switch.Peers.Count == 0, cancellationToken);
            await b.UntilAsync(() => b.Switch.Peers.Count == 0, cancellationToken);
        }

        await Task.WhenAll(a.Switch.StopAsync(), b.Switch.StopAsync());
        foreach (TestNode node in new[] { a, b })
        {
            Assert.That(node.Recording.Grammar.Violations, Is.Empty);
            Assert.That(node.Recording.Grammar.Removed, Is.GreaterThanOrEqualTo(rounds));
            Assert.That(node.Transport.Open, Is.Zero);
        }

        async Task DialAsync(TestNode from, TestNode to, Barrier start)
        {
            await Task.Run(() => start.SignalAndWait(cancellationToken), cancellationToken);
            try
            {
                await from.DialAsync(to, cancellationToken);
            }
            catch (HandshakeException e)
            {
                Assert.That(e.Failure, Is.AnyOf(HandshakeFailure.AlreadyConnected, HandshakeFailure.ConnectionClosed, HandshakeFailure.PeerStopped), e.Message);
            }
        }

        async Task ReachAsync(TestNode from, TestNode to, byte round)
        {
            HashSet<IPeer> tried = new(ReferenceEqualityComparer.Instance);
            using SerializedMessage message = SerializedMessage.Create(Chat, [round]);
            while (!to.Recording.Received.Any(entry => entry.Data[0] == round))
            {
                IPeer? peer = null;
                await Task.WhenAny(
                    from.UntilAsync(() => from.Switch.Peers.Any(p => tried.Add(peer = p)), cancellationToken),
                    to.UntilAsync(() => to.Recording.Received.Any(entry => entry.Data[0] == round), cancellationToken));
                peer?.TrySend(message);
            }
        }
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task The_dial_of_the_node_with_the_lower_id_takes_the_place_of_one_that_was_done_before_it_came(CancellationToken cancellationToken)
    {
        NodeKey[] keys = [.. new[] { NodeKey.Create(), NodeKey.Create() }.OrderBy(key => key.Id)];
        await using TestNode node = new(keys[1], null, new RecordingReactor("chat", Chat));
        await node.Switch.StartAsync(cancellationToken);
        using System.Net.Sockets.TcpListener listener = new(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        using NodeKey lower = keys[0];
        NodeInfo info = RawRemote.Describe(lower, node.Switch.NodeInfo);

        // The node's dial is done on its side, while the remote is about to refuse it and to keep its own.
        Task<IPeer> dial = node.Switch.DialAsync(NetAddress.FromEndPoint(lower.Id, (System.Net.IPEndPoint)listener.LocalEndpoint), cancellationToken);
        RawRemote refused = await RawRemote.ShakeHandsAsync(await listener.AcceptTcpClientAsync(cancellationToken), lower, info, cancellationToken);
        IPeer first = await dial;
        await using RawRemote kept = await RawRemote.ConnectAsync(node.Switch, lower, null, cancellationToken);
        Assert.That(node.Switch.Peers, Is.EqualTo([first]));
        await refused.DisposeAsync();

        await kept.SendMessageAsync(Chat.Id, [1], cancellationToken);
        await node.UntilAsync(() => node.Recording.Received.Count == 1, cancellationToken);
        IPeer second = node.Switch.Peers.Single();
        Assert.That(second, Is.Not.SameAs(first));
        Assert.That(second.IsOutbound, Is.False);
        await node.Switch.StopAsync();
        Assert.That(node.Recording.Grammar.Violations, Is.Empty);
    }
}
