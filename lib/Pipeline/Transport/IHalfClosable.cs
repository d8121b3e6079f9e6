using System.Net.Sockets;

namespace Pipeline.Transport;

/// <summary>A duplex stream whose writing direction can end alone, as a socket's can.</summary>
public interface IHalfClosable
{
    /// <summary>
    /// Says that nothing more will be written: the other end reads to the end, while this one can still read. Does nothing when that was
    /// said before, or when the stream is closed or broken.
    /// </summary>
    void CompleteWrites();

    /// <summary>Ends the writing direction of a stream, as <see cref="CompleteWrites"/> does, if it can end alone.</summary>
    /// <returns>False when it cannot, because it is neither a socket's stream nor <see cref="IHalfClosable"/>.</returns>
    static bool TryCompleteWrites(Stream stream)
    {
        if (stream is IHalfClosable closable)
        {
            closable.CompleteWrites();
            return true;
        }

        if (stream is not NetworkStream network)
        {
            return false;
        }

        try
        {
            network.Socket.Shutdown(SocketShutdown.Send);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The remote is gone, or this side was closed: either way nothing more will come.
        }

        return true;
    }
}
