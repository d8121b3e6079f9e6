using System.Buffers.Binary;
using System.Net;
using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <summary>
/// The part of the internet that an address is in: what somebody has to be given to have many addresses of. IPv4 goes by /16, also where it
/// is embedded in IPv6 (6to4, Teredo, NAT64), and IPv6 by /32, but for one provider that hands out more of it than any other.
/// </summary>
/// <param name="Kind">What kind of group it is, so that none of one kind is one of another.</param>
/// <param name="First">The first address, as far as it counts.</param>
/// <remarks>Source: <c>docs/protocol.md</c>, the address book; the original Bitcoin node drew up the groups.</remarks>
internal readonly record struct AddressGroup(byte Kind, AddressBits First)
{
    /// <summary>How many bytes <see cref="Write"/> writes.</summary>
    public const int Size = 17;

    private const int IPv4Bits = 16;
    private const int IPv6Bits = 32;

    // Hurricane Electric gives tunnels with a /48 to whoever asks for one.
    private const int TunnelBits = 36;

    private static readonly IPNetwork Tunnels = IPNetwork.Parse("2001:470::/32");

    private static readonly AddressGroup Local = new(1, default);
    private static readonly AddressGroup Unroutable = new(2, default);

    /// <summary>The group of an address.</summary>
    /// <param name="ip">The address.</param>
    /// <param name="isStrict">Whether all local addresses are one group, and all others that cannot be reached across the internet another.</param>
    public static AddressGroup Of(IPAddress ip, bool isStrict)
    {
        if (isStrict && ip.IsLocal())
        {
            return Local;
        }

        if (isStrict && !ip.IsRoutable())
        {
            return Unroutable;
        }

        AddressBits bits = AddressBits.Of(ip);
        return bits.IsIPv4 ? OfIPv4((uint)bits.Value)
            : AddressRange.Rfc6052.Contains(ip) || AddressRange.Rfc6145.Contains(ip) ? OfIPv4((uint)bits.Value)
            : AddressRange.Rfc3964.Contains(ip) ? OfIPv4((uint)(bits.Value >> 80))

            // A Teredo address ends with the complement of the IPv4 address.
            : AddressRange.Rfc4380.Contains(ip) ? OfIPv4(~(uint)bits.Value)
            : new AddressGroup(6, bits.First(Tunnels.Contains(ip) ? TunnelBits : IPv6Bits));
    }

    /// <summary>Writes what tells the group from all others.</summary>
    public void Write(Span<byte> destination)
    {
        destination[0] = Kind;
        BinaryPrimitives.WriteUInt128BigEndian(destination[1..], First.Value);
    }

    private static AddressGroup OfIPv4(uint address) => new(4, new AddressBits(address & (uint.MaxValue << (32 - IPv4Bits))));
}
