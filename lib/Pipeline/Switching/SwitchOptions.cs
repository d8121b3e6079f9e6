using System.Collections.Immutable;
using System.Diagnostics.Metrics;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
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

    /// <summary>
    /// Nodes to be connected to at all times (<c>persistent_peers</c>): they are dialled when the switch starts, and again whenever they have
    /// left, see <see cref="PersistentPeersMaxDialPeriod"/>. Default none.
    /// </summary>
    public ImmutableArray<NetAddress> PersistentPeers { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>
    /// The longest time between two tries to dial a persistent peer, without a random part of up to 3 s; more than 0. Null, the default
    /// (<c>persistent_peers_max_dial_period</c> of 0): 20 tries come 5 s apart, the next ten after 3, 9, 27 s and so on to 16 h, as do all
    /// after those.
    /// </summary>
    public TimeSpan? PersistentPeersMaxDialPeriod
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(value ?? TimeSpan.MaxValue, TimeSpan.Zero, nameof(PersistentPeersMaxDialPeriod));
            field = value;
        }
    }

    /// <summary>Nodes that become peers whatever the limits on the number of peers are (<c>unconditional_peer_ids</c>). Default none.</summary>
    public ImmutableArray<NodeId> UnconditionalPeers { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>Nodes whose addresses are not passed on to others (<c>private_peer_ids</c>). Default none.</summary>
    public ImmutableArray<NodeId> PrivatePeers { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>
    /// Who may be a peer, and who not, by id, address or subnet; can be replaced while the switch runs, see
    /// <see cref="Switch.SetAccessRules"/>. Default: everybody may.
    /// </summary>
    public AccessRules AccessRules { get; init; } = new();

    /// <summary>The bans, kept by whoever made the list. Null, the default: they are forgotten when the switch stops.</summary>
    public BanList? Bans { get; init; }

    /// <summary>How long a ban lasts that says nothing else, such as that of a peer that misbehaved. More than 0; default 24 h.</summary>
    public TimeSpan BanTime { get; init => field = Positive(value, nameof(BanTime)); } = TimeSpan.FromHours(24);

    /// <summary>Asked about each connection before its handshake, in this order, until one says no. Default none.</summary>
    public ImmutableArray<ConnectionFilter> ConnectionFilters { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>Asked about each node after its handshake, in this order, until one says no. Default none.</summary>
    public ImmutableArray<PeerFilter> PeerFilters { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>How long the filters of one kind may take together; after that the answer is no. More than 0; default 5 s.</summary>
    public TimeSpan FilterTimeout { get; init => field = Positive(value, nameof(FilterTimeout)); } = TimeSpan.FromSeconds(5);

    /// <summary>Remembers which addresses are good ones. Null, the default: nobody does.</summary>
    public IAddressBook? AddressBook { get; init; }

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

    /// <summary>
    /// Connections that may be in their handshake at once after dialling this node; when one more comes, the oldest of the address that
    /// has most of them ends. At least 1; default 256: more than honest nodes bring at once, and few enough to cost little.
    /// </summary>
    public int MaxInboundHandshakes { get; init => field = AtLeastOne(value, nameof(MaxInboundHandshakes)); } = 256;

    /// <summary>
    /// Connections of one address that may be in their handshake at once after dialling this node; more are closed. Null for no limit, else
    /// at least 1; default 16. The addresses of an IPv6 /64 count as one.
    /// </summary>
    public int? MaxInboundHandshakesPerIp
    {
        get;
        init => field = value is { } limit ? AtLeastOne(limit, nameof(MaxInboundHandshakesPerIp)) : null;
    } = 16;

    /// <summary>
    /// Connections that one address may make in a second, with bursts of as many; more are closed. Null for no limit, else at least 1;
    /// default 20. The addresses of an IPv6 /64 count as one.
    /// </summary>
    public int? MaxInboundConnectionRatePerIp
    {
        get;
        init => field = value is { } limit ? AtLeastOne(limit, nameof(MaxInboundConnectionRatePerIp)) : null;
    } = 20;

    /// <summary>Whether several peers may have the same IP address. Default false (<c>allow_duplicate_ip</c>).</summary>
    public bool AllowDuplicateIp { get; init; }

    /// <summary>How long a handshake may take. More than 0; default 20 s (<c>handshake_timeout</c>).</summary>
    public TimeSpan HandshakeTimeout { get; init => field = Positive(value, nameof(HandshakeTimeout)); } = TimeSpan.FromSeconds(20);

    /// <summary>
    /// After how long without anything useful, as reactors say with <see cref="IPeer.MarkUseful"/>, a peer is lazy. Null, the default: never,
    /// else more than 0. Makes sense only when every peer has to do with a reactor that says what is useful.
    /// </summary>
    public TimeSpan? LazyPeerTime
    {
        get;
        init => field = value is { } time ? Positive(time, nameof(LazyPeerTime)) : null;
    }

    /// <summary>What happens to a lazy peer. Default: it is reported.</summary>
    public LazyPeerPolicy WhenLazy { get; init; } = LazyPeerPolicy.Report;

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

    /// <summary>Makes the meter that the node's metrics are in. Null, the default: the node makes one, see <see cref="PipelineDiagnostics"/>.</summary>
    public IMeterFactory? MeterFactory { get; init; }

    /// <summary>
    /// Where time comes from, for everything but <see cref="Transport"/> and <see cref="Bans"/>, which have their own. Default: the system's
    /// clock.
    /// </summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Where delays get their random part from: 0 to less than 1.</summary>
    internal Func<double> NextDouble { get; init; } = Random.Shared.NextDouble;

    private static int AtLeastOne(int value, string property)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, property);
        return value;
    }

    private static TimeSpan Positive(TimeSpan value, string property)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(value, TimeSpan.Zero, property);
        return value;
    }
}
