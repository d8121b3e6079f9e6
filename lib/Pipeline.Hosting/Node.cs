using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Pipeline.Cryptography;
using Pipeline.Discovery;
using Pipeline.Hosting.Configuration;
using Pipeline.Reactors;
using Pipeline.Switching;

namespace Pipeline.Hosting;

/// <summary>
/// A node as a configuration says it: its key, bans and address book from the home folder, a switch, peer exchange, and the reactors that are
/// given. One process at a time may run the node of a home folder.
/// </summary>
public sealed class Node : IAsyncDisposable
{
    private const string LockFile = "pipeline.lock";

    private readonly FileStream _lock;
    private readonly NodeKey _key;

    private Node(FileStream held, NodeKey key, NodeConfiguration configuration, BanList bans, AddressBook addresses, Switch node)
    {
        _lock = held;
        _key = key;
        Configuration = configuration;
        Bans = bans;
        Addresses = addresses;
        Switch = node;
    }

    /// <summary>What the node was made from.</summary>
    public NodeConfiguration Configuration { get; }

    /// <summary>The node itself. It is stopped with this object.</summary>
    public Switch Switch { get; }

    /// <summary>The addresses that it knows, kept in <c>p2p.addr_book_file</c>.</summary>
    public AddressBook Addresses { get; }

    /// <summary>Who is banned, kept in <c>p2p.ban_file</c>.</summary>
    public BanList Bans { get; }

    /// <summary>Opens the files of a home folder, makes those that are missing, and makes the node, which does nothing until it is started.</summary>
    /// <param name="configuration">What the node is.</param>
    /// <param name="reactors">Its reactors besides peer exchange; null for none.</param>
    /// <param name="version">What the node says is its software's version: empty or printable ASCII.</param>
    /// <param name="loggers">Where it says what it does; null for nowhere.</param>
    /// <param name="cancellationToken">Ends the wait for the address of a host's name.</param>
    /// <exception cref="ConfigurationException">The network is not known, or a value cannot be used on this machine.</exception>
    /// <exception cref="NodeKeyFileException">The file of the node's key is damaged.</exception>
    /// <exception cref="IOException">A file cannot be read or written, or another process runs this node.</exception>
    /// <exception cref="ArgumentException">Two reactors have the same name or channel.</exception>
    public static async Task<Node> OpenAsync(
        NodeConfiguration configuration,
        IEnumerable<Reactor>? reactors = null,
        string version = "",
        ILoggerFactory? loggers = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        loggers ??= NullLoggerFactory.Instance;

        // Before anything is made in a folder that may be the wrong one.
        if (configuration.NetworkProblem is { } problem)
        {
            throw new ConfigurationException(problem);
        }

        FileStream held = Hold(configuration.Home);
        NodeKey? key = null;
        BanList? bans = null;
        AddressBook? addresses = null;
        Switch? node = null;
        try
        {
            foreach (string path in new[] { configuration.NodeKeyFile, configuration.AddressBookFile, configuration.BanFile }.OfType<string>())
            {
                Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            }

            key = NodeKey.LoadOrCreate(configuration.NodeKeyFile);
            SwitchOptions options = await configuration.ToSwitchOptionsAsync(key.Id, cancellationToken).ConfigureAwait(false);
            ILogger<BanList> banLogger = loggers.CreateLogger<BanList>();
            bans = configuration.BanFile is { } file ? BanList.Open(file, logger: banLogger) : new BanList(logger: banLogger);
            addresses = AddressBook.Open(
                configuration.AddressBookFile,
                new AddressBookOptions
                {
                    IsStrict = configuration.AddressBookStrict,
                    OwnIds = [key.Id],
                    PrivateIds = configuration.PrivatePeers,
                    Bans = bans,
                },
                loggers.CreateLogger<AddressBook>());
            node = new Switch(key, options with { Version = version, Bans = bans, AddressBook = addresses }, loggers.CreateLogger<Switch>());
            foreach (Reactor reactor in (reactors ?? []).Concat(PeerExchangeOf(configuration, key.Id, addresses, loggers)))
            {
                node.AddReactor(reactor);
            }

            return new Node(held, key, configuration, bans, addresses, node);
        }
        catch
        {
            if (node is not null)
            {
                await node.DisposeAsync().ConfigureAwait(false);
            }

            if (addresses is not null)
            {
                await addresses.DisposeAsync().ConfigureAwait(false);
            }

            if (bans is not null)
            {
                await bans.DisposeAsync().ConfigureAwait(false);
            }

            key?.Dispose();
            await held.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Starts the node, see <see cref="Switch.StartAsync"/>.</summary>
    public Task StartAsync(CancellationToken cancellationToken = default) => Switch.StartAsync(cancellationToken);

    /// <summary>
    /// Takes what may change while the node runs: who is allowed and denied from <paramref name="configuration"/>, and the bans from their file,
    /// see <see cref="BanList.ReloadAsync"/>. Peers that may not be peers any more are stopped.
    /// </summary>
    /// <returns>What became of it.</returns>
    /// <exception cref="AggregateException">Who listens to bans has thrown; all was reloaded.</exception>
    public async Task<ReloadResult> ReloadAsync(NodeConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        ImmutableArray<string> waiting =
        [
            .. from pair in Configuration.Values.Zip(configuration.Values)
               where pair.First.Text != pair.Second.Text && !pair.First.Key.IsReloadable
               select pair.First.Key.Name,
        ];
        Switch.SetAccessRules(configuration.AccessRules);
        bool isGood = await Bans.ReloadAsync().ConfigureAwait(false);
        return new ReloadResult(waiting, isGood ? null : Bans.FileProblem ?? "The bans could not be written.");
    }

    /// <summary>Stops the node and writes its files.</summary>
    public async ValueTask DisposeAsync()
    {
        await Switch.StopAsync().ConfigureAwait(false);
        await Addresses.DisposeAsync().ConfigureAwait(false);
        await Bans.DisposeAsync().ConfigureAwait(false);
        _key.Dispose();
        await _lock.DisposeAsync().ConfigureAwait(false);
    }

    private static IEnumerable<Reactor> PeerExchangeOf(NodeConfiguration configuration, NodeId self, AddressBook addresses, ILoggerFactory loggers) =>
        !configuration.PeerExchange && !configuration.SeedMode ? []
        :
        [
            new PeerExchangeReactor(
                addresses,
                new PeerExchangeOptions
                {
                    MaxOutboundPeers = configuration.MaxOutboundPeers,
                    Seeds = configuration.Seeds.RemoveAll(seed => seed.Id == self),
                    IsSeed = configuration.SeedMode,
                    SeedDisconnectWaitPeriod = configuration.SeedDisconnectWaitPeriod,
                },
                loggers.CreateLogger<PeerExchangeReactor>()),
        ];

    // Two processes that write the same files would each undo what the other did.
    private static FileStream Hold(HomeFolder home)
    {
        string path = home.Resolve(LockFile);
        Directory.CreateDirectory(home.Path);
        try
        {
            // It stays there: to delete it would let two others each hold one of that name.
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
        }
        catch (IOException e)
        {
            throw new IOException($"The node of '{home}' cannot be run: '{path}' cannot be locked, most likely because another process runs it. Stop that first, or use another --home. ({e.Message})", e);
        }
    }
}

/// <summary>What became of a <see cref="Node.ReloadAsync"/>.</summary>
/// <param name="NeedRestart">The keys that have changed and take effect only when the node is started again.</param>
/// <param name="BanProblem">What was wrong with the file of bans, for people; null when nothing was. The bans that held before hold.</param>
public sealed record ReloadResult(ImmutableArray<string> NeedRestart, string? BanProblem);
