using System.Net;
using Pipeline.Cryptography;
using Pipeline.Transport;
using Protos = Pipeline.Wire.Protos.P2P;

namespace Pipeline.Discovery;

/// <summary>What a node answers when it is asked for addresses.</summary>
internal static class PeerExchangeAnswer
{
    /// <summary>
    /// Reads a list of addresses, and says what is wrong with it that no node of the reference can send, whatever others told it. Port 0, and an
    /// address that no machine can have, are no lies: they are left to the book, which refuses them.
    /// </summary>
    public static string? FindFault(Protos.PexAddrs told, out List<NetAddress> addresses)
    {
        addresses = [];
        if (told.Addrs.Count > AddressBook.MaxSelection)
        {
            return $"It has told {told.Addrs.Count} addresses; {AddressBook.MaxSelection} is the most.";
        }

        foreach (Protos.NetAddress address in told.Addrs)
        {
            string? wrong = !NodeId.TryParse(address.Id, out NodeId id) ? "no node id"
                : !NetAddress.HostPort.TryParseIp(address.Ip, out IPAddress? ip) ? "no IP address"
                : address.Port > ushort.MaxValue ? "a port over 65535"
                : Add(addresses, id, ip, (ushort)address.Port);
            if (wrong is not null)
            {
                return $"Number {addresses.Count + 1} of the {told.Addrs.Count} addresses that it has told has {wrong}.";
            }
        }

        return null;

        static string? Add(List<NetAddress> addresses, NodeId id, IPAddress ip, ushort port)
        {
            addresses.Add(NetAddress.FromEndPoint(id, new IPEndPoint(ip, port)));
            return null;
        }
    }
}
