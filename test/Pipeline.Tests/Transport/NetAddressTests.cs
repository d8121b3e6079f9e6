using System.Net;
using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Transport;

[CancelAfter(30_000)]
public sealed class NetAddressTests
{
    private const string Id = "cb753311f8f34029bfaf247ace9ad3bc1e344508";

    private static readonly (string Name, Func<IPAddress, bool> Contains)[] Ranges =
    [
        ("rfc1918", ip => AddressRange.Rfc1918.Any(range => range.Contains(ip))),
        ("rfc3849", AddressRange.Rfc3849.Contains),
        ("rfc3927", AddressRange.Rfc3927.Contains),
        ("rfc3964", AddressRange.Rfc3964.Contains),
        ("rfc4193", AddressRange.Rfc4193.Contains),
        ("rfc4380", AddressRange.Rfc4380.Contains),
        ("rfc4843", AddressRange.Rfc4843.Contains),
        ("rfc4862", AddressRange.Rfc4862.Contains),
        ("rfc6052", AddressRange.Rfc6052.Contains),
        ("rfc6145", AddressRange.Rfc6145.Contains),
    ];

    [Test]
    public async Task Every_recorded_address_is_read_and_judged_as_the_reference_does(CancellationToken cancellationToken)
    {
        int legal = 0;
        int illegal = 0;
        foreach (JsonElement vector in TestData.Json("vectors/net-addresses.json").EnumerateArray())
        {
            string input = vector.Text("input");
            if (!vector.GetProperty("ok").GetBoolean())
            {
                Assert.That(NetAddress.TryParse(input, out _), Is.False, input);
                Assert.That(
                    () => NetAddress.Parse(input),
                    Throws.TypeOf<FormatException>().With.Message.StartsWith($"'{input}' is not the address of a node: ").And.Message.Contains("Expected is id@host:port"));
                illegal++;
                continue;
            }

            NetAddress address = NetAddress.Parse(input);
            if (address.Ip is null)
            {
                // The reference resolves names where it reads them; here that is done at each dial.
                Assert.That((address.Host, address.IsValid, address.ToString()), Is.EqualTo(("localhost", true, input)));
                IReadOnlyList<IPEndPoint> found = await address.ResolveAsync(cancellationToken);
                address = NetAddress.FromEndPoint(address.Id, found[0]);
            }

            Assert.That(address.Id.ToString(), Is.EqualTo(vector.Text("id")), input);
            Assert.That(address.Ip, Is.EqualTo(IPAddress.Parse(vector.Text("ip"))), input);
            Assert.That(address.Port, Is.EqualTo(vector.GetProperty("port").GetUInt16()), input);
            Assert.That(address.DialString, Is.EqualTo(vector.Text("dial_string")), input);
            Assert.That(address.ToString(), Is.EqualTo(vector.Text("string")), input);
            Assert.That(address.IsLocal, Is.EqualTo(vector.GetProperty("local").GetBoolean()), input);
            Assert.That(address.IsRoutable, Is.EqualTo(vector.GetProperty("routable").GetBoolean()), input);
            Assert.That(address.IsValid, Is.EqualTo(vector.GetProperty("valid").GetBoolean()), input);
            foreach ((string name, Func<IPAddress, bool> contains) in Ranges)
            {
                Assert.That(contains(address.Ip!), Is.EqualTo(vector.GetProperty(name).GetBoolean()), $"{name} of {input}");
            }

            Assert.That(NetAddress.Parse(address.ToString()), Is.EqualTo(address));
            Assert.That(await address.ResolveAsync(cancellationToken), Is.EqualTo(new[] { new IPEndPoint(address.Ip!, address.Port) }));
            legal++;
        }

        Assert.That((legal, illegal), Is.EqualTo((33, 23)));
    }

    [TestCase("8.8.8.8:26656", "it names no node id")]
    [TestCase($"{Id}@a@b:1", "it has more than one '@'")]
    [TestCase("dead@8.8.8.8:1", "'dead' is not a node id of 40 hexadecimal digits")]
    [TestCase($"udp://{Id}@8.8.8.8:1", "its scheme is 'udp', not tcp")]
    [TestCase($"{Id}@8.8.8.8", "it has no port")]
    [TestCase($"{Id}@:1", "it has no host")]
    [TestCase($"{Id}@8.8.8.8:65536", "its port '65536' is not a number from 0 to 65535")]
    [TestCase($"{Id}@8.8.8.8:+1", "its port '+1' is not a number")]
    [TestCase($"{Id}@::1:1", "an IPv6 address needs brackets around it")]
    [TestCase($"{Id}@[8.8.8.8]:1", "brackets belong around an IPv6 address only")]
    [TestCase($"{Id}@[::1]]:1", "is neither an IP address nor the name of a host")]
    [TestCase($"{Id}@[::1/64]:1", "is neither an IP address nor the name of a host")]
    [TestCase($"{Id}@[fe80::1%eth0]:1", "is neither an IP address nor the name of a host")]
    [TestCase($"{Id}@1.2.3:1", "is neither an IP address nor the name of a host")]
    [TestCase($"{Id}@01.2.3.4:1", "is neither an IP address nor the name of a host")]
    [TestCase($"{Id}@-a.example:1", "is neither an IP address nor the name of a host")]
    [TestCase($"{Id}@a..example:1", "is neither an IP address nor the name of a host")]
    [TestCase($"{Id}@a b:1", "is neither an IP address nor the name of a host")]
    public void What_is_wrong_with_an_address_is_said(string text, string what)
    {
        Assert.That(() => NetAddress.Parse(text), Throws.TypeOf<FormatException>().With.Message.Contains(what));
        Assert.That(NetAddress.TryParse(text, out _), Is.False);
    }

    [TestCase("seed-1.example.org")]
    [TestCase("my_node")]
    [TestCase("localhost.")]
    public void Names_are_kept_as_they_are_and_valid(string host)
    {
        NetAddress address = NetAddress.Parse($"tcp://{Id}@{host}:26656");

        Assert.That((address.Host, address.Ip, address.Port), Is.EqualTo((host, (IPAddress?)null, (ushort)26656)));
        Assert.That((address.IsValid, address.IsRoutable, address.IsLocal), Is.EqualTo((true, true, false)));
        Assert.That(address.DialString, Is.EqualTo($"{host}:26656"));
    }

    [Test]
    public void An_IPv4_address_in_IPv6_clothes_is_judged_as_what_it_is()
    {
        NodeId id = NodeId.Parse(Id);
        NetAddress mapped = new(id, "::ffff:10.0.0.1", 1);

        Assert.That(mapped.Ip, Is.EqualTo(IPAddress.Parse("10.0.0.1")));
        Assert.That(mapped.IsRoutable, Is.False);
        Assert.That(NetAddress.Parse($"{Id}@[::ffff:10.0.0.1]:1"), Is.EqualTo(new NetAddress(id, "10.0.0.1", 1)));
        Assert.That(NetAddress.FromEndPoint(id, new IPEndPoint(IPAddress.Parse("::ffff:10.0.0.1"), 1)).Host, Is.EqualTo("10.0.0.1"));
    }

    [TestCase("2001:10::1", false, Description = "ORCHID, RFC 4843")]
    [TestCase("2001:1f:ffff::1", false)]
    [TestCase("2001:20::1", true)]
    [TestCase("fd87:d87e:eb43::1", true, Description = "OnionCat, although within RFC 4193")]
    [TestCase("0.1.2.3", false, Description = "this network, not one machine")]
    [TestCase("172.31.255.255", false)]
    [TestCase("169.253.255.255", true)]
    [TestCase("fe80:0:0:1::1", true, Description = "RFC 4862 is a /64")]
    public void Addresses_of_special_ranges_are_not_routable(string ip, bool routable) =>
        Assert.That(NetAddress.FromEndPoint(NodeId.Parse(Id), new IPEndPoint(IPAddress.Parse(ip), 1)).IsRoutable, Is.EqualTo(routable));

    [Test]
    public void A_copy_with_another_host_has_its_IP_address()
    {
        NetAddress address = new(NodeId.Parse(Id), "1.2.3.4", 5);

        Assert.That((address with { Host = "10.0.0.1" }).Ip, Is.EqualTo(IPAddress.Parse("10.0.0.1")));
        Assert.That((address with { Host = "example.org" }).Ip, Is.Null);
        Assert.That((address with { Port = 6 }).Ip, Is.EqualTo(address.Ip));
        Assert.That(address with { Host = "10.0.0.1" }, Is.EqualTo(new NetAddress(address.Id, "10.0.0.1", 5)));
    }

    [Test]
    public void An_address_without_a_node_id_is_not_valid() => Assert.That(new NetAddress(default, "8.8.8.8", 1).IsValid, Is.False);
}
