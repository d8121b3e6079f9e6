using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Sockets;
using Pipeline.Transport;

namespace Pipeline.Testing;

/// <summary>
/// An internet in memory: any number of hosts, each with a transport that behaves as TCP does, and a hand on everything between them: how
/// long bytes take, which of them go wrong, who can reach whom.
/// </summary>
/// <remarks>
/// Nothing here has a thread or polls. With no latency, no faults and no partition no timers run either.
/// </remarks>
public sealed class MemoryNetwork
{
    private const int FirstFreePort = 49_152;

    // Guarded by Gate, which is taken before a connection's own, as what hosts and listeners have. _groupOf says of the hosts that a partition names in which of its groups they are.
    private readonly Dictionary<IPAddress, Host> _hosts = [];
    private readonly Dictionary<(IPAddress, IPAddress), MemoryLink> _links = [];
    private readonly List<MemoryConnection> _connections = [];
    private Dictionary<IPAddress, int> _groupOf = [];
    private int _openStreams;
    private int _openListeners;

    /// <summary>Makes a network without hosts.</summary>
    /// <param name="options">Settings, or null for the defaults.</param>
    public MemoryNetwork(MemoryNetworkOptions? options = null) => Options = options ?? new MemoryNetworkOptions();

    /// <summary>The settings.</summary>
    public MemoryNetworkOptions Options { get; }

    /// <summary>All connections that were ever made, in order; also those that were closed, so that a test can see what happened to them.</summary>
    public ImmutableArray<MemoryConnection> Connections
    {
        get
        {
            lock (Gate)
            {
                return [.. _connections];
            }
        }
    }

    /// <summary>Connections of which at least one end has not been closed by its owner, those included that nobody has accepted.</summary>
    public int OpenConnections => Connections.Count(connection => connection.IsOpen);

    /// <summary>Ends of connections that have not been closed by their owners.</summary>
    public int OpenStreams => Volatile.Read(ref _openStreams);

    /// <summary>Listeners that have not been closed.</summary>
    public int OpenListeners => Volatile.Read(ref _openListeners);

    internal Lock Gate { get; } = new();

    /// <summary>
    /// The transport of a host, which comes into being with its first one. What dials through it comes from the host's address, and it listens on
    /// no other; 0.0.0.0 and :: stand for that address. It knows IP addresses only, no names.
    /// </summary>
    /// <param name="host">The host's address, of which all transports share the ports.</param>
    public ITransport CreateTransport(IPAddress host)
    {
        IPAddress address = Address(host);
        if (IsAny(address))
        {
            throw new ArgumentException($"{host} is the address of no host.", nameof(host));
        }

        lock (Gate)
        {
            if (!_hosts.TryGetValue(address, out Host? existing))
            {
                _hosts[address] = existing = new Host(this, address);
            }

            return existing;
        }
    }

    /// <summary>What lies between two hosts. They need not exist yet, and may be the same.</summary>
    public MemoryLink Link(IPAddress one, IPAddress other)
    {
        IPAddress a = Address(one), b = Address(other);
        lock (Gate)
        {
            if (!_links.TryGetValue((a, b), out MemoryLink? link))
            {
                _links[(a, b)] = _links[(b, a)] = link = new MemoryLink(this, a, b);
                link.Update();
            }

            return link;
        }
    }

    /// <summary>
    /// Parts the network: nothing passes between hosts of different groups any more, and hosts that are in no group are together in one of
    /// their own. Takes the place of the partition before it. Connections stay, see <see cref="MemoryLink.Sever"/>.
    /// </summary>
    /// <exception cref="ArgumentException">A host is in two groups.</exception>
    public void Partition(params IReadOnlyList<IEnumerable<IPAddress>> groups)
    {
        ArgumentNullException.ThrowIfNull(groups);
        Dictionary<IPAddress, int> groupOf = [];
        for (int i = 0; i < groups.Count; i++)
        {
            foreach (IPAddress host in groups[i].Select(Address).Distinct())
            {
                if (!groupOf.TryAdd(host, i + 1))
                {
                    throw new ArgumentException($"{host} is in two groups.", nameof(groups));
                }
            }
        }

        SetGroups(groupOf);
    }

    /// <summary>Ends the partition, and heals all links: what was sent meanwhile sets out again.</summary>
    public void Heal()
    {
        SetGroups([]);
        foreach (MemoryLink link in AllLinks())
        {
            link.Heal();
        }
    }

    internal bool AreParted(IPAddress one, IPAddress other) => _groupOf.GetValueOrDefault(one) != _groupOf.GetValueOrDefault(other);

    internal void OnEndClosed(MemoryConnection connection)
    {
        lock (Gate)
        {
            _openStreams--;
            if (!connection.IsOpen)
            {
                connection.Link.Remove(connection);
            }

            if (!connection.IsDiallerOpen)
            {
                _hosts[connection.DiallerEndPoint.Address].Release(connection.DiallerEndPoint.Port, connection);
            }
        }
    }

    private void SetGroups(Dictionary<IPAddress, int> groupOf)
    {
        lock (Gate)
        {
            _groupOf = groupOf;
            foreach (MemoryLink link in _links.Values)
            {
                link.Update();
            }
        }

        foreach (MemoryLink link in AllLinks())
        {
            link.SetTimers();
        }
    }

    private MemoryLink[] AllLinks()
    {
        lock (Gate)
        {
            return [.. _links.Values];
        }
    }

    private static IPAddress Address(IPAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        return address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
    }

    private static bool IsAny(IPAddress address) => address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any);

    private sealed class Host(MemoryNetwork network, IPAddress ip) : ITransport
    {
        // The ports in use, by listeners or by connections that were dialled from there.
        private readonly Dictionary<int, object> _ports = [];
        private int _lastFreePort = FirstFreePort - 1;

        public async ValueTask<TransportConnection> ConnectAsync(NetAddress address, CancellationToken cancellationToken = default)
        {
            ArgumentNullException.ThrowIfNull(address);
            cancellationToken.ThrowIfCancellationRequested();
            IPAddress target = address.Ip ?? throw new IOException($"{address.Host} cannot be resolved: a network in memory knows IP addresses only.");
            MemoryLink link = network.Link(ip, target);
            if (link.Latency == TimeSpan.Zero && TryConnect(link, target, address, out TransportConnection? connection, out _))
            {
                return connection;
            }

            MemoryNetworkOptions options = network.Options;
            using CancellationTokenSource deadline = new(options.DialTimeout, options.TimeProvider);
            using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
            try
            {
                // There and back.
                await Task.Delay(2 * link.Latency, options.TimeProvider, either.Token).ConfigureAwait(false);
                while (!TryConnect(link, target, address, out connection, out Task? obstacle))
                {
                    await obstacle.WaitAsync(either.Token).ConfigureAwait(false);
                }

                return connection;
            }
            catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
            {
                throw new IOException($"{address.DialString} did not answer within {options.DialTimeout.TotalSeconds:0.###} s.", e);
            }
        }

        public ITransportListener Listen(IPEndPoint endPoint)
        {
            ArgumentNullException.ThrowIfNull(endPoint);
            IPAddress address = Address(endPoint.Address);
            lock (network.Gate)
            {
                SocketError? error = !IsAny(address) && !address.Equals(ip) ? SocketError.AddressNotAvailable
                    : _ports.ContainsKey(endPoint.Port) ? SocketError.AddressAlreadyInUse
                    : null;
                if (error is { } code)
                {
                    SocketException e = new((int)code);
                    throw new IOException($"Nothing can listen on {endPoint}: {e.Message}.", e);
                }

                Listener listener = new(network, this, new IPEndPoint(ip, endPoint.Port == 0 ? FreePort() : endPoint.Port));
                _ports[listener.LocalEndPoint.Port] = listener;
                network._openListeners++;
                return listener;
            }
        }

        /// <summary>Gives a port back, if it has not got a new owner. Called with the gate held.</summary>
        public void Release(int port, object owner)
        {
            if (_ports.TryGetValue(port, out object? current) && current == owner)
            {
                _ports.Remove(port);
            }
        }

        private bool TryConnect(
            MemoryLink link,
            IPAddress target,
            NetAddress address,
            [NotNullWhen(true)] out TransportConnection? connection,
            [NotNullWhen(false)] out Task? obstacle)
        {
            lock (network.Gate)
            {
                connection = null;
                if (!link.IsUp)
                {
                    obstacle = link.ComesUp.WaitAsync();
                    return false;
                }

                SocketError error = SocketError.HostUnreachable;
                if (network._hosts.TryGetValue(target, out Host? host))
                {
                    error = SocketError.ConnectionRefused;
                    if (host._ports.GetValueOrDefault(address.Port) is Listener listener)
                    {
                        if (listener.IsFull)
                        {
                            obstacle = listener.Accepted.WaitAsync();
                            return false;
                        }

                        obstacle = null;
                        connection = Connect(link, listener);
                        return true;
                    }
                }

                SocketException e = new((int)error);
                throw new IOException($"{address.DialString} cannot be reached: {e.Message}.", e);
            }
        }

        private TransportConnection Connect(MemoryLink link, Listener listener)
        {
            IPEndPoint local = new(ip, FreePort());
            IPEndPoint remote = listener.LocalEndPoint;
            MemoryConnection connection = new(network, link, local, remote, link.Faults, link.NextSalt(ip, remote.Address));
            _ports[local.Port] = connection;
            link.Add(connection);
            network._connections.Add(connection);
            network._openStreams += 2;
            listener.Add(connection);
            return new TransportConnection(connection.DiallerStream, local, remote);
        }

        private int FreePort()
        {
            for (int tries = FirstFreePort; tries <= IPEndPoint.MaxPort; tries++)
            {
                _lastFreePort = _lastFreePort == IPEndPoint.MaxPort ? FirstFreePort : _lastFreePort + 1;
                if (!_ports.ContainsKey(_lastFreePort))
                {
                    return _lastFreePort;
                }
            }

            throw new IOException($"{ip} has no free port left.", new SocketException((int)SocketError.AddressNotAvailable));
        }
    }

    private sealed class Listener(MemoryNetwork network, Host host, IPEndPoint localEndPoint) : ITransportListener
    {
        // Guarded by the gate. Once closed it has no waiting connections.
        private readonly Queue<MemoryConnection> _waiting = [];
        private readonly Signal _added = new();
        private bool _isClosed;

        public IPEndPoint LocalEndPoint { get; } = localEndPoint;

        public bool IsFull => _waiting.Count >= network.Options.Backlog;

        /// <summary>Set when there is room for more, or when there never will be.</summary>
        public Signal Accepted { get; } = new();

        public void Add(MemoryConnection connection)
        {
            _waiting.Enqueue(connection);
            _added.Set();
        }

        public async ValueTask<TransportConnection> AcceptAsync(CancellationToken cancellationToken = default)
        {
            while (true)
            {
                cancellationToken.ThrowIfCancellationRequested();
                Task added;
                lock (network.Gate)
                {
                    if (_isClosed)
                    {
                        throw new ObjectDisposedException(null, "The listener is closed.");
                    }

                    if (_waiting.TryDequeue(out MemoryConnection? connection))
                    {
                        Accepted.Set();
                        return new TransportConnection(connection.ListenerStream, connection.ListenerEndPoint, connection.DiallerEndPoint);
                    }

                    added = _added.WaitAsync();
                }

                await added.WaitAsync(cancellationToken).ConfigureAwait(false);
            }
        }

        public ValueTask DisposeAsync()
        {
            MemoryConnection[] waiting;
            lock (network.Gate)
            {
                if (_isClosed)
                {
                    return ValueTask.CompletedTask;
                }

                _isClosed = true;
                waiting = [.. _waiting];
                _waiting.Clear();
                host.Release(LocalEndPoint.Port, this);
                network._openListeners--;
                _added.Set();
                Accepted.Set();
            }

            foreach (MemoryConnection connection in waiting)
            {
                connection.Refuse();
            }

            return ValueTask.CompletedTask;
        }
    }
}
