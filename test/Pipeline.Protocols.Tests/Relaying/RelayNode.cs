using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols.Mempool;
using Pipeline.Switching;
using Pipeline.Testing;

namespace Pipeline.Protocols.Tests.Relaying;

/// <summary>A node with a relay, on a host of its own in a network in memory, which writes down what its check has seen.</summary>
internal sealed class RelayNode : IAsyncDisposable
{
    private readonly NodeKey _key = NodeKey.Create();
    private readonly Dictionary<TransactionHash, int> _seen = [];
    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _arrivals = new(0);

    private RelayNode(MemoryNetwork network, int host, MempoolRelayOptions options)
    {
        IPAddress address = IPAddress.Parse($"10.0.0.{host}");
        Relay = new MempoolRelayReactor(options with { Check = CheckAsync });
        Switch = new Switch(_key, new SwitchOptions
        {
            Network = "relays",
            ListenEndPoint = new IPEndPoint(address, 26656),
            Transport = network.CreateTransport(address),
            Connection = new ConnectionOptions { SendRate = null, ReceiveRate = null },
        });
        Switch.AddReactor(Relay);
    }

    public MempoolRelayReactor Relay { get; }

    public Switch Switch { get; }

    /// <summary>How often each transaction was seen.</summary>
    public Dictionary<TransactionHash, int> Seen
    {
        get
        {
            lock (_gate)
            {
                return new Dictionary<TransactionHash, int>(_seen);
            }
        }
    }

    public static async Task<RelayNode[]> StartAsync(MempoolRelayOptions options, (int, int)[] links, CancellationToken cancellationToken, int? withoutAnnouncing = null)
    {
        MemoryNetwork network = new();
        RelayNode[] nodes =
        [
            .. Enumerable.Range(0, links.Max(link => Math.Max(link.Item1, link.Item2)) + 1)
                .Select(i => new RelayNode(network, i + 1, i == withoutAnnouncing ? options with { Announce = false } : options)),
        ];
        await Task.WhenAll(nodes.Select(node => node.Switch.StartAsync(cancellationToken)));
        foreach ((int a, int b) in links)
        {
            await nodes[a].Switch.DialAsync(nodes[b].Switch.ListenAddress, cancellationToken);
        }

        return nodes;
    }

    /// <summary>Waits until so many transactions have been seen, each counted as often as it was.</summary>
    public async Task ArrivalsAsync(int count, CancellationToken cancellationToken)
    {
        for (int i = 0; i < count; i++)
        {
            await _arrivals.WaitAsync(cancellationToken);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Switch.DisposeAsync();
        _key.Dispose();
        _arrivals.Dispose();
    }

    private ValueTask<MempoolVerdict> CheckAsync(MempoolTransaction transaction, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            _seen[transaction.Hash] = _seen.GetValueOrDefault(transaction.Hash) + 1;
        }

        _arrivals.Release();
        return ValueTask.FromResult(MempoolVerdict.Accept);
    }
}
