using System.Collections.Immutable;
using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <summary>What an <see cref="AddressBook"/> knows of an address.</summary>
/// <param name="Address">Where the node can be dialled.</param>
/// <param name="Source">Who told of it first; the node itself when it dialled.</param>
/// <param name="IsOld">Whether it was of use, and is in an old bucket; else it was only heard of.</param>
/// <param name="Buckets">The buckets that it is in: one of 0 to 63 when it is old, else one to four of 0 to 255.</param>
/// <param name="Attempts">How many dials have failed since it was last of use.</param>
/// <param name="LastAttempt">When it was last dialled; when it was heard of, if it never was.</param>
/// <param name="LastSuccess">When it was last of use; null when it never was.</param>
public sealed record AddressBookEntry(
    NetAddress Address,
    NetAddress Source,
    bool IsOld,
    ImmutableArray<int> Buckets,
    int Attempts,
    DateTimeOffset LastAttempt,
    DateTimeOffset? LastSuccess);

/// <summary>What became of an address that was to be added to an <see cref="AddressBook"/>.</summary>
public enum AddressVerdict
{
    /// <summary>It is in the book now.</summary>
    Added,

    /// <summary>It was in the book before; the more often it is heard of, the more buckets it may be in.</summary>
    Known,

    /// <summary>The book has another address of the node, which it keeps: a node that was reached somewhere is not given another place by hearsay.</summary>
    KnownElsewhere,

    /// <summary>No node can be reached at such an address, or it has no IP address, or port 0.</summary>
    Invalid,

    /// <summary>It is the node's own.</summary>
    Own,

    /// <summary>The node is one whose address is not to be passed on, or it came from one.</summary>
    Private,

    /// <summary>It cannot be reached across the internet, and the book is strict.</summary>
    Unroutable,

    /// <summary>The node, its address, or exactly this address of the node is banned.</summary>
    Banned,
}
