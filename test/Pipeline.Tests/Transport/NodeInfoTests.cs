using System.Collections.Immutable;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Tests.Support;
using Pipeline.Transport;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Tests.Transport;

public sealed class NodeInfoTests
{
    private static readonly NodeInfo Good = Recording.Load("session-1").RemoteInfo;

    internal static readonly TestCaseData[] Faults =
    [
        Case("No node id", Good with { Id = default }, "it has no node id of 40 hexadecimal digits"),
        Case("No listen address", Good with { ListenAddress = "" }, "its listen address '' cannot be used: it has no port"),
        Case("A listen address without a port", Good with { ListenAddress = "tcp://1.2.3.4" }, "its listen address 'tcp://1.2.3.4' cannot be used: it has no port"),
        Case("A listen address without a host", Good with { ListenAddress = "tcp://:26656" }, "cannot be used: it has no host"),
        Case("A listen address that is no address", Good with { ListenAddress = "tcp://1.2.3:26656" }, "is neither an IP address nor the name of a host"),
        Case("A version of other characters", Good with { Version = "0.38\n" }, "its version '0.38\\u000a' is not printable ASCII"),
        Case("A version of spaces", Good with { Version = "  " }, "its version '  ' is not printable ASCII"),
        Case("Too many channels", Good with { Channels = Channels(17) }, "it has 17 channels; the most is 16"),
        Case("A channel twice", Good with { Channels = [1, 2, 0x21, 4, 0x21] }, "it names channel 0x21 twice"),
        Case("No moniker", Good with { Moniker = "" }, "its moniker '' is empty or not printable ASCII"),
        Case("A moniker of spaces", Good with { Moniker = " \t" }, "its moniker ' \\u0009' is empty or not printable ASCII"),
        Case("A moniker of other characters", Good with { Moniker = "нода" }, "its moniker '\\u043d\\u043e\\u0434\\u0430' is empty or not printable ASCII"),
        Case("A moniker to disturb a terminal", Good with { Moniker = "\u001b[2J" }, "its moniker '\\u001b[2J'"),
        Case("Another tx_index", Good with { TxIndex = "yes" }, "its tx_index 'yes' is neither empty, 'on' nor 'off'"),
        Case("An rpc address of other characters", Good with { RpcAddress = "tcp://é" }, "its rpc address 'tcp://\\u00e9' is not printable ASCII"),
    ];

    [TestCaseSource(nameof(Faults))]
    public void Each_rule_of_a_description_is_checked(NodeInfo info, string fault) => Assert.That(info.FindFault(), Does.Contain(fault));

    [Test]
    public void Everything_the_rules_allow_is_allowed()
    {
        NodeInfo[] legal =
        [
            Good,
            Good with { Version = "", Network = "", RpcAddress = "", TxIndex = "" },
            Good with { TxIndex = "off", ListenAddress = "[::]:26656" },
            Good with { ListenAddress = "TCP://node.example:0" },
            Good with { Channels = [] },
            Good with { Channels = default },
            Good with { Channels = Channels(16) },
            Good with { Moniker = "~ a name !" },
        ];

        Assert.That(legal.Select(info => info.FindFault()), Is.All.Null);
    }

    [Test]
    public void A_fault_shows_no_more_of_a_long_text_than_one_can_read()
    {
        string? fault = (Good with { Moniker = new string('\u00e9', 5000) }).FindFault();

        Assert.That(fault, Does.Contain("(5000 characters)"));
        Assert.That(fault, Has.Length.LessThan(600));
    }

    [Test]
    public void Nodes_are_peers_with_the_same_block_version_and_network_and_a_channel_in_common()
    {
        NodeInfo local = Good with { ProtocolVersions = new ProtocolVersions(8, 11, 1), Network = "net", Channels = [0x20, 0x30] };

        Assert.That(local.FindIncompatibility(local with { ProtocolVersions = new ProtocolVersions(7, 11, 2), Channels = [0x30, 0x40] }, out _), Is.Null);
        Refused(local with { ProtocolVersions = new ProtocolVersions(8, 10, 1) }, HandshakeFailure.DifferentBlockVersion, "it speaks version 10 of the block protocol, this node 11");
        Refused(local with { Network = "other" }, HandshakeFailure.DifferentNetwork, "it is on network 'other', this node on 'net'");
        Refused(local with { Channels = [0x40] }, HandshakeFailure.NoCommonChannel, "it has channels 0x40 and none of this node's 0x20 0x30");
        Refused(local with { Channels = [] }, HandshakeFailure.NoCommonChannel, "it has channels (none) and none of this node's 0x20 0x30");
        Assert.That((local with { Channels = [] }).FindIncompatibility(local with { Channels = [0x40] }, out _), Is.Null, "a node without channels is only looking");

        void Refused(NodeInfo remote, HandshakeFailure expected, string why)
        {
            Assert.That(local.FindIncompatibility(remote, out HandshakeFailure failure), Is.EqualTo(why));
            Assert.That(failure, Is.EqualTo(expected));
        }
    }

    [Test]
    public void A_description_survives_the_wire_and_two_fields_are_written_even_when_empty()
    {
        Assert.That(NodeInfo.FromProto(DefaultNodeInfo.Parser.ParseFrom(Good.ToProto().ToByteArray())), Is.EqualTo(Good));

        NodeInfo empty = new() { ProtocolVersions = new ProtocolVersions(0, 0, 0), ListenAddress = "" };
        Assert.That(empty.ToProto().ToByteArray(), Is.EqualTo(new byte[] { 0x0a, 0, 0x42, 0 }));
        Assert.That(NodeInfo.FromProto(new DefaultNodeInfo()), Is.EqualTo(empty));
    }

    [Test]
    public void Descriptions_are_equal_by_what_they_say()
    {
        NodeInfo same = Good with { Channels = [.. Good.Channels] };

        Assert.That(same, Is.EqualTo(Good));
        Assert.That(same.GetHashCode(), Is.EqualTo(Good.GetHashCode()));
        Assert.That(Good with { Channels = [.. Good.Channels, 0x99] }, Is.Not.EqualTo(Good));
        Assert.That(Good with { RpcAddress = "" }, Is.Not.EqualTo(Good));
        Assert.That(Good with { Id = NodeId.Parse(new string('0', 40)) }, Is.Not.EqualTo(Good));
    }

    private static ImmutableArray<byte> Channels(int count) => [.. Enumerable.Range(0, count).Select(id => (byte)id)];

    private static TestCaseData Case(string name, NodeInfo info, string fault) => new TestCaseData(info, fault).SetArgDisplayNames(name);
}
