using System.Net;
using System.Net.Sockets;

namespace Pipeline.Transport;

/// <summary>Connections over TCP.</summary>
public sealed class TcpTransport : ITransport
{
    // As many connections as may wait to be accepted; the system's own limit usually is 4096.
    private const int Backlog = 512;

    private const int SmallSendBuffer = 64 * 1024;

    // TCP_NOTSENT_LOWAT, which the framework has no name for.
    private static readonly int? UnsentLowWaterOption = OperatingSystem.IsLinux() ? 25 : OperatingSystem.IsMacOS() ? 0x201 : null;

    /// <summary>How long connecting to an address may take, all its end points together. Default 3 s (<c>dial_timeout</c>).</summary>
    public TimeSpan DialTimeout { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>
    /// How many bytes the system may have taken and not yet sent before it takes more: what it has taken cannot be overtaken by what is
    /// more urgent. At least 1; default 16 KiB. Where the system has no such setting (<c>TCP_NOTSENT_LOWAT</c>, which Linux and macOS have),
    /// the send buffer is kept small instead, see <see cref="SendBufferSize"/>.
    /// </summary>
    public int UnsentLowWater { get; init => field = AtLeastOne(value, nameof(UnsentLowWater)); } = 16 * 1024;

    /// <summary>
    /// The size of the system's send buffer in bytes, at least 1. Null, the default: the system's own choice, or 64 KiB where
    /// <see cref="UnsentLowWater"/> cannot be set.
    /// </summary>
    public int? SendBufferSize { get; init => field = AtLeastOne(value, nameof(SendBufferSize)); }

    /// <summary>
    /// The size of the system's receive buffer in bytes, at least 1. Null: the system's own choice, which grows to several MiB on fast
    /// connections. What it holds cannot be overtaken by what is more urgent, so the default is 256 KiB: enough for 20 Mbit/s over 100 ms.
    /// </summary>
    public int? ReceiveBufferSize { get; init => field = AtLeastOne(value, nameof(ReceiveBufferSize)); } = 256 * 1024;

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
            SetBuffers(socket);
            socket.Bind(endPoint);
            socket.Listen(Backlog);
            return new TcpListener(this, socket);
        }
        catch (SocketException e)
        {
            socket?.Dispose();
            throw new IOException($"Nothing can listen on {endPoint}: {e.Message}.", e);
        }
    }

    private static int AtLeastOne(int value, string property)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, property);
        return value;
    }

    private static int? AtLeastOne(int? value, string property) => value is { } size ? AtLeastOne(size, property) : null;

    private async ValueTask<TransportConnection> ConnectAsync(IPEndPoint endPoint, CancellationToken cancellationToken)
    {
        Socket socket = new(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            SetBuffers(socket);
            await socket.ConnectAsync(endPoint, cancellationToken).ConfigureAwait(false);
            return Wrap(socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    // Before the connection is made, because the window that is announced then depends on it; accepted sockets inherit it.
    private void SetBuffers(Socket socket)
    {
        if (ReceiveBufferSize is { } receive)
        {
            socket.ReceiveBufferSize = receive;
        }

        int? sendBuffer = SendBufferSize ?? (UnsentLowWaterOption is null ? SmallSendBuffer : null);
        if (sendBuffer is { } send)
        {
            socket.SendBufferSize = send;
        }
    }

    private TransportConnection Wrap(Socket socket)
    {
        if (UnsentLowWaterOption is { } option)
        {
            Span<byte> value = stackalloc byte[sizeof(int)];
            BitConverter.TryWriteBytes(value, UnsentLowWater);
            socket.SetRawSocketOption((int)SocketOptionLevel.Tcp, option, value);
        }

        // What is written has been batched already; waiting for more would only delay it.
        socket.NoDelay = true;
        return new TransportConnection(
            new NetworkStream(socket, ownsSocket: true),
            (IPEndPoint)socket.LocalEndPoint!,
            (IPEndPoint)socket.RemoteEndPoint!);
    }

    private sealed class TcpListener(TcpTransport transport, Socket socket) : ITransportListener
    {
        public IPEndPoint LocalEndPoint { get; } = (IPEndPoint)socket.LocalEndPoint!;

        public async ValueTask<TransportConnection> AcceptAsync(CancellationToken cancellationToken = default)
        {
            while (true)
            {
                Socket accepted = await AcceptSocketAsync(cancellationToken).ConfigureAwait(false);
                try
                {
                    return transport.Wrap(accepted);
                }
                catch (SocketException)
                {
                    // The remote hung up before we looked; the next one may not have.
                    accepted.Dispose();
                }
            }
        }

        public ValueTask DisposeAsync()
        {
            socket.Dispose();
            return ValueTask.CompletedTask;
        }

        private async ValueTask<Socket> AcceptSocketAsync(CancellationToken cancellationToken)
        {
            try
            {
                return await socket.AcceptAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e) when (e is ObjectDisposedException or SocketException { SocketErrorCode: SocketError.OperationAborted or SocketError.Interrupted })
            {
                throw new ObjectDisposedException("The listener is closed.", e);
            }
            catch (SocketException e)
            {
                throw new IOException($"A connection could not be accepted: {e.Message}.", e);
            }
        }
    }
}
