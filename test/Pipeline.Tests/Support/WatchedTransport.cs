using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Pipeline.Transport;

namespace Pipeline.Tests.Support;

/// <summary>TCP that remembers the handle of every socket of every connection, so that a test can see whether all are closed.</summary>
internal sealed class WatchedTransport : ITransport
{
    private readonly TcpTransport _tcp = new();
    private readonly ConcurrentQueue<SafeHandle> _handles = [];

    public int Connections => _handles.Count;

    /// <summary>Where the last listener listened.</summary>
    public IPEndPoint? Listened { get; private set; }

    public int Open => _handles.Count(handle => !handle.IsClosed);

    public async ValueTask<TransportConnection> ConnectAsync(NetAddress address, CancellationToken cancellationToken = default) =>
        Watch(await _tcp.ConnectAsync(address, cancellationToken));

    public ITransportListener Listen(IPEndPoint endPoint)
    {
        Listener listener = new(this, _tcp.Listen(endPoint));
        Listened = listener.LocalEndPoint;
        return listener;
    }

    private TransportConnection Watch(TransportConnection connection)
    {
        _handles.Enqueue(((NetworkStream)connection.Stream).Socket.SafeHandle);
        return connection;
    }

    private sealed class Listener(WatchedTransport owner, ITransportListener inner) : ITransportListener
    {
        public IPEndPoint LocalEndPoint => inner.LocalEndPoint;

        public async ValueTask<TransportConnection> AcceptAsync(CancellationToken cancellationToken = default) =>
            owner.Watch(await inner.AcceptAsync(cancellationToken));

        public ValueTask DisposeAsync() => inner.DisposeAsync();
    }
}
