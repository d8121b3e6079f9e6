using Pipeline.Wire;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Tests.Wire;

public sealed class MessageNameTests
{
    [Test]
    public void A_message_of_several_kinds_is_called_by_its_kind() =>
        Assert.That(MessageName.Of(new Message { PexAddrs = new PexAddrs() }), Is.EqualTo("pex_addrs"));

    [Test]
    public void A_message_of_one_kind_is_called_by_its_own_name() =>
        Assert.That(MessageName.Of(new DefaultNodeInfoOther()), Is.EqualTo("default_node_info_other"));

    [TestCase("", TestName = "A_message_of_no_kind_is_unknown")]
    [TestCase("7a00", TestName = "A_message_of_a_kind_that_the_schema_lacks_is_unknown")]
    public void A_message_without_a_known_kind_is_unknown(string hex) =>
        Assert.That(MessageName.Of(Message.Parser.ParseFrom(Convert.FromHexString(hex))), Is.EqualTo(MessageName.Unknown));
}
