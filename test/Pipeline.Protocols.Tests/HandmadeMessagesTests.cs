using Google.Protobuf;
using Google.Protobuf.Reflection;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Protocols.Bits;
using Pipeline.Protocols.Consensus;
using Pipeline.Protocols.Crypto;
using Pipeline.Protocols.StateSync;
using Pipeline.Protocols.Types;
using Pipeline.Wire;
using Pipeline.Wire.Protos.Crypto;
using IList = System.Collections.IList;

namespace Pipeline.Protocols.Tests;

/// <summary>
/// What a healthy network had no reason to send while it was recorded, against bytes put together by hand from the protocol's field
/// numbers.
/// </summary>
public sealed class HandmadeMessagesTests
{
    private static readonly BlockID NoBlock = new() { PartSetHeader = new PartSetHeader() };

    private static readonly BlockID SomeBlock =
        new() { Hash = Text("h"), PartSetHeader = new PartSetHeader { Total = 1, Hash = Text("p") } };

    private static IEnumerable<TestCaseData> Messages()
    {
        yield return Case(
            "new_round_step",
            "0a0a 0801 1001 1801 2001 2801",
            new Consensus.Message
            {
                NewRoundStep = new NewRoundStep { Height = 1, Round = 1, Step = 1, SecondsSinceStartTime = 1, LastCommitRound = 1 },
            });

        yield return Case(
            "new_valid_block",
            "1208 0801 1001 1a00 2801",
            new Consensus.Message
            {
                NewValidBlock = new NewValidBlock { Height = 1, Round = 1, BlockPartSetHeader = new PartSetHeader(), IsCommit = true },
            });

        yield return Case(
            "proposal",
            "1a10 0a0e 0820 1001 1802 2001 2a02 1200 3200",
            new Consensus.Message
            {
                Proposal = new Consensus.Proposal
                {
                    Proposal_ = new Types.Proposal
                    {
                        Type = SignedMsgType.Proposal,
                        Height = 1,
                        Round = 2,
                        PolRound = 1,
                        BlockId = NoBlock,
                        Timestamp = new Timestamp(),
                    },
                },
            });

        yield return Case(
            "block_part",
            "2a14 0801 1002 1a0e 0801 1a0a 0802 1001 1a016c 220161",
            new Consensus.Message
            {
                BlockPart = new BlockPart
                {
                    Height = 1,
                    Round = 2,
                    Part = new Part { Index = 1, Proof = new Proof { Total = 2, Index = 1, LeafHash = Text("l"), Aunts = { Text("a") } } },
                },
            });

        yield return Case(
            "vote",
            "3214 0a12 0802 1003 1801 2202 1200 2a00 4a0165 520178",
            new Consensus.Message
            {
                Vote = new Consensus.Vote
                {
                    Vote_ = new Types.Vote
                    {
                        Type = SignedMsgType.Precommit,
                        Height = 3,
                        Round = 1,
                        BlockId = NoBlock,
                        Timestamp = new Timestamp(),
                        Extension = Text("e"),
                        ExtensionSignature = Text("x"),
                    },
                },
            });

        yield return Case("has_vote", "3a04 0801 1001", new Consensus.Message { HasVote = new HasVote { Height = 1, Round = 1 } });

        // Field 10 of v1.
        yield return Case("has_proposal_block_part", "5206 0801 1001 1802", new Consensus.Message { HasProposalBlockPart = new HasProposalBlockPart { Height = 1, Round = 1, Index = 2 } });

        yield return Case(
            "vote_set_maj23",
            "4208 0801 1001 2202 1200",
            new Consensus.Message { VoteSetMaj23 = new VoteSetMaj23 { Height = 1, Round = 1, BlockId = NoBlock } });

        yield return Case(
            "block_response",
            "1a1d 0a1b 0a08 0a00 2200 2a02 1200 1203 0a0174 1a00 2208 0801 1001 1a02 1200",
            new Protocols.BlockSync.Message
            {
                BlockResponse = new Protocols.BlockSync.BlockResponse
                {
                    Block = new Block
                    {
                        Header = new Header { Version = new Versions.Consensus(), Time = new Timestamp(), LastBlockId = NoBlock },
                        Data = new Data { Txs = { Text("t") } },
                        Evidence = new EvidenceList(),
                        LastCommit = new Commit { Height = 1, Round = 1, BlockId = NoBlock },
                    },
                },
            });

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

        yield return Case("block_request", "0a02 0801", new Protocols.BlockSync.Message { BlockRequest = new Protocols.BlockSync.BlockRequest { Height = 1 } });

        yield return Case("status_request", "2200", new Protocols.BlockSync.Message { StatusRequest = new Protocols.BlockSync.StatusRequest() });

        yield return Case(
            "block_response",
            "1a1c 121a 0801 1001 1a02 1200 2210 0802 120161 1a00 220173 2a0165 320178",
            new Protocols.BlockSync.Message
            {
                BlockResponse = new Protocols.BlockSync.BlockResponse
                {
                    ExtCommit = new ExtendedCommit
                    {
                        Height = 1,
                        Round = 1,
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
    public void A_handmade_message_has_the_bytes_of_the_protocol(string name, byte[] bytes, IMessage message)
    {
        Assert.Multiple(() =>
        {
            Assert.That(Convert.ToHexStringLower(message.ToByteArray()), Is.EqualTo(Convert.ToHexStringLower(bytes)));
            Assert.That(message.Descriptor.Parser.ParseFrom(bytes), Is.EqualTo(message));
            Assert.That(MessageName.Of(message), Is.EqualTo(name));
        });
    }

    /// <summary>So that no wrong field number hides in what was never sent.</summary>
    [Test]
    public void Every_field_of_the_schemas_is_in_a_recorded_or_a_handmade_message()
    {
        HashSet<string> seen = [];
        IEnumerable<IMessage> handmade = Messages().Select(message => (IMessage)message.Arguments[2]!);
        foreach (IMessage message in Recordings.Session(3).Select(message => message.Parser.ParseFrom(message.Bytes)).Concat(handmade))
        {
            AddFieldsOf(message, seen);
        }

        FileDescriptor[] schemas =
        [
            Crypto.ProofReflection.Descriptor,
            Versions.TypesReflection.Descriptor,
            Bits.TypesReflection.Descriptor,
            Types.TypesReflection.Descriptor,
            ValidatorReflection.Descriptor,
            EvidenceReflection.Descriptor,
            BlockReflection.Descriptor,
            Consensus.TypesReflection.Descriptor,
            Mempool.TypesReflection.Descriptor,
            Protocols.BlockSync.TypesReflection.Descriptor,
            StateSync.TypesReflection.Descriptor,
        ];
        IEnumerable<FieldDescriptor> fields = schemas
            .SelectMany(schema => schema.MessageTypes)
            .SelectMany(type => type.Fields.InDeclarationOrder());
        Assert.That(fields.Select(field => field.FullName).Except(seen), Is.Empty);
    }

    private static void AddFieldsOf(IMessage message, HashSet<string> seen)
    {
        IMessage empty = message.Descriptor.Parser.ParseFrom([]);
        foreach (FieldDescriptor field in message.Descriptor.Fields.InDeclarationOrder())
        {
            object? value = field.Accessor.GetValue(message);
            if (Equals(value, field.Accessor.GetValue(empty)))
            {
                continue;
            }

            seen.Add(field.FullName);
            foreach (IMessage part in (value as IList ?? new[] { value }).OfType<IMessage>())
            {
                AddFieldsOf(part, seen);
            }
        }
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
