using System.Collections;
using System.Collections.Immutable;
using Pipeline.Transport;

namespace Pipeline.Dataflow;

/// <summary>The channels of a node by their ids: immutable, and shared by all connections of the node.</summary>
public sealed class ChannelTable : IReadOnlyList<ChannelDescriptor>
{
    private const sbyte None = -1;

    // Invariant: _indexes[id] is where the channel with that id stands in _channels, None for an id that no channel has.
    private readonly sbyte[] _indexes = new sbyte[byte.MaxValue + 1];
    private readonly ImmutableArray<ChannelDescriptor> _channels;

    /// <summary>Makes a table of channels.</summary>
    /// <exception cref="ArgumentException">Two channels have the same id, or there are more than <see cref="NodeInfo.MaxChannels"/>.</exception>
    public ChannelTable(IEnumerable<ChannelDescriptor> channels)
    {
        _channels = [.. channels];
        if (_channels.Length > NodeInfo.MaxChannels)
        {
            throw new ArgumentException(
                $"A node has at most {NodeInfo.MaxChannels} channels, not {_channels.Length}: {string.Join(", ", _channels)}.",
                nameof(channels));
        }

        Array.Fill(_indexes, None);
        for (int i = 0; i < _channels.Length; i++)
        {
            ref sbyte index = ref _indexes[_channels[i].Id];
            if (index != None)
            {
                throw new ArgumentException($"Two channels have the same id: {_channels[index]} and {_channels[i]}.", nameof(channels));
            }

            index = (sbyte)i;
        }
    }

    /// <summary>The number of channels.</summary>
    public int Count => _channels.Length;

    /// <summary>The channel at an index, 0 to <see cref="Count"/> - 1.</summary>
    public ChannelDescriptor this[int index] => _channels[index];

    /// <summary>The index of the channel with <paramref name="id"/>; negative when there is none.</summary>
    public int IndexOf(byte id) => _indexes[id];

    /// <inheritdoc />
    public IEnumerator<ChannelDescriptor> GetEnumerator() => ((IEnumerable<ChannelDescriptor>)_channels).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
