using Pipeline.Transport;

namespace Pipeline.Experiments.Eclipsing;

/// <summary>What comes to mind first: a list of all different addresses, as long as the book's buckets hold, of which the oldest goes when it is full.</summary>
internal sealed class ListMemory(int capacity, Random random) : IMemory
{
    private readonly HashSet<NetAddress> _known = [];
    private readonly List<NetAddress> _list = [];
    private int _next;

    public void Add(NetAddress address, NetAddress source)
    {
        if (!_known.Add(address))
        {
            return;
        }

        if (_list.Count < capacity)
        {
            _list.Add(address);
            return;
        }

        _known.Remove(_list[_next]);
        _list[_next] = address;
        _next = (_next + 1) % capacity;
    }

    public NetAddress? Pick(int biasTowardsNew) => _list.Count == 0 ? null : _list[random.Next(_list.Count)];

    public void MarkGood(NetAddress address)
    {
    }
}
