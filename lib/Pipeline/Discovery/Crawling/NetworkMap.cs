using System.Collections.Immutable;
using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Discovery.Crawling;

/// <summary>What a crawl has found: the nodes of a network, which of them can be reached, and who told of whom.</summary>
/// <param name="Network">The network (the chain id); null when no seed was reached and none was given.</param>
/// <param name="StartedAt">When the crawl began.</param>
/// <param name="Duration">How long it took.</param>
/// <param name="End">Why it ended.</param>
/// <param name="LeftOut">How many times a node was told of that is not in the map because of a limit.</param>
/// <param name="Nodes">The nodes that were heard of, by id.</param>
public sealed record NetworkMap(
    string? Network,
    DateTimeOffset StartedAt,
    TimeSpan Duration,
    CrawlEnd End,
    int LeftOut,
    ImmutableArray<CrawledNode> Nodes)
{
    /// <summary>Writes the map as JSON, with names in snake case and times in seconds.</summary>
    public string ToJson(bool isIndented = false) =>
        JsonSerializer.Serialize(this, (isIndented ? CrawlJsonContext.Indented : CrawlJsonContext.Default).NetworkMap);

    /// <summary>Reads what <see cref="ToJson"/> has written.</summary>
    /// <exception cref="JsonException">The text is something else; the message says where.</exception>
    public static NetworkMap FromJson(string json) =>
        JsonSerializer.Deserialize(json, CrawlJsonContext.Default.NetworkMap) ?? throw new JsonException("The map is null.");

    /// <summary>
    /// Writes the nodes as CSV (RFC 4180), with a line of headers. A text of a remote that a spreadsheet would take for a formula has an apostrophe before it.
    /// </summary>
    public void WriteCsv(TextWriter writer) => MapCsv.Write(writer, this);

    /// <summary>Writes the map as a graph in GraphViz' language: an arrow from a node to each that it has told of, and a colour for each kind of reachability.</summary>
    public void WriteDot(TextWriter writer) => MapDot.Write(writer, this);
}

/// <summary>Why a crawl ended.</summary>
public enum CrawlEnd
{
    /// <summary>Everybody was visited who was heard of.</summary>
    Complete,

    /// <summary>It was cancelled.</summary>
    Cancelled,

    /// <summary>It took as long as it may.</summary>
    TimeLimit,
}

/// <summary>Whether a node can be reached.</summary>
public enum Reachability
{
    /// <summary>It was not tried: the crawl has ended before, or may not try what is there.</summary>
    NotTried,

    /// <summary>It was connected to, has proved who it is, and is on the network.</summary>
    Reached,

    /// <summary>Something is there that would not, or could not, shake hands.</summary>
    Refused,

    /// <summary>Nothing is there.</summary>
    Unreachable,

    /// <summary>Another node is there.</summary>
    WrongIdentity,

    /// <summary>It is there, and on another network, or speaks another version of the block protocol.</summary>
    OtherNetwork,

    /// <summary>Something is there that does not answer.</summary>
    TimedOut,
}

/// <summary>A node that a crawl has heard of.</summary>
/// <param name="Id">The node.</param>
/// <param name="Addresses">Where it is said to be; the one that it was found at is the first.</param>
/// <param name="IsSeed">Whether the crawl began with it.</param>
/// <param name="Reachability">Whether it can be reached.</param>
/// <param name="Detail">Why it cannot be, or what was strange when it was; null when there is nothing to say.</param>
/// <param name="Info">What it says of itself; null when it was not heard.</param>
/// <param name="ConnectTime">How long it took to connect to it; null when that failed.</param>
/// <param name="HandshakeTime">How long the handshake took after that; null when it failed.</param>
/// <param name="AddressesTold">How many addresses it has told, all rounds together; null when it has not answered.</param>
/// <param name="Told">The nodes of the map that it has told of, by id.</param>
public sealed record CrawledNode(
    NodeId Id,
    ImmutableArray<NetAddress> Addresses,
    bool IsSeed,
    Reachability Reachability,
    string? Detail,
    NodeInfo? Info,
    TimeSpan? ConnectTime,
    TimeSpan? HandshakeTime,
    int? AddressesTold,
    ImmutableArray<NodeId> Told);
