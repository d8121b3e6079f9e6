using System.Net;
using System.Net.Sockets;
using Pipeline.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Testing.Tests;

/// <summary>What holds for TCP's transport holds for that of a host in memory.</summary>
[TestFixture(Medium.Tcp)]
[TestFixture(Medium.Memory)]
[CancelAfter(30_000)]
public sealed class TransportTests(Medium medium)
{
    private static readonly NodeId Id = NodeId.Parse(new string('1', 40));

    private readonly ITransport _transport = Media.CreateTransport(medium);

    [Test]
    public async Task Both_ends_know_where_they_are(CancellationToken cancellationToken)
    {
        await using ITransportListener listener = Listen();
        Assert.That(listener.LocalEndPoint.Port, Is.Not.Zero);

        await using TransportConnection dialled = await DialAsync(listener, cancellationToken);
        await using TransportConnection accepted = await listener.AcceptAsync(cancellationToken);

        Assert.That(dialled.RemoteEndPoint, Is.EqualTo(listener.LocalEndPoint));
        Assert.That(accepted.LocalEndPoint, Is.EqualTo(listener.LocalEndPoint));
        Assert.That(accepted.RemoteEndPoint, Is.EqualTo(dialled.LocalEndPoint));
        Assert.That(dialled.LocalEndPoint.Port, Is.Not.EqualTo(listener.LocalEndPoint.Port));
    }

    [Test]
    public async Task A_refused_connection_is_said_to_be_refused(CancellationToken cancellationToken)
    {
        ITransportListener listener = Listen();
        await listener.DisposeAsync();

        IOException? e = await Assert.ThrowsAsync<IOException>(() => DialAsync(listener, cancellationToken).AsTask());

        Assert.That(e!.Message, Does.StartWith($"{listener.LocalEndPoint} cannot be reached: "));
        Assert.That((e.InnerException as SocketException)?.SocketErrorCode, Is.EqualTo(SocketError.ConnectionRefused));
    }

    [Test]
    public async Task A_port_in_use_cannot_be_listened_on_until_it_is_free()
    {
        ITransportListener listener = Listen();
        IOException? e = Assert.Throws<IOException>(() => _transport.Listen(listener.LocalEndPoint));
        Assert.That(e!.Message, Does.StartWith($"Nothing can listen on {listener.LocalEndPoint}: "));
        Assert.That((e.InnerException as SocketException)?.SocketErrorCode, Is.EqualTo(SocketError.AddressAlreadyInUse));
        await listener.DisposeAsync();

        await using ITransportListener second = _transport.Listen(listener.LocalEndPoint);
        await listener.DisposeAsync();
        Assert.That(() => _transport.Listen(listener.LocalEndPoint), Throws.TypeOf<IOException>(), "the first gave its port back once");
    }

    [Test]
    public void Nobody_listens_on_the_address_of_another()
    {
        IOException? e = Assert.Throws<IOException>(() => _transport.Listen(new IPEndPoint(IPAddress.Parse("203.0.113.7"), 0)));

        Assert.That((e!.InnerException as SocketException)?.SocketErrorCode, Is.EqualTo(SocketError.AddressNotAvailable));
    }

    [Test, Repeat(20)]
    public async Task A_listener_that_closes_ends_the_wait_for_a_connection(CancellationToken cancellationToken)
    {
        ITransportListener listener = Listen();
        Task accepting = listener.AcceptAsync(cancellationToken).AsTask();

        await listener.DisposeAsync();

        ObjectDisposedException? e = await Assert.ThrowsAsync<ObjectDisposedException>(() => accepting);
        Assert.That(e!.Message, Does.Contain("The listener is closed."));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => listener.AcceptAsync(cancellationToken).AsTask());
    }

    [Test]
    public async Task A_listener_that_closes_resets_what_it_has_not_accepted(CancellationToken cancellationToken)
    {
        ITransportListener listener = Listen();
        await using TransportConnection dialled = await DialAsync(listener, cancellationToken);

        await listener.DisposeAsync();

        await Assert.ThrowsAsync<IOException>(() => dialled.Stream.ReadAsync(new byte[1], cancellationToken).AsTask());
    }

    [Test]
    public async Task Waiting_for_a_connection_can_be_cancelled_and_resumed(CancellationToken cancellationToken)
    {
        await using ITransportListener listener = Listen();
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task accepting = listener.AcceptAsync(cancel.Token).AsTask();
        await cancel.CancelAsync();
        await Assert.CatchAsync<OperationCanceledException>(() => accepting);

        await using TransportConnection dialled = await DialAsync(listener, cancellationToken);
        await using TransportConnection accepted = await listener.AcceptAsync(cancellationToken);

        Assert.That(accepted.RemoteEndPoint, Is.EqualTo(dialled.LocalEndPoint));
    }

    [Test]
    public void A_dial_that_was_cancelled_before_is_none()
    {
        Assert.That(
            async () => await _transport.ConnectAsync(new NetAddress(Id, "127.0.0.1", 1), new CancellationToken(canceled: true)),
            Throws.InstanceOf<OperationCanceledException>());
    }

    private ITransportListener Listen() => _transport.Listen(new IPEndPoint(IPAddress.Loopback, 0));

    private ValueTask<TransportConnection> DialAsync(ITransportListener listener, CancellationToken cancellationToken) =>
        _transport.ConnectAsync(NetAddress.FromEndPoint(Id, listener.LocalEndPoint), cancellationToken);
}
