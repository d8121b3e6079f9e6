using Google.Protobuf;
using Pipeline.Protocols.Mempool;
using Pipeline.Testing;

namespace Pipeline.Protocols.Tests.Relaying;

/// <summary>A relay on a switch of the test kit, and what the peers that a test speaks for have been sent.</summary>
internal sealed class RelayBench : IAsyncDisposable
{
    private readonly Lock _gate = new();

    private RelayBench(MempoolRelayOptions options) => Relay = new MempoolRelayReactor(options);

    public MempoolRelayReactor Relay { get; }

    public TestSwitch Switch { get; } = new();

    public static async Task<RelayBench> StartAsync(MempoolRelayOptions options)
    {
        RelayBench bench = new(options);
        bench.Switch.AddReactor(bench.Relay);
        await bench.Switch.StartAsync();
        return bench;
    }

    /// <summary>Waits for what other tasks are doing.</summary>
    public static async Task UntilAsync(Func<bool> condition, CancellationToken cancellationToken)
    {
        while (!condition())
        {
            cancellationToken.ThrowIfCancellationRequested();
            await Task.Yield();
        }
    }

    public static Transport.NodeInfo Plain() => new TestPeer().NodeInfo with { Channels = [StandardChannels.Mempool.Id] };

    public static byte[] Bytes(string text) => ByteString.CopyFromUtf8(text).ToByteArray();

    public static ByteString Hashes(string text)
    {
        byte[] hash = new byte[TransactionHash.Size];
        TransactionHash.Of(Bytes(text)).CopyTo(hash);
        return ByteString.CopyFrom(hash);
    }

    public static Message Message(params IEnumerable<string> transactions) =>
        new() { Txs = new Txs { Txs_ = { transactions.Select(ByteString.CopyFromUtf8) } } };

    public static IReadOnlyList<string> Received(TestPeer peer) =>
        [.. peer.SentOn(StandardChannels.Mempool).SelectMany(message => message.Txs.Txs_).Select(tx => tx.ToStringUtf8())];

    public static IReadOnlyList<RelayMessage.Types.Answer> Answers(TestPeer peer) =>
        [.. peer.SentOn(MempoolRelayReactor.RelayChannel).Where(message => message.Answer is not null).Select(message => message.Answer)];

    public static IReadOnlyList<ByteString> Asks(TestPeer peer) =>
        [.. peer.SentOn(MempoolRelayReactor.RelayChannel).Where(message => message.HasAsk).Select(message => message.Ask)];

    /// <summary>Connects a peer that does not announce, as a node of the reference.</summary>
    public Task<TestPeer> ConnectPlainAsync(TestPeer? peer = null)
    {
        lock (_gate)
        {
            return Switch.ConnectAsync(peer ?? new TestPeer(Plain()));
        }
    }

    public Task SendAsync(TestPeer peer, params IEnumerable<string> transactions) =>
        Switch.ReceiveAsync(peer, StandardChannels.Mempool, Message(transactions).ToByteArray());

    public Task AnnounceAsync(TestPeer peer, params IEnumerable<string> transactions) =>
        Switch.ReceiveAsync(peer, MempoolRelayReactor.RelayChannel, new RelayMessage { Have = ByteString.CopyFrom([.. transactions.SelectMany(tx => Hashes(tx))]) });

    public ValueTask DisposeAsync() => Switch.DisposeAsync();
}
