using System.Collections.Concurrent;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Protocols.BlockSync;
using Pipeline.Testing;
using Message = Pipeline.Protocols.BlockSync.Message;

namespace Pipeline.Protocols.Tests.BlockSync;

/// <summary>A node that syncs from peers that the test speaks for, with a clock that the test moves.</summary>
internal sealed class ScriptedSync : IAsyncDisposable
{
    private readonly SignedChain _chain;

    private ScriptedSync(SignedChain chain, BlockSyncOptions options)
    {
        _chain = chain;
        Reactor = new BlockSyncReactor(options, time: Time);
        Node.AddReactor(Reactor);
    }

    public FakeTimeProvider Time { get; } = new();

    public TestSwitch Node { get; } = new();

    public BlockSyncReactor Reactor { get; }

    public MemoryBlockStore Store { get; } = new();

    public ConcurrentQueue<BlockSyncFault> Faults { get; } = [];

    public BlockSyncRequest Request => new(_chain.ChainId, [_chain.Validators]) { Faulted = Faults.Enqueue };

    public static async Task<ScriptedSync> StartAsync(SignedChain chain, BlockSyncOptions? options = null)
    {
        ScriptedSync sync = new(chain, options ?? new());
        await sync.Node.StartAsync();
        return sync;
    }

    public Task SyncAsync(CancellationToken cancellationToken, BlockSyncRequest? request = null) => Reactor.SyncToAsync(Store, request ?? Request, cancellationToken);

    /// <summary>Connects a peer that says what it has.</summary>
    public async Task<TestPeer> ConnectAsync(long height, TestPeer? again = null)
    {
        TestPeer peer = await Node.ConnectAsync(again is null ? null : new TestPeer(again.NodeInfo));
        await TellAsync(peer, height);
        return peer;
    }

    public Task TellAsync(TestPeer peer, long height) => SendAsync(peer, new Message { StatusResponse = new StatusResponse { Base = 1, Height = height } });

    public Task SendAsync(TestPeer peer, Message message) => Node.ReceiveAsync(peer, StandardChannels.BlockSync, message);

    /// <summary>A peer sends a block as it stands in the chain.</summary>
    public Task AnswerAsync(TestPeer peer, long height) => SendAsync(peer, AnsweringReactor.Answer(_chain.Block(height)));

    /// <summary>A peer answers, in order, all that it has been asked for but the first <paramref name="sent"/>, until it is asked for no more; returns how many it has been asked for.</summary>
    public async Task<int> AnswerAllAsync(TestPeer peer, int sent = 0)
    {
        while (Asked(peer) is var asked && asked.Count > sent)
        {
            for (; sent < asked.Count; sent++)
            {
                Time.Advance(TimeSpan.FromMilliseconds(1));
                await AnswerAsync(peer, asked[sent]);
            }
        }

        return sent;
    }

    /// <summary>The heights that a peer was asked for, in order.</summary>
    public static IReadOnlyList<long> Asked(TestPeer peer) =>
    [
        .. peer.SentOn(StandardChannels.BlockSync).Where(message => message.SumCase == Message.SumOneofCase.BlockRequest).Select(message => message.BlockRequest.Height),
    ];

    public ValueTask DisposeAsync() => Node.DisposeAsync();
}
