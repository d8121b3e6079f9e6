using System.Buffers.Binary;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Pipeline.Transport;

/// <summary>
/// An IP address as a number of 128 bits, without a zone. An IPv4 address is the one of IPv6 that it is mapped to (RFC 4291, section 2.5.5.2),
/// so that a.b.c.d and ::ffff:a.b.c.d are one address, and that a subnet of either family is a number of leading bits.
/// </summary>
internal readonly record struct AddressBits(UInt128 Value)
{
    public const int Length = 128;

    /// <summary>How many bits an IPv4 address has in front of its own.</summary>
    public const int IPv4Start = 96;

    private const ulong MappedPrefix = 0xffff;

    public bool IsIPv4 => Value >> (Length - IPv4Start) == MappedPrefix;

    public static AddressBits Of(IPAddress address)
    {
        Span<byte> bytes = stackalloc byte[16];
        bool fits = address.TryWriteBytes(bytes, out int written);
        Debug.Assert(fits, "No address is longer than 16 bytes.");
        return new AddressBits(
            address.AddressFamily == AddressFamily.InterNetwork
                ? (MappedPrefix << 32) | BinaryPrimitives.ReadUInt32BigEndian(bytes[..written])
                : BinaryPrimitives.ReadUInt128BigEndian(bytes));
    }

    /// <summary>The first <paramref name="count"/> bits, 0 to 128; the others are zero.</summary>
    public AddressBits First(int count) => new(count == 0 ? 0 : Value & (UInt128.MaxValue << (Length - count)));

    public IPAddress ToIPAddress()
    {
        Span<byte> bytes = stackalloc byte[16];
        BinaryPrimitives.WriteUInt128BigEndian(bytes, Value);
        return new IPAddress(IsIPv4 ? bytes[(IPv4Start / 8)..] : bytes);
    }
}
