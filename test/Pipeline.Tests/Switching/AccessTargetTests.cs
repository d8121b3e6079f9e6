using System.Net;
using CsCheck;
using Pipeline.Cryptography;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

public sealed class AccessTargetTests
{
    private const string Id = "fd5b3089b224419c963b4be692c9134cb24e5174";

    // Few bytes, so that addresses are often alike.
    private static readonly Gen<byte> AnyByte = Gen.Frequency((4, Gen.OneOf<byte>(0, 1, 0x80, 0xff)), (1, Gen.Byte));

    private static readonly Gen<byte[]> AnyIPv4 = AnyByte.Array[4];
    private static readonly Gen<byte[]> AnyIPv6 = AnyByte.Array[16].Where(bytes => !IsMapped(bytes));

    private static readonly Gen<(byte[] Bytes, bool AsMapped)> AnyAddress =
        Gen.OneOf(AnyIPv4.SelectMany(bytes => Gen.Bool.Select(mapped => (bytes, mapped))), AnyIPv6.Select(bytes => (bytes, false)));

    private static readonly Gen<(byte[] Bytes, bool AsMapped, int Bits)> AnySubnet =
        AnyAddress.SelectMany(address => Gen.Int[0, 8 * address.Bytes.Length].Select(bits => (First(address.Bytes, bits), address.AsMapped, bits)));

    [Test]
    public void A_target_is_read_from_what_it_is_written_as_and_is_the_same_however_it_was_made() =>
        AnySubnet.Sample(
            subnet =>
            {
                IPAddress address = Address(subnet.Bytes, subnet.AsMapped);
                int bits = subnet.Bits + (subnet.AsMapped ? 96 : 0);
                AccessTarget target = AccessTarget.Parse($"{address}/{bits}");
                return AccessTarget.Parse(target.ToString()) == target
                    && AccessTarget.Of(new IPNetwork(address, bits)) == target
                    && target.Id is null
                    && target.Network == new IPNetwork(Address(subnet.Bytes, asMapped: false), subnet.Bits)
                    && (subnet.Bits == 8 * subnet.Bytes.Length) == (AccessTarget.Of(address) == target)
                    && (subnet.Bits == 8 * subnet.Bytes.Length) == !target.ToString().Contains('/', StringComparison.Ordinal);
            },
            iter: 5_000);

    [Test]
    public void A_subnet_holds_the_addresses_of_its_family_that_begin_with_its_bits_mapped_or_not()
    {
        int held = 0;
        Gen.Select(AnySubnet, AnyAddress).Sample(
            (subnet, address) =>
            {
                // Half of the addresses are made to begin like the subnet.
                byte[] bytes = [.. address.Bytes];
                if (subnet.Bytes.Length == bytes.Length && bytes[^1] % 2 == 0)
                {
                    for (int i = 0; i < subnet.Bits; i++)
                    {
                        SetBit(bytes, i, Bit(subnet.Bytes, i));
                    }
                }

                if (IsMapped(bytes))
                {
                    // Made to begin like a subnet, it has become an address of the other family.
                    bytes = bytes[12..];
                }

                bool isHeld = subnet.Bytes.Length == bytes.Length && First(bytes, subnet.Bits).SequenceEqual(subnet.Bytes);
                AccessTarget target = AccessTarget.Of(new IPNetwork(Address(subnet.Bytes, subnet.AsMapped), subnet.Bits + (subnet.AsMapped ? 96 : 0)));
                TargetIndex<AccessTarget> index = new() { [target] = target };
                IPAddress ip = Address(bytes, address.AsMapped);
                Interlocked.Add(ref held, isHeld ? 1 : 0);
                return target.Matches(ip) == isHeld && index.Find(ip).SequenceEqual(isHeld ? [target] : []);
            },
            iter: 20_000);
        Assert.That(held, Is.GreaterThan(1_000));
    }

    [TestCase("0.0.0.0/0", "255.1.2.3", ExpectedResult = true)]
    [TestCase("0.0.0.0/0", "::1", ExpectedResult = false)]
    [TestCase("::/0", "::1", ExpectedResult = true)]
    [TestCase("::/0", "1.2.3.4", ExpectedResult = false)]
    [TestCase("::/0", "::ffff:1.2.3.4", ExpectedResult = false)]
    [TestCase("::ffff:0:0/96", "1.2.3.4", ExpectedResult = true)]
    [TestCase("::ffff:10.0.0.0/104", "10.1.2.3", ExpectedResult = true)]
    [TestCase("10.0.0.0/8", "::ffff:10.1.2.3", ExpectedResult = true)]
    [TestCase("10.0.0.0/8", "::10.1.2.3", ExpectedResult = false)]
    [TestCase("10.0.0.0/8", "11.0.0.0", ExpectedResult = false)]
    [TestCase("fe80::1", "fe80::1%7", ExpectedResult = true)]
    public bool An_address_matches(string target, string address) => AccessTarget.Parse(target).Matches(IPAddress.Parse(address));

    [Test]
    public void A_node_matches_itself_and_no_address()
    {
        AccessTarget target = AccessTarget.Parse(Id.ToUpperInvariant());

        Assert.That(target, Is.EqualTo(AccessTarget.Of(NodeId.Parse(Id))));
        Assert.That(target.ToString(), Is.EqualTo(Id));
        Assert.That((target.Id, target.Network), Is.EqualTo(((NodeId?)NodeId.Parse(Id), (IPNetwork?)null)));
        Assert.That(target.Matches(NodeId.Parse(Id)), Is.True);
        Assert.That(target.Matches(NodeId.Parse("0" + Id[1..])), Is.False);
        Assert.That(target.Matches(IPAddress.IPv6Any) || target.Matches(IPAddress.Any), Is.False);
        Assert.That(AccessTarget.Parse("::/0").Matches(default(NodeId)), Is.False);
        Assert.That(target, Is.Not.EqualTo(AccessTarget.Parse("::/0")));
        Assert.That(() => AccessTarget.Of(default(NodeId)), Throws.ArgumentException);
    }

    [TestCase("", "it is empty")]
    [TestCase("/8", "it is empty")]
    [TestCase("nonsense", "'nonsense' is neither an id nor an address")]
    [TestCase(" 10.0.0.1", "is neither an id nor an address")]
    [TestCase("10.1", "is neither an id nor an address")]
    [TestCase("010.0.0.1", "is neither an id nor an address")]
    [TestCase("fe80::1%eth0", "is neither an id nor an address")]
    [TestCase("d5b3089b224419c963b4be692c9134cb24e5174", "is neither an id nor an address")]
    [TestCase(Id + "@10.0.0.1:26656", "it names a node and an address, of which one is to be chosen")]
    [TestCase("10.0.0.1:26656", "ports and brackets do not belong there")]
    [TestCase("[::1]", "ports and brackets do not belong there")]
    [TestCase("[::1]:26656", "ports and brackets do not belong there")]
    [TestCase("10.0.0.0/", "'' is not a number of bits from 0 to 32")]
    [TestCase("10.0.0.0/33", "'33' is not a number of bits from 0 to 32")]
    [TestCase("10.0.0.0/-1", "'-1' is not a number of bits from 0 to 32")]
    [TestCase("10.0.0.0/8/8", "'8/8' is not a number of bits from 0 to 32")]
    [TestCase("::/129", "'129' is not a number of bits from 0 to 128")]
    [TestCase("10.1.0.0/8", "10.1.0.0 is not the first address of a subnet of 8 bits, which would be 10.0.0.0/8")]
    [TestCase("2001:db8::1/32", "2001:db8::1 is not the first address of a subnet of 32 bits, which would be 2001:db8::/32")]
    public void Anything_else_is_refused_with_what_is_wrong_and_what_would_be_right(string text, string what)
    {
        Assert.That(
            () => AccessTarget.Parse(text),
            Throws.TypeOf<FormatException>().With.Message.StartsWith($"'{text}' is not a node id, an IP address or a subnet: ").And.Message.Contains(what)
                .And.Message.Contains("Expected is 40 hexadecimal digits, an address such as 203.0.113.7"));
        Assert.That(AccessTarget.TryParse(text, out _), Is.False);
    }

    private static IPAddress Address(byte[] bytes, bool asMapped) => asMapped ? new IPAddress(bytes).MapToIPv6() : new IPAddress(bytes);

    private static bool IsMapped(byte[] bytes) => bytes.Length == 16 && new IPAddress(bytes).IsIPv4MappedToIPv6;

    private static byte[] First(byte[] bytes, int bits)
    {
        byte[] first = new byte[bytes.Length];
        for (int i = 0; i < bits; i++)
        {
            SetBit(first, i, Bit(bytes, i));
        }

        return first;
    }

    private static bool Bit(byte[] bytes, int i) => (bytes[i / 8] & (0x80 >> (i % 8))) != 0;

    private static void SetBit(byte[] bytes, int i, bool value) =>
        bytes[i / 8] = (byte)((bytes[i / 8] & ~(0x80 >> (i % 8))) | (value ? 0x80 >> (i % 8) : 0));
}
