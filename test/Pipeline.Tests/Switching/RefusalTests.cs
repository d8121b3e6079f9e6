using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Switching;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

/// <summary>Connections that do not become peers, and why.</summary>
public sealed class RefusalTests
{
    private static readonly ChannelDescriptor Chat = new(0x70, "chat");

    [Test]
    [CancelAfter(30_000)]
    public async Task A_node_of_another_network_is_refused_on_both_sides(CancellationToken cancellationToken)
    {
        await using TestNode a = await StartAsync(), b = await StartAsync(options => options with { Network = "other" });
        HandshakeException e = await RefusedAsync(a, b.Switch.ListenAddress, cancellationToken);
        Assert.That(e.Failure, Is.EqualTo(HandshakeFailure.DifferentNetwork));
        Assert.That(e.Message, Does.Contain("'other'").And.Contains("'test-network'"));
        Assert.That(e.RemoteInfo, Is.EqualTo(b.Switch.NodeInfo));
        await b.UntilLoggedAsync("did not become a peer", cancellationToken);
        await ExpectNoPeersAsync(a, b);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_node_with_another_block_version_is_refused_on_both_sides(CancellationToken cancellationToken)
    {
        await using TestNode a = await StartAsync(), b = await StartAsync(options => options with { ProtocolVersions = new ProtocolVersions(Block: 12) });
        HandshakeException e = await RefusedAsync(a, b.Switch.ListenAddress, cancellationToken);
        Assert.That(e.Failure, Is.EqualTo(HandshakeFailure.DifferentBlockVersion));
        await b.UntilLoggedAsync("speaks version 11 of the block protocol, this node 12", cancellationToken);
        await ExpectNoPeersAsync(a, b);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_node_without_a_common_channel_is_refused_unless_one_of_them_is_only_looking(CancellationToken cancellationToken)
    {
        await using TestNode a = await StartAsync(), b = await TestNode.StartAsync(null, new RecordingReactor("other", new ChannelDescriptor(0x71, "other")));
        HandshakeException e = await RefusedAsync(a, b.Switch.ListenAddress, cancellationToken);
        Assert.That(e.Failure, Is.EqualTo(HandshakeFailure.NoCommonChannel));
        Assert.That(e.Message, Does.Contain("0x71").And.Contains("0x70"));
        await b.UntilLoggedAsync("did not become a peer", cancellationToken);
        await ExpectNoPeersAsync(a, b);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_node_that_dials_itself_finds_out(CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync();
        HandshakeException e = await RefusedAsync(node, node.Switch.ListenAddress, cancellationToken);
        Assert.That(e.Failure, Is.EqualTo(HandshakeFailure.Self));
        Assert.That(node.Transport.Connections, Is.Zero);

        // Under a name that it does not have, it finds out from its own key.
        using NodeKey wrong = NodeKey.Create();
        e = await RefusedAsync(node, node.Switch.ListenAddress with { Id = wrong.Id }, cancellationToken);
        Assert.That(e.Failure, Is.EqualTo(HandshakeFailure.Self));
        await node.UntilLoggedAsync("did not become a peer", cancellationToken);
        await ExpectNoPeersAsync(node);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task Another_node_than_the_one_that_was_dialled_is_refused(CancellationToken cancellationToken)
    {
        await using TestNode a = await StartAsync(), b = await StartAsync();
        using NodeKey wrong = NodeKey.Create();
        HandshakeException e = await RefusedAsync(a, b.Switch.ListenAddress with { Id = wrong.Id }, cancellationToken);
        Assert.That(e.Failure, Is.EqualTo(HandshakeFailure.WrongNode));
        Assert.That(e.Message, Does.Contain(wrong.Id.ToString()).And.Contains(b.Switch.Id.ToString()));
        Assert.That(e.RemoteId, Is.EqualTo(b.Switch.Id));
        await b.UntilLoggedAsync("did not become a peer", cancellationToken);
        await ExpectNoPeersAsync(a, b);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_node_that_is_connected_is_not_dialled_again(CancellationToken cancellationToken)
    {
        await using TestNode a = await StartAsync(), b = await StartAsync();
        IPeer peer = await a.DialAsync(b, cancellationToken);
        await b.PeerAsync(a.Switch.Id, cancellationToken);
        Assert.That((await RefusedAsync(a, b.Switch.ListenAddress, cancellationToken)).Failure, Is.EqualTo(HandshakeFailure.AlreadyConnected));
        Assert.That((await RefusedAsync(b, a.Switch.ListenAddress, cancellationToken)).Failure, Is.EqualTo(HandshakeFailure.AlreadyConnected));
        Assert.That(a.Transport.Connections, Is.EqualTo(1));
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_node_that_is_connected_and_dials_again_is_refused(CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync();
        using NodeKey key = NodeKey.Create();
        await using RawRemote first = await RawRemote.ConnectAsync(node.Switch, key, null, cancellationToken);
        IPeer peer = await node.PeerAsync(key.Id, cancellationToken);
        await using RawRemote second = await RawRemote.ConnectAsync(node.Switch, key, null, cancellationToken);
        Assert.That(await second.ReadToEndAsync(cancellationToken), Is.Empty);
        await node.UntilLoggedAsync($"Node {key.Id} is connected already", cancellationToken);
        Assert.That(node.Switch.Peers, Is.EqualTo([peer]));
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_second_node_with_the_same_address_is_refused_in_either_direction(CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(options => options with { AllowDuplicateIp = false }), other = await StartAsync();
        using NodeKey first = NodeKey.Create(), second = NodeKey.Create();
        RawRemote remote = await RawRemote.ConnectAsync(node.Switch, first, null, cancellationToken);
        await node.PeerAsync(first.Id, cancellationToken);
        await Assert.ThrowsAsync<HandshakeException>(() => RawRemote.ConnectAsync(node.Switch, second, null, cancellationToken));
        await node.UntilLoggedAsync("Another node with the address 127.0.0.1 is connected already.", cancellationToken);
        Assert.That((await RefusedAsync(node, other.Switch.ListenAddress, cancellationToken)).Failure, Is.EqualTo(HandshakeFailure.DuplicateIp));

        // Once it has left there is room for another.
        await remote.DisposeAsync();
        await node.UntilAsync(() => node.Switch.Peers.Count == 0, cancellationToken);
        await node.DialAsync(other, cancellationToken);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task More_inbound_peers_than_wanted_are_refused_but_can_be_dialled(CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(options => options with { MaxInboundPeers = 1 }), other = await StartAsync();
        using NodeKey first = NodeKey.Create(), second = NodeKey.Create();
        RawRemote remote = await RawRemote.ConnectAsync(node.Switch, first, null, cancellationToken);
        await node.PeerAsync(first.Id, cancellationToken);
        await Assert.ThrowsAsync<HandshakeException>(() => RawRemote.ConnectAsync(node.Switch, second, null, cancellationToken));
        await node.UntilLoggedAsync("There are 1 inbound peers, as many as this node takes.", cancellationToken);
        await node.DialAsync(other, cancellationToken);

        await remote.DisposeAsync();
        await node.UntilAsync(() => node.Switch.Peers.Count == 1, cancellationToken);
        await using RawRemote again = await RawRemote.ConnectAsync(node.Switch, second, null, cancellationToken);
        await node.PeerAsync(second.Id, cancellationToken);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_closed_port_says_so_and_the_node_can_be_dialled_later(CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(), gone = await StartAsync();
        NetAddress address = gone.Switch.ListenAddress;
        await gone.Switch.StopAsync();
        IOException e = (await Assert.CatchAsync<IOException>(() => node.Switch.DialAsync(address, cancellationToken)))!;
        Assert.That(e, Is.Not.InstanceOf<HandshakeException>());
        Assert.That(e.Message, Does.Contain(address.DialString));

        await using TestNode back = new(gone.Key, options => options with { ListenEndPoint = new IPEndPoint(IPAddress.Loopback, address.Port) }, new RecordingReactor("chat", Chat));
        await back.Switch.StartAsync(cancellationToken);
        await node.Switch.DialAsync(address, cancellationToken);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_remote_that_hangs_is_left_when_the_time_for_the_handshake_is_over([Values] bool isDialled, CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        await using TestNode node = await StartAsync(options => options with { TimeProvider = time });
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        using NodeKey key = NodeKey.Create();
        Task<IPeer>? dial = null;
        using TcpClient remote = isDialled ? await DialledAsync() : new TcpClient();
        if (!isDialled)
        {
            await remote.ConnectAsync(IPAddress.Loopback, node.Switch.ListenAddress.Port, cancellationToken);
        }

        // Once the node's ephemeral key is here, its clock for the handshake runs. Who dials begins; the node then also proves who it is.
        byte[] greeting = new byte[isDialled ? 35 : 35 + 1044];
        await remote.GetStream().WriteAsync(isDialled ? default : (ReadOnlyMemory<byte>)(byte[])[0x22, 0x0A, 0x20, .. Enumerable.Repeat((byte)9, 32)], cancellationToken);
        await remote.GetStream().ReadExactlyAsync(greeting, cancellationToken);
        time.Advance(TimeSpan.FromSeconds(19.9));
        Assert.That(remote.Client.Poll(0, SelectMode.SelectRead), Is.False);
        time.Advance(TimeSpan.FromSeconds(0.2));

        Assert.That(await remote.GetStream().ReadAsync(greeting, cancellationToken), Is.Zero);
        if (dial is not null)
        {
            HandshakeException e = (await Assert.ThrowsAsync<HandshakeException>(() => dial))!;
            Assert.That(e.Failure, Is.EqualTo(HandshakeFailure.Timeout));
            Assert.That(e.Message, Does.Contain("20 s"));
        }
        else
        {
            await node.UntilLoggedAsync("did not finish the handshake within 20 s", cancellationToken);
        }

        await ExpectNoPeersAsync(node);

        async Task<TcpClient> DialledAsync()
        {
            dial = node.Switch.DialAsync(NetAddress.FromEndPoint(key.Id, (IPEndPoint)listener.LocalEndpoint), cancellationToken);
            return await listener.AcceptTcpClientAsync(cancellationToken);
        }
    }

    [TestCase("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", HandshakeFailure.InvalidEphemeralKey)]
    [TestCase("\u0022\u000a\u0020................................!!!!", HandshakeFailure.FrameNotAuthentic)]
    [TestCase("", HandshakeFailure.ConnectionClosed)]
    [CancelAfter(30_000)]
    public async Task Garbage_is_refused_with_its_reason(string garbage, HandshakeFailure failure, CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync();
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        using NodeKey key = NodeKey.Create();
        Task<IPeer> dial = node.Switch.DialAsync(NetAddress.FromEndPoint(key.Id, (IPEndPoint)listener.LocalEndpoint), cancellationToken);
        using (TcpClient answering = await listener.AcceptTcpClientAsync(cancellationToken))
        {
            byte[] greeting = new byte[35];
            await answering.GetStream().ReadExactlyAsync(greeting, cancellationToken);
            await answering.GetStream().WriteAsync(System.Text.Encoding.Latin1.GetBytes(garbage.PadRight(garbage.Length == 0 ? 0 : 2000, '!')), cancellationToken);
            answering.Client.Shutdown(SocketShutdown.Send);
            Assert.That((await Assert.ThrowsAsync<HandshakeException>(() => dial))!.Failure, Is.EqualTo(failure));
        }

        // The same from a remote that dials.
        using TcpClient dialling = new();
        await dialling.ConnectAsync(IPAddress.Loopback, node.Switch.ListenAddress.Port, cancellationToken);
        await dialling.GetStream().WriteAsync(System.Text.Encoding.Latin1.GetBytes(garbage), cancellationToken);
        dialling.Client.Shutdown(SocketShutdown.Send);
        await node.UntilLoggedAsync("did not become a peer", cancellationToken);
        await ExpectNoPeersAsync(node);
    }

    [Test]
    [CancelAfter(30_000)]
    public async Task A_dial_that_is_cancelled_leaves_nothing_behind([Values] bool whileAdding, CancellationToken cancellationToken)
    {
        await using TestNode node = await StartAsync(), other = await StartAsync();
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        TaskCompletionSource adding = new(TaskCreationOptions.RunContinuationsAsynchronously);
        node.Recording.During = async (callback, _, token) =>
        {
            if (callback == Callback.AddPeer)
            {
                adding.TrySetResult();
                await new TaskCompletionSource().Task.WaitAsync(token);
            }
        };
        using TcpListener hanging = new(IPAddress.Loopback, 0);
        hanging.Start();
        using NodeKey key = NodeKey.Create();
        NetAddress address = whileAdding ? other.Switch.ListenAddress : NetAddress.FromEndPoint(key.Id, (IPEndPoint)hanging.LocalEndpoint);
        Task<IPeer> dial = node.Switch.DialAsync(address, cancel.Token);
        await (whileAdding ? adding.Task : hanging.AcceptSocketAsync(cancellationToken).AsTask()).WaitAsync(cancellationToken);
        await cancel.CancelAsync();
        Assert.That(async () => await dial, Throws.InstanceOf<OperationCanceledException>());
        await node.UntilAsync(() => node.Switch.Peers.Count == 0, cancellationToken);
        await other.UntilAsync(() => other.Switch.Peers.Count == 0, cancellationToken);

        // Nothing of it is in the way of the next.
        node.Recording.During = null;
        await node.DialAsync(other, cancellationToken);
        await Task.WhenAll(node.Switch.StopAsync(), other.Switch.StopAsync());
        Assert.That(node.Recording.Grammar.Violations, Is.Empty);
        Assert.That(node.Transport.Open, Is.Zero);
    }

    private static Task<TestNode> StartAsync(Func<SwitchOptions, SwitchOptions>? configure = null) =>
        TestNode.StartAsync(configure, new RecordingReactor("chat", Chat));

    private static async Task<HandshakeException> RefusedAsync(TestNode node, NetAddress address, CancellationToken cancellationToken) =>
        (await Assert.ThrowsAsync<HandshakeException>(() => node.Switch.DialAsync(address, cancellationToken)))!;

    /// <summary>No reactor has heard of anything, and nothing is left open.</summary>
    private static async Task ExpectNoPeersAsync(params TestNode[] nodes)
    {
        foreach (TestNode node in nodes)
        {
            Assert.That(node.Switch.Peers, Is.Empty);
            await node.Switch.StopAsync();
            Assert.That(node.Recording.Grammar.Initialised, Is.Zero);
            Assert.That(node.Recording.Grammar.Violations, Is.Empty);
            Assert.That(node.Transport.Open, Is.Zero);
        }
    }
}
