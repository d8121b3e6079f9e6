using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.Tests.BlockSync;

/// <summary>Holds hashes, links, proofs and signatures against what nodes of the reference made.</summary>
public sealed class RecordedBlocksTests
{
    private static readonly int[] Sessions = [1, 2, 3];

    [TestCaseSource(nameof(Sessions))]
    public void The_hashes_in_recorded_blocks_come_out_and_each_block_links_to_the_one_before(int session)
    {
        CheckedBlock[] blocks =
        [
            .. Recordings.Session(session)
                .Where(message => message.Type == "block_response")
                .Select(message => Check(Protocols.BlockSync.Message.Parser.ParseFrom(message.Bytes).BlockResponse.Block)),
        ];

        Assert.That(blocks, Has.Length.AtLeast(2));
        Assert.That(blocks.Select(block => block.Height), Is.EqualTo(Enumerable.Range(1, blocks.Length)));
        Assert.That(blocks.Skip(1).Select(block => block.Block.Header.LastBlockId), Is.EqualTo(blocks.SkipLast(1).Select(block => block.Id)));
    }

    [TestCaseSource(nameof(Sessions))]
    public void Recorded_parts_prove_to_be_of_the_proposed_blocks_and_hold_their_hashes(int session)
    {
        List<CheckedBlock> blocks = [];
        PartSetHeader? parts = null;
        foreach (Protocols.Consensus.Message message in Recordings.Session(session).Where(message => message.Channel == 0x21)
            .Select(message => Protocols.Consensus.Message.Parser.ParseFrom(message.Bytes)))
        {
            parts = message.Proposal?.Proposal_.BlockId.PartSetHeader ?? parts;
            if (message.BlockPart is { } sent && parts is not null && BlockHash.IsPartOf(sent.Part, parts))
            {
                Part changed = sent.Part.Clone();
                changed.Bytes = ByteString.CopyFrom([.. sent.Part.Bytes.Span[..^1], (byte)(sent.Part.Bytes[^1] ^ 1)]);
                Assert.That(BlockHash.IsPartOf(changed, parts), Is.False);
                blocks.Add(Check(Block.Parser.ParseFrom(sent.Part.Bytes)));
            }
        }

        Assert.That(blocks, Has.Count.AtLeast(3));
        Assert.That(blocks.Sum(block => block.Block.Data.Txs.Count), Is.AtLeast(1));
        Assert.That(
            blocks.Zip(blocks.Skip(1)).Where(pair => pair.Second.Height == pair.First.Height + 1),
            Is.Not.Empty.And.All.Matches<(CheckedBlock First, CheckedBlock Second)>(pair => pair.Second.Block.Header.LastBlockId.Equals(pair.First.Id)));
    }

    [Test]
    public void A_recorded_commit_is_signed_by_the_validator_of_the_recorded_genesis()
    {
        Header header = RpcJson.Header(RpcJson.Read("commit-10.json")["signed_header"]!["header"]!);
        Commit commit = RpcJson.Commit(RpcJson.Read("commit-10.json")["signed_header"]!["commit"]!);
        TrustedValidators validators = Genesis(out string? chainId);

        Assert.That(Convert.ToHexString(validators.Hash.Span), Is.EqualTo(Convert.ToHexString(header.ValidatorsHash.Span)));
        Assert.That(BlockHash.OfHeader(header), Is.EqualTo(commit.BlockId.Hash.ToByteArray()));
        Assert.That(validators.FindFault(chainId!, commit), Is.Null);
    }

    [Test]
    public void A_recorded_commit_is_refused_when_anything_that_was_signed_is_changed()
    {
        TrustedValidators validators = Genesis(out string? chainId);
        Commit commit = RpcJson.Commit(RpcJson.Read("commit-10.json")["signed_header"]!["commit"]!);
        Action<Commit>[] changes =
        [
            changed => changed.Height++,
            changed => changed.Round++,
            changed => changed.BlockId.Hash = ByteString.CopyFrom(new byte[32]),
            changed => changed.BlockId.PartSetHeader.Total++,
            changed => changed.Signatures[0].Timestamp.Nanos++,
            changed => changed.Signatures[0].BlockIdFlag = BlockIDFlag.Nil,
            changed => changed.Signatures[0].ValidatorAddress = ByteString.CopyFrom(new byte[20]),
            changed => changed.Signatures.Clear(),
        ];

        Assert.That(validators.FindFault("otherchain", commit), Is.Not.Null);
        foreach (Action<Commit> change in changes)
        {
            Commit changed = commit.Clone();
            change(changed);
            Assert.That(validators.FindFault(chainId!, changed), Is.Not.Null);
        }
    }

    [Test]
    public void The_hashes_of_a_recorded_block_with_evidence_come_out() =>
        Assert.That(
            Check(RpcJson.Block(RpcJson.Read("block-with-evidence.json")["block"]!)).Id,
            Is.EqualTo(RpcJson.BlockId(RpcJson.Read("block-with-evidence.json")["block_id"]!)));

    // The vectors of the reference's own test of what validators sign (types/vote_test.go).
    [TestCase("", 2, 1L, 1, "210802110100000000000000190100000000000000" + "2a0b088092b8c398feffffff01")]
    [TestCase("", 1, 1L, 1, "210801110100000000000000190100000000000000" + "2a0b088092b8c398feffffff01")]
    [TestCase("", 0, 1L, 1, "1f110100000000000000190100000000000000" + "2a0b088092b8c398feffffff01")]
    [TestCase("", 0, 0L, 0, "0d" + "2a0b088092b8c398feffffff01")]
    [TestCase("test_chain_id", 0, 1L, 1, "2e110100000000000000190100000000000000" + "2a0b088092b8c398feffffff01" + "320d746573745f636861696e5f6964")]
    public void What_validators_sign_is_what_the_reference_has_in_its_tests(string chainId, int type, long height, int round, string expected) =>
        Assert.That(
            Convert.ToHexStringLower(BlockHash.SignBytes(chainId, (SignedMsgType)type, height, round, blockId: null, new Timestamp { Seconds = -62135596800 })),
            Is.EqualTo(expected));

    private static TrustedValidators Genesis(out string? chainId)
    {
        using FileStream file = File.OpenRead(Path.Combine(AppContext.BaseDirectory, "data", "chains", "genesis.json"));
        return TrustedValidators.Parse(file, out chainId);
    }

    private static CheckedBlock Check(Block block)
    {
        CheckedBlock? good = CheckedBlock.TryCheck(block, out string? fault);
        Assert.That(fault, Is.Null);
        return good!;
    }
}
