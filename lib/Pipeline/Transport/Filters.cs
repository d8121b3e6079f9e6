using System.Net;

namespace Pipeline.Transport;

/// <summary>Says whether a connection may go on, before anything was sent on it.</summary>
/// <param name="candidate">The connection.</param>
/// <param name="cancellationToken">Cancelled when the answer is not waited for any more.</param>
/// <returns>Null for yes; else a sentence that says why not.</returns>
public delegate ValueTask<string?> ConnectionFilter(ConnectionCandidate candidate, CancellationToken cancellationToken);

/// <summary>Says whether a node that has proved who it is may be a peer.</summary>
/// <param name="candidate">The node.</param>
/// <param name="cancellationToken">Cancelled when the answer is not waited for any more.</param>
/// <returns>Null for yes; else a sentence that says why not.</returns>
public delegate ValueTask<string?> PeerFilter(PeerCandidate candidate, CancellationToken cancellationToken);

/// <summary>A connection that may become a peer.</summary>
/// <param name="RemoteEndPoint">The other end.</param>
/// <param name="DialledAddress">What this node dialled; null when the remote dialled.</param>
public sealed record ConnectionCandidate(IPEndPoint RemoteEndPoint, NetAddress? DialledAddress)
{
    /// <summary>Whether this node dialled.</summary>
    public bool IsOutbound => DialledAddress is not null;
}

/// <summary>A node that may become a peer.</summary>
/// <param name="NodeInfo">What the node says of itself; its id is the one that it has proved to own.</param>
/// <param name="RemoteEndPoint">The other end of the connection.</param>
/// <param name="DialledAddress">What this node dialled; null when the remote dialled.</param>
public sealed record PeerCandidate(NodeInfo NodeInfo, IPEndPoint RemoteEndPoint, NetAddress? DialledAddress)
{
    /// <summary>Whether this node dialled.</summary>
    public bool IsOutbound => DialledAddress is not null;
}
