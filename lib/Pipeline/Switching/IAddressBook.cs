using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>What a switch tells whoever remembers addresses.</summary>
public interface IAddressBook
{
    /// <summary>A node has proved to be of use at this address, where it was dialled or says that it listens.</summary>
    void MarkGood(NetAddress address);
}
