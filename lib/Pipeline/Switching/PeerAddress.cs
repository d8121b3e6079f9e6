using System.Net;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>Where a peer is, and where it can be dialled.</summary>
internal static class PeerAddress
{
    /// <summary>Where a peer can be dialled: where it was, or else where it says that it listens. Null when it does not say.</summary>
    public static NetAddress? FindAddress(this IPeer peer)
    {
        if (peer.DialledAddress is { } dialled)
        {
            return dialled;
        }

        string listening = peer.NodeInfo.ListenAddress;
        int scheme = listening.IndexOf("://", StringComparison.Ordinal);
        if (!NetAddress.TryParse($"{peer.Id}@{(scheme < 0 ? listening : listening[(scheme + 3)..])}", out NetAddress? said))
        {
            return null;
        }

        // One that listens everywhere listens where it came from; one that tells a name has very likely come from there.
        bool isSomewhere = said.Ip is not null && !said.Ip.Equals(IPAddress.Any) && !said.Ip.Equals(IPAddress.IPv6Any);
        return isSomewhere ? said : peer.SeenAt(said.Port);
    }

    /// <summary>
    /// Who a peer is when it tells of others, with the address that its packets come from. What it says of itself does not count here: it could choose
    /// which buckets of an address book its lies get into.
    /// </summary>
    public static NetAddress SeenAt(this IPeer peer) => peer.SeenAt((ushort)peer.RemoteEndPoint.Port);

    private static NetAddress SeenAt(this IPeer peer, ushort port) =>
        NetAddress.FromEndPoint(peer.Id, new IPEndPoint(peer.RemoteEndPoint.Address, port));
}
