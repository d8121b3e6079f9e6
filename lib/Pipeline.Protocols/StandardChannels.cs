using Pipeline.Dataflow;
using Pipeline.Protocols.Types;
using Pipeline.Reactors;
using BlockSyncMessage = Pipeline.Protocols.BlockSync.Message;
using ConsensusMessage = Pipeline.Protocols.Consensus.Message;
using MempoolMessage = Pipeline.Protocols.Mempool.Message;
using PeerExchangeMessage = Pipeline.Wire.Protos.P2P.Message;
using StateSyncMessage = Pipeline.Protocols.StateSync.Message;

namespace Pipeline.Protocols;

/// <summary>The channels that the nodes of a CometBFT network speak on.</summary>
/// <remarks>
/// Source of ids, priorities, queues and sizes: the reactors of the reference at v0.38.25; see <c>docs/protocol.md</c>, channels.
/// Where the reference names no send queue, it is one message long.
/// </remarks>
public static class StandardChannels
{
    // Of each consensus channel and of the evidence channel.
    private const int OneMebibyte = 1 << 20;

    // The largest block (types.MaxBlockSizeBytes, 100 MiB), and what the reference adds to it for the fields around a block.
    private const int LargestBlockResponse = (100 << 20) + 5;

    // One transaction of the largest size that the mempool takes unless configured otherwise (max_tx_bytes, 1 MiB), in two messages
    // around it with a tag of one byte and a length of three each.
    private const int LargestTransactions = (1 << 20) + (2 * 4);

    /// <summary>Channel 0x00, addresses of nodes: priority 1, 10 messages queued to send, at most 64,000 bytes a message.</summary>
    public static ChannelDescriptor<PeerExchangeMessage> PeerExchange => Discovery.PeerExchange.Channel;

    /// <summary>
    /// Channel 0x20, where in the consensus a node is and what it has: priority 6, 100 messages queued to send, at most 1 MiB a message.
    /// </summary>
    public static ChannelDescriptor<ConsensusMessage> ConsensusState { get; } = new(0x20, "consensus state", ConsensusMessage.Parser)
    {
        Priority = 6,
        SendQueueCapacity = 100,
        MaxMessageSize = OneMebibyte,
    };

    /// <summary>
    /// Channel 0x21, proposals and block parts: priority 10, 100 messages queued to send, at most 1 MiB a message.
    /// </summary>
    public static ChannelDescriptor<ConsensusMessage> ConsensusData { get; } = new(0x21, "consensus data", ConsensusMessage.Parser)
    {
        Priority = 10,
        SendQueueCapacity = 100,
        MaxMessageSize = OneMebibyte,
    };

    /// <summary>Channel 0x22, votes: priority 7, 100 messages queued to send, at most 1 MiB a message.</summary>
    public static ChannelDescriptor<ConsensusMessage> ConsensusVote { get; } = new(0x22, "consensus vote", ConsensusMessage.Parser)
    {
        Priority = 7,
        SendQueueCapacity = 100,
        MaxMessageSize = OneMebibyte,
    };

    /// <summary>
    /// Channel 0x23, which votes a node has: priority 1, 2 messages queued to send, at most 1 MiB a message.
    /// </summary>
    public static ChannelDescriptor<ConsensusMessage> ConsensusVoteSetBits { get; } =
        new(0x23, "consensus vote set bits", ConsensusMessage.Parser)
        {
            Priority = 1,
            SendQueueCapacity = 2,
            MaxMessageSize = OneMebibyte,
        };

    /// <summary>
    /// Channel 0x30, transactions: priority 5, 1 message queued to send, at most 1,048,584 bytes a message, which is one transaction of
    /// the largest size that nodes accept by default (1 MiB).
    /// </summary>
    public static ChannelDescriptor<MempoolMessage> Mempool { get; } = new(0x30, "mempool", MempoolMessage.Parser)
    {
        Priority = 5,
        SendQueueCapacity = 1,
        MaxMessageSize = LargestTransactions,
    };

    /// <summary>
    /// Channel 0x38, evidence of validators that broke the rules: priority 6, 1 message queued to send, at most 1 MiB a message.
    /// </summary>
    public static ChannelDescriptor<EvidenceList> Evidence { get; } = new(0x38, "evidence", EvidenceList.Parser)
    {
        Priority = 6,
        SendQueueCapacity = 1,
        MaxMessageSize = OneMebibyte,
    };

    /// <summary>
    /// Channel 0x40, whole blocks for nodes that are behind: priority 5, 1,000 messages queued to send, at most 104,857,605 bytes a
    /// message, which is the largest legal block (100 MiB) and 5 bytes.
    /// </summary>
    public static ChannelDescriptor<BlockSyncMessage> BlockSync { get; } = new(0x40, "block sync", BlockSyncMessage.Parser)
    {
        Priority = 5,
        SendQueueCapacity = 1_000,
        MaxMessageSize = LargestBlockResponse,
    };

    /// <summary>
    /// Channel 0x60, which snapshots of the state a node has: priority 5, 10 messages queued to send, at most 4,000,000 bytes a message.
    /// </summary>
    public static ChannelDescriptor<StateSyncMessage> StateSyncSnapshots { get; } =
        new(0x60, "state sync snapshots", StateSyncMessage.Parser)
        {
            Priority = 5,
            SendQueueCapacity = 10,
            MaxMessageSize = 4_000_000,
        };

    /// <summary>
    /// Channel 0x61, chunks of snapshots: priority 3, 10 messages queued to send, at most 16,000,000 bytes a message.
    /// </summary>
    public static ChannelDescriptor<StateSyncMessage> StateSyncChunks { get; } = new(0x61, "state sync chunks", StateSyncMessage.Parser)
    {
        Priority = 3,
        SendQueueCapacity = 10,
        MaxMessageSize = 16_000_000,
    };

    /// <summary>All ten channels, by id.</summary>
    public static IReadOnlyList<ChannelDescriptor> All { get; } =
    [
        PeerExchange,
        ConsensusState,
        ConsensusData,
        ConsensusVote,
        ConsensusVoteSetBits,
        Mempool,
        Evidence,
        BlockSync,
        StateSyncSnapshots,
        StateSyncChunks,
    ];
}
