using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Discovery.Crawling;

/// <summary>Settings of a crawl, see <see cref="Crawler"/>.</summary>
public sealed record CrawlOptions
{
    /// <summary>The network whose nodes are looked for (the chain id). Null, the default: the one that the first seed which can be reached is on.</summary>
    public string? Network { get; init; }

    /// <summary>What the crawler says that it is called; printable ASCII, not empty. Default: "pipeline-crawler".</summary>
    public string Moniker { get; init; } = "pipeline-crawler";

    /// <summary>Which versions of the protocols the crawler says that it speaks.</summary>
    public ProtocolVersions ProtocolVersions { get; init; } = new();

    /// <summary>Who the crawler is. Not disposed of. Null, the default: somebody new.</summary>
    public NodeKey? Key { get; init; }

    /// <summary>How many nodes are visited at once. At least 1; default 32.</summary>
    public int MaxVisits { get; init => field = AtLeastOne(value, nameof(MaxVisits)); } = 32;

    /// <summary>How long a visit may take at one address: to connect, to shake hands and to wait for the answer. More than 0; default 20 s.</summary>
    public TimeSpan VisitTimeout { get; init => field = Positive(value, nameof(VisitTimeout)); } = TimeSpan.FromSeconds(20);

    /// <summary>How long the crawl may take; then it ends with what has been found. More than 0; default 10 minutes.</summary>
    public TimeSpan MaxTime { get; init => field = Positive(value, nameof(MaxTime)); } = TimeSpan.FromMinutes(10);

    /// <summary>How many times each node is asked that can be reached: a node tells a random part of what it knows. At least 1; default 1.</summary>
    public int Rounds { get; init => field = AtLeastOne(value, nameof(Rounds)); } = 1;

    /// <summary>How many nodes are remembered. At least 1; default 10,000.</summary>
    public int MaxNodes { get; init => field = AtLeastOne(value, nameof(MaxNodes)); } = 10_000;

    /// <summary>
    /// How many nodes one node may be the first to tell of. At least 1; default 500: twice what an answer holds. What it tells beyond that is left to others.
    /// </summary>
    public int MaxNodesPerReporter { get; init => field = AtLeastOne(value, nameof(MaxNodesPerReporter)); } = 500;

    /// <summary>
    /// How many nodes the nodes of one network (an IPv4 /16, an IPv6 /32) may be the first to tell of, so that who has many nodes there cannot fill the map. At
    /// least 1; default 1250, an eighth of all. Seeds count as a network of their own.
    /// </summary>
    public int MaxNodesPerReporterGroup { get; init => field = AtLeastOne(value, nameof(MaxNodesPerReporterGroup)); } = 1250;

    /// <summary>How many addresses of one node are remembered; one that failed makes room for another. At least 1; default 4.</summary>
    public int MaxAddressesPerNode { get; init => field = AtLeastOne(value, nameof(MaxAddressesPerNode)); } = 4;

    /// <summary>
    /// How many different ports of one IP address are tried, so that nobody can have the crawler knock at all doors of another's machine. At least 1; default 64.
    /// </summary>
    public int MaxPortsPerIp { get; init => field = AtLeastOne(value, nameof(MaxPortsPerIp)); } = 64;

    /// <summary>How connections are made. Default: TCP, with 3 s to connect.</summary>
    public ITransport Transport { get; init; } = new TcpTransport();

    /// <summary>Where time comes from, for everything but <see cref="Transport"/>. Default: the system's clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

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

/// <summary>How far a crawl is.</summary>
/// <param name="Known">Nodes that were heard of.</param>
/// <param name="Visited">Nodes that were visited, well or not.</param>
/// <param name="Reached">Nodes that were reached.</param>
/// <param name="Visiting">Nodes that are being visited.</param>
/// <param name="Elapsed">How long it has run.</param>
public readonly record struct CrawlProgress(int Known, int Visited, int Reached, int Visiting, TimeSpan Elapsed);
