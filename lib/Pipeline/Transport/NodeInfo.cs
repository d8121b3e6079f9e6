using System.Collections.Immutable;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Transport;

/// <summary>The versions of the three protocols that a node speaks.</summary>
/// <param name="P2P">The peer-to-peer protocol. Today 8; not compared.</param>
/// <param name="Block">The block protocol. Today 11; both sides must have the same.</param>
/// <param name="App">The application's own version; not compared.</param>
public sealed record ProtocolVersions(ulong P2P = 8, ulong Block = 11, ulong App = 0);

/// <summary>What a node says of itself in the handshake.</summary>
/// <remarks>Source: <c>docs/protocol.md</c>, the handshake; the reference's <c>DefaultNodeInfo</c>.</remarks>
public sealed record NodeInfo
{
    /// <summary>The most bytes that a remote's description may have.</summary>
    public const int MaxSize = 10_240;

    /// <summary>The most channels that a node may have.</summary>
    public const int MaxChannels = 16;

    /// <summary>The versions of the protocols.</summary>
    public ProtocolVersions ProtocolVersions { get; init; } = new();

    /// <summary>The node's id, which must be that of the key it authenticates with.</summary>
    public NodeId Id { get; init; }

    /// <summary>Where the node says it can be dialled: <c>[tcp://]host:port</c>.</summary>
    public string ListenAddress { get; init; } = "tcp://0.0.0.0:26656";

    /// <summary>The network the node belongs to (the chain id); both sides must have the same.</summary>
    public string Network { get; init; } = "";

    /// <summary>The version of the node's software; empty or printable ASCII.</summary>
    public string Version { get; init; } = "";

    /// <summary>The channels that the node has, at most <see cref="MaxChannels"/>, each once.</summary>
    public ImmutableArray<byte> Channels { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>The node's name for people; printable ASCII, not empty.</summary>
    public string Moniker { get; init; } = "";

    /// <summary>Whether the node indexes transactions: "on", "off" or empty.</summary>
    public string TxIndex { get; init; } = "";

    /// <summary>The address of the node's RPC service; empty or printable ASCII.</summary>
    public string RpcAddress { get; init; } = "";

    /// <summary>Checks the rules that hold for a single description; null when all do.</summary>
    /// <returns>A sentence that says which rule does not hold.</returns>
    public string? FindFault()
    {
        if (Id.IsEmpty)
        {
            return $"it has no node id of {2 * NodeId.Size} hexadecimal digits";
        }

        string listenAddress = ListenAddress.StartsWith("tcp://", StringComparison.OrdinalIgnoreCase) ? ListenAddress["tcp://".Length..] : ListenAddress;
        if (!NetAddress.HostPort.TryParse(listenAddress, out _, out _, out string? wrong))
        {
            return $"its listen address {Quote(ListenAddress)} cannot be used: {wrong}";
        }

        if (Version.Length > 0 && !IsPrintable(Version))
        {
            return $"its version {Quote(Version)} is not printable ASCII";
        }

        if (Channels.Length > MaxChannels)
        {
            return $"it has {Channels.Length} channels; the most is {MaxChannels}";
        }

        for (int i = 0; i < Channels.Length; i++)
        {
            if (Channels.IndexOf(Channels[i]) < i)
            {
                return $"it names channel 0x{Channels[i]:x2} twice";
            }
        }

        if (!IsPrintable(Moniker))
        {
            return $"its moniker {Quote(Moniker)} is empty or not printable ASCII";
        }

        if (TxIndex is not ("" or "on" or "off"))
        {
            return $"its tx_index {Quote(TxIndex)} is neither empty, 'on' nor 'off'";
        }

        return RpcAddress.Length > 0 && !IsPrintable(RpcAddress) ? $"its rpc address {Quote(RpcAddress)} is not printable ASCII" : null;
    }

    /// <summary>Checks whether this node and <paramref name="remote"/> can be peers; null when they can.</summary>
    /// <param name="remote">The other node.</param>
    /// <param name="failure">The rule that does not hold.</param>
    /// <returns>A sentence that says why they cannot.</returns>
    public string? FindIncompatibility(NodeInfo remote, out HandshakeFailure failure)
    {
        ArgumentNullException.ThrowIfNull(remote);
        if (remote.ProtocolVersions.Block != ProtocolVersions.Block)
        {
            failure = HandshakeFailure.DifferentBlockVersion;
            return $"it speaks version {remote.ProtocolVersions.Block} of the block protocol, this node {ProtocolVersions.Block}";
        }

        if (remote.Network != Network)
        {
            failure = HandshakeFailure.DifferentNetwork;
            return $"it is on network {Quote(remote.Network)}, this node on {Quote(Network)}";
        }

        // A node without channels is only looking.
        if (!Channels.IsEmpty && !Channels.Any(id => remote.Channels.Contains(id)))
        {
            failure = HandshakeFailure.NoCommonChannel;
            return $"it has channels {List(remote.Channels)} and none of this node's {List(Channels)}";
        }

        failure = default;
        return null;
    }

    /// <inheritdoc />
    public bool Equals(NodeInfo? other) =>
        other is not null
        && ProtocolVersions == other.ProtocolVersions
        && Id == other.Id
        && ListenAddress == other.ListenAddress
        && Network == other.Network
        && Version == other.Version
        && Channels.AsSpan().SequenceEqual(other.Channels.AsSpan())
        && Moniker == other.Moniker
        && TxIndex == other.TxIndex
        && RpcAddress == other.RpcAddress;

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Id, ListenAddress, Network, Version, Moniker);

    internal DefaultNodeInfo ToProto() => new()
    {
        ProtocolVersion = new ProtocolVersion { P2P = ProtocolVersions.P2P, Block = ProtocolVersions.Block, App = ProtocolVersions.App },
        DefaultNodeId = Id.ToString(),
        ListenAddr = ListenAddress,
        Network = Network,
        Version = Version,
        Channels = ByteString.CopyFrom(Channels.AsSpan()),
        Moniker = Moniker,
        Other = new DefaultNodeInfoOther { TxIndex = TxIndex, RpcAddress = RpcAddress },
    };

    // An id that is none stays empty and is found by FindFault.
    internal static NodeInfo FromProto(DefaultNodeInfo proto) => new()
    {
        ProtocolVersions = new ProtocolVersions(
            proto.ProtocolVersion?.P2P ?? 0,
            proto.ProtocolVersion?.Block ?? 0,
            proto.ProtocolVersion?.App ?? 0),
        Id = NodeId.TryParse(proto.DefaultNodeId, out NodeId id) ? id : default,
        ListenAddress = proto.ListenAddr,
        Network = proto.Network,
        Version = proto.Version,
        Channels = [.. proto.Channels.Span],
        Moniker = proto.Moniker,
        TxIndex = proto.Other?.TxIndex ?? "",
        RpcAddress = proto.Other?.RpcAddress ?? "",
    };

    private static bool IsPrintable(string text) => text.All(c => c is >= ' ' and <= '~') && text.Any(c => c != ' ');

    // What a remote says goes into logs and terminals: no control characters, and no more of it than one can read.
    private static string Quote(string text)
    {
        const int most = 64;
        string shown = string.Concat(text.Take(most).Select(c => c is >= ' ' and <= '~' ? c.ToString() : $"\\u{(int)c:x4}"));
        return text.Length <= most ? $"'{shown}'" : $"'{shown}…' ({text.Length} characters)";
    }

    private static string List(ImmutableArray<byte> channels) =>
        channels.IsEmpty ? "(none)" : string.Join(' ', channels.Take(MaxChannels).Select(id => $"0x{id:x2}"));
}
