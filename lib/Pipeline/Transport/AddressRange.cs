using System.Net;

namespace Pipeline.Transport;

/// <summary>Ranges of IP addresses with a meaning of their own, named by the RFCs that set them aside.</summary>
/// <remarks>Source: the ranges by which the reference decides whether an address is routable, which the original Bitcoin node drew up.</remarks>
internal static class AddressRange
{
    public static readonly IPNetwork[] Rfc1918 =
        [IPNetwork.Parse("10.0.0.0/8"), IPNetwork.Parse("192.168.0.0/16"), IPNetwork.Parse("172.16.0.0/12")];

    public static readonly IPNetwork Rfc3849 = IPNetwork.Parse("2001:db8::/32");
    public static readonly IPNetwork Rfc3927 = IPNetwork.Parse("169.254.0.0/16");
    public static readonly IPNetwork Rfc3964 = IPNetwork.Parse("2002::/16");
    public static readonly IPNetwork Rfc4193 = IPNetwork.Parse("fc00::/7");
    public static readonly IPNetwork Rfc4380 = IPNetwork.Parse("2001::/32");
    public static readonly IPNetwork Rfc4843 = IPNetwork.Parse("2001:10::/28");
    public static readonly IPNetwork Rfc4862 = IPNetwork.Parse("fe80::/64");
    public static readonly IPNetwork Rfc6052 = IPNetwork.Parse("64:ff9b::/96");
    public static readonly IPNetwork Rfc6145 = IPNetwork.Parse("::ffff:0:0:0/96");

    private static readonly IPNetwork ThisNetwork = IPNetwork.Parse("0.0.0.0/8");
    private static readonly IPNetwork OnionCat = IPNetwork.Parse("fd87:d87e:eb43::/48");

    /// <summary>Whether no machine can have this address: unspecified, the broadcast address, or for documentation.</summary>
    public static bool IsUnusable(this IPAddress ip) =>
        ip.Equals(IPAddress.Any) || ip.Equals(IPAddress.IPv6Any) || ip.Equals(IPAddress.Broadcast) || Rfc3849.Contains(ip);

    public static bool IsLocal(this IPAddress ip) => IPAddress.IsLoopback(ip) || ThisNetwork.Contains(ip);

    public static bool IsRoutable(this IPAddress ip) =>
        !ip.IsUnusable()
        && !ip.IsLocal()
        && !Rfc1918.Any(range => range.Contains(ip))
        && !Rfc3927.Contains(ip)
        && !Rfc4862.Contains(ip)
        && !(Rfc4193.Contains(ip) && !OnionCat.Contains(ip))
        && !Rfc4843.Contains(ip);
}
