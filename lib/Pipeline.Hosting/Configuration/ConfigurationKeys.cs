using System.Collections.Immutable;
using System.Net;
using Microsoft.Extensions.Logging;
using Pipeline.Cryptography;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Hosting.Configuration;

/// <summary>The table of keys: all that there is to know about each of them.</summary>
internal static class ConfigurationKeys
{
    private const string DefaultNodeKeyFile = "config/node_key.json";
    private const string DefaultGenesisFile = "config/genesis.json";

    private static readonly TimeSpan TenYears = TimeSpan.FromHours(87_600);

    public static readonly ConfigurationKey Network = new ConfigurationKey<string>(
        "network",
        "",
        ValueKind.Network,
        "The id of the network (the chain id) that the node is a peer of. Empty: the chain_id of the genesis file.",
        static (configuration, value) => configuration with { Network = value });

    public static readonly ConfigurationKey Moniker = new ConfigurationKey<string>(
        "moniker",
        MonikerOf(Environment.MachineName),
        ValueKind.Moniker,
        "The node's name for people.",
        static (configuration, value) => configuration with { Moniker = value })
    { DocumentedDefault = "the name of the machine" };

    /// <summary>CometBFT's, in its order, and those that it does not know, which it ignores.</summary>
    public static readonly ImmutableArray<ConfigurationKey> All =
    [
        Moniker,
        Network,
        new ConfigurationKey<LogLevel>(
            "log_level",
            "info",
            ValueKind.Level,
            "The least level of what is logged. Of levels by module the one of p2p counts, else the one of *, else info.",
            static (configuration, value) => configuration with { LogLevel = value }),
        new ConfigurationKey<LogFormat>(
            "log_format",
            "plain",
            ValueKind.Choice(("plain", LogFormat.Plain), ("json", LogFormat.Json)),
            "Whether the log has lines for people or JSON objects.",
            static (configuration, value) => configuration with { LogFormat = value }),
        new ConfigurationKey<string>(
            "genesis_file",
            DefaultGenesisFile,
            ValueKind.File(DefaultGenesisFile),
            "The file that says which network the node belongs to, when network does not.",
            static (configuration, value) => configuration with { GenesisFile = configuration.Home.Resolve(value) }),
        new ConfigurationKey<string>(
            "node_key_file",
            DefaultNodeKeyFile,
            ValueKind.File(DefaultNodeKeyFile),
            "The file with the node's key, which is its identity.",
            static (configuration, value) => configuration with { NodeKeyFile = configuration.Home.Resolve(value) }),

        new ConfigurationKey<DnsEndPoint?>(
            "p2p.laddr",
            "tcp://0.0.0.0:26656",
            ValueKind.ListenAddress,
            "Where the node listens; port 0 is any free port. Empty: it does not listen.",
            static (configuration, value) => configuration with { ListenAddress = value }),
        new ConfigurationKey<string?>(
            "p2p.external_address",
            "",
            ValueKind.ExternalAddress,
            "Where others can dial the node. Empty: where it listens.",
            static (configuration, value) => configuration with { ExternalAddress = value }),
        new ConfigurationKey<ImmutableArray<NetAddress>>(
            "p2p.seeds",
            "",
            ValueKind.Addresses,
            "Nodes that are asked for addresses when too few are known.",
            static (configuration, value) => configuration with { Seeds = value }),
        new ConfigurationKey<ImmutableArray<NetAddress>>(
            "p2p.persistent_peers",
            "",
            ValueKind.Addresses,
            "Nodes to be connected to at all times. The node itself may be among them, and is left out.",
            static (configuration, value) => configuration with { PersistentPeers = value }),
        new ConfigurationKey<string>(
            "p2p.addr_book_file",
            "config/addrbook.json",
            ValueKind.File("config/addrbook.json"),
            "The file with the addresses of nodes that are known.",
            static (configuration, value) => configuration with { AddressBookFile = configuration.Home.Resolve(value) }),
        new ConfigurationKey<bool>(
            "p2p.addr_book_strict",
            "true",
            ValueKind.Boolean,
            "Whether addresses that cannot be reached across the internet are kept out of the address book; false in private networks.",
            static (configuration, value) => configuration with { AddressBookStrict = value }),
        new ConfigurationKey<long>(
            "p2p.max_num_inbound_peers",
            "40",
            ValueKind.Count("peers", 0, "40"),
            "The most peers that have dialled this node; unconditional ones do not count.",
            static (configuration, value) => configuration with { MaxInboundPeers = (int)value }),
        new ConfigurationKey<long>(
            "p2p.max_num_outbound_peers",
            "10",
            ValueKind.Count("peers", 0, "10"),
            "How many peers the node looks for and dials; unconditional ones do not count.",
            static (configuration, value) => configuration with { MaxOutboundPeers = (int)value }),
        new ConfigurationKey<ImmutableArray<NodeId>>(
            "p2p.unconditional_peer_ids",
            "",
            ValueKind.Ids,
            "Nodes that become peers whatever the limits on the number of peers are.",
            static (configuration, value) => configuration with { UnconditionalPeers = value }),
        new ConfigurationKey<TimeSpan>(
            "p2p.persistent_peers_max_dial_period",
            "0s",
            ValueKind.Time(TimeSpan.Zero, "1m"),
            "The longest time between two tries to dial a persistent peer. 0s: after 20 tries the times grow, to 16 hours.",
            static (configuration, value) => configuration with { PersistentPeersMaxDialPeriod = NullWhenZero(value) }),
        new ConfigurationKey<TimeSpan>(
            "p2p.flush_throttle_timeout",
            "100ms",
            ValueKind.Time(TimeSpan.Zero, "100ms"),
            "Has no effect here: what there is to send is sent at once.",
            static (configuration, _) => configuration),
        new ConfigurationKey<long>(
            "p2p.max_packet_msg_payload_size",
            "1024",
            ValueKind.Number("bytes", 2, 4 << 20, "1024"),
            "The most bytes of a message in one packet. All nodes of a network need the same.",
            static (configuration, value) => configuration with { MaxPacketDataSize = (int)value }),
        new ConfigurationKey<long>(
            "p2p.send_rate",
            "5120000",
            ValueKind.Number("bytes a second", 0, long.MaxValue, "5120000"),
            "How fast each peer is sent to at most. 0: no limit.",
            static (configuration, value) => configuration with { SendRate = NullWhenZero(value) }),
        new ConfigurationKey<long>(
            "p2p.recv_rate",
            "5120000",
            ValueKind.Number("bytes a second", 0, long.MaxValue, "5120000"),
            "How fast each peer may send at most. 0: no limit.",
            static (configuration, value) => configuration with { ReceiveRate = NullWhenZero(value) }),
        new ConfigurationKey<bool>(
            "p2p.pex",
            "true",
            ValueKind.Boolean,
            "Whether the node exchanges addresses with its peers, and so finds more.",
            static (configuration, value) => configuration with { PeerExchange = value }),
        new ConfigurationKey<bool>(
            "p2p.seed_mode",
            "false",
            ValueKind.Boolean,
            "Whether the node does nothing but crawl the network and answer those who ask it for addresses.",
            static (configuration, value) => configuration with { SeedMode = value }),
        new ConfigurationKey<ImmutableArray<NodeId>>(
            "p2p.private_peer_ids",
            "",
            ValueKind.Ids,
            "Nodes whose addresses are not passed on to others.",
            static (configuration, value) => configuration with { PrivatePeers = value }),
        new ConfigurationKey<bool>(
            "p2p.allow_duplicate_ip",
            "false",
            ValueKind.Boolean,
            "Whether several peers may have the same IP address.",
            static (configuration, value) => configuration with { AllowDuplicateIp = value }),
        new ConfigurationKey<TimeSpan>(
            "p2p.handshake_timeout",
            "20s",
            ValueKind.Time(null, "20s"),
            "How long a handshake may take.",
            static (configuration, value) => configuration with { HandshakeTimeout = value }),
        new ConfigurationKey<TimeSpan>(
            "p2p.dial_timeout",
            "3s",
            ValueKind.Time(null, "3s"),
            "How long connecting to an address may take.",
            static (configuration, value) => configuration with { DialTimeout = value }),

        new ConfigurationKey<ImmutableArray<AccessTarget>>(
            "p2p.allow",
            "",
            ValueKind.Targets,
            "When not empty, only these may be peers. Read again on SIGHUP.",
            static (configuration, value) => configuration with { AccessRules = configuration.AccessRules with { Allow = value } })
        { IsReloadable = true },
        new ConfigurationKey<ImmutableArray<AccessTarget>>(
            "p2p.deny",
            "",
            ValueKind.Targets,
            "These may not be peers, whatever allow says. Read again on SIGHUP.",
            static (configuration, value) => configuration with { AccessRules = configuration.AccessRules with { Deny = value } })
        { IsReloadable = true },
        new ConfigurationKey<string>(
            "p2p.ban_file",
            "config/bans.json",
            ValueKind.OptionalFile("config/bans.json"),
            "The file with the bans, which is read again on SIGHUP. Empty: they are forgotten when the node stops.",
            static (configuration, value) => configuration with { BanFile = value.Length == 0 ? null : configuration.Home.Resolve(value) }),
        new ConfigurationKey<TimeSpan>(
            "p2p.ban_time",
            "24h",
            ValueKind.Time(null, "24h", TenYears),
            "How long a peer that misbehaved is banned.",
            static (configuration, value) => configuration with { BanTime = value }),
        new ConfigurationKey<long>(
            "p2p.max_inbound_handshakes",
            "256",
            ValueKind.Count("connections", 1, "256"),
            "Connections that may be in their handshake at once after dialling this node.",
            static (configuration, value) => configuration with { MaxInboundHandshakes = (int)value }),
        new ConfigurationKey<long>(
            "p2p.max_inbound_handshakes_per_ip",
            "16",
            ValueKind.Count("connections", 0, "16"),
            "Those of them that may come from one IPv4 address or IPv6 /64. 0: no limit.",
            static (configuration, value) => configuration with { MaxInboundHandshakesPerIp = (int?)NullWhenZero(value) }),
        new ConfigurationKey<long>(
            "p2p.max_inbound_connection_rate_per_ip",
            "20",
            ValueKind.Count("connections a second", 0, "20"),
            "How many connections one IPv4 address or IPv6 /64 may make. 0: no limit.",
            static (configuration, value) => configuration with { MaxInboundConnectionRatePerIp = (int?)NullWhenZero(value) }),
        new ConfigurationKey<TimeSpan>(
            "p2p.lazy_peer_time",
            "0s",
            ValueKind.Time(TimeSpan.Zero, "10m"),
            "After how long without anything useful a peer is lazy. 0s: never.",
            static (configuration, value) => configuration with { LazyPeerTime = NullWhenZero(value) }),
        new ConfigurationKey<LazyPeerPolicy>(
            "p2p.lazy_peer_policy",
            "report",
            ValueKind.Choice(("report", LazyPeerPolicy.Report), ("disconnect", LazyPeerPolicy.Disconnect)),
            "What happens to a lazy peer.",
            static (configuration, value) => configuration with { WhenLazy = value }),
        new ConfigurationKey<TimeSpan>(
            "p2p.seed_disconnect_wait_period",
            "28h",
            ValueKind.Time(null, "28h"),
            "How long a peer that is not persistent stays connected in seed mode.",
            static (configuration, value) => configuration with { SeedDisconnectWaitPeriod = value }),
        new ConfigurationKey<TimeSpan>(
            "p2p.ping_interval",
            "60s",
            ValueKind.Time(null, "60s"),
            "How often a ping is sent.",
            static (configuration, value) => configuration with { PingInterval = value }),
        new ConfigurationKey<TimeSpan>(
            "p2p.pong_timeout",
            "45s",
            ValueKind.Time(null, "45s"),
            "How long the answer to a ping may take before the peer is disconnected.",
            static (configuration, value) => configuration with { PongTimeout = value }),
    ];

    /// <summary>What CometBFT, in any version since 0.34, has in its file besides, and this program has no use for: keys, and sections with all that is in them.</summary>
    public static readonly ImmutableArray<string> Unused =
    [
        "version", "home", "proxy_app", "fast_sync", "block_sync", "db_backend", "db_dir", "priv_validator", "priv_validator_file", "priv_validator_key_file",
        "priv_validator_state_file", "priv_validator_laddr", "abci", "filter_peers", "prof_laddr", "event_bus_buffer_capacity",
        "rpc", "grpc", "mempool", "statesync", "blocksync", "fastsync", "consensus", "storage", "tx_index", "instrumentation",
        "p2p.home", "p2p.upnp", "p2p.test_dial_fail", "p2p.test_fuzz", "p2p.test_fuzz_config", "p2p.libp2p",
    ];

    private static readonly Dictionary<string, ConfigurationKey> ByName = All.ToDictionary(key => key.Name, StringComparer.OrdinalIgnoreCase);

    public static ConfigurationKey? Find(string name) => ByName.GetValueOrDefault(name);

    // Only printable ASCII may be in the handshake.
    internal static string MonikerOf(string machine)
    {
        string moniker = string.Concat(machine.Select(c => c is > ' ' and <= '~' ? c : '-')).Trim('-');
        return moniker.Length > 0 ? moniker : "pipeline";
    }

    private static TimeSpan? NullWhenZero(TimeSpan value) => value == TimeSpan.Zero ? null : value;

    private static long? NullWhenZero(long value) => value == 0 ? null : value;
}
