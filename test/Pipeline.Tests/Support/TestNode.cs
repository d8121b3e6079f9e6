using System.Collections.Concurrent;
using System.Net;
using Microsoft.Extensions.Logging;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Switching;

namespace Pipeline.Tests.Support;

/// <summary>A switch on a free port of the loopback interface, whose sockets, log and reactors a test can look at.</summary>
internal sealed class TestNode : IAsyncDisposable, ILogger<Switch>
{
    public TestNode(Func<SwitchOptions, SwitchOptions>? configure, params IEnumerable<Reactor> reactors)
        : this(NodeKey.Create(), configure, reactors)
    {
    }

    public TestNode(NodeKey key, Func<SwitchOptions, SwitchOptions>? configure, params IEnumerable<Reactor> reactors)
    {
        Key = key;
        SwitchOptions options = new()
        {
            Network = "test-network",
            Moniker = "test",
            ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0),
            AllowDuplicateIp = true,
            MaxInboundConnectionRatePerIp = null,
            MaxInboundHandshakesPerIp = null,
            Transport = Transport,
        };
        Switch = new Switch(key, configure?.Invoke(options) ?? options, this);
        foreach (Reactor reactor in reactors)
        {
            if (reactor is RecordingReactor recording)
            {
                recording.Pulse = Pulse;
                Recording = recording;
            }

            Switch.AddReactor(reactor);
        }
    }

    public NodeKey Key { get; }

    public Switch Switch { get; }

    public Pulse Pulse { get; } = new();

    public WatchedTransport Transport { get; } = new();

    public ConcurrentQueue<string> Log { get; } = [];

    /// <summary>The recording reactor that was added last.</summary>
    public RecordingReactor Recording { get; } = null!;

    public static async Task<TestNode> StartAsync(Func<SwitchOptions, SwitchOptions>? configure, params IEnumerable<Reactor> reactors)
    {
        TestNode node = new(configure, reactors);
        await node.Switch.StartAsync();
        return node;
    }

    public Task<IPeer> DialAsync(TestNode other, CancellationToken cancellationToken) => Switch.DialAsync(other.Switch.ListenAddress, cancellationToken);

    /// <summary>Waits until this node has another as its peer, and all reactors know it.</summary>
    public async Task<IPeer> PeerAsync(NodeId id, CancellationToken cancellationToken)
    {
        IPeer? peer = null;
        await UntilAsync(() => (peer = Switch.Peers.FirstOrDefault(p => p.Id == id)) is not null, cancellationToken);
        return peer!;
    }

    /// <summary>Waits for something that is said in the log, or a reactor hears of.</summary>
    public Task UntilAsync(Func<bool> condition, CancellationToken cancellationToken) => Pulse.UntilAsync(condition, cancellationToken);

    public Task UntilLoggedAsync(string text, CancellationToken cancellationToken) =>
        UntilAsync(() => Log.Any(line => line.Contains(text, StringComparison.Ordinal)), cancellationToken);

    public async ValueTask DisposeAsync()
    {
        await Switch.DisposeAsync();
        Key.Dispose();
    }

    IDisposable? ILogger.BeginScope<TState>(TState state) => null;

    bool ILogger.IsEnabled(LogLevel logLevel) => true;

    void ILogger.Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        Log.Enqueue($"{logLevel}: {formatter(state, exception)}");
        Pulse.Beat();
    }
}
