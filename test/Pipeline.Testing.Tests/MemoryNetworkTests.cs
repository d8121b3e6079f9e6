using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Transport;

namespace Pipeline.Testing.Tests;

[CancelAfter(30_000)]
public sealed class MemoryNetworkTests
{
    private static readonly IPAddress A = IPAddress.Parse("10.0.0.1");
    private static readonly IPAddress B = IPAddress.Parse("10.0.0.2");
    private static readonly IPAddress C = IPAddress.Parse("fd00::3");
    private static readonly TimeSpan Latency = TimeSpan.FromMilliseconds(50);

    private readonly FakeTimeProvider _time = new();

    [Test]
    public async Task Hosts_have_ports_of_their_own_and_transports_of_one_host_share_them(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new();
        IPEndPoint any = new(IPAddress.Any, 26656);
        await using ITransportListener atA = network.CreateTransport(A).Listen(any);
        await using ITransportListener atB = network.CreateTransport(B).Listen(any);
        await using ITransportListener atC = network.CreateTransport(C).Listen(new IPEndPoint(IPAddress.IPv6Any, 26656));

        Assert.That(() => network.CreateTransport(A.MapToIPv6()).Listen(any), Throws.TypeOf<IOException>());
        Assert.That((atA.LocalEndPoint, atC.LocalEndPoint), Is.EqualTo((new IPEndPoint(A, 26656), new IPEndPoint(C, 26656))));
        await using TransportConnection dialled = await DialAsync(network, C, atB, cancellationToken);
        await using TransportConnection accepted = await atB.AcceptAsync(cancellationToken);
        Assert.That(accepted.RemoteEndPoint, Is.EqualTo(dialled.LocalEndPoint));
        Assert.That(dialled.LocalEndPoint.Address, Is.EqualTo(C));
    }

    [Test]
    public async Task What_does_not_exist_cannot_be_dialled(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new();
        ITransport transport = network.CreateTransport(A);

        IOException? e = await Assert.ThrowsAsync<IOException>(() => transport.ConnectAsync(new NetAddress(default, "10.9.9.9", 1), cancellationToken).AsTask());
        Assert.That((e!.InnerException as SocketException)?.SocketErrorCode, Is.EqualTo(SocketError.HostUnreachable));
        e = await Assert.ThrowsAsync<IOException>(() => transport.ConnectAsync(new NetAddress(default, "example.com", 1), cancellationToken).AsTask());
        Assert.That(e!.Message, Does.StartWith("example.com cannot be resolved: "));
        Assert.That(() => network.CreateTransport(IPAddress.Any), Throws.ArgumentException);
    }

    [Test]
    public async Task More_connections_than_the_backlog_holds_wait_to_be_made(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new(new MemoryNetworkOptions { Backlog = 2, TimeProvider = _time });
        await using ITransportListener listener = Listen(network, B);
        await using TransportConnection first = await DialAsync(network, A, listener, cancellationToken);
        await using TransportConnection second = await DialAsync(network, A, listener, cancellationToken);

        Task<TransportConnection> third = DialAsync(network, A, listener, cancellationToken);
        Assert.That(third.IsCompleted, Is.False);
        await using TransportConnection accepted = await listener.AcceptAsync(cancellationToken);
        await using TransportConnection dialled = await third;

        Task<TransportConnection> fourth = DialAsync(network, A, listener, cancellationToken);
        _time.Advance(TimeSpan.FromSeconds(3));
        Assert.That((await Assert.ThrowsAsync<IOException>(() => fourth))!.Message, Is.EqualTo($"{listener.LocalEndPoint} did not answer within 3 s."));

        Task<TransportConnection> fifth = DialAsync(network, A, listener, cancellationToken);
        await listener.DisposeAsync();
        Assert.That(((await Assert.ThrowsAsync<IOException>(() => fifth))!.InnerException as SocketException)?.SocketErrorCode, Is.EqualTo(SocketError.ConnectionRefused));
    }

    [Test]
    public async Task A_dial_takes_the_way_there_and_back_and_can_be_cancelled_on_it(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new(new MemoryNetworkOptions { Latency = Latency, TimeProvider = _time });
        await using ITransportListener listener = Listen(network, B);
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<TransportConnection> cancelled = DialAsync(network, A, listener, cancel.Token);
        Task<TransportConnection> dial = DialAsync(network, A, listener, cancellationToken);
        await cancel.CancelAsync();
        await Assert.CatchAsync<OperationCanceledException>(() => cancelled);

        _time.Advance((2 * Latency) - TimeSpan.FromTicks(1));
        Assert.That(network.OpenConnections, Is.Zero);
        _time.Advance(TimeSpan.FromTicks(1));

        await using TransportConnection dialled = await dial;
        Assert.That(network.OpenConnections, Is.EqualTo(1));
    }

    [Test]
    public async Task Bytes_and_ends_need_their_time_and_do_not_overtake(CancellationToken cancellationToken)
    {
        (MemoryNetwork network, Stream a, Stream b) = await ConnectAsync(Latency, cancellationToken);
        await a.WriteAsync(new byte[10], cancellationToken);
        _time.Advance(Latency / 2);
        await a.WriteAsync(new byte[5], cancellationToken);
        network.Link(B, A).Latency = TimeSpan.Zero;
        await a.WriteAsync(new byte[3], cancellationToken);
        Assert.That(IHalfClosable.TryCompleteWrites(a), Is.True);

        Task<int> first = b.ReadAsync(new byte[100], cancellationToken).AsTask();
        _time.Advance((Latency / 2) - TimeSpan.FromTicks(1));
        Assert.That(first.IsCompleted, Is.False);
        _time.Advance(TimeSpan.FromTicks(1));
        Assert.That(await first, Is.EqualTo(10));

        Task<int> second = b.ReadAsync(new byte[100], cancellationToken).AsTask();
        _time.Advance((Latency / 2) - TimeSpan.FromTicks(1));
        Assert.That(second.IsCompleted, Is.False);
        _time.Advance(TimeSpan.FromTicks(1));
        Assert.That(await second, Is.EqualTo(8));
        Assert.That(await b.ReadAsync(new byte[100], cancellationToken), Is.Zero);
        await b.WriteAsync(new byte[1], cancellationToken);
        Assert.That(await a.ReadAsync(new byte[100], cancellationToken), Is.EqualTo(1), "at once, by the new latency");
    }

    [Test]
    public async Task A_close_is_known_at_the_other_end_when_it_has_come_there(CancellationToken cancellationToken)
    {
        (_, Stream a, Stream b) = await ConnectAsync(Latency, cancellationToken);
        await b.WriteAsync(new byte[2], cancellationToken);
        _time.Advance(Latency);
        await a.DisposeAsync();
        Task<int> read = b.ReadAsync(new byte[1], cancellationToken).AsTask();

        _time.Advance(Latency - TimeSpan.FromTicks(1));
        Assert.That(read.IsCompleted, Is.False);
        await b.WriteAsync(new byte[1], cancellationToken);
        _time.Advance(TimeSpan.FromTicks(1));

        Assert.That(await read, Is.Zero);
        await Assert.ThrowsAsync<IOException>(() => b.WriteAsync(new byte[1], cancellationToken).AsTask());
    }

    [Test]
    public async Task Real_time_delays_too(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new(new MemoryNetworkOptions { Latency = TimeSpan.FromMilliseconds(15.3) });
        await using ITransportListener listener = Listen(network, B);
        long start = TimeProvider.System.GetTimestamp();
        await using TransportConnection dialled = await DialAsync(network, A, listener, cancellationToken);
        await using TransportConnection accepted = await listener.AcceptAsync(cancellationToken);
        await dialled.Stream.WriteAsync(new byte[1], cancellationToken);
        await accepted.Stream.ReadExactlyAsync(new byte[1], cancellationToken);

        Assert.That(TimeProvider.System.GetElapsedTime(start), Is.GreaterThan(TimeSpan.FromMilliseconds(40)));
    }

    [Test]
    public async Task What_a_partition_holds_up_comes_when_it_is_healed([Values(0, 50)] int milliseconds, CancellationToken cancellationToken)
    {
        TimeSpan latency = TimeSpan.FromMilliseconds(milliseconds);
        (MemoryNetwork network, Stream a, Stream b) = await ConnectAsync(latency, cancellationToken);
        await a.WriteAsync(new byte[1], cancellationToken);

        network.Partition([A], [C]);
        await a.WriteAsync(new byte[2], cancellationToken);
        Assert.That((network.Link(A, B).IsUp, network.Link(A, C).IsUp, network.Link(B, C).IsUp, network.Link(A, A).IsUp), Is.EqualTo((false, false, false, true)));
        Assert.That(() => network.Partition([A, B], [B]), Throws.ArgumentException.With.Message.Contains("10.0.0.2 is in two groups"));
        await a.DisposeAsync();
        await using ITransportListener listener = Listen(network, B);
        Task<TransportConnection> timedOut = DialAsync(network, A, listener, cancellationToken);
        Task<int> read = ReadAllAsync();
        _time.Advance(TimeSpan.FromHours(1));
        Assert.That((await Assert.ThrowsAsync<IOException>(() => timedOut))!.Message, Does.Contain("did not answer within 3 s"));
        Task<TransportConnection> dial = DialAsync(network, A, listener, cancellationToken);
        Assert.That((read.IsCompleted, dial.IsCompleted), Is.EqualTo((false, false)));

        network.Partition([C]);
        _time.Advance(latency);
        Assert.That(await read, Is.EqualTo(3));
        _time.Advance(latency);
        await (await dial).DisposeAsync();

        async Task<int> ReadAllAsync()
        {
            using MemoryStream all = new();
            await b.CopyToAsync(all, cancellationToken);
            return (int)all.Length;
        }
    }

    [Test]
    public async Task A_severed_link_stays_so_until_it_is_healed(CancellationToken cancellationToken)
    {
        (MemoryNetwork network, Stream a, Stream b) = await ConnectAsync(TimeSpan.Zero, cancellationToken);
        MemoryLink link = network.Link(A, B);
        link.Sever();
        await a.WriteAsync(new byte[1], cancellationToken);
        network.Partition([A]);
        link.Heal();
        Assert.That(link.IsUp, Is.False, "the partition is still there");
        Task<int> read = b.ReadAsync(new byte[9], cancellationToken).AsTask();
        network.Partition();
        Assert.That((await read, link.IsUp), Is.EqualTo((1, true)));

        link.Sever();
        network.Heal();
        Assert.That(link.IsUp, Is.True);
    }

    [Test]
    public async Task A_writer_that_a_partition_holds_up_waits_for_room(CancellationToken cancellationToken)
    {
        (MemoryNetwork network, Stream a, Stream b) = await ConnectAsync(TimeSpan.Zero, cancellationToken);
        network.Partition([A]);
        Task write = a.WriteAsync(new byte[(64 * 1024) + 1], cancellationToken).AsTask();
        Assert.That(write.IsCompleted, Is.False);

        network.Heal();
        await b.ReadExactlyAsync(new byte[(64 * 1024) + 1], cancellationToken);
        await write;
    }

    [Test]
    public async Task Connections_of_a_link_can_be_cut_at_any_moment(CancellationToken cancellationToken)
    {
        (MemoryNetwork network, Stream a, Stream b) = await ConnectAsync(Latency, cancellationToken);
        await a.WriteAsync(new byte[5], cancellationToken);
        Task read = b.ReadAsync(new byte[5], cancellationToken).AsTask();
        Task write = b.WriteAsync(new byte[1 << 20], cancellationToken).AsTask();

        network.Link(B, A).CutConnections();

        foreach (Task task in new[] { read, write, a.ReadAsync(new byte[1], cancellationToken).AsTask(), a.WriteAsync(new byte[1], cancellationToken).AsTask() })
        {
            Assert.That((await Assert.ThrowsAsync<IOException>(() => task))!.Message, Is.EqualTo("The connection was cut."));
        }

        Assert.That((network.Connections.Single().HasFailed, network.OpenStreams), Is.EqualTo((true, 2)), "their owners still have to close them");
        await a.DisposeAsync();
        await b.DisposeAsync();
        Assert.That(network.OpenStreams, Is.Zero);
    }

    [Test]
    public async Task What_is_open_is_counted_at_both_ends(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new();
        ITransportListener listener = Listen(network, B);
        TransportConnection[] dialled = await Task.WhenAll(DialAsync(network, A, listener, cancellationToken), DialAsync(network, C, listener, cancellationToken));
        TransportConnection accepted = await listener.AcceptAsync(cancellationToken);
        Assert.That((network.OpenListeners, network.OpenConnections, network.OpenStreams), Is.EqualTo((1, 2, 4)));

        await dialled[0].DisposeAsync();
        await dialled[0].DisposeAsync();
        Assert.That((network.OpenConnections, network.OpenStreams), Is.EqualTo((2, 3)));
        Assert.That(network.Connections[0].ToString(), Is.EqualTo($"{dialled[0].LocalEndPoint} (closed) to {listener.LocalEndPoint} (open)"));
        await accepted.DisposeAsync();
        Assert.That((network.OpenConnections, network.OpenStreams), Is.EqualTo((1, 2)));
        await listener.DisposeAsync();
        await listener.DisposeAsync();
        Assert.That((network.OpenListeners, network.OpenStreams), Is.EqualTo((0, 1)), "what was not accepted is closed");
        await dialled[1].DisposeAsync();
        Assert.That((network.OpenConnections, network.OpenStreams, network.Connections.Length), Is.EqualTo((0, 0, 2)));
    }

    [Test]
    public async Task Ports_are_used_again_when_connections_are_closed(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new();
        await using ITransportListener listener = Listen(network, B);
        for (int i = 0; i < 20_000; i++)
        {
            await using TransportConnection dialled = await DialAsync(network, A, listener, cancellationToken);
            await using TransportConnection accepted = await listener.AcceptAsync(cancellationToken);
        }

        Assert.That(network.OpenStreams, Is.Zero);
        Assert.That(network.Connections.Select(connection => connection.DiallerEndPoint.Port), Is.All.InRange(49_152, 65_535));
    }

    [Test]
    public async Task Faults_happen_where_bytes_come_and_are_the_same_whenever_hosts_dial_in_the_same_order(CancellationToken cancellationToken)
    {
        FaultPlan plan = new() { Seed = 3, CorruptEvery = 1000 };
        string first = await DescribeAsync(), second = await DescribeAsync();

        Assert.That(second, Is.EqualTo(first));
        Assert.That(first.Split('\n'), Is.Unique.And.All.Not.Empty, "each connection and direction has its own");

        async Task<string> DescribeAsync()
        {
            MemoryNetwork network = new(new MemoryNetworkOptions { Faults = plan });
            network.Link(A, C).Faults = null;
            await using ITransportListener listener = Listen(network, B);
            await using ITransportListener other = Listen(network, C);
            await ExchangeAsync(network, A, other);
            Assert.That(network.Connections[0].HasFailed, Is.False);
            foreach (IPAddress host in new[] { A, A, C })
            {
                await ExchangeAsync(network, host, listener);
            }

            Assert.That(network.Connections.Skip(1).Select(connection => connection.HasFailed), Is.All.True);
            return string.Join('\n', network.Connections.Skip(1).SelectMany(connection => new[] { connection.FaultsToDialler, connection.FaultsToListener })
                .Select(faults => string.Join(", ", faults.Select(injected => injected.Fault))));
        }

        async Task ExchangeAsync(MemoryNetwork network, IPAddress from, ITransportListener listener)
        {
            await using TransportConnection dialled = await DialAsync(network, from, listener, cancellationToken);
            await using TransportConnection accepted = await listener.AcceptAsync(cancellationToken);
            foreach ((Stream writer, Stream reader) in new[] { (dialled.Stream, accepted.Stream), (accepted.Stream, dialled.Stream) })
            {
                await writer.WriteAsync(new byte[10_000], cancellationToken);
                await reader.ReadExactlyAsync(new byte[10_000], cancellationToken);
            }
        }
    }

    [Test]
    public async Task A_planned_cut_breaks_both_ends(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new(new MemoryNetworkOptions { Faults = new FaultPlan { Script = [Fault.Cut(3)] } });
        await using ITransportListener listener = Listen(network, B);
        await using TransportConnection dialled = await DialAsync(network, A, listener, cancellationToken);
        await using TransportConnection accepted = await listener.AcceptAsync(cancellationToken);
        await dialled.Stream.WriteAsync(new byte[10], cancellationToken);
        Task pending = dialled.Stream.ReadAsync(new byte[1], cancellationToken).AsTask();

        await accepted.Stream.ReadExactlyAsync(new byte[3], cancellationToken);

        await Assert.ThrowsAsync<IOException>(() => pending);
        await Assert.ThrowsAsync<IOException>(() => accepted.Stream.ReadAsync(new byte[1], cancellationToken).AsTask());
        await Assert.ThrowsAsync<IOException>(() => dialled.Stream.WriteAsync(new byte[1], cancellationToken).AsTask());
        Assert.That(network.Connections.Single().FaultsToListener.Single().Fault, Is.EqualTo(Fault.Cut(3)));
    }

    [Test]
    public async Task Many_threads_may_do_everything_at_once_and_nothing_is_left(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new(new MemoryNetworkOptions { Backlog = 4, Faults = new FaultPlan { SplitWithin = 500 } });
        await using ITransportListener listener = Listen(network, B);
        const int Dials = 2000;
        Task accepting = AcceptAsync();
        await Parallel.ForAsync(0, Dials, cancellationToken, async (i, token) =>
        {
            await using TransportConnection dialled = await DialAsync(network, i % 2 == 0 ? A : C, listener, token);
            await UnlessCutAsync(() => dialled.Stream.WriteAsync(new byte[1000], token).AsTask());
            if (i % 5 == 0)
            {
                network.Link(A, B).CutConnections();
            }
        });
        await accepting;

        Assert.That((network.OpenConnections, network.OpenStreams, network.Connections.Length), Is.EqualTo((0, 0, Dials)));

        async Task AcceptAsync()
        {
            for (int i = 0; i < Dials; i++)
            {
                await using TransportConnection accepted = await listener.AcceptAsync(cancellationToken);
                await UnlessCutAsync(() => accepted.Stream.CopyToAsync(Stream.Null, cancellationToken));
            }
        }

        static async Task UnlessCutAsync(Func<Task> action)
        {
            try
            {
                await action();
            }
            catch (IOException e) when (e.Message == "The connection was cut.")
            {
            }
        }
    }

    [Test]
    public async Task A_clock_that_is_moved_while_connections_are_used_brings_everything(CancellationToken cancellationToken)
    {
        MemoryNetwork network = new(new MemoryNetworkOptions { Latency = Latency, TimeProvider = _time });
        await using ITransportListener listener = Listen(network, B);
        Task all = Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(TalkAsync, cancellationToken)));
        for (int i = 0; !all.IsCompleted; i++)
        {
            _time.Advance(TimeSpan.FromMilliseconds(10));
            if (i % 50 == 0)
            {
                network.Partition([A]);
            }
            else if (i % 50 == 10)
            {
                network.Heal();
            }

            await Task.Yield();
        }

        await all;
        Assert.That((network.OpenConnections, network.OpenStreams), Is.EqualTo((0, 0)));

        async Task TalkAsync()
        {
            await using TransportConnection dialled = await RedialAsync();
            await using TransportConnection accepted = await listener.AcceptAsync(cancellationToken);
            byte[] bytes = new byte[150_000];
            await Task.WhenAll(
                dialled.Stream.WriteAsync(bytes, cancellationToken).AsTask(),
                accepted.Stream.WriteAsync(bytes, cancellationToken).AsTask(),
                dialled.Stream.ReadExactlyAsync(new byte[bytes.Length], cancellationToken).AsTask(),
                accepted.Stream.ReadExactlyAsync(new byte[bytes.Length], cancellationToken).AsTask());
        }

        // The clock may run ahead of everything.
        async Task<TransportConnection> RedialAsync()
        {
            while (true)
            {
                try
                {
                    return await DialAsync(network, A, listener, cancellationToken);
                }
                catch (IOException e) when (e.Message.Contains("did not answer", StringComparison.Ordinal))
                {
                }
            }
        }
    }

    private static ITransportListener Listen(MemoryNetwork network, IPAddress host) => network.CreateTransport(host).Listen(new IPEndPoint(host, 0));

    private static Task<TransportConnection> DialAsync(MemoryNetwork network, IPAddress from, ITransportListener listener, CancellationToken cancellationToken) =>
        network.CreateTransport(from).ConnectAsync(NetAddress.FromEndPoint(default, listener.LocalEndPoint), cancellationToken).AsTask();

    private async Task<(MemoryNetwork Network, Stream A, Stream B)> ConnectAsync(TimeSpan latency, CancellationToken cancellationToken)
    {
        MemoryNetwork network = new(new MemoryNetworkOptions { Latency = latency, TimeProvider = _time });
        await using ITransportListener listener = Listen(network, B);
        Task<TransportConnection> dial = DialAsync(network, A, listener, cancellationToken);
        _time.Advance(2 * latency);
        return (network, (await dial).Stream, (await listener.AcceptAsync(cancellationToken)).Stream);
    }
}
