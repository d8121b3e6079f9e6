using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Pipeline.Cryptography;

namespace Pipeline.Transport;

/// <summary>Where a node can be dialled, and which node must answer there: <c>[tcp://]id@host:port</c>.</summary>
/// <param name="Id">The node that must answer.</param>
/// <param name="Host">An IPv4 address, an IPv6 address without brackets, or a name to be resolved at each dial.</param>
/// <param name="Port">The TCP port. 0 is legal in an address that is only passed on.</param>
public sealed record NetAddress(NodeId Id, string Host, ushort Port)
{
    /// <summary>An IPv4 address, an IPv6 address without brackets, or a name to be resolved at each dial.</summary>
    public string Host
    {
        get;
        init
        {
            field = value;
            Ip = ParseIp(value);
        }
    }
    = Host;

    /// <summary>The host when it is an IP address; null when it is a name.</summary>
    public IPAddress? Ip { get; private init; } = ParseIp(Host);

    /// <summary><c>host:port</c>, with brackets around an IPv6 address.</summary>
    public string DialString => HostPort.Format(Host, Port);

    /// <summary>Whether this can be the address of a node at all: it has an id, and a name or an IP address of one machine outside the documentation range.</summary>
    public bool IsValid => !Id.IsEmpty && (Ip is null || !Ip.IsUnusable());

    /// <summary>Whether the address is on this machine: loopback or 0.0.0.0/8.</summary>
    public bool IsLocal => Ip is not null && Ip.IsLocal();

    /// <summary>Whether the address can be reached across the internet. A name may be.</summary>
    public bool IsRoutable => Ip is null || Ip.IsRoutable();

    /// <summary>Makes an address from an IP end point.</summary>
    public static NetAddress FromEndPoint(NodeId id, IPEndPoint endPoint)
    {
        ArgumentNullException.ThrowIfNull(endPoint);
        return new NetAddress(id, Unmapped(endPoint.Address).ToString(), (ushort)endPoint.Port);
    }

    /// <summary>Reads <c>[tcp://]id@host:port</c>. Names are not resolved, see <see cref="ResolveAsync"/>.</summary>
    /// <exception cref="FormatException">The text is something else; the message says what is wrong with it.</exception>
    public static NetAddress Parse(string text) => Read(text, out string? error) ?? throw new FormatException(error);

    /// <summary>Reads <c>[tcp://]id@host:port</c>. Names are not resolved, see <see cref="ResolveAsync"/>.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, [NotNullWhen(true)] out NetAddress? address) =>
        (address = text is null ? null : Read(text, out _)) is not null;

    /// <summary>The IP end points of the host, IPv4 first; a name is looked up.</summary>
    /// <exception cref="SocketException">The name cannot be resolved.</exception>
    public async ValueTask<IReadOnlyList<IPEndPoint>> ResolveAsync(CancellationToken cancellationToken = default)
    {
        if (Ip is not null)
        {
            return [new IPEndPoint(Ip, Port)];
        }

        // A lookup that runs is not ended by its token everywhere.
        IPAddress[] found = await Dns.GetHostAddressesAsync(Host, cancellationToken).WaitAsync(cancellationToken).ConfigureAwait(false);
        return [.. found.OrderBy(ip => ip.AddressFamily == AddressFamily.InterNetwork ? 0 : 1).Select(ip => new IPEndPoint(Unmapped(ip), Port))];
    }

    /// <summary>The same with the one text that an IP address has; as it is when the host is a name.</summary>
    internal NetAddress WithPlainHost() => Ip?.ToString() is { } host && host != Host ? this with { Host = host } : this;

    /// <summary><c>id@host:port</c>.</summary>
    public override string ToString() => $"{Id}@{DialString}";

    private static NetAddress? Read(string text, out string? error)
    {
        string rest = text;
        int scheme = rest.IndexOf("://", StringComparison.Ordinal);
        if (scheme >= 0)
        {
            if (!rest.AsSpan(0, scheme).Equals("tcp", StringComparison.OrdinalIgnoreCase))
            {
                return Fail($"its scheme is '{rest[..scheme]}', not tcp", out error);
            }

            rest = rest[(scheme + 3)..];
        }

        string[] parts = rest.Split('@');
        if (parts.Length != 2)
        {
            return Fail(parts.Length == 1 ? "it names no node id" : "it has more than one '@'", out error);
        }

        if (!NodeId.TryParse(parts[0], out NodeId id))
        {
            return Fail($"'{parts[0]}' is not a node id of {2 * NodeId.Size} hexadecimal digits", out error);
        }

        if (!HostPort.TryParse(parts[1], out string host, out ushort port, out string? wrong))
        {
            return Fail(wrong, out error);
        }

        error = null;
        return new NetAddress(id, host, port);

        NetAddress? Fail(string what, out string? error)
        {
            error = $"'{text}' is not the address of a node: {what}. Expected is id@host:port, such as {new string('0', 2 * NodeId.Size)}@203.0.113.7:26656.";
            return null;
        }
    }

    // ::ffff:8.8.4.4 and 8.8.4.4 are one address, and dialled the same way.
    private static IPAddress Unmapped(IPAddress ip) => ip.IsIPv4MappedToIPv6 ? ip.MapToIPv4() : ip;

    private static IPAddress? ParseIp(string host) => HostPort.TryParseIp(host, out IPAddress? ip) ? Unmapped(ip) : null;

    /// <summary><c>host:port</c> as the reference reads it (Go's <c>net.SplitHostPort</c>).</summary>
    internal static class HostPort
    {
        public static string Format(string host, ushort port) =>
            host.Contains(':', StringComparison.Ordinal) ? $"[{host}]:{port}" : $"{host}:{port}";

        public static bool TryParse(string text, out string host, out ushort port, [NotNullWhen(false)] out string? wrong)
        {
            host = "";
            port = 0;
            int colon = text.LastIndexOf(':');
            if (colon < 0)
            {
                wrong = "it has no port";
                return false;
            }

            string portText = text[(colon + 1)..];
            host = text[..colon];
            bool bracketed = host is ['[', .., ']'];
            if (bracketed)
            {
                host = host[1..^1];
            }

            if (host.Length == 0)
            {
                wrong = "it has no host";
                return false;
            }

            if (!ushort.TryParse(portText, NumberStyles.None, CultureInfo.InvariantCulture, out port))
            {
                wrong = $"its port '{portText}' is not a number from 0 to 65535";
                return false;
            }

            if (TryParseIp(host, out IPAddress? ip))
            {
                if (bracketed != (ip.AddressFamily == AddressFamily.InterNetworkV6))
                {
                    wrong = bracketed ? "brackets belong around an IPv6 address only" : "an IPv6 address needs brackets around it";
                    return false;
                }

                host = Unmapped(ip).ToString();
                wrong = null;
                return true;
            }

            if (bracketed || !IsHostName(host))
            {
                wrong = $"'{host}' is neither an IP address nor the name of a host";
                return false;
            }

            wrong = null;
            return true;
        }

        /// <summary>Four decimal numbers with dots, or IPv6 without a zone; none of the shorthands of IPv4 that <see cref="IPAddress.Parse(string)"/> takes.</summary>
        public static bool TryParseIp(string host, [NotNullWhen(true)] out IPAddress? ip)
        {
            ip = null;
            if (host.Contains(':', StringComparison.Ordinal))
            {
                return !host.Contains('%', StringComparison.Ordinal) && !host.Contains('[', StringComparison.Ordinal) && IPAddress.TryParse(host, out ip);
            }

            return LooksLikeIPv4(host) && IPAddress.TryParse(host, out ip);
        }

        private static bool LooksLikeIPv4(string host)
        {
            string[] numbers = host.Split('.');
            return numbers.Length == 4 && numbers.All(n => n.Length is > 0 and <= 3 && n.All(char.IsAsciiDigit) && (n.Length == 1 || n[0] != '0'));
        }

        // RFC 1123, and underscores, which operators use. All digits and dots would be an IPv4 address gone wrong.
        private static bool IsHostName(string host) =>
            host.Length <= 253
            && host.Any(char.IsAsciiLetter)
            && host.TrimEnd('.').Split('.').All(label => label.Length is > 0 and <= 63
                && label[0] != '-'
                && label[^1] != '-'
                && label.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_'));
    }
}
