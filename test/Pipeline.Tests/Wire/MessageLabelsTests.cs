using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Protocols;
using Pipeline.Protocols.Types;
using Pipeline.Wire;
using Pipeline.Wire.Protos.P2P;
using Type = Google.Protobuf.WellKnownTypes.Type;

namespace Pipeline.Tests.Wire;

public sealed class MessageLabelsTests
{
    private static IEnumerable<TestCaseData> Messages =>
    [
        new TestCaseData(StandardChannels.PeerExchange.Labels, new Message { PexRequest = new PexRequest() }, "p2p_PexRequest"),
        new TestCaseData(
            StandardChannels.ConsensusState.Labels,
            new Protocols.Consensus.Message { NewRoundStep = new Protocols.Consensus.NewRoundStep() },
            "consensus_NewRoundStep"),
        new TestCaseData(
            StandardChannels.ConsensusVote.Labels,
            new Protocols.Consensus.Message { Vote = new Protocols.Consensus.Vote { Vote_ = new Protocols.Types.Vote { Height = 7 } } },
            "consensus_Vote"),
        new TestCaseData(StandardChannels.Mempool.Labels, new Protocols.Mempool.Message { Txs = new Protocols.Mempool.Txs() }, "mempool_Txs"),
        new TestCaseData(
            StandardChannels.BlockSync.Labels,
            new Protocols.BlockSync.Message { StatusRequest = new Protocols.BlockSync.StatusRequest() },
            "blocksync_StatusRequest"),
        new TestCaseData(StandardChannels.Evidence.Labels, new EvidenceList(), "types_EvidenceList"),
        new TestCaseData(StandardChannels.PeerExchange.Labels, new Message(), MessageName.Unknown),
        new TestCaseData(new MessageLabels(Value.Descriptor), new Value { NumberValue = 1 }, "protobuf_Value"),
        new TestCaseData(new MessageLabels(Value.Descriptor), new Value { ListValue = new ListValue() }, "protobuf_ListValue"),
        new TestCaseData(new MessageLabels(DescriptorProto.Types.ExtensionRange.Descriptor), new Type(), "protobuf_DescriptorProto_ExtensionRange"),
    ];

    [TestCaseSource(nameof(Messages))]
    public void A_message_is_called_what_the_reference_calls_it(object labels, IMessage message, string expected) =>
        Assert.That(((MessageLabels)labels).Of(message.ToByteArray()), Is.EqualTo(expected));

    [TestCase("c03e05 0a00", ExpectedResult = "p2p_PexRequest", TestName = "after a number")]
    [TestCase("c23e03616263 0a00", ExpectedResult = "p2p_PexRequest", TestName = "after a text")]
    [TestCase("c53e01020304 0a00", ExpectedResult = "p2p_PexRequest", TestName = "after four bytes")]
    [TestCase("c13e0102030405060708 0a00", ExpectedResult = "p2p_PexRequest", TestName = "after eight bytes")]
    [TestCase("c33e 0a00", ExpectedResult = MessageName.Unknown, TestName = "after a group")]
    [TestCase("c23eff 0a00", ExpectedResult = MessageName.Unknown, TestName = "after a length that is too long")]
    [TestCase("c23effffffffffffffffff01 0a00", ExpectedResult = MessageName.Unknown, TestName = "after a length that is far too long")]
    [TestCase("ff", ExpectedResult = MessageName.Unknown, TestName = "a tag that does not end")]
    public string The_kind_is_found_behind_what_the_schema_lacks(string hex) =>
        StandardChannels.PeerExchange.Labels.Of(Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal)));

    [Test]
    public void Not_more_than_a_little_is_skipped() =>
        Assert.That(
            StandardChannels.PeerExchange.Labels.Of([.. Enumerable.Repeat(new byte[] { 0xc0, 0x3e, 1 }, 100).SelectMany(field => field), 0x0a, 0]),
            Is.EqualTo(MessageName.Unknown));

    [Test]
    public void A_type_with_required_fields_has_a_name_as_well() =>
        Assert.That(MessageLabels.Of(UninterpretedOption.Types.NamePart.Parser).Of([]), Is.EqualTo("protobuf_UninterpretedOption_NamePart"));
}
