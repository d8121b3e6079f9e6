using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Pipeline.Cryptography;

namespace Pipeline.Transport;

/// <summary>Whom a ban, or an entry of a list of those who are kept in or out, is about: a node, an IP address, or a subnet.</summary>
/// <remarks>
/// An IPv4 address and the one of IPv6 that it is mapped to (<c>::ffff:203.0.113.7</c>) are the same, alone and in subnets; a subnet of IPv6
/// that is wider than all of IPv4 (<c>::/0</c>) holds addresses of IPv6 only. Zones (<c>%eth0</c>) do not count. A subnet of one address is
/// that address.
/// </remarks>
public sealed record AccessTarget
{
    private AccessTarget(NodeId id) => Id = id;

    private AccessTarget(AddressBits first, int prefix)
    {
        First = first;
        Prefix = prefix;
    }

    /// <summary>The node; null when the target is an address or a subnet.</summary>
    public NodeId? Id { get; }

    /// <summary>The addresses, a single one as a subnet of its whole length; null when the target is a node.</summary>
    public IPNetwork? Network =>
        Id is null ? new IPNetwork(First.ToIPAddress(), Prefix - (IsIPv4 ? AddressBits.IPv4Start : 0)) : null;

    /// <summary>The first address; without meaning when the target is a node.</summary>
    internal AddressBits First { get; }

    /// <summary>How many bits of <see cref="First"/> all addresses share, 0 to 128; without meaning when the target is a node.</summary>
    internal int Prefix { get; }

    private bool IsIPv4 => Prefix >= AddressBits.IPv4Start && First.IsIPv4;

    /// <summary>A node.</summary>
    /// <exception cref="ArgumentException"><paramref name="id"/> is empty.</exception>
    public static AccessTarget Of(NodeId id) =>
        id.IsEmpty ? throw new ArgumentException("An empty node id is no node's.", nameof(id)) : new AccessTarget(id);

    /// <summary>One IP address.</summary>
    public static AccessTarget Of(IPAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        return new AccessTarget(AddressBits.Of(address), AddressBits.Length);
    }

    /// <summary>A subnet.</summary>
    public static AccessTarget Of(IPNetwork network)
    {
        IPAddress address = network.BaseAddress;
        int prefix = network.PrefixLength + (address.AddressFamily == AddressFamily.InterNetwork ? AddressBits.IPv4Start : 0);
        return new AccessTarget(AddressBits.Of(address).First(prefix), prefix);
    }

    /// <summary>Reads 40 hexadecimal digits, an IP address, or a subnet as <c>address/bits</c>.</summary>
    /// <exception cref="FormatException">The text is something else; the message says what is wrong with it, and what would be right.</exception>
    public static AccessTarget Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return Read(text, out string? error) ?? throw new FormatException(error);
    }

    /// <summary>Reads 40 hexadecimal digits, an IP address, or a subnet as <c>address/bits</c>.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, [NotNullWhen(true)] out AccessTarget? target) =>
        (target = text is null ? null : Read(text, out _)) is not null;

    /// <summary>Whether this is the node <paramref name="id"/>.</summary>
    public bool Matches(NodeId id) => Id == id;

    /// <summary>Whether this is <paramref name="address"/>, or a subnet that holds it.</summary>
    public bool Matches(IPAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        AddressBits bits = AddressBits.Of(address);
        return Id is null && bits.First(Prefix) == First && bits.IsIPv4 == IsIPv4;
    }

    /// <summary>The text that <see cref="Parse"/> reads.</summary>
    public override string ToString() =>
        Id?.ToString() ?? (Prefix == AddressBits.Length ? First.ToIPAddress().ToString() : Network!.Value.ToString());

    private static AccessTarget? Read(string text, out string? error)
    {
        error = null;
        if (NodeId.TryParse(text, out NodeId id))
        {
            return Of(id);
        }

        string[] parts = text.Split('/');
        if (!NetAddress.HostPort.TryParseIp(parts[0], out IPAddress? address))
        {
            return Fail(FindFault(parts[0]), out error);
        }

        if (parts.Length == 1)
        {
            return Of(address);
        }

        int length = address.AddressFamily == AddressFamily.InterNetwork ? 32 : AddressBits.Length;
        if (parts.Length > 2 || !byte.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out byte bits) || bits > length)
        {
            return Fail($"'{text[(parts[0].Length + 1)..]}' is not a number of bits from 0 to {length}", out error);
        }

        int prefix = AddressBits.Length - length + bits;
        AddressBits all = AddressBits.Of(address);
        AccessTarget subnet = new(all.First(prefix), prefix);
        return subnet.First == all ? subnet : Fail($"{address} is not the first address of a subnet of {bits} bits, which would be {subnet}", out error);

        AccessTarget? Fail(string what, out string? error)
        {
            error = $"'{text}' is not a node id, an IP address or a subnet: {what}. Expected is {2 * NodeId.Size} hexadecimal digits, an address such as "
                + "203.0.113.7 or 2001:db8::7, or a subnet such as 203.0.113.0/24 or 2001:db8::/32.";
            return null;
        }
    }

    private static string FindFault(string text) =>
        text.Length == 0 ? "it is empty"
        : text.Contains('@', StringComparison.Ordinal) ? "it names a node and an address, of which one is to be chosen"
        : text.Contains('[', StringComparison.Ordinal) || NetAddress.HostPort.TryParse(text, out _, out _, out _) ? "ports and brackets do not belong there"
        : $"'{text}' is neither an id nor an address";
}
