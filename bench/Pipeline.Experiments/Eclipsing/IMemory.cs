using Pipeline.Transport;

namespace Pipeline.Experiments.Eclipsing;

/// <summary>How a node remembers the addresses that it hears of.</summary>
internal interface IMemory
{
    void Add(NetAddress address, NetAddress source);

    NetAddress? Pick(int biasTowardsNew);

    void MarkGood(NetAddress address);
}
