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
    private CancellationTokenSource? _stopping;
    private Task _dialling = Task.CompletedTask;

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

    /// <summary>
    /// Starts, dials all nodes at once, and returns when one is connected; the others are dialled on, and those that cannot be reached are dialled again.
    /// </summary>
    /// <param name="addresses">The nodes.</param>
    /// <param name="reached">Called for each that is connected.</param>
    /// <param name="unreached">Called for each that could not be reached when another one could, also after this has returned.</param>
    /// <param name="cancellationToken">Ends the dialling.</param>
    /// <exception cref="IOException">No node could be reached; the message has a line for each, fit for a terminal.</exception>
    public async Task ConnectAsync(
        ImmutableArray<NetAddress> addresses,
        Action reached,
        Action<NetAddress, IOException> unreached,
        CancellationToken cancellationToken)
    {
        await _switch.StartAsync(cancellationToken);
        _stopping = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        CancellationToken stopping = _stopping.Token;
        TaskCompletionSource first = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task<IOException?>[] dials = [.. addresses.Select(TryDialAsync)];
        _dialling = Task.WhenAll(addresses.Zip(dials, FollowAsync));
        Task<IOException?[]> all = Task.WhenAll(dials);
        await Task.WhenAny(first.Task, all);
        if (first.Task.IsCompleted)
        {
            return;
        }

        try
        {
            IEnumerable<string> lines = (await all).Zip(addresses, static (failure, address) => Printable.Of($"{address}: {failure!.Message}"));
            throw new IOException(string.Join('\n', lines));
        }
        finally
        {
            first.TrySetCanceled(CancellationToken.None);
        }

        async Task<IOException?> TryDialAsync(NetAddress address)
        {
            try
            {
                try
                {
                    await _switch.DialAsync(address, stopping);
                }
                catch (HandshakeException e) when (e.Failure == HandshakeFailure.ConnectionClosed)
                {
                    await Task.Delay(SecondTry, _time, stopping);
                    await _switch.DialAsync(address, stopping);
                }

                reached();
                first.TrySetResult();
                return null;
            }
            catch (IOException e)
            {
                return e;
            }
        }

        // As long as no node is reached there is nobody to listen to, and nothing to dial again for.
        async Task FollowAsync(NetAddress address, Task<IOException?> dial)
        {
            IOException? failure = await dial;
            await first.Task.WaitAsync(stopping);
            _switch.AddPersistentPeer(address);
            if (failure is not null)
            {
                unreached(address, failure);
            }
        }
    }

    /// <summary>Ends all connections.</summary>
    public async Task StopAsync()
    {
        if (_stopping is not null)
        {
            await _stopping.CancelAsync();
        }

        try
        {
            await _dialling;
        }
        catch (OperationCanceledException)
        {
            // That is what was asked for, or no node could be reached, which has been said.
        }

        await _switch.StopAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        await _switch.DisposeAsync();
        _stopping?.Dispose();
        _key.Dispose();
    }
}
