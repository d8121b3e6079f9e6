using System.Globalization;
using System.Text.Json;
using Google.Protobuf;
using Pipeline.Tests.Support;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Tests.Wire;

public sealed class PeerExchangeMessageTests
{
    [Test]
    public void Every_recorded_message_has_the_recorded_bytes_in_both_directions()
    {
        int count = 0;
        foreach (JsonElement vector in TestData.Json("vectors/pex-messages.json").EnumerateArray())
        {
            Message expected = new();
            if (vector.Text("name") == "request")
            {
                expected.PexRequest = new PexRequest();
            }
            else
            {
                expected.PexAddrs = new PexAddrs();
                if (vector.TryGetProperty("addrs", out JsonElement addresses))
                {
                    expected.PexAddrs.Addrs.AddRange(addresses.EnumerateArray().Select(Address));
                }
            }

            byte[] bytes = vector.Hex("bytes_hex");
            Assert.That(expected.ToByteArray(), Is.EqualTo(bytes));
            Assert.That(Message.Parser.ParseFrom(bytes), Is.EqualTo(expected));
            count++;
        }

        Assert.That(count, Is.EqualTo(3));
    }

    private static NetAddress Address(JsonElement text)
    {
        string[] parts = text.GetString()!.Split('@', ':');
        return new NetAddress { Id = parts[0], Ip = parts[1], Port = uint.Parse(parts[2], CultureInfo.InvariantCulture) };
    }
}
