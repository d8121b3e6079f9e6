using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Tests.Transport;

[CancelAfter(60_000)]
public sealed class TcpTransportTests
{
    private static readonly NodeId Id = NodeId.Parse(new string('1', 40));

    [TestCase("127.0.0.1")]
    [TestCase("::1")]
    public async Task Both_ends_know_where_they_are(string address, CancellationToken cancellationToken)
    {
        IPAddress ip = IPAddress.Parse(address);
        Assume.That(ip.AddressFamily != AddressFamily.InterNetworkV6 || Socket.OSSupportsIPv6, "The machine has no IPv6.");
        TcpTransport transport = new();
        await using ITransportListener listener = transport.Listen(new IPEndPoint(ip, 0));
        Assert.That(listener.LocalEndPoint.Port, Is.Not.Zero);

        await using TransportConnection dialled = await transport.ConnectAsync(NetAddress.FromEndPoint(Id, listener.LocalEndPoint), cancellationToken);
        await using TransportConnection accepted = await listener.AcceptAsync(cancellationToken);

        Assert.That(dialled.RemoteEndPoint, Is.EqualTo(listener.LocalEndPoint));
        Assert.That(accepted.LocalEndPoint, Is.EqualTo(listener.LocalEndPoint));
        Assert.That(accepted.RemoteEndPoint, Is.EqualTo(dialled.LocalEndPoint));
        Assert.That(((NetworkStream)accepted.Stream).Socket.NoDelay && ((NetworkStream)dialled.Stream).Socket.NoDelay, Is.True);
        await dialled.Stream.WriteAsync(new byte[] { 1, 2, 3 }, cancellationToken);
        await dialled.DisposeAsync();
        byte[] read = new byte[4];
        Assert.That(await accepted.Stream.ReadAtLeastAsync(read, 4, throwOnEndOfStream: false, cancellationToken), Is.EqualTo(3));
    }

    [Test]
    public async Task A_name_is_resolved_when_it_is_dialled(CancellationToken cancellationToken)
    {
        TcpTransport transport = new();
        await using ITransportListener listener = transport.Listen(new IPEndPoint(IPAddress.Loopback, 0));

        await using TransportConnection connection = await transport.ConnectAsync(
            new NetAddress(Id, "localhost", (ushort)listener.LocalEndPoint.Port),
            cancellationToken);

        Assert.That(connection.RemoteEndPoint.Port, Is.EqualTo(listener.LocalEndPoint.Port));
    }

    [Test]
    public async Task A_refused_connection_is_said_to_be_refused(CancellationToken cancellationToken)
    {
        TcpTransport transport = new();
        ITransportListener listener = transport.Listen(new IPEndPoint(IPAddress.Loopback, 0));
        NetAddress address = NetAddress.FromEndPoint(Id, listener.LocalEndPoint);
        await listener.DisposeAsync();

        IOException? e = await Assert.ThrowsAsync<IOException>(() => transport.ConnectAsync(address, cancellationToken).AsTask());

        Assert.That(e!.Message, Does.StartWith($"{address.DialString} cannot be reached: "));
        Assert.That((e.InnerException as SocketException)?.SocketErrorCode, Is.EqualTo(SocketError.ConnectionRefused));
    }

    [Test]
    public async Task A_name_that_nobody_has_cannot_be_resolved(CancellationToken cancellationToken)
    {
        TcpTransport transport = new() { DialTimeout = TimeSpan.FromSeconds(50) };
        NetAddress address = NetAddress.Parse($"{Id}@does-not-exist.invalid:26656");

        IOException? e = await Assert.ThrowsAsync<IOException>(() => transport.ConnectAsync(address, cancellationToken).AsTask());

        Assert.That(e!.Message, Does.StartWith("does-not-exist.invalid cannot be resolved: "));
        Assert.That(e.InnerException, Is.InstanceOf<SocketException>());
    }

    [Test, Platform("Linux", Reason = "Other systems refuse what does not fit into the queue.")]
    public async Task A_connection_that_takes_too_long_is_given_up(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        TcpTransport transport = new() { TimeProvider = time };
        using DeafListener deaf = DeafListener.Start();

        Task<TransportConnection> connecting = transport.ConnectAsync(deaf.Address, cancellationToken).AsTask();
        time.Advance(TimeSpan.FromSeconds(2.999));
        Assert.That(connecting.IsCompleted, Is.False);
        time.Advance(TimeSpan.FromSeconds(0.001));

        IOException? e = await Assert.ThrowsAsync<IOException>(() => connecting);
        Assert.That(e!.Message, Is.EqualTo($"{deaf.Address.DialString} did not answer within 3 s."));
    }

    [Test, Platform("Linux", Reason = "Other systems refuse what does not fit into the queue.")]
    public async Task Dialling_can_be_cancelled(CancellationToken cancellationToken)
    {
        using DeafListener deaf = DeafListener.Start();
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);

        Task<TransportConnection> connecting = new TcpTransport().ConnectAsync(deaf.Address, cancel.Token).AsTask();
        await cancel.CancelAsync();

        await Assert.CatchAsync<OperationCanceledException>(() => connecting);
    }

    [Test, Repeat(50)]
    public async Task A_listener_that_closes_ends_the_wait_for_a_connection(CancellationToken cancellationToken)
    {
        ITransportListener listener = new TcpTransport().Listen(new IPEndPoint(IPAddress.Loopback, 0));
        Task<TransportConnection> accepting = listener.AcceptAsync(cancellationToken).AsTask();

        await listener.DisposeAsync();

        ObjectDisposedException? e = await Assert.ThrowsAsync<ObjectDisposedException>(() => accepting);
        Assert.That(e!.Message, Does.Contain("The listener is closed."));
        e = await Assert.ThrowsAsync<ObjectDisposedException>(() => listener.AcceptAsync(cancellationToken).AsTask());
        Assert.That(e!.Message, Does.Contain("The listener is closed."));
    }

    [Test]
    public async Task Waiting_for_a_connection_can_be_cancelled_and_resumed(CancellationToken cancellationToken)
    {
        TcpTransport transport = new();
        await using ITransportListener listener = transport.Listen(new IPEndPoint(IPAddress.Loopback, 0));
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<TransportConnection> accepting = listener.AcceptAsync(cancel.Token).AsTask();
        await cancel.CancelAsync();
        await Assert.CatchAsync<OperationCanceledException>(() => accepting);

        await using TransportConnection dialled = await transport.ConnectAsync(NetAddress.FromEndPoint(Id, listener.LocalEndPoint), cancellationToken);
        await using TransportConnection accepted = await listener.AcceptAsync(cancellationToken);

        Assert.That(accepted.RemoteEndPoint, Is.EqualTo(dialled.LocalEndPoint));
    }

    [Test]
    public async Task A_port_in_use_cannot_be_listened_on()
    {
        TcpTransport transport = new();
        await using ITransportListener listener = transport.Listen(new IPEndPoint(IPAddress.Loopback, 0));

        IOException? e = Assert.Throws<IOException>(() => transport.Listen(listener.LocalEndPoint));

        Assert.That(e!.Message, Does.StartWith($"Nothing can listen on {listener.LocalEndPoint}: "));
        Assert.That((e.InnerException as SocketException)?.SocketErrorCode, Is.EqualTo(SocketError.AddressAlreadyInUse));
    }

    /// <summary>A listener whose backlog is full, so that the system leaves further connections unanswered.</summary>
    private sealed class DeafListener : IDisposable
    {
        private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        private readonly List<Socket> _waiting = [];

        public NetAddress Address => NetAddress.FromEndPoint(Id, (IPEndPoint)_listener.LocalEndPoint!);

        public static DeafListener Start()
        {
            DeafListener deaf = new();
            deaf._listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            deaf._listener.Listen(0);
            for (int i = 0; i < 8; i++)
            {
                Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { Blocking = false };
                deaf._waiting.Add(socket);
                try
                {
                    socket.Connect(deaf._listener.LocalEndPoint!);
                }
                catch (SocketException e) when (e.SocketErrorCode is SocketError.WouldBlock or SocketError.InProgress)
                {
                    // As it should be: the first ones get into the queue, the others wait.
                }
            }

            return deaf;
        }

        public void Dispose()
        {
            _waiting.ForEach(socket => socket.Dispose());
            _listener.Dispose();
        }
    }
}
