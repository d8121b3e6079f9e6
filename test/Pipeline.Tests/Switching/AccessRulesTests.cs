using System.Collections.Immutable;
using System.Net;
using CsCheck;
using Pipeline.Cryptography;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

public sealed class AccessRulesTests
{
    private static readonly NodeId[] Ids = [.. "abc".Select(digit => NodeId.Parse(new string(digit, 40)))];

    private static readonly IPAddress[] Addresses =
        [.. new[] { "10.0.0.1", "10.0.0.2", "10.9.0.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8:1::1" }.Select(IPAddress.Parse)];

    private static readonly Gen<AccessTarget> AnyTarget = Gen.OneOf(
        Gen.OneOf(Ids).Select(AccessTarget.Of),
        Gen.OneOf(Addresses).Select(AccessTarget.Of),
        Gen.OneOf("10.0.0.0/8", "10.0.0.0/24", "2001:db8::/48", "::/0", "0.0.0.0/0").Select(AccessTarget.Parse));

    [Test]
    public void Who_matches_deny_or_misses_allow_is_refused_and_nobody_else() =>
        Gen.Select(AnyTarget.Array[0, 3], AnyTarget.Array[0, 3]).Sample(
            (allow, deny) =>
            {
                AccessRules rules = new() { Allow = [.. allow], Deny = [.. deny] };
                foreach (IPAddress address in Addresses)
                {
                    bool IsRefused(NodeId id) =>
                        deny.Any(target => target.Matches(id) || target.Matches(address))
                        || (allow.Length > 0 && !allow.Any(target => target.Matches(id) || target.Matches(address)));

                    foreach (NodeId id in Ids)
                    {
                        Assert.That(rules.FindRefusal(id, address) is not null, Is.EqualTo(IsRefused(id)), $"{id} {address}");
                    }

                    // The address alone refuses those, and only those, from which no id could come, those of the lists and any other.
                    Assert.That(
                        rules.FindRefusal(address) is not null,
                        Is.EqualTo(
                            deny.Any(target => target.Matches(address))
                            || (allow.Length > 0 && !allow.Any(target => target.Matches(address) || target.Id is not null))),
                        address.ToString());
                }

                foreach (NodeId id in Ids)
                {
                    // An id alone refuses those that would be refused wherever they are.
                    bool isRefused = deny.Any(target => target.Matches(id))
                        || (allow.Length > 0 && !allow.Any(target => target.Matches(id) || target.Network is not null));
                    Assert.That(rules.FindRefusal(id, address: null) is not null, Is.EqualTo(isRefused), id.ToString());
                }
            },
            iter: 3_000);

    [TestCase("", "10.0.0.1", "The address 10.0.0.1 is on the deny list.")]
    [TestCase("", "10.0.0.0/8", "The address 10.0.0.1 is in 10.0.0.0/8, which is on the deny list.")]
    [TestCase("192.0.2.0/24", "", "The address 10.0.0.1 is not on the allow list.")]
    public void The_refusal_of_an_address_says_why(string allow, string deny, string refusal) =>
        Assert.That(Rules(allow, deny).FindRefusal(Addresses[0]), Is.EqualTo(refusal));

    [TestCase("", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "Node aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa is on the deny list.")]
    [TestCase("", "10.0.0.1", "The address 10.0.0.1 is on the deny list.")]
    [TestCase("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "", "Node aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa is not on the allow list.")]
    [TestCase("192.0.2.0/24", "", "Neither node aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa nor its address 10.0.0.1 is on the allow list.")]
    public void The_refusal_of_a_node_says_why(string allow, string deny, string refusal) =>
        Assert.That(Rules(allow, deny).FindRefusal(Ids[0], Addresses[0]), Is.EqualTo(refusal));

    [Test]
    public void Rules_with_the_same_lists_are_equal()
    {
        AccessRules rules = Rules("10.0.0.0/8", "10.0.0.1");

        Assert.That(Rules("10.0.0.0/8", "10.0.0.1"), Is.EqualTo(rules));
        Assert.That(Rules("10.0.0.0/8", "10.0.0.1").GetHashCode(), Is.EqualTo(rules.GetHashCode()));
        Assert.That(rules with { Deny = [] }, Is.Not.EqualTo(rules));
        Assert.That((rules with { Deny = [] }).FindRefusal(Addresses[0]), Is.Null, "the index follows the list");
        Assert.That(rules.FindRefusal(Addresses[0]), Is.Not.Null, "and only in the copy");
    }

    [Test]
    public void No_list_is_an_empty_list_and_null_is_no_target()
    {
        Assert.That(new AccessRules { Allow = default, Deny = default }, Is.EqualTo(new AccessRules()));
        Assert.That(new AccessRules { Allow = default }.FindRefusal(Ids[0], Addresses[0]), Is.Null);
        Assert.That(() => new AccessRules { Deny = [null!] }, Throws.ArgumentException);
    }

    private static AccessRules Rules(string allow, string deny) => new() { Allow = List(allow), Deny = List(deny) };

    private static ImmutableArray<AccessTarget> List(string text) => text.Length == 0 ? [] : [AccessTarget.Parse(text)];
}
