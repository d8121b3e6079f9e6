using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace Pipeline.Dataflow;

/// <summary>Names a value in the store of each peer, and says of what type it is. Two keys are never the same, also with the same name.</summary>
/// <typeparam name="T">The type of the value.</typeparam>
/// <param name="name">What people call it; not empty.</param>
public sealed class PeerItemKey<T>(string name)
    where T : notnull
{
    /// <summary>What people call it.</summary>
    public string Name { get; } = string.IsNullOrWhiteSpace(name) ? throw new ArgumentException("The key of a peer's item needs a name.", nameof(name)) : name;

    /// <inheritdoc />
    public override string ToString() => $"{Name}: {typeof(T).Name}";
}

/// <summary>
/// What reactors keep about a peer, for themselves or for one another: a value for each key, until the peer is gone. May be used from any
/// thread at any time.
/// </summary>
/// <remarks>Source: <c>docs/protocol.md</c>, the key-value store of a peer.</remarks>
public sealed class PeerItems
{
    private ConcurrentDictionary<object, object>? _items;

    // An idle peer of which nobody keeps anything needs none.
    private ConcurrentDictionary<object, object> Items =>
        Volatile.Read(ref _items) ?? Interlocked.CompareExchange(ref _items, [], null) ?? _items;

    /// <summary>Gives a key a value, in place of the one that it may have.</summary>
    public void Set<T>(PeerItemKey<T> key, T value)
        where T : notnull
    {
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(value);
        Items[key] = value;
    }

    /// <summary>Looks for the value of a key.</summary>
    public bool TryGet<T>(PeerItemKey<T> key, [MaybeNullWhen(false)] out T value)
        where T : notnull
    {
        ArgumentNullException.ThrowIfNull(key);
        object? found = null;
        bool isFound = Volatile.Read(ref _items)?.TryGetValue(key, out found) ?? false;
        value = isFound ? (T)found! : default;
        return isFound;
    }

    /// <summary>The value of a key, made when there is none: by <paramref name="make"/>, which may run more than once when several ask at once; all get the same.</summary>
    public T GetOrAdd<T>(PeerItemKey<T> key, Func<T> make)
        where T : notnull
    {
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(make);
        return (T)Items.GetOrAdd(key, static (_, make) => make(), make);
    }

    /// <summary>Takes the value of a key away. False when there was none.</summary>
    public bool Remove<T>(PeerItemKey<T> key, [MaybeNullWhen(false)] out T value)
        where T : notnull
    {
        ArgumentNullException.ThrowIfNull(key);
        object? found = null;
        bool isFound = Volatile.Read(ref _items)?.TryRemove(key, out found) ?? false;
        value = isFound ? (T)found! : default;
        return isFound;
    }
}
