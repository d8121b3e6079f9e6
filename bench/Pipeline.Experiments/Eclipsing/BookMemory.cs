using Pipeline.Discovery;
using Pipeline.Transport;

namespace Pipeline.Experiments.Eclipsing;

/// <summary>The library's address book.</summary>
internal sealed class BookMemory(TimeProvider timeProvider, Random random) : IMemory
{
    public AddressBook Book { get; } = new(new AddressBookOptions { TimeProvider = timeProvider, Random = random });

    public void Add(NetAddress address, NetAddress source) => Book.Add(address, source);

    public NetAddress? Pick(int biasTowardsNew) => Book.Pick(biasTowardsNew);

    public void MarkGood(NetAddress address) => Book.MarkGood(address);
}
