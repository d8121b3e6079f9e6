using Pipeline.Dataflow;
using Pipeline.Discovery;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Tests.Dataflow;

public sealed class SerializedMessageTests
{
    [Test]
    public void A_message_is_serialised_as_it_is_on_the_wire()
    {
        Message message = new() { PexRequest = new PexRequest() };
        using SerializedMessage serialized = SerializedMessage.Create(PeerExchange.Channel, message);
        Assert.That(serialized.Span.ToArray(), Is.EqualTo(new byte[] { 0x0a, 0 }));
        Assert.That(serialized.Length, Is.EqualTo(2));
        Assert.That(serialized.Channel, Is.SameAs(PeerExchange.Channel));
    }

    [Test]
    public void Its_bytes_are_a_copy()
    {
        byte[] bytes = [1, 2, 3];
        using SerializedMessage serialized = SerializedMessage.Create(PeerExchange.Channel, bytes);
        bytes[0] = 9;
        Assert.That(serialized.Span.ToArray(), Is.EqualTo(new byte[] { 1, 2, 3 }));
    }

    [Test]
    public void Disposing_twice_is_once_and_a_disposed_message_cannot_be_sent()
    {
        SerializedMessage message = SerializedMessage.Create(PeerExchange.Channel, [1]);
        message.AddReference();
        message.Dispose();
        message.Dispose();
        message.AddReference();
        message.Release();
        message.Release();
        Assert.That(message.AddReference, Throws.InstanceOf<ObjectDisposedException>());
    }
}
