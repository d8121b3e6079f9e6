using System.Security.Cryptography;
using CsCheck;
using Google.Protobuf;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Crypto;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.Tests.BlockSync;

/// <summary>What a chain has to be for its blocks to be verified, and who is at fault when it is not.</summary>
public sealed class BlockVerifierTests
{
    private readonly SignedChain _chain = new(blocks: 4);

    [OneTimeTearDown]
    public void TearDown() => _chain.Dispose();

    [Test]
    public void A_chain_is_verified_up_to_the_block_before_its_last()
    {
        BlockVerifier verifier = new(_chain.ChainId, [_chain.Validators]);

        for (long height = 1; height < 4; height++)
        {
            VerifiedBlock? verified = verifier.TryVerify(Check(_chain.Block(height)), Check(_chain.Block(height + 1)), out BlockFault? fault);

            Assert.That(fault, Is.Null);
            Assert.That(verified!.ToStored(), Is.EqualTo(_chain[height]).Using<StoredBlock>(AreEqual));
        }
    }

    [Test]
    public void A_chain_goes_on_after_a_block_that_is_trusted()
    {
        BlockVerifier verifier = new(_chain.ChainId, [_chain.Validators], _chain[2]);

        Assert.That(verifier.TryVerify(Check(_chain.Block(3)), Check(_chain.Block(4)), out _)?.Height, Is.EqualTo(3));
    }

    [Test]
    public void A_block_of_another_chain_cannot_follow_a_trusted_one_which_may_be_the_wrong_one()
    {
        using SignedChain other = new(blocks: 4, transactions: 1);
        BlockVerifier verifier = new(_chain.ChainId, [_chain.Validators], _chain[1]);

        Assert.That(FaultOf(verifier, other.Block(2), other.Block(3)), Is.EqualTo(BlockFaultKind.WrongStart));
        Assert.That(verifier.TryVerify(Check(_chain.Block(2)), Check(_chain.Block(3)), out _), Is.Not.Null);
        Assert.That(FaultOf(verifier, other.Block(3), other.Block(4)), Is.EqualTo(BlockFaultKind.WrongBlock));
    }

    private IEnumerable<(StoredBlock Last, string Reason)> Damaged()
    {
        StoredBlock good = _chain[2];
        byte[] changed = good.Block.ToArray();
        changed[^1] ^= 1;
        yield return (good with { Block = new byte[100] }, "its bytes are no block");
        yield return (good with { Block = ReadOnlyMemory<byte>.Empty }, "its bytes are no block");
        yield return (good with { Block = changed }, "its bytes have another hash than its id");
        yield return (good with { Id = _chain[1].Id }, "its bytes have another hash than its id");
        yield return (good with { Height = 3 }, "its bytes are those of block 2");
    }

    [Test]
    public void A_trusted_block_that_is_damaged_is_refused_with_a_reason()
    {
        Assert.Multiple(() =>
        {
            foreach ((StoredBlock last, string reason) in Damaged())
            {
                Assert.That(() => new BlockVerifier(_chain.ChainId, [_chain.Validators], last), Throws.TypeOf<BlockStoreException>().With.Message.Contain(reason));
            }

            Assert.That(() => new BlockVerifier("other", [_chain.Validators], _chain[2]), Throws.TypeOf<BlockStoreException>().With.Message.Contain("of network 'signed-chain', not of 'other'"));
        });
    }

    [Test]
    public void A_block_that_was_changed_is_at_fault_although_its_hashes_fit()
    {
        Block changed = _chain.Block(2);
        changed.Data.Txs[0] = ByteString.CopyFromUtf8("give me everything");

        Assert.That(FaultOf(new(_chain.ChainId, [_chain.Validators]), SignedChain.Fit(changed), _chain.Block(3)), Is.EqualTo(BlockFaultKind.WrongBlock));
    }

    [Test]
    public void A_block_after_it_that_is_signed_by_too_few_is_at_fault_itself()
    {
        Block next = _chain.Block(3);
        // 21 of 42: the last two stay away.
        next.LastCommit = _chain.Sign(2, _chain[2].Id, i => i < 2 ? BlockIDFlag.Commit : BlockIDFlag.Absent);

        Assert.That(FaultOf(new(_chain.ChainId, [_chain.Validators]), _chain.Block(2), SignedChain.Fit(next)), Is.EqualTo(BlockFaultKind.WrongNext));
    }

    [Test]
    public void Votes_for_no_block_do_not_count_but_do_not_harm()
    {
        Assert.Multiple(() =>
        {
            Assert.That(_chain.Validators.FindFault(_chain.ChainId, _chain.Sign(2, _chain[2].Id, i => i == 0 ? BlockIDFlag.Nil : BlockIDFlag.Commit)), Is.Null);
            Assert.That(
                _chain.Validators.FindFault(_chain.ChainId, _chain.Sign(2, _chain[2].Id, i => i < 2 ? BlockIDFlag.Nil : BlockIDFlag.Commit)),
                Does.Contain("not more than two thirds"));
        });
    }

    [Test]
    public void Exactly_two_thirds_are_not_enough()
    {
        using SignedChain three = new(blocks: 2, validators: 3);
        TrustedValidators even = new(three.Validators.All.Select(one => one with { Power = 1 }));
        Commit commit = three.Sign(1, three[1].Id, i => i < 2 ? BlockIDFlag.Commit : BlockIDFlag.Absent);
        Dictionary<ByteString, CommitSig> byAddress = commit.Signatures.Where(one => one.BlockIdFlag == BlockIDFlag.Commit).ToDictionary(one => one.ValidatorAddress);
        Commit sorted = commit.Clone();
        sorted.Signatures.Clear();
        sorted.Signatures.AddRange(even.All.Select(one => byAddress.GetValueOrDefault(ByteString.CopyFrom(one.Address.Span)) ?? SignedChain.Absent));

        Assert.That(even.FindFault(three.ChainId, sorted), Does.Contain("2 of 3"));
    }

    [Test]
    public void A_signature_cannot_be_counted_for_two_validators()
    {
        Commit commit = _chain.Sign(2, _chain[2].Id);
        commit.Signatures[1] = commit.Signatures[0];

        Assert.That(_chain.Validators.FindFault(_chain.ChainId, commit), Does.Contain("Signature 1"));
    }

    private static IEnumerable<TestCaseData<Action<CommitSig>, string>> Inventions() =>
    [
        new(last => last.Signature = ByteString.CopyFrom(new byte[64]), "Signature 3 in the commit of block 2 is not one of"),
        new(last => last.Signature = ByteString.Empty, "is not one of"),
        new(last => last.Signature = ByteString.CopyFrom([.. last.Signature.Span, 0]), "is not one of"),
        new(last => last.Timestamp.Nanos++, "is not one of"),
        new(last => last.Timestamp = null, "has no time"),
        new(last => last.BlockIdFlag = BlockIDFlag.Nil, "is not one of"),
        new(last => last.BlockIdFlag = BlockIDFlag.Unknown, "unknown kind 0"),
        new(last => last.BlockIdFlag = (BlockIDFlag)4, "unknown kind 4"),
        new(last => last.BlockIdFlag = BlockIDFlag.Absent, "said to be absent"),
        new(last => { last.MergeFrom(SignedChain.Absent); last.ValidatorAddress = ByteString.Empty; }, "said to be absent"),
        new(last => { last.MergeFrom(SignedChain.Absent); last.Signature = ByteString.Empty; }, "said to be absent"),
        new(last => { last.BlockIdFlag = BlockIDFlag.Absent; (last.ValidatorAddress, last.Signature) = (ByteString.Empty, ByteString.Empty); }, "said to be absent"),
        new(last => last.ValidatorAddress = ByteString.Empty, "is said to be of"),
        new(last => last.ValidatorAddress = ByteString.CopyFrom([.. last.ValidatorAddress.Span, 1]), "is said to be of"),
    ];

    // 31 of 42 have signed before the last one, who is not needed.
    [TestCaseSource(nameof(Inventions))]
    public void A_signature_that_is_not_needed_cannot_be_invented(Action<CommitSig> change, string reason)
    {
        Commit commit = _chain.Sign(2, _chain[2].Id);
        change(commit.Signatures[3]);

        Assert.That(_chain.Validators.FindFault(_chain.ChainId, commit), Does.Contain(reason));
    }

    [Test]
    public void A_vote_for_no_block_is_checked_as_well()
    {
        Commit commit = _chain.Sign(2, _chain[2].Id, i => i == 3 ? BlockIDFlag.Nil : BlockIDFlag.Commit);
        commit.Signatures[3].Signature = _chain.Sign(2, _chain[2].Id).Signatures[3].Signature;

        Assert.That(_chain.Validators.FindFault(_chain.ChainId, commit), Does.Contain("Signature 3"));
    }

    [Test]
    public void A_first_block_of_other_validators_is_told_apart_from_a_lie_that_is_proved()
    {
        using SignedChain other = new(blocks: 2, validators: 5);

        Assert.That(FaultOf(new(_chain.ChainId, [_chain.Validators]), other.Block(1), other.Block(2)), Is.EqualTo(BlockFaultKind.WrongValidators));
    }

    [Test]
    public void Validators_that_a_verified_block_names_decide_from_the_next_on_if_they_are_known()
    {
        using SignedChain after = new(blocks: 2, validators: 5, firstHeight: 2);
        Block last = _chain.Block(1);
        last.Header.NextValidatorsHash = ByteString.CopyFrom(after.Validators.Hash.Span);
        CheckedBlock first = Check(last);
        Block second = after.Block(2);
        second.Header.LastBlockId = first.Id;
        second.LastCommit = _chain.Sign(1, first.Id);
        CheckedBlock secondBlock = Check(SignedChain.Fit(second));
        Block third = after.Block(3);
        third.Header.LastBlockId = secondBlock.Id;
        third.LastCommit = after.Sign(2, secondBlock.Id);
        CheckedBlock thirdBlock = Check(SignedChain.Fit(third));

        BlockVerifier knowing = new(_chain.ChainId, [_chain.Validators, after.Validators]);
        BlockVerifier unknowing = new(_chain.ChainId, [_chain.Validators]);

        Assert.Multiple(() =>
        {
            Assert.That(knowing.TryVerify(first, secondBlock, out _), Is.Not.Null);
            Assert.That(knowing.TryVerify(secondBlock, thirdBlock, out _), Is.Not.Null);
            Assert.That(unknowing.TryVerify(first, secondBlock, out _), Is.Not.Null);
            Assert.That(unknowing.TryVerify(secondBlock, thirdBlock, out BlockFault? fault), Is.Null);
            Assert.That(fault?.Kind, Is.EqualTo(BlockFaultKind.UnknownValidators));
        });
    }

    [Test]
    public void A_changed_bit_anywhere_in_a_block_is_found()
    {
        byte[] bytes = _chain[2].Block.ToArray();
        CheckedBlock next = Check(_chain.Block(3));

        Gen.Select(Gen.Int[0, bytes.Length - 1], Gen.Int[0, 7]).Sample((at, bit) =>
        {
            byte[] changed = [.. bytes];
            changed[at] ^= (byte)(1 << bit);
            Block block;
            try
            {
                block = Block.Parser.ParseFrom(changed);
            }
            catch (InvalidProtocolBufferException)
            {
                return true;
            }

            return CheckedBlock.TryCheck(block, out string? fault) is not { } good
                ? fault is not null
                : new BlockVerifier(_chain.ChainId, [_chain.Validators]).TryVerify(good, next, out _) is null;
        }, iter: 2_000);
    }

    [Test]
    public void A_tree_has_the_root_of_the_definition_and_proves_its_leaves() =>
        Gen.Byte.Array[0, 40].Array[1, 70].Sample(leaves =>
        {
            using MerkleTree tree = new();
            Array.ForEach(leaves, leaf => tree.Add(leaf));
            byte[] root = tree.TakeRoot();
            return root.SequenceEqual(Definition(leaves))
                && Enumerable.Range(0, leaves.Length).All(i =>
                {
                    Proof proof = Prove(leaves, i);
                    bool good = MerkleTree.Proves(proof, leaves[i], root);
                    proof.Index = (i + 1) % leaves.Length;
                    return good && (leaves.Length == 1 || !MerkleTree.Proves(proof, leaves[i], root) || Prove(leaves, (int)proof.Index).Aunts.SequenceEqual(proof.Aunts));
                });
        }, iter: 200);

    [Test]
    public void Validators_that_make_no_set_are_refused_with_a_reason()
    {
        TrustedValidator one = _chain.Validators.All[0];

        Assert.Multiple(() =>
        {
            Assert.That(() => new TrustedValidators([]), Throws.ArgumentException);
            Assert.That(() => new TrustedValidators([one, one]), Throws.ArgumentException.With.Message.Contain("twice"));
            Assert.That(() => new TrustedValidators([one with { Power = 0 }]), Throws.ArgumentException);
            Assert.That(() => new TrustedValidators([one with { Power = TrustedValidators.MaxTotalPower }, _chain.Validators.All[1]]), Throws.ArgumentException);
        });
    }

    [TestCase("", "not JSON")]
    [TestCase("{}", "no \"validators\"")]
    [TestCase("""{"validators": []}""", "no \"validators\"")]
    [TestCase("""{"validators": [{}]}""", "no \"pub_key\"")]
    [TestCase("""{"validators": [{"pub_key": {"type": "tendermint/PubKeySecp256k1", "value": "AA=="}, "power": "1"}]}""", "only tendermint/PubKeyEd25519")]
    [TestCase("""{"validators": [{"pub_key": {"type": "tendermint/PubKeyEd25519", "value": "AA=="}, "power": "1"}]}""", "not base64 of 32 bytes")]
    [TestCase("""{"result": {"block_height": "7", "validators": [{"pub_key": {"type": "tendermint/PubKeyEd25519", "value": "AA=="}, "voting_power": "1"}], "count": "1", "total": "50"}}""", "1 of 50 validators")]
    public void A_file_without_validators_is_refused_with_a_reason(string json, string reason) =>
        Assert.That(() => TrustedValidators.Parse(new MemoryStream(System.Text.Encoding.UTF8.GetBytes(json)), out _), Throws.TypeOf<FormatException>().With.Message.Contain(reason));

    internal static bool AreEqual(StoredBlock a, StoredBlock b) =>
        a.Height == b.Height && a.Id.Equals(b.Id) && a.Block.Span.SequenceEqual(b.Block.Span) && a.Commit.Span.SequenceEqual(b.Commit.Span);

    private static CheckedBlock Check(Block block) => CheckedBlock.TryCheck(block, out string? fault) ?? throw new AssertionException(fault!);

    private static BlockFaultKind? FaultOf(BlockVerifier verifier, Block block, Block next)
    {
        Assert.That(verifier.TryVerify(Check(block), Check(next), out BlockFault? fault), Is.Null);
        TestContext.Out.WriteLine(fault);
        return fault?.Kind;
    }

    private static byte[] Definition(ReadOnlySpan<byte[]> leaves) => leaves.Length == 1
        ? SHA256.HashData([0, .. leaves[0]])
        : SHA256.HashData([1, .. Definition(leaves[..Split(leaves.Length)]), .. Definition(leaves[Split(leaves.Length)..])]);

    private static int Split(int count) => (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)count) / 2;

    private static Proof Prove(byte[][] leaves, int index)
    {
        Proof proof = new() { Total = leaves.Length, Index = index, LeafHash = ByteString.CopyFrom(SHA256.HashData([0, .. leaves[index]])) };
        Climb(leaves, index, proof);
        return proof;
    }

    private static void Climb(ReadOnlySpan<byte[]> leaves, int index, Proof proof)
    {
        if (leaves.Length == 1)
        {
            return;
        }

        int split = Split(leaves.Length);
        bool isLeft = index < split;
        Climb(isLeft ? leaves[..split] : leaves[split..], isLeft ? index : index - split, proof);
        proof.Aunts.Add(ByteString.CopyFrom(Definition(isLeft ? leaves[split..] : leaves[..split])));
    }
}
