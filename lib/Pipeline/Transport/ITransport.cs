using System.Net;

namespace Pipeline.Transport;

/// <summary>Brings about the streams of bytes that connections run on: TCP, or a stand-in for tests.</summary>
public interface ITransport
{
    /// <summary>Connects to one of the end points that <paramref name="address"/> stands for.</summary>
    /// <exception cref="IOException">No end point could be reached; the message says why.</exception>
    ValueTask<TransportConnection> ConnectAsync(NetAddress address, CancellationToken cancellationToken = default);

    /// <summary>Starts to accept connections.</summary>
    /// <param name="endPoint">Where; port 0 stands for any free port.</param>
    /// <exception cref="IOException">Nothing can listen there; the message says why.</exception>
    ITransportListener Listen(IPEndPoint endPoint);
}

/// <summary>Accepts connections until it is disposed of.</summary>
public interface ITransportListener : IAsyncDisposable
{
    /// <summary>Where it listens.</summary>
    IPEndPoint LocalEndPoint { get; }

    /// <summary>Waits for the next connection.</summary>
    /// <exception cref="IOException">This connection could not be accepted; later ones may.</exception>
    /// <exception cref="ObjectDisposedException">The listener is closed.</exception>
    ValueTask<TransportConnection> AcceptAsync(CancellationToken cancellationToken = default);
}

/// <summary>A stream of bytes between two end points.</summary>
/// <param name="Stream">The stream; whoever has this record owns it.</param>
/// <param name="LocalEndPoint">This side.</param>
/// <param name="RemoteEndPoint">The other side.</param>
public sealed record TransportConnection(Stream Stream, IPEndPoint LocalEndPoint, IPEndPoint RemoteEndPoint) : IAsyncDisposable
{
    /// <summary>Closes the stream.</summary>
    public ValueTask DisposeAsync() => Stream.DisposeAsync();
}
