using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Hosting.Configuration;

/// <summary>A node's configuration as it is in force: the file's, the environment's and the command line's. Never changes; to see a change of the file, load it again.</summary>
/// <remarks>The keys, their ranges and defaults are in docs/operating.md, and in <see cref="ConfigurationKey.All"/>. Paths are absolute.</remarks>
public sealed record NodeConfiguration
{
    internal NodeConfiguration(HomeFolder home) => Home = home;

    /// <summary>The node's home folder.</summary>
    public HomeFolder Home { get; }

    /// <summary>Whether the home folder has a configuration file.</summary>
    public bool HasFile { get; internal init; }

    /// <summary>Each key's value and where it came from, in the order of <see cref="ConfigurationKey.All"/>.</summary>
    public ImmutableArray<ConfigurationValue> Values { get; internal init; } = [];

    /// <summary>What is no mistake for sure, as sentences that name the place: keys and variables that are not known.</summary>
    public ImmutableArray<string> Warnings { get; internal init; } = [];

    /// <summary>The network's id: <c>network</c>, or the genesis file's <c>chain_id</c>. Null when neither says it, see <see cref="NetworkProblem"/>.</summary>
    public string? Network { get; internal init; }

    /// <summary>Why the network is not known, as sentences that say what to do; null when it is.</summary>
    public string? NetworkProblem { get; internal init; }

    /// <summary><c>moniker</c></summary>
    public string Moniker { get; internal init; } = "";

    /// <summary><c>log_level</c></summary>
    public LogLevel LogLevel { get; internal init; }

    /// <summary><c>log_format</c></summary>
    public LogFormat LogFormat { get; internal init; }

    /// <summary><c>genesis_file</c></summary>
    public string GenesisFile { get; internal init; } = "";

    /// <summary><c>node_key_file</c></summary>
    public string NodeKeyFile { get; internal init; } = "";

    /// <summary><c>p2p.laddr</c>: an IP address or a name, and a port; null to not listen.</summary>
    public DnsEndPoint? ListenAddress { get; internal init; }

    /// <summary><c>p2p.external_address</c>, as host:port; null when it is where the node listens.</summary>
    public string? ExternalAddress { get; internal init; }

    /// <summary><c>p2p.seeds</c></summary>
    public ImmutableArray<NetAddress> Seeds { get; internal init; } = [];

    /// <summary><c>p2p.persistent_peers</c>; the node itself may be among them.</summary>
    public ImmutableArray<NetAddress> PersistentPeers { get; internal init; } = [];

    /// <summary><c>p2p.addr_book_file</c></summary>
    public string AddressBookFile { get; internal init; } = "";

    /// <summary><c>p2p.addr_book_strict</c></summary>
    public bool AddressBookStrict { get; internal init; }

    /// <summary><c>p2p.max_num_inbound_peers</c></summary>
    public int MaxInboundPeers { get; internal init; }

    /// <summary><c>p2p.max_num_outbound_peers</c></summary>
    public int MaxOutboundPeers { get; internal init; }

    /// <summary><c>p2p.unconditional_peer_ids</c></summary>
    public ImmutableArray<NodeId> UnconditionalPeers { get; internal init; } = [];

    /// <summary><c>p2p.persistent_peers_max_dial_period</c>; null when the times may grow.</summary>
    public TimeSpan? PersistentPeersMaxDialPeriod { get; internal init; }

    /// <summary><c>p2p.max_packet_msg_payload_size</c>, in bytes.</summary>
    public int MaxPacketDataSize { get; internal init; }

    /// <summary><c>p2p.send_rate</c>, in bytes a second; null for no limit.</summary>
    public long? SendRate { get; internal init; }

    /// <summary><c>p2p.recv_rate</c>, in bytes a second; null for no limit.</summary>
    public long? ReceiveRate { get; internal init; }

    /// <summary><c>p2p.pex</c></summary>
    public bool PeerExchange { get; internal init; }

    /// <summary><c>p2p.seed_mode</c></summary>
    public bool SeedMode { get; internal init; }

    /// <summary><c>p2p.private_peer_ids</c></summary>
    public ImmutableArray<NodeId> PrivatePeers { get; internal init; } = [];

    /// <summary><c>p2p.allow_duplicate_ip</c></summary>
    public bool AllowDuplicateIp { get; internal init; }

    /// <summary><c>p2p.handshake_timeout</c></summary>
    public TimeSpan HandshakeTimeout { get; internal init; }

    /// <summary><c>p2p.dial_timeout</c></summary>
    public TimeSpan DialTimeout { get; internal init; }

    /// <summary><c>p2p.allow</c> and <c>p2p.deny</c></summary>
    public AccessRules AccessRules { get; internal init; } = new();

    /// <summary><c>p2p.ban_file</c>; null when bans are not kept.</summary>
    public string? BanFile { get; internal init; }

    /// <summary><c>p2p.ban_time</c></summary>
    public TimeSpan BanTime { get; internal init; }

    /// <summary><c>p2p.max_inbound_handshakes</c></summary>
    public int MaxInboundHandshakes { get; internal init; }

    /// <summary><c>p2p.max_inbound_handshakes_per_ip</c>; null for no limit.</summary>
    public int? MaxInboundHandshakesPerIp { get; internal init; }

    /// <summary><c>p2p.max_inbound_connection_rate_per_ip</c>, in connections a second; null for no limit.</summary>
    public int? MaxInboundConnectionRatePerIp { get; internal init; }

    /// <summary><c>p2p.lazy_peer_time</c>; null when no peer is lazy.</summary>
    public TimeSpan? LazyPeerTime { get; internal init; }

    /// <summary><c>p2p.lazy_peer_policy</c></summary>
    public LazyPeerPolicy WhenLazy { get; internal init; }

    /// <summary><c>p2p.seed_disconnect_wait_period</c></summary>
    public TimeSpan SeedDisconnectWaitPeriod { get; internal init; }

    /// <summary><c>p2p.ping_interval</c></summary>
    public TimeSpan PingInterval { get; internal init; }

    /// <summary><c>p2p.pong_timeout</c></summary>
    public TimeSpan PongTimeout { get; internal init; }

    /// <summary>Reads the configuration: an option counts more than a variable, a variable more than the file, the file more than the default.</summary>
    /// <param name="home">Where the file is; it need not be there.</param>
    /// <param name="environment">The environment variables, of which empty ones count as not set; null for those of the process.</param>
    /// <param name="options">What was said on the command line, by <see cref="ConfigurationKey.Name"/>; null for nothing.</param>
    /// <exception cref="ConfigurationException">The file cannot be read, or a value is wrong, also one that another would have overruled; all of them are named.</exception>
    /// <exception cref="ArgumentException">An option is no key's.</exception>
    public static NodeConfiguration Load(
        HomeFolder home,
        IReadOnlyDictionary<string, string>? environment = null,
        IReadOnlyDictionary<string, string>? options = null)
    {
        ArgumentNullException.ThrowIfNull(home);
        return new ConfigurationReader(home).Read(environment ?? EnvironmentVariables.OfProcess(), options ?? ImmutableDictionary<string, string>.Empty);
    }

    /// <summary>
    /// The settings of a switch, as far as they are configured: not its <see cref="SwitchOptions.Version"/>, <see cref="SwitchOptions.Bans"/>
    /// (see <see cref="BanFile"/>) and <see cref="SwitchOptions.AddressBook"/>.
    /// </summary>
    /// <param name="self">The node's own id, which is left out of its persistent peers.</param>
    /// <param name="cancellationToken">Ends the wait for the address of a host's name in <c>p2p.laddr</c>.</param>
    /// <exception cref="ConfigurationException">The network is not known, or the host of <c>p2p.laddr</c> has no address.</exception>
    public async Task<SwitchOptions> ToSwitchOptionsAsync(NodeId self, CancellationToken cancellationToken = default) => new()
    {
        Network = Network ?? throw new ConfigurationException(NetworkProblem ?? "The network is not known."),
        Moniker = Moniker,
        ListenEndPoint = await ResolveListenAddressAsync(self, cancellationToken).ConfigureAwait(false),
        ExternalAddress = ExternalAddress,
        PersistentPeers = PersistentPeers.RemoveAll(address => address.Id == self),
        PersistentPeersMaxDialPeriod = PersistentPeersMaxDialPeriod,
        UnconditionalPeers = UnconditionalPeers,
        PrivatePeers = PrivatePeers,
        AccessRules = AccessRules,
        BanTime = BanTime,
        MaxInboundPeers = MaxInboundPeers,
        MaxInboundHandshakes = MaxInboundHandshakes,
        MaxInboundHandshakesPerIp = MaxInboundHandshakesPerIp,
        MaxInboundConnectionRatePerIp = MaxInboundConnectionRatePerIp,
        AllowDuplicateIp = AllowDuplicateIp,
        HandshakeTimeout = HandshakeTimeout,
        LazyPeerTime = LazyPeerTime,
        WhenLazy = WhenLazy,
        Connection = new ConnectionOptions
        {
            PingInterval = PingInterval,
            PongTimeout = PongTimeout,
            MaxPacketDataSize = MaxPacketDataSize,
            SendRate = SendRate,
            ReceiveRate = ReceiveRate,
        },
        Transport = new TcpTransport { DialTimeout = DialTimeout },
    };

    private async Task<IPEndPoint?> ResolveListenAddressAsync(NodeId self, CancellationToken cancellationToken)
    {
        if (ListenAddress is not { } address)
        {
            return null;
        }

        try
        {
            return (await new NetAddress(self, address.Host, (ushort)address.Port).ResolveAsync(cancellationToken).ConfigureAwait(false))[0];
        }
        catch (Exception e) when (e is SocketException or IndexOutOfRangeException or ArgumentOutOfRangeException)
        {
            ConfigurationValue value = Values.Single(value => value.Key.Name == "p2p.laddr");
            throw new ConfigurationException($"{value.Origin.Subject(value.Key)} is {UserText.Quote(value.Text)}; the host {address.Host} has no address here ({e.Message}).");
        }
    }
}
