using System.Collections.Immutable;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>Who may be a peer, from configuration: for as long as the node runs, where a <see cref="Ban"/> is for a time.</summary>
public sealed record AccessRules
{
    private readonly TargetIndex<AccessTarget> _allow = new();
    private readonly TargetIndex<AccessTarget> _deny = new();

    /// <summary>When not empty, only who is in it may be a peer, by id or by address. Default empty.</summary>
    /// <exception cref="ArgumentException">A target is null.</exception>
    public ImmutableArray<AccessTarget> Allow
    {
        get;
        init => (field, _allow) = Indexed(value, nameof(Allow));
    }
    = [];

    /// <summary>Who may not be a peer, whatever <see cref="Allow"/> says. Default empty.</summary>
    /// <exception cref="ArgumentException">A target is null.</exception>
    public ImmutableArray<AccessTarget> Deny
    {
        get;
        init => (field, _deny) = Indexed(value, nameof(Deny));
    }
    = [];

    /// <summary>
    /// Why nobody at an address may be a peer, as a sentence. Null when somebody may be, or when that depends on the id: then ask again with it.
    /// </summary>
    public string? FindRefusal(IPAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        return FindDenial(address)
            ?? (Allow.IsEmpty || _allow.HasIds || IsAllowed(address) ? null : $"The address {address} is not on the allow list.");
    }

    /// <summary>Why a node may not be a peer, as a sentence; null when it may be.</summary>
    /// <param name="id">The node.</param>
    /// <param name="address">
    /// Its address. Null when it is not known yet, as before a host's name is dialled: then the rules about addresses refuse nobody, and have to be
    /// asked again.
    /// </param>
    public string? FindRefusal(NodeId id, IPAddress? address)
    {
        if (_deny.Find(id) is not null)
        {
            return $"Node {id} is on the deny list.";
        }

        if (address is not null && FindDenial(address) is { } denial)
        {
            return denial;
        }

        return Allow.IsEmpty || _allow.Find(id) is not null || (address is null ? _allow.HasAddresses : IsAllowed(address)) ? null
            : address is null || !_allow.HasAddresses ? $"Node {id} is not on the allow list."
            : $"Neither node {id} nor its address {address} is on the allow list.";
    }

    /// <summary>Whether both have the same lists, in the same order.</summary>
    public bool Equals(AccessRules? other) => other is not null && Allow.SequenceEqual(other.Allow) && Deny.SequenceEqual(other.Deny);

    /// <inheritdoc />
    public override int GetHashCode()
    {
        HashCode hash = default;
        foreach (AccessTarget target in Allow.Concat(Deny))
        {
            hash.Add(target);
        }

        return hash.ToHashCode();
    }

    private bool IsAllowed(IPAddress address) => _allow.Find(address).Any();

    private string? FindDenial(IPAddress address) =>
        _deny.Find(address).FirstOrDefault() is not { } target ? null
        : target.Prefix == AddressBits.Length ? $"The address {address} is on the deny list."
        : $"The address {address} is in {target}, which is on the deny list.";

    private static (ImmutableArray<AccessTarget> Targets, TargetIndex<AccessTarget> Index) Indexed(ImmutableArray<AccessTarget> targets, string property)
    {
        TargetIndex<AccessTarget> index = new();
        foreach (AccessTarget target in targets.IsDefault ? [] : targets)
        {
            index[target ?? throw new ArgumentException("A list of targets holds null.", property)] = target;
        }

        return (targets.IsDefault ? [] : targets, index);
    }
}
