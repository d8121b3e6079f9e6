using System.Collections.Immutable;
using System.Net;
using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols;
using Pipeline.Reactors;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Cli.Tests.Tap;

/// <summary>A message as a node of the reference sent it, and what the reference says of it.</summary>
internal sealed record RecordedMessage(byte Channel, string Kind, byte[] Bytes, JsonElement Json)
{
    /// <summary>The messages of one of the recorded sessions, 1 to 3.</summary>
    public static ImmutableArray<RecordedMessage> Session(int number) =>
    [
        .. File.ReadLines(Path.Combine(AppContext.BaseDirectory, "data", $"session-{number}", "messages.jsonl"))
            .Select(line => JsonElement.Parse(line))
            .Select(json => new RecordedMessage(
                json.GetProperty("channel").GetByte(),
                json.GetProperty("type").GetString()!,
                json.GetProperty("bytes").GetBytesFromBase64(),
                json.GetProperty("json"))),
    ];
}

/// <summary>A node on a free port of this machine that sends each peer some messages as soon as it is one, and keeps what it is told.</summary>
internal sealed class RecordedNode : Reactor, IAsyncDisposable
{
    private readonly ImmutableArray<(byte Channel, byte[] Bytes)> _messages;
    private readonly NodeKey _key = NodeKey.Create();
    private readonly Switch _switch;
    private readonly SemaphoreSlim _dialled = new(0);
    private readonly Lock _gate = new();
    private readonly List<(byte Channel, byte[] Bytes)> _told = [];
    private readonly List<(int Count, TaskCompletionSource Reached)> _waiting = [];

    private RecordedNode(IEnumerable<(byte Channel, byte[] Bytes)> messages, string moniker, string network)
        : base("recorded", StandardChannels.All)
    {
        _messages = [.. messages];
        _switch = new Switch(_key, new SwitchOptions
        {
            Network = network,
            Moniker = moniker,
            Version = "0.38.25",
            ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0),
            AllowDuplicateIp = true,
            ConnectionFilters = [(_, _) =>
            {
                _dialled.Release();
                return ValueTask.FromResult<string?>(null);
            }],
        });
        _switch.AddReactor(this);
    }

    public NodeId Id => _key.Id;

    public NetAddress Address => _switch.ListenAddress;

    /// <summary>How many peers it has had.</summary>
    public int Peers { get; private set; }

    /// <summary>What it was told, in order.</summary>
    public (byte Channel, byte[] Bytes)[] Told
    {
        get
        {
            lock (_gate)
            {
                return [.. _told];
            }
        }
    }

    public static async Task<RecordedNode> StartAsync(
        IEnumerable<(byte Channel, byte[] Bytes)> messages,
        string moniker = "validator",
        string network = "chain-1",
        CancellationToken cancellationToken = default)
    {
        RecordedNode node = new(messages, moniker, network);
        await node._switch.StartAsync(cancellationToken);
        return node;
    }

    public static Task<RecordedNode> StartAsync(IEnumerable<RecordedMessage> messages, string moniker = "validator", CancellationToken cancellationToken = default) =>
        StartAsync(messages.Select(message => (message.Channel, message.Bytes)), moniker, cancellationToken: cancellationToken);

    /// <summary>Waits until it was told so many messages.</summary>
    public Task WhenToldAsync(int count, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            TaskCompletionSource reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiting.Add((count, reached));
            Check();
            return reached.Task.WaitAsync(cancellationToken);
        }
    }

    /// <summary>Waits until somebody has connected once more than this was waited for; false when nobody does for a quarter of a second.</summary>
    public Task<bool> IsDialledAsync(CancellationToken cancellationToken) => _dialled.WaitAsync(TimeSpan.FromMilliseconds(250), cancellationToken);

    /// <summary>Sends more to the peers there are.</summary>
    public async Task SendAsync(byte channel, byte[] bytes, CancellationToken cancellationToken)
    {
        foreach (IPeer peer in _switch.Peers)
        {
            await peer.SendAsync(StandardChannels.All.Single(known => known.Id == channel), bytes, timeout: null, cancellationToken);
        }
    }

    /// <summary>Closes the connections of the peers there are.</summary>
    public void Disconnect()
    {
        foreach (IPeer peer in _switch.Peers)
        {
            peer.Stop(new DisconnectReason(DisconnectKind.Stopped, "The test says so."));
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _switch.DisposeAsync();
        _key.Dispose();
        _dialled.Dispose();
    }

    protected override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            Peers++;
        }

        _ = Task.Run(() => PlayAsync(peer), CancellationToken.None);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask ReceiveAsync(Envelope envelope, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            _told.Add((envelope.Channel.Id, envelope.Data.ToArray()));
            Check();
        }

        return ValueTask.CompletedTask;
    }

    private async Task PlayAsync(IPeer peer)
    {
        foreach ((byte channel, byte[] bytes) in _messages)
        {
            // False ends it: the peer has left.
            if (await peer.SendAsync(StandardChannels.All.Single(known => known.Id == channel), bytes) != SendResult.Queued)
            {
                return;
            }
        }
    }

    private void Check()
    {
        foreach ((int count, TaskCompletionSource reached) in _waiting)
        {
            if (_told.Count >= count)
            {
                reached.TrySetResult();
            }
        }
    }
}
