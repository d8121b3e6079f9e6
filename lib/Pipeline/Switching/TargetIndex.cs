using System.Net;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>
/// Finds what belongs to a node or an address among many targets: by one look into a table for each prefix length that is in use, so
/// that it costs a remote's flood of connections more than it costs this node.
/// </summary>
internal sealed class TargetIndex<T>
    where T : class
{
    private readonly Dictionary<NodeId, T> _byId = [];

    // By the length of the prefix; null where there is none. A single address has the longest.
    private readonly Dictionary<AddressBits, T>?[] _byPrefix = new Dictionary<AddressBits, T>?[AddressBits.Length + 1];

    public bool HasIds => _byId.Count > 0;

    public bool HasAddresses => _byPrefix.AsSpan().ContainsAnyExcept((Dictionary<AddressBits, T>?)null);

    public T? this[AccessTarget target]
    {
        get => target.Id is { } id ? Find(id) : _byPrefix[target.Prefix]?.GetValueOrDefault(target.First);
        set
        {
            ArgumentNullException.ThrowIfNull(value);
            if (target.Id is { } id)
            {
                _byId[id] = value;
            }
            else
            {
                (_byPrefix[target.Prefix] ??= [])[target.First] = value;
            }
        }
    }

    public void Remove(AccessTarget target)
    {
        if (target.Id is { } id)
        {
            _byId.Remove(id);
        }
        else if (_byPrefix[target.Prefix] is { } table && table.Remove(target.First) && table.Count == 0)
        {
            _byPrefix[target.Prefix] = null;
        }
    }

    public T? Find(NodeId id) => _byId.GetValueOrDefault(id);

    /// <summary>What belongs to the address and to the subnets that hold it, the narrowest first.</summary>
    public IEnumerable<T> Find(IPAddress address)
    {
        AddressBits bits = AddressBits.Of(address);

        // A subnet of IPv6 that is wider than all of IPv4 does not hold the latter.
        int widest = bits.IsIPv4 ? AddressBits.IPv4Start : 0;
        for (int prefix = AddressBits.Length; prefix >= widest; prefix--)
        {
            if (_byPrefix[prefix] is { } table && table.TryGetValue(bits.First(prefix), out T? found))
            {
                yield return found;
            }
        }
    }
}
