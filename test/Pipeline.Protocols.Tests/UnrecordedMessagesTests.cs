using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Protocols.Bits;
using Pipeline.Protocols.Consensus;
using Pipeline.Protocols.StateSync;
using Pipeline.Protocols.Types;
using Pipeline.Wire;
using Pipeline.Wire.Protos.Crypto;

namespace Pipeline.Protocols.Tests;

/// <summary>
/// The kinds of messages that a healthy network had no reason to send while it was recorded, against bytes put together by hand from
/// the protocol's field numbers.
/// </summary>
public sealed class UnrecordedMessagesTests
{
    private static readonly BlockID NoBlock = new() { PartSetHeader = new PartSetHeader() };

    private static readonly BlockID SomeBlock = new() { Hash = Text("h"), PartSetHeader = new PartSetHeader { Total = 1, Hash = Text("p") } };

    private static IEnumerable<TestCaseData> Messages()
    {
        yield return Case(
            "proposal_pol",
            "2206 0801 1001 1a00",
            new Consensus.Message { ProposalPol = new ProposalPOL { Height = 1, ProposalPolRound = 1, ProposalPol = new BitArray() } });

        yield return Case(
            "vote_set_bits",
            "4a19 0801 1001 1801 220a 0a0168 1205 0801 120170 2a05 0801 120100",
            new Consensus.Message
            {
                VoteSetBits = new VoteSetBits
                {
                    Height = 1,
                    Round = 1,
                    Type = SignedMsgType.Prevote,
                    BlockId = SomeBlock,
                    Votes = new BitArray { Bits = 1, Elems = { 0 } },
                },
            });

        yield return Case("block_request", "0a02 0801", new BlockSync.Message { BlockRequest = new BlockSync.BlockRequest { Height = 1 } });

        yield return Case("status_request", "2200", new BlockSync.Message { StatusRequest = new BlockSync.StatusRequest() });

        yield return Case(
            "block_response",
            "1a1a 1218 0801 1a02 1200 2210 0802 120161 1a00 220173 2a0165 320178",
            new BlockSync.Message
            {
                BlockResponse = new BlockSync.BlockResponse
                {
                    ExtCommit = new ExtendedCommit
                    {
                        Height = 1,
                        BlockId = NoBlock,
                        ExtendedSignatures =
                        {
                            new ExtendedCommitSig
                            {
                                BlockIdFlag = BlockIDFlag.Commit,
                                ValidatorAddress = Text("a"),
                                Timestamp = new Timestamp(),
                                Signature = Text("s"),
                                Extension = Text("e"),
                                ExtensionSignature = Text("x"),
                            },
                        },
                    },
                },
            });

        yield return Case("snapshots_request", "0a00", new StateSync.Message { SnapshotsRequest = new SnapshotsRequest() });

        yield return Case(
            "snapshots_response",
            "120c 0801 1002 1803 220168 2a016d",
            new StateSync.Message
            {
                SnapshotsResponse = new SnapshotsResponse { Height = 1, Format = 2, Chunks = 3, Hash = Text("h"), Metadata = Text("m") },
            });

        yield return Case(
            "chunk_request",
            "1a06 0801 1002 1803",
            new StateSync.Message { ChunkRequest = new ChunkRequest { Height = 1, Format = 2, Index = 3 } });

        yield return Case(
            "chunk_response",
            "220b 0801 1002 1803 220163 2801",
            new StateSync.Message
            {
                ChunkResponse = new ChunkResponse { Height = 1, Format = 2, Index = 3, Chunk = Text("c"), Missing = true },
            });

        yield return Case(
            "evidence_list",
            "0a25 0a23 0a0a 0801 1003 2202 1200 2a00 120d 0801 1003 2205 0a0168 1200 2a00 180a 2005 2a02 0801",
            new EvidenceList
            {
                Evidence =
                {
                    new Evidence
                    {
                        DuplicateVoteEvidence = new DuplicateVoteEvidence
                        {
                            VoteA = VoteFor(NoBlock),
                            VoteB = VoteFor(new BlockID { Hash = Text("h"), PartSetHeader = new PartSetHeader() }),
                            TotalVotingPower = 10,
                            ValidatorPower = 5,
                            Timestamp = new Timestamp { Seconds = 1 },
                        },
                    },
                },
            });

        Validator validator = new()
        {
            Address = Text("a"),
            PubKey = new PublicKey { Ed25519 = Text("k") },
            VotingPower = 10,
            ProposerPriority = 1,
        };
        yield return Case(
            "evidence_list",
            """
            0a59 1257
              0a3f
                0a1d
                  0a0d 0a00 120163 1804 2200 2a02 1200
                  120c 0804 1a02 1200 2204 0801 1a00
                121e
                  0a0c 0a0161 1203 0a016b 180a 2001
                  120c 0a0161 1203 0a016b 180a 2001
                  180a
              1003
              1a0c 0a0161 1203 0a016b 180a 2001
              200a
              2a02 0801
            """,
            new EvidenceList
            {
                Evidence =
                {
                    new Evidence
                    {
                        LightClientAttackEvidence = new LightClientAttackEvidence
                        {
                            ConflictingBlock = new LightBlock
                            {
                                SignedHeader = new SignedHeader
                                {
                                    Header = new Header
                                    {
                                        Version = new Versions.Consensus(),
                                        ChainId = "c",
                                        Height = 4,
                                        Time = new Timestamp(),
                                        LastBlockId = NoBlock,
                                    },
                                    Commit = new Commit
                                    {
                                        Height = 4,
                                        BlockId = NoBlock,
                                        Signatures =
                                        {
                                            new CommitSig { BlockIdFlag = BlockIDFlag.Absent, Timestamp = new Timestamp() },
                                        },
                                    },
                                },
                                ValidatorSet = new ValidatorSet
                                {
                                    Validators = { validator },
                                    Proposer = validator,
                                    TotalVotingPower = 10,
                                },
                            },
                            CommonHeight = 3,
                            ByzantineValidators = { validator },
                            TotalVotingPower = 10,
                            Timestamp = new Timestamp { Seconds = 1 },
                        },
                    },
                },
            });
    }

    [TestCaseSource(nameof(Messages))]
    public void A_message_that_was_not_recorded_has_the_bytes_of_the_protocol(string name, byte[] bytes, IMessage message)
    {
        Assert.Multiple(() =>
        {
            Assert.That(Convert.ToHexStringLower(message.ToByteArray()), Is.EqualTo(Convert.ToHexStringLower(bytes)));
            Assert.That(message.Descriptor.Parser.ParseFrom(bytes), Is.EqualTo(message));
            Assert.That(MessageName.Of(message), Is.EqualTo(name));
        });
    }

    private static TestCaseData Case(string name, string hex, IMessage message)
    {
        byte[] bytes = Convert.FromHexString(string.Concat(hex.Where(char.IsAsciiHexDigit)));
        return new TestCaseData(name, bytes, message).SetArgDisplayNames(name, $"{bytes.Length} bytes");
    }

    private static Types.Vote VoteFor(BlockID block) =>
        new() { Type = SignedMsgType.Prevote, Height = 3, BlockId = block, Timestamp = new Timestamp() };

    private static ByteString Text(string text) => ByteString.CopyFromUtf8(text);
}
