using System.Collections.Immutable;
using System.Net;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Diagnostics;

/// <summary>What a whole node is and does at one moment. Can be written as JSON, and read back.</summary>
/// <remarks>
/// In JSON names are in snake case, lengths of time are seconds, times ISO 8601, ids hexadecimal, addresses text, and what a node says of
/// itself has the form that the reference gives it.
/// </remarks>
public sealed record SwitchStatus
{
    /// <summary>How to write and read a status with System.Text.Json.</summary>
    public static JsonTypeInfo<SwitchStatus> JsonTypeInfo => StatusJsonContext.Default.SwitchStatus;

    /// <summary>When the status was taken.</summary>
    public required DateTimeOffset Time { get; init; }

    /// <summary>What the node says of itself.</summary>
    public required NodeInfo NodeInfo { get; init; }

    /// <summary>Where the node listens; null when it does not.</summary>
    public NetAddress? ListenAddress { get; init; }

    /// <summary>How long ago it was started.</summary>
    public TimeSpan Uptime { get; init; }

    /// <summary>Peers that dialled the node, without unconditional ones.</summary>
    public int InboundPeers { get; init; }

    /// <summary>Peers that the node dialled, without unconditional ones.</summary>
    public int OutboundPeers { get; init; }

    /// <summary>Nodes that are being dialled, without unconditional ones.</summary>
    public int DiallingPeers { get; init; }

    /// <summary>Unconditional peers, whoever dialled.</summary>
    public int UnconditionalPeers { get; init; }

    /// <summary>The peers.</summary>
    public ImmutableArray<PeerStatus> Peers { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>The reactors, in the order in which they were added.</summary>
    public ImmutableArray<ReactorStatus> Reactors { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>The nodes to which the node wants to be connected at all times.</summary>
    public ImmutableArray<PersistentPeerStatus> PersistentPeers { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>Who is banned.</summary>
    public ImmutableArray<BanStatus> Bans { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>How many connections of others became no peer since the start, for each reason: a <see cref="HandshakeFailure"/> in snake case.</summary>
    public ImmutableSortedDictionary<string, long> InboundRefusals { get; init => field = value ?? field; } = ImmutableSortedDictionary<string, long>.Empty;

    /// <summary>Writes the status as JSON.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, JsonTypeInfo);

    /// <summary>Reads what <see cref="ToJson"/> wrote.</summary>
    /// <exception cref="JsonException"><paramref name="json"/> is something else; the message says where.</exception>
    public static SwitchStatus FromJson(string json) =>
        JsonSerializer.Deserialize(json, JsonTypeInfo) ?? throw new JsonException("The status of a node is an object, not null.");
}

/// <summary>What a peer is and does at one moment.</summary>
public sealed record PeerStatus
{
    /// <summary>The peer's id.</summary>
    public required NodeId Id { get; init; }

    /// <summary>What the peer says of itself.</summary>
    public required NodeInfo NodeInfo { get; init; }

    /// <summary>The other end of the connection.</summary>
    public required IPEndPoint RemoteEndPoint { get; init; }

    /// <summary>The address that was dialled; null when the peer dialled.</summary>
    public NetAddress? DialledAddress { get; init; }

    /// <summary>Whether this node dialled the peer.</summary>
    public bool IsOutbound { get; init; }

    /// <summary>Whether this node wants to be connected to the peer at all times.</summary>
    public bool IsPersistent { get; init; }

    /// <summary>Whether the peer is taken whatever the limits on the number of peers are.</summary>
    public bool IsUnconditional { get; init; }

    /// <summary>Whether the peer has done nothing useful for too long.</summary>
    public bool IsLazy { get; init; }

    /// <summary>What the connection has done so far, and what waits in it.</summary>
    public required ConnectionStatus Connection { get; init; }

    /// <summary>What a peer says of itself; whether it is persistent, unconditional or lazy is for its switch to say.</summary>
    public static PeerStatus Of(IPeer peer)
    {
        ArgumentNullException.ThrowIfNull(peer);
        return new PeerStatus
        {
            Id = peer.Id,
            NodeInfo = peer.NodeInfo,
            RemoteEndPoint = peer.RemoteEndPoint,
            DialledAddress = peer.DialledAddress,
            IsOutbound = peer.IsOutbound,
            Connection = peer.GetStatus(),
        };
    }
}

/// <summary>What a reactor has to do at one moment.</summary>
public sealed record ReactorStatus
{
    /// <summary>What the reactor is called.</summary>
    public required string Name { get; init; }

    /// <summary>The ids of its channels.</summary>
    public required ImmutableArray<byte> Channels { get; init; }

    /// <summary>Messages that wait for it, of all peers.</summary>
    public long InboxMessages { get; init; }

    /// <summary>What they cost, in bytes.</summary>
    public long InboxBytes { get; init; }

    /// <summary>Messages of the peers that are there that were dropped, because too many waited for it.</summary>
    public long MessagesDropped { get; init; }

    /// <summary>Deliveries from its outbox that failed, see <see cref="ReactorOutbox.Undelivered"/>.</summary>
    public long Undelivered { get; init; }

    /// <summary>Adds up what the peers say of a reactor's channels.</summary>
    public static ReactorStatus Of(string name, IEnumerable<ChannelDescriptor> channels, long undelivered, IEnumerable<PeerStatus> peers)
    {
        ImmutableArray<byte> ids = [.. channels.Select(channel => channel.Id)];
        ChannelStatus[] own = [.. peers.SelectMany(peer => peer.Connection.Channels).Where(status => ids.Contains(status.Channel.Id))];
        return new ReactorStatus
        {
            Name = name,
            Channels = ids,
            InboxMessages = own.Sum(status => (long)status.InboxMessages),
            InboxBytes = own.Sum(status => status.InboxBytes),
            MessagesDropped = own.Sum(status => status.MessagesDropped),
            Undelivered = undelivered,
        };
    }
}

/// <summary>A node to which this node wants to be connected at all times.</summary>
/// <param name="Address">Where it is dialled.</param>
/// <param name="IsConnected">Whether it is a peer at the moment.</param>
/// <param name="Tries">Dials that failed since it was a peer.</param>
/// <param name="NextDial">When it is dialled next; null when it is connected, being dialled, or not dialled any more.</param>
/// <param name="LastFailure">Why the last dial failed, or the last connection ended; null when neither did.</param>
public sealed record PersistentPeerStatus(NetAddress Address, bool IsConnected, int Tries, DateTimeOffset? NextDial = null, string? LastFailure = null);

/// <summary>Somebody who is banned.</summary>
/// <param name="Target">Whom: an id, an IP address, or a subnet.</param>
/// <param name="Reason">Why, for people.</param>
/// <param name="Until">When the ban ends; null when it does not.</param>
public sealed record BanStatus(string Target, string Reason, DateTimeOffset? Until = null);
