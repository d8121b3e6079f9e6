using System.Net;
using System.Net.Sockets;

namespace Pipeline.Transport;

/// <summary>Connections over TCP.</summary>
public sealed class TcpTransport : ITransport
{
    // As many connections as may wait to be accepted; the system's own limit usually is 4096.
    private const int Backlog = 512;

    /// <summary>How long connecting to an address may take, all its end points together. Default 3 s (<c>dial_timeout</c>).</summary>
    public TimeSpan DialTimeout { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>Where time comes from. Default: the system's clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <inheritdoc />
    public async ValueTask<TransportConnection> ConnectAsync(NetAddress address, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(address);
        using CancellationTokenSource deadline = new(DialTimeout, TimeProvider);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        try
        {
            SocketException? failure = null;
            foreach (IPEndPoint endPoint in await address.ResolveAsync(either.Token).ConfigureAwait(false))
            {
                try
                {
                    return await ConnectAsync(endPoint, either.Token).ConfigureAwait(false);
                }
                catch (SocketException e)
                {
                    failure = e;
                }
            }

            throw new IOException($"{address.DialString} cannot be reached: {failure?.Message ?? "the name stands for no address"}.", failure);
        }
        catch (SocketException e)
        {
            throw new IOException($"{address.Host} cannot be resolved: {e.Message}.", e);
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            throw new IOException($"{address.DialString} did not answer within {DialTimeout.TotalSeconds:0.###} s.", e);
        }
    }

    /// <inheritdoc />
    public ITransportListener Listen(IPEndPoint endPoint)
    {
        ArgumentNullException.ThrowIfNull(endPoint);
        Socket? socket = null;
        try
        {
            socket = new Socket(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(endPoint);
            socket.Listen(Backlog);
            return new TcpListener(socket);
        }
        catch (SocketException e)
        {
            socket?.Dispose();
            throw new IOException($"Nothing can listen on {endPoint}: {e.Message}.", e);
        }
    }

    private static async ValueTask<TransportConnection> ConnectAsync(IPEndPoint endPoint, CancellationToken cancellationToken)
    {
        Socket socket = new(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            await socket.ConnectAsync(endPoint, cancellationToken).ConfigureAwait(false);
            return Wrap(socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static TransportConnection Wrap(Socket socket)
    {
        // What is written has been batched already; waiting for more would only delay it.
        socket.NoDelay = true;
        return new TransportConnection(
            new NetworkStream(socket, ownsSocket: true),
            (IPEndPoint)socket.LocalEndPoint!,
            (IPEndPoint)socket.RemoteEndPoint!);
    }

    private sealed class TcpListener(Socket socket) : ITransportListener
    {
        public IPEndPoint LocalEndPoint { get; } = (IPEndPoint)socket.LocalEndPoint!;

        public async ValueTask<TransportConnection> AcceptAsync(CancellationToken cancellationToken = default)
        {
            Socket accepted;
            try
            {
                accepted = await socket.AcceptAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e) when (e is ObjectDisposedException or SocketException { SocketErrorCode: SocketError.OperationAborted or SocketError.Interrupted })
            {
                throw new ObjectDisposedException("The listener is closed.", e);
            }
            catch (SocketException e)
            {
                throw new IOException($"A connection could not be accepted: {e.Message}.", e);
            }

            try
            {
                return Wrap(accepted);
            }
            catch (SocketException e)
            {
                // The remote hung up before we looked.
                accepted.Dispose();
                throw new IOException($"A connection was gone before it was accepted: {e.Message}.", e);
            }
        }

        public ValueTask DisposeAsync()
        {
            socket.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
