using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Protocols.Consensus;
using Pipeline.Protocols.Types;
using Pipeline.Reactors;

namespace Pipeline.Protocols.Tests.Observing;

/// <summary>Puts messages into an observer, a millisecond apart.</summary>
internal sealed class Observed(ConsensusObserverOptions? options = null)
{
    private static readonly ChannelDescriptor<Message>[] Channels =
        [StandardChannels.ConsensusState, StandardChannels.ConsensusData, StandardChannels.ConsensusVote, StandardChannels.ConsensusVoteSetBits];

    public static DateTimeOffset Start { get; } = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public ConsensusObserver Observer { get; } = new(options);

    public DateTimeOffset Now { get; private set; } = Start;

    public ConsensusView View => Observer.View;

    public static NodeId Peer(int number) => NodeId.Parse($"{number:x40}");

    /// <summary>An observer that has heard the consensus messages of a recording.</summary>
    public static ConsensusObserver Replay(IEnumerable<TracedMessage> messages, ConsensusObserverOptions? options = null)
    {
        ConsensusObserver observer = new(options);
        foreach (TracedMessage message in messages.Where(message => message.Channel is >= 0x20 and <= 0x23))
        {
            if (observer.View.Peers.All(peer => peer.Id != Peer(message.Peer)))
            {
                observer.Join(Peer(message.Peer), $"peer {message.Peer}");
            }

            string? fault = observer.Observe(Peer(message.Peer), Channels[message.Channel - 0x20], Message.Parser.ParseFrom(message.Bytes), Start + message.At);
            Assert.That(fault, Is.Null, "the reference sends nothing that is wrong");
        }

        return observer;
    }

    public string? Tell(int peer, Message message, byte? channel = null) => Observer.Observe(
        Peer(peer),
        Channels[(channel ?? ChannelOf(message)) - 0x20],
        message,
        Now += TimeSpan.FromMilliseconds(1));

    public string? Step(int peer, long height, int round, ConsensusStep step, int lastCommitRound = 0) => Tell(peer, new Message
    {
        NewRoundStep = new NewRoundStep { Height = height, Round = round, Step = (uint)step, LastCommitRound = lastCommitRound },
    });

    public string? HasVote(int peer, long height, int round, int validator, SignedMsgType type = SignedMsgType.Precommit) =>
        Tell(peer, new Message { HasVote = new HasVote { Height = height, Round = round, Index = validator, Type = type } });

    public string? Vote(int peer, long height, int round, int validator, byte block, SignedMsgType type = SignedMsgType.Precommit) =>
        Tell(peer, new Message { Vote = new Pipeline.Protocols.Consensus.Vote { Vote_ = MakeVote(height, round, validator, block, type) } });

    public string? Proposal(int peer, long height, int round, byte block, int parts = 1) => Tell(peer, new Message
    {
        Proposal = new Pipeline.Protocols.Consensus.Proposal { Proposal_ = MakeProposal(height, round, block, parts) },
    });

    public static Types.Vote MakeVote(long height, int round, int validator, byte block, SignedMsgType type = SignedMsgType.Precommit) => new()
    {
        Type = type,
        Height = height,
        Round = round,
        ValidatorIndex = validator,
        ValidatorAddress = Bytes(20, (byte)validator),
        Signature = Bytes(64, 1),
        BlockId = block == 0 ? new BlockID() : MakeBlock(block, 1),
    };

    public static Types.Proposal MakeProposal(long height, int round, byte block, int parts) => new()
    {
        Type = SignedMsgType.Proposal,
        Height = height,
        Round = round,
        PolRound = -1,
        Signature = Bytes(64, 1),
        BlockId = MakeBlock(block, parts),
    };

    public static BlockID MakeBlock(byte block, int parts) =>
        new() { Hash = Bytes(32, block), PartSetHeader = new PartSetHeader { Total = (uint)parts, Hash = Bytes(32, block) } };

    public static ByteString Bytes(int length, byte value) => ByteString.CopyFrom([.. Enumerable.Repeat(value, length)]);

    private static byte ChannelOf(Message message) => message.SumCase switch
    {
        Message.SumOneofCase.Proposal or Message.SumOneofCase.ProposalPol or Message.SumOneofCase.BlockPart => 0x21,
        Message.SumOneofCase.Vote => 0x22,
        Message.SumOneofCase.VoteSetBits => 0x23,
        _ => 0x20,
    };
}
