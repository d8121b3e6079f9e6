using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using Pipeline.Cli.Commands;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Cli.Listening;

/// <summary>A node for the time of a command: it dials some nodes, stays connected to them, and takes no connections.</summary>
internal sealed class ListeningNode : IAsyncDisposable
{
    // A node that takes one connection from an address may not have noticed yet that the one that asked for its network is gone.
    private static readonly TimeSpan SecondTry = TimeSpan.FromSeconds(1);

    private readonly NodeKey _key = NodeKey.Create();
    private readonly Switch _switch;
    private readonly TimeProvider _time;

    /// <summary>Makes a node with a key of its own, which is forgotten.</summary>
    /// <param name="network">The network that it says it is of.</param>
    /// <param name="versions">The versions of the protocols that it says it speaks.</param>
    /// <param name="moniker">What it calls itself.</param>
    /// <param name="reactor">What it does.</param>
    /// <param name="time">Where time comes from.</param>
    /// <param name="logger">The log of the connections; null for none.</param>
    /// <param name="connection">Settings of the connections; null for the defaults.</param>
    public ListeningNode(
        string network,
        ProtocolVersions versions,
        string moniker,
        Reactor reactor,
        TimeProvider time,
        ILogger<Switch>? logger,
        ConnectionOptions? connection = null)
    {
        _time = time;
        SwitchOptions options = new()
        {
            Network = network,
            ProtocolVersions = versions,
            Moniker = moniker,
            Version = typeof(ListeningNode).Assembly.GetName().Version!.ToString(3),
            ListenEndPoint = null,
            ExternalAddress = DialCommand.NoListenAddress,
            AllowDuplicateIp = true,
            TimeProvider = time,
            Connection = connection ?? new ConnectionOptions(),
        };
        _switch = new Switch(_key, options, logger);
        _switch.AddReactor(reactor);
    }

    /// <summary>Starts, and dials all nodes at once; those that cannot be reached now are dialled again, as long as one can.</summary>
    /// <param name="addresses">The nodes.</param>
    /// <param name="reached">Called when the first is connected.</param>
    /// <param name="unreached">Called for each that could not be reached when another one could.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="IOException">No node could be reached; the message has a line for each, fit for a terminal.</exception>
    public async Task ConnectAsync(
        ImmutableArray<NetAddress> addresses,
        Action reached,
        Action<NetAddress, IOException> unreached,
        CancellationToken cancellationToken)
    {
        await _switch.StartAsync(cancellationToken);
        IOException?[] failures = await Task.WhenAll(addresses.Select(TryDialAsync));
        if (failures.All(failure => failure is not null))
        {
            IEnumerable<string> lines = failures.Zip(addresses, static (failure, address) => Printable.Of($"{address}: {failure!.Message}"));
            throw new IOException(string.Join('\n', lines));
        }

        foreach (NetAddress address in addresses)
        {
            _switch.AddPersistentPeer(address);
        }

        foreach ((IOException? failure, NetAddress address) in failures.Zip(addresses))
        {
            if (failure is not null)
            {
                unreached(address, failure);
            }
        }

        async Task<IOException?> TryDialAsync(NetAddress address)
        {
            try
            {
                try
                {
                    await _switch.DialAsync(address, cancellationToken);
                }
                catch (HandshakeException e) when (e.Failure == HandshakeFailure.ConnectionClosed)
                {
                    await Task.Delay(SecondTry, _time, cancellationToken);
                    await _switch.DialAsync(address, cancellationToken);
                }

                reached();
                return null;
            }
            catch (IOException e)
            {
                return e;
            }
        }
    }

    /// <summary>Ends all connections.</summary>
    public Task StopAsync() => _switch.StopAsync();

    public async ValueTask DisposeAsync()
    {
        await _switch.DisposeAsync();
        _key.Dispose();
    }
}
