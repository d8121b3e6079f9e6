using System.Collections.Immutable;
using Pipeline.Cryptography;
using Pipeline.Switching;

namespace Pipeline.Discovery;

/// <summary>Settings of an <see cref="AddressBook"/>.</summary>
public sealed record AddressBookOptions
{
    /// <summary>
    /// Whether addresses that cannot be reached across the internet (loopback, private networks, link-local) are refused. Default true
    /// (<c>addr_book_strict</c>); false for a network of one's own.
    /// </summary>
    public bool IsStrict { get; init; } = true;

    /// <summary>The node's own ids, which are never in its book. Default none.</summary>
    public ImmutableArray<NodeId> OwnIds { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>Nodes that are never in the book and so never passed on, nor is what they tell (<c>private_peer_ids</c>). Default none.</summary>
    public ImmutableArray<NodeId> PrivateIds { get; init => field = value.IsDefault ? [] : value; } = [];

    /// <summary>
    /// Who is banned: addresses of those are taken out of the book while they are, and put back afterwards. The list is not disposed of by the
    /// book. Null, the default: nobody.
    /// </summary>
    public BanList? Bans { get; init; }

    /// <summary>Where time comes from. Default: the system's clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Where choices come from.</summary>
    internal Random Random { get; init; } = Random.Shared;
}
