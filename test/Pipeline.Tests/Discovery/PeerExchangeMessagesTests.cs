using System.Text.Json;
using Pipeline.Dataflow;
using Pipeline.Discovery;
using Pipeline.Testing;
using Pipeline.Tests.Support;
using Pipeline.Transport;
using Pipeline.Wire.Protos.P2P;
using static Pipeline.Tests.Discovery.ExchangeNode;
using NetAddress = Pipeline.Transport.NetAddress;

namespace Pipeline.Tests.Discovery;

/// <summary>Who asks whom, what is answered, and what is a lie.</summary>
[CancelAfter(30_000)]
public sealed class PeerExchangeMessagesTests
{
    [Test]
    public async Task An_outbound_peer_is_asked_for_addresses()
    {
        await using ExchangeNode node = await StartAsync();
        TestPeer peer = await node.Switch.ConnectAsync(Outbound(Address(1)));
        Assert.That(Requests(peer), Is.EqualTo(1));
    }

    [Test]
    public async Task Nobody_is_asked_when_the_book_has_enough()
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 }, Enumerable.Range(1, 2000).Select(InNetworkOfItsOwn));
        Assert.That(node.Book.NeedsMore, Is.False);
        TestPeer peer = await node.Switch.ConnectAsync(Outbound(Address(3000)));
        Assert.That(Requests(peer), Is.Zero);
    }

    [Test]
    public async Task A_peer_without_the_channel_is_not_asked()
    {
        await using ExchangeNode node = await StartAsync();
        TestPeer peer = await node.Switch.ConnectAsync(Outbound(Address(1), isPersistent: false, 0x20));
        node.Time.Advance(TimeSpan.FromMinutes(2));
        Assert.That(peer.Sent, Is.Empty);
    }

    [TestCase("tcp://12.0.0.7:100", "12.0.0.7:100")]
    [TestCase("12.0.0.7:100", "12.0.0.7:100")]
    [TestCase("tcp://0.0.0.0:26656", "11.0.1.1:26656")]
    [TestCase("tcp://[::]:26656", "11.0.1.1:26656")]
    [TestCase("tcp://node.example.org:26656", "11.0.1.1:26656")]
    [TestCase("tcp://192.168.0.7:26656", null)]
    [TestCase("tcp://0.0.0.0:0", null)]
    public async Task An_inbound_peer_is_in_the_book_where_it_says_that_it_listens_and_told_so_from_where_it_was_seen(string listens, string? expected)
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 });
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(1), listens));
        AddressBookEntry? entry = node.Book.Find(peer.Id);
        Assert.That(entry?.Address.DialString, Is.EqualTo(expected));
        Assert.That(entry?.Source.Host, Is.EqualTo(expected is null ? null : "11.0.1.1"));
        Assert.That(peer.Sent, Is.Empty);
    }

    [Test]
    public async Task What_a_peer_tells_is_in_the_book_with_the_address_that_it_was_seen_at_as_its_source()
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 });
        NetAddress seen = Address(1);
        TestPeer peer = new(new NodeInfo { Id = seen.Id, Moniker = "liar", ListenAddress = "tcp://99.1.1.1:26656" })
        {
            DialledAddress = seen,
            RemoteEndPoint = new System.Net.IPEndPoint(seen.Ip!, seen.Port),
        };
        await node.Switch.ConnectAsync(peer);
        await node.ReceiveAsync(peer, Addresses(Address(2), Address(3)));
        Assert.That(node.Book.Entries.Select(entry => entry.Address), Is.EquivalentTo([Address(2), Address(3)]));
        Assert.That(node.Book.Entries.Select(entry => entry.Source), Is.All.EqualTo(seen));
        Assert.That(peer.Usefulness, Is.EqualTo(1));
    }

    [Test]
    public async Task An_empty_answer_is_legal_and_of_no_use()
    {
        await using ExchangeNode node = await StartAsync();
        TestPeer peer = await node.Switch.ConnectAsync(Outbound(Address(1)));
        await node.ReceiveAsync(peer, Addresses());
        Assert.That(node.Switch.Bans, Is.Empty);
        Assert.That(peer.Usefulness, Is.Zero);
    }

    [Test]
    public async Task Addresses_that_nobody_asked_for_are_a_reason_to_ban()
    {
        await using ExchangeNode node = await StartAsync();
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(1)));
        await node.ReceiveAsync(peer, Addresses(Address(2)));
        AssertBanned(node, peer, "not asked for");
        Assert.That(node.Book.Find(Id(2)), Is.Null);
    }

    [Test]
    public async Task One_request_has_one_answer()
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 });
        TestPeer peer = await node.Switch.ConnectAsync(Outbound(Address(1)));
        await node.ReceiveAsync(peer, Addresses(Address(2)));
        Assert.That(node.Switch.Bans, Is.Empty);
        await node.ReceiveAsync(peer, Addresses(Address(3)));
        AssertBanned(node, peer, "not asked for");
        Assert.That(node.Book.Find(Id(3)), Is.Null);
    }

    [Test]
    public async Task A_peer_that_was_banned_has_what_it_says_next_ignored_or_refused()
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 });
        TestPeer peer = await node.Switch.ConnectAsync(Outbound(Address(1)));
        await node.ReceiveAsync(peer, Addresses(Address(2)));
        await node.ReceiveAsync(peer, Addresses(Address(3)));
        await node.Switch.DisconnectAsync(peer);
        Assert.That(node.Switch.Peers, Is.Empty);
        TestPeer again = await node.Switch.ConnectAsync(Outbound(Address(1)));
        Assert.That(Requests(again), Is.EqualTo(1), "Each connection is a peer of its own.");
    }

    [TestCase("zz00000000000000000000000000000000000001", "1.2.3.4", 26656u, "no node id")]
    [TestCase("00", "1.2.3.4", 26656u, "no node id")]
    [TestCase("", "1.2.3.4", 26656u, "no node id")]
    [TestCase("0000000000000000000000000000000000000001", "", 26656u, "no IP address")]
    [TestCase("0000000000000000000000000000000000000001", "example.org", 26656u, "no IP address")]
    [TestCase("0000000000000000000000000000000000000001", "1.2.3", 26656u, "no IP address")]
    [TestCase("0000000000000000000000000000000000000001", "1.2.3.256", 26656u, "no IP address")]
    [TestCase("0000000000000000000000000000000000000001", "fe80::1%eth0", 26656u, "no IP address")]
    [TestCase("0000000000000000000000000000000000000001", "<nil>", 26656u, "no IP address")]
    [TestCase("0000000000000000000000000000000000000001", "1.2.3.4", 65536u, "a port over 65535")]
    [TestCase("0000000000000000000000000000000000000001", "1.2.3.4", uint.MaxValue, "a port over 65535")]
    public async Task A_list_with_what_is_no_address_is_a_reason_to_ban_and_nothing_of_it_is_kept(string id, string ip, uint port, string why)
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 });
        TestPeer peer = await node.Switch.ConnectAsync(Outbound(Address(1)));
        Message message = Addresses(Address(2));
        message.PexAddrs.Addrs.Add(new Pipeline.Wire.Protos.P2P.NetAddress { Id = id, Ip = ip, Port = port });
        await node.ReceiveAsync(peer, message);
        AssertBanned(node, peer, why);
        Assert.That(node.Book.Count, Is.Zero);
    }

    [Test]
    public async Task More_addresses_than_a_node_ever_tells_are_a_reason_to_ban()
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 });
        TestPeer honest = await node.Switch.ConnectAsync(Outbound(Address(3000))), liar = await node.Switch.ConnectAsync(Outbound(Address(3001)));
        await node.ReceiveAsync(honest, Addresses(Enumerable.Range(1, 250).Select(InNetworkOfItsOwn)));
        Assert.That(node.Switch.Bans, Is.Empty);
        await node.ReceiveAsync(liar, Addresses(Enumerable.Range(1, 251).Select(InNetworkOfItsOwn)));
        AssertBanned(node, liar, "250 is the most");
    }

    // What a node of the reference has in its book, or got from others, and so may tell.
    [TestCase("0000000000000000000000000000000000000001", "1.2.3.4", 0u)]
    [TestCase("0000000000000000000000000000000000000001", "0.0.0.0", 26656u)]
    [TestCase("0000000000000000000000000000000000000001", "::", 26656u)]
    [TestCase("0000000000000000000000000000000000000001", "255.255.255.255", 26656u)]
    [TestCase("0000000000000000000000000000000000000001", "2001:db8::1", 26656u)]
    [TestCase("0000000000000000000000000000000000000001", "10.0.0.1", 26656u)]
    [TestCase("0000000000000000000000000000000000000001", "127.0.0.1", 26656u)]
    [TestCase("0000000000000000000000000000000000000001", "fe80::1", 26656u)]
    public async Task An_address_that_is_of_no_use_is_left_out_and_no_lie(string id, string ip, uint port)
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 });
        TestPeer peer = await node.Switch.ConnectAsync(Outbound(Address(1)));
        Message message = Addresses(Address(2));
        message.PexAddrs.Addrs.Add(new Pipeline.Wire.Protos.P2P.NetAddress { Id = id, Ip = ip, Port = port });
        await node.ReceiveAsync(peer, message);
        Assert.That(node.Switch.Bans, Is.Empty);
        Assert.That(node.Book.Entries.Select(entry => entry.Address), Is.EqualTo([Address(2)]));
    }

    [TestCase("ABCDEF0000000000000000000000000000000001", "1.2.3.4", "abcdef0000000000000000000000000000000001@1.2.3.4:7")]
    [TestCase("abcdef0000000000000000000000000000000001", "::ffff:1.2.3.4", "abcdef0000000000000000000000000000000001@1.2.3.4:7")]
    [TestCase("abcdef0000000000000000000000000000000001", "2A00:0:0::1", "abcdef0000000000000000000000000000000001@[2a00::1]:7")]
    public async Task An_address_is_the_same_however_it_is_written(string id, string ip, string expected)
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 });
        TestPeer peer = await node.Switch.ConnectAsync(Outbound(Address(1)));
        Message message = new() { PexAddrs = new PexAddrs() };
        message.PexAddrs.Addrs.Add(new Pipeline.Wire.Protos.P2P.NetAddress { Id = id, Ip = ip, Port = 7 });
        await node.ReceiveAsync(peer, message);
        Assert.That(node.Book.Entries.Single().Address, Is.EqualTo(NetAddress.Parse(expected)));
    }

    [Test]
    public async Task The_nodes_own_address_is_not_learned()
    {
        await using ExchangeNode node = await StartAsync();
        TestPeer peer = await node.Switch.ConnectAsync(Outbound(Address(1)));
        await node.ReceiveAsync(peer, Addresses(Address(5) with { Id = node.Switch.NodeInfo.Id }));
        Assert.That(node.Book.Count, Is.Zero);
        Assert.That(node.Switch.Bans, Is.Empty);
    }

    [Test]
    public async Task Two_requests_are_free_and_a_third_within_ten_seconds_is_a_reason_to_ban()
    {
        await using ExchangeNode node = await StartAsync();
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(1)));
        await node.ReceiveAsync(peer, Request());
        await node.ReceiveAsync(peer, Request());
        Assert.That(Answers(peer), Has.Count.EqualTo(2));
        node.Time.Advance(TimeSpan.FromSeconds(10) - TimeSpan.FromTicks(1));
        await node.ReceiveAsync(peer, Request());
        AssertBanned(node, peer, "again within 10 s");
        Assert.That(Answers(peer), Has.Count.EqualTo(2));
    }

    [Test]
    public async Task A_request_every_ten_seconds_is_answered_for_ever()
    {
        await using ExchangeNode node = await StartAsync();
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(1)));
        for (int i = 0; i < 100; i++)
        {
            await node.ReceiveAsync(peer, Request());
            node.Time.Advance(TimeSpan.FromSeconds(10));
        }

        Assert.That(Answers(peer), Has.Count.EqualTo(100));
        Assert.That(node.Switch.Bans, Is.Empty);
    }

    [Test]
    public async Task Who_does_not_read_its_answers_gets_none_and_delays_nobody()
    {
        await using ExchangeNode node = await StartAsync(known: [Address(2)]);
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(1)));
        peer.NextResult = SendResult.QueueFull;
        await node.ReceiveAsync(peer, Request());
        Assert.That(peer.Sent, Is.Empty);
        Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
    }

    [Test]
    public async Task A_request_that_could_not_be_sent_is_made_again()
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 2 });
        TestPeer peer = Outbound(Address(1));
        peer.NextResult = SendResult.QueueFull;
        await node.Switch.ConnectAsync(peer);
        peer.NextResult = SendResult.Queued;
        node.Time.Advance(TimeSpan.FromSeconds(30));
        Assert.That(Requests(peer), Is.EqualTo(1));
    }

    [Test]
    public async Task The_nodes_own_address_private_ones_and_that_of_who_asks_are_never_told()
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 });
        NetAddress own = Address(5) with { Id = node.Switch.NodeInfo.Id };
        node.Know([Address(1), Address(2), own, Address(9001 % 250) with { Id = Id(9001) }]);
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(1)));
        await node.ReceiveAsync(peer, Request());
        Assert.That(Answers(peer).Single().Addrs.Select(address => address.Id), Is.EqualTo([Id(2).ToString()]));
    }

    [Test]
    public async Task An_answer_has_at_most_250_addresses_and_fits_into_a_message()
    {
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 });
        node.Know(Enumerable.Range(1, 3000).Select(number => new NetAddress(Id(number), $"2a00:{number:x4}:ffff:ffff:ffff:ffff:ffff:ffff", ushort.MaxValue)));
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(1)));
        await node.ReceiveAsync(peer, Request());
        Assert.That(Answers(peer).Single().Addrs, Has.Count.InRange(240, 250));
    }

    [Test]
    public async Task A_message_of_no_kind_ends_the_connection_and_bans_nobody()
    {
        await using ExchangeNode node = await StartAsync();
        TestPeer peer = await node.Switch.ConnectAsync(Inbound(Address(1)));
        await node.ReceiveAsync(peer, new Message());
        Assert.That((await peer.Completion).Kind, Is.EqualTo(DisconnectKind.ProtocolViolation));
        Assert.That(node.Switch.Bans, Is.Empty);
    }

    [Test]
    public async Task What_is_sent_has_the_bytes_of_the_reference()
    {
        JsonElement[] vectors = [.. TestData.Json("vectors/pex-messages.json").EnumerateArray()];
        await using ExchangeNode node = await StartAsync(options => options with { MaxOutboundPeers = 0 });
        TestPeer asked = await node.Switch.ConnectAsync(Outbound(Address(1)));
        Assert.That(asked.Sent.Single().Data.ToArray(), Is.EqualTo(vectors.Single(vector => vector.Text("name") == "request").Hex("bytes_hex")));

        foreach (JsonElement vector in vectors.Where(vector => vector.Text("name") != "request"))
        {
            byte[] bytes = vector.Hex("bytes_hex");
            ExchangeNode teller = new(options => options with { MaxOutboundPeers = 0 }, book => book with { IsStrict = false });
            await using (teller)
            {
                await teller.Switch.StartAsync();
                NetAddress[] addresses = vector.TryGetProperty("addrs", out JsonElement texts) ? [.. texts.EnumerateArray().Select(text => NetAddress.Parse(text.GetString()!))] : [];
                teller.Know(addresses);
                TestPeer peer = await teller.Switch.ConnectAsync(Inbound(Address(1), "tcp://0.0.0.0:0"));
                await teller.ReceiveAsync(peer, Request());
                PexAddrs answer = Answers(peer).Single();
                Assert.That(answer.Addrs, Is.EquivalentTo(Message.Parser.ParseFrom(bytes).PexAddrs.Addrs));
                Assert.That(peer.Sent.Single().Data.Length, Is.EqualTo(bytes.Length));

                TestPeer learner = await node.Switch.ConnectAsync(Outbound(Address(7)));
                await node.Switch.ReceiveAsync(learner, (Pipeline.Dataflow.ChannelDescriptor)PeerExchange.Channel, bytes);
                await node.Switch.DisconnectAsync(learner);
            }
        }

        Assert.That(node.Switch.Bans, Is.Empty);
    }

    [TestCase("session-1")]
    [TestCase("session-2")]
    [TestCase("session-3")]
    public async Task What_nodes_of_the_reference_said_is_understood_and_bans_nobody(string session)
    {
        ExchangeNode node = new(options => options with { MaxOutboundPeers = 0 }, book => book with { IsStrict = false });
        await using (node)
        {
            await node.Switch.StartAsync();
            Recording recording = Recording.Load(session);
            TestPeer peer = await node.Switch.ConnectAsync(Outbound(new NetAddress(recording.RemoteId, "127.0.0.1", 26656)));
            int answers = 0;
            foreach (RecordedMessage message in recording.Messages.Where(message => message.Channel == PeerExchange.Channel.Id))
            {
                await node.Switch.ReceiveAsync(peer, (Pipeline.Dataflow.ChannelDescriptor)PeerExchange.Channel, message.Bytes);
                answers += Message.Parser.ParseFrom(message.Bytes).SumCase == Message.SumOneofCase.PexAddrs ? 1 : 0;
            }

            Assert.That(answers, Is.EqualTo(1));
            Assert.That(node.Switch.Bans, Is.Empty);
            Assert.That(peer.Stopped.IsCancellationRequested, Is.False);
            Assert.That(node.Book.Count, Is.GreaterThan(0));
        }
    }

    private static void AssertBanned(ExchangeNode node, TestPeer peer, string why)
    {
        Assert.That(node.Switch.Bans, Has.Length.EqualTo(1));
        Assert.That(node.Switch.Bans[0].Target.Id, Is.EqualTo(peer.Id));
        Assert.That(node.Switch.Bans[0].Duration, Is.Null, "The node's own setting, which is 24 h.");
        Assert.That(node.Switch.Bans[0].Why, Does.Contain(why));
        Assert.That(peer.Completion.Result.Kind, Is.EqualTo(DisconnectKind.Misbehaved));
        Assert.That(node.Log.Entries.Select(entry => entry.Id), Does.Contain(146));
    }
}
