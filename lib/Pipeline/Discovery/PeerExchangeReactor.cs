using System.Collections.Frozen;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Diagnostics;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Transport;
using Protos = Pipeline.Wire.Protos.P2P;

namespace Pipeline.Discovery;

/// <summary>
/// Peer exchange: learns the addresses of other nodes from peers and seeds, tells them what this node knows, and dials until the node has as many
/// outbound peers as it should. In seed mode it visits the nodes of its book instead, and disconnects from whoever it has answered.
/// </summary>
/// <remarks>Source: <c>docs/protocol.md</c>, peer exchange; <c>docs/concepts/peer-exchange.md</c> has each rule with its number.</remarks>
public sealed partial class PeerExchangeReactor : Reactor<Protos.Message>
{
    /// <summary>What the reactor is called.</summary>
    public const string ReactorName = "PEX";

    /// <summary>How many percent of what a seed tells are addresses that were only heard of.</summary>
    private const int SeedBias = 30;

    /// <summary>For how long an address is kept out where somebody else answers, or nobody after many tries.</summary>
    private static readonly TimeSpan KeepOutTime = TimeSpan.FromHours(24);

    /// <summary>A connection that the remote ends sooner was none: it had no room for this node, say.</summary>
    private static readonly TimeSpan ShortConnection = TimeSpan.FromSeconds(10);

    private readonly AddressBook _book;
    private readonly PeerExchangeOptions _options;
    private readonly ILogger _logger;
    private readonly TimeProvider _time;
    private readonly FrozenSet<NodeId> _seeds;
    private readonly PeerItemKey<PeerExchangeState> _state = new("peer exchange");
    private readonly DialBackoffs _backoffs;
    private readonly RoundTimer _rounds;
    private readonly TaskGroup _tasks = new();

    // Of the rounds, of which one runs at a time.
    private long? _seedsDialledAt;
    private int _isDiallingSeeds;

    /// <summary>Makes a reactor.</summary>
    /// <param name="book">The addresses that the node knows. Not disposed of, saved or loaded by the reactor.</param>
    /// <param name="options">Settings, or null for the defaults.</param>
    /// <param name="logger">Where it says what it does, or null for nowhere.</param>
    public PeerExchangeReactor(AddressBook book, PeerExchangeOptions? options = null, ILogger<PeerExchangeReactor>? logger = null)
        : base(ReactorName, PeerExchange.Channel)
    {
        ArgumentNullException.ThrowIfNull(book);
        _book = book;
        _options = options ?? new PeerExchangeOptions();
        _logger = logger ?? NullLogger<PeerExchangeReactor>.Instance;
        _time = _options.TimeProvider;
        _seeds = [.. _options.Seeds.Select(seed => seed.Id)];
        _backoffs = new DialBackoffs(_time, _options.Random);
        _rounds = RoundTimer.Create(_time, _options.IsSeed ? _options.CrawlPeriod : _options.Period, Guarded(_options.IsSeed ? Crawl : EnsurePeers));
    }

    /// <summary>Addresses that are not dialled for a while; for tests.</summary>
    internal int Backoffs => _backoffs.Count;

    // A round that comes early, because a peer has left or a dial has failed, comes at least so long after the one before.
    private TimeSpan MinGap => _options.Period / 10;

    private PipelineMetrics? Metrics => (Switch as Switching.Switch)?.Metrics;

    /// <inheritdoc />
    protected internal override ValueTask OnStartAsync(CancellationToken cancellationToken)
    {
        // It may dial only when all reactors have started.
        _ = Switch.Started.ContinueWith(_ => Begin(), _rounds.Ended, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected internal override async ValueTask OnStopAsync()
    {
        await _rounds.DisposeAsync().ConfigureAwait(false);
        await _tasks.CloseAsync().ConfigureAwait(false);
    }

    /// <inheritdoc />
    protected internal override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(peer);
        if (peer.IsOutbound)
        {
            if (_options.IsSeed || _book.NeedsMore)
            {
                Ask(peer);
            }
        }
        else if (peer.FindAddress() is { } address)
        {
            _book.Add(address, peer.SeenAt());
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected internal override ValueTask ReceiveAsync(Envelope<Protos.Message> envelope, CancellationToken cancellationToken)
    {
        IPeer peer = envelope.Peer;
        switch (envelope.Message.SumCase)
        {
            case Protos.Message.SumOneofCase.PexRequest:
                OnRequest(peer);
                break;
            case Protos.Message.SumOneofCase.PexAddrs:
                OnAddresses(peer, envelope.Message.PexAddrs);
                break;
            default:
                peer.Stop(new DisconnectReason(DisconnectKind.ProtocolViolation, "The peer sent a message of peer exchange that is neither a request nor an answer."));
                break;
        }

        return ValueTask.CompletedTask;
    }

    private void Begin()
    {
        PeerCounts counts = Switch.Counts;
        bool isAlone = counts.Inbound + counts.Outbound + counts.Dialling + counts.Unconditional == 0;

        // Nodes that start together do not all do the same at one moment.
        _rounds.Begin(_options.IsSeed || isAlone ? TimeSpan.Zero : _options.Period * _options.Random.NextDouble());
        if (!_options.IsSeed)
        {
            Run(WatchPeersAsync);
        }
    }

    // Not when the reactor removes the peer: until all reactors have, its place is taken.
    private async Task WatchPeersAsync()
    {
        await foreach (PeerChange change in Switch.WatchPeersAsync(_rounds.Ended).ConfigureAwait(false))
        {
            if (!change.IsConnected && change.Peer.IsOutbound)
            {
                ComeEarly(MinGap);
            }
        }
    }

    private PeerExchangeState StateOf(IPeer peer) => peer.Items.GetOrAdd(_state, () => new PeerExchangeState(_time));

    /// <summary>Asks a peer for addresses. False when it cannot be asked, or not again yet.</summary>
    private bool Ask(IPeer peer)
    {
        PeerExchangeState state = StateOf(peer);
        if (!peer.HasChannel(PeerExchange.Channel.Id) || !state.TryAsk())
        {
            return false;
        }

        bool isSent = peer.TrySend(PeerExchange.Channel, new Protos.Message { PexRequest = new Protos.PexRequest() }) == SendResult.Queued;
        if (!isSent)
        {
            state.Unask();
        }

        return isSent;
    }

    private void OnRequest(IPeer peer)
    {
        if (!_options.IsSeed || peer.IsOutbound || peer.IsPersistent)
        {
            if (StateOf(peer).TryTakeRequest(_options.Period / 3))
            {
                Tell(peer, _book.Select());
            }
            else
            {
                Ban(peer, "too_often", $"It has asked for addresses again within {(_options.Period / 3).TotalSeconds:0.###} s.");
            }
        }
        else if (StateOf(peer).TryTakeOnlyRequest())
        {
            Tell(peer, _book.Select(SeedBias));
            Run(() => peer.StopGracefullyAsync(new DisconnectReason(DisconnectKind.Stopped, "This node is a seed, and has told the peer what it knows.")));
        }
    }

    private void Tell(IPeer peer, IEnumerable<NetAddress> addresses)
    {
        NodeId own = Switch.NodeInfo.Id;
        Protos.PexAddrs answer = new();
        answer.Addrs.AddRange(
            from address in addresses
            where address.Id != own && address.Id != peer.Id && !Switch.IsPrivate(address.Id)
            select new Protos.NetAddress { Id = address.Id.ToString(), Ip = address.Host, Port = address.Port });
        peer.TrySend(PeerExchange.Channel, new Protos.Message { PexAddrs = answer });
    }

    private void OnAddresses(IPeer peer, Protos.PexAddrs told)
    {
        PeerExchangeState state = StateOf(peer);
        if (!state.TryTakeAnswer())
        {
            Ban(peer, "unasked", "It has told addresses that it was not asked for.");
            return;
        }

        if (PeerExchangeAnswer.FindFault(told, out List<NetAddress> addresses) is { } fault)
        {
            Ban(peer, "false_addresses", fault);
            return;
        }

        NetAddress source = peer.SeenAt();
        int added = 0;
        bool isUseful = false;
        foreach (NetAddress address in addresses)
        {
            AddressVerdict verdict = address.Id == Switch.NodeInfo.Id ? AddressVerdict.Own : _book.Add(address, source);
            Metrics?.AddressTold(SnakeCase<AddressVerdict>.Of(verdict));
            added += verdict == AddressVerdict.Added ? 1 : 0;
            isUseful |= verdict is AddressVerdict.Added or AddressVerdict.Known;
        }

        if (isUseful)
        {
            peer.MarkUseful();
        }

        PeerExchangeLog.AddressesTold(_logger, peer.Id, addresses.Count, added);
        state.SetAnswered();
        if (_seeds.Contains(peer.Id))
        {
            ComeEarly(TimeSpan.Zero);
        }
        else if (added > 0)
        {
            ComeEarly(MinGap);
        }
    }

    private void Ban(IPeer peer, string fault, string why)
    {
        Metrics?.ExchangeFault(fault);
        PeerExchangeLog.RuleBroken(_logger, peer.Id, peer.RemoteEndPoint, why);
        Switch.MarkBad(peer, why);
    }

    private void ComeEarly(TimeSpan gap)
    {
        if (!_options.IsSeed)
        {
            _rounds.ComeEarly(gap);
        }
    }

    private Action Guarded(Action round) => () =>
    {
        try
        {
            round();
        }
        catch (Exception e)
        {
            // A switch or a book of the user's, or a logger that throws, must not end the process from within a timer.
            PeerExchangeLog.Failed(_logger, e);
        }
    };

    /// <summary>Begins something at once, which the stop of the reactor waits for.</summary>
    private void Run(Func<Task> work)
    {
        if (_tasks.TryEnter())
        {
            _ = RunAsync(work);
        }
    }

    private async Task RunAsync(Func<Task> work)
    {
        try
        {
            await work().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            if (!_rounds.Ended.IsCancellationRequested)
            {
                PeerExchangeLog.Failed(_logger, e);
            }
        }
        finally
        {
            _tasks.Exit();
        }
    }
}
