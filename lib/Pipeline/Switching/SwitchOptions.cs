using System.Net;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>Settings of a <see cref="Switch"/>.</summary>
public sealed record SwitchOptions
{
    /// <summary>The network that the node belongs to (the chain id). Peers must have the same; default empty.</summary>
    public string Network { get; init; } = "";

    /// <summary>The node's name for people; printable ASCII, not empty. Default: "pipeline".</summary>
    public string Moniker { get; init; } = "pipeline";

    /// <summary>The version of the node's software; empty or printable ASCII. Default empty.</summary>
    public string Version { get; init; } = "";

    /// <summary>The versions of the protocols that the node speaks. Peers must have the same block version.</summary>
    public ProtocolVersions ProtocolVersions { get; init; } = new();

    /// <summary>Where the node listens; port 0 stands for any free port. Null: it only dials. Default: 0.0.0.0:26656 (<c>laddr</c>).</summary>
    public IPEndPoint? ListenEndPoint { get; init; } = new(IPAddress.Any, 26656);

    /// <summary>
    /// Where others can dial the node, as <c>[tcp://]host:port</c>, when that is not where it listens (<c>external_address</c>). Null, the
    /// default: where it listens.
    /// </summary>
    public string? ExternalAddress { get; init; }

    /// <summary>The most peers that may have dialled this node. At least 0; default 40 (<c>max_num_inbound_peers</c>).</summary>
    public int MaxInboundPeers
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value, nameof(MaxInboundPeers));
            field = value;
        }
    } = 40;

    /// <summary>Connections that may be in their handshake at once after dialling this node; more wait. At least 1; default 64.</summary>
    public int MaxInboundHandshakes
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, nameof(MaxInboundHandshakes));
            field = value;
        }
    } = 64;

    /// <summary>Whether several peers may have the same IP address. Default false (<c>allow_duplicate_ip</c>).</summary>
    public bool AllowDuplicateIp { get; init; }

    /// <summary>How long a handshake may take. More than 0; default 20 s (<c>handshake_timeout</c>).</summary>
    public TimeSpan HandshakeTimeout
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(value, TimeSpan.Zero, nameof(HandshakeTimeout));
            field = value;
        }
    } = TimeSpan.FromSeconds(20);

    /// <summary>
    /// How long a reactor may take to deal with what a peer sent before it left, and to return from what it does when the peer is stopped,
    /// before the peer is removed all the same. At least 0; default 5 s.
    /// </summary>
    public TimeSpan ReactorGracePeriod
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, TimeSpan.Zero, nameof(ReactorGracePeriod));
            field = value;
        }
    } = TimeSpan.FromSeconds(5);

    /// <summary>Settings of the connections.</summary>
    public ConnectionOptions Connection { get; init; } = new();

    /// <summary>How connections are made. Default: TCP.</summary>
    public ITransport Transport { get; init; } = new TcpTransport();

    /// <summary>Where time comes from, for everything but <see cref="Connection"/> and <see cref="Transport"/>, which have their own. Default: the system's clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;
}
