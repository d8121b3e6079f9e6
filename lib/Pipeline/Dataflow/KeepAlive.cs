using System.Collections.Concurrent;

namespace Pipeline.Dataflow;

/// <summary>One timer for all connections of a node: an idle connection costs an entry here, not a timer of its own.</summary>
internal sealed class KeepAlive : IDisposable
{
    // Pings and pongs are late by at most this part of the shorter of their two times, and by no more than a second.
    private const int Resolution = 16;

    private static readonly TimeSpan MaxPeriod = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan MinPeriod = TimeSpan.FromMilliseconds(5);

    private readonly ConcurrentDictionary<MultiplexedConnection, byte> _connections = [];
    private readonly ITimer _timer;

    public KeepAlive(ConnectionOptions options)
    {
        TimeSpan shorter = options.PingInterval < options.PongTimeout ? options.PingInterval : options.PongTimeout;
        TimeSpan period = shorter / Resolution;
        period = period > MaxPeriod ? MaxPeriod : period < MinPeriod ? MinPeriod : period;
        _timer = options.TimeProvider.CreateTimer(static k => ((KeepAlive)k!).Tick(), this, period, period);
    }

    public void Add(MultiplexedConnection connection) => _connections.TryAdd(connection, 0);

    public void Remove(MultiplexedConnection connection) => _connections.TryRemove(connection, out _);

    public void Dispose() => _timer.Dispose();

    private void Tick()
    {
        foreach (KeyValuePair<MultiplexedConnection, byte> entry in _connections)
        {
            entry.Key.OnTick();
        }
    }
}
