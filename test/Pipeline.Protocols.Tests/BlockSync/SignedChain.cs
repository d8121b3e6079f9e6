using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Cryptography;
using Pipeline.Protocols.BlockSync;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.Tests.BlockSync;

/// <summary>A chain with real keys and signatures, the same each time: what a network of that many validators would have made.</summary>
public sealed class SignedChain : IDisposable
{
    private static readonly DateTime Start = new(2025, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    private readonly int _transactions;
    private readonly int _transactionSize;
    private readonly List<NodeKey> _keys = [];
    private readonly List<StoredBlock> _blocks = [];
    private BlockID _lastId = new() { PartSetHeader = new() };
    private Commit _lastCommit = new() { BlockId = new() { PartSetHeader = new() } };

    public SignedChain(int blocks, int validators = 4, int transactions = 3, int transactionSize = 100, string chainId = "signed-chain", long firstHeight = 1)
    {
        _transactions = transactions;
        _transactionSize = transactionSize;
        ChainId = chainId;
        _keys.AddRange(Enumerable.Range(0, validators).Select(i => NodeKey.FromSeed(SHA256.HashData(Encoding.ASCII.GetBytes($"validator {i}")))));
        Validators = ValidatorsOf(_keys);
        for (long height = firstHeight; height < firstHeight + blocks; height++)
        {
            Append(height);
        }
    }

    /// <summary>What stands in a commit for a validator that has not voted.</summary>
    public static CommitSig Absent => new() { BlockIdFlag = BlockIDFlag.Absent, Timestamp = Timestamp.FromDateTime(DateTime.SpecifyKind(DateTime.MinValue, DateTimeKind.Utc)) };

    public string ChainId { get; }

    public TrustedValidators Validators { get; }

    /// <summary>The blocks, each with its commit.</summary>
    public IReadOnlyList<StoredBlock> Blocks => _blocks;

    public StoredBlock this[long height] => _blocks[(int)(height - _blocks[0].Height)];

    /// <summary>A genesis file of the chain.</summary>
    public string GenesisJson => $$"""
        {"chain_id": "{{ChainId}}", "validators": [{{string.Join(", ", Validators.All.Select(one =>
            $$"""{"pub_key": {"type": "tendermint/PubKeyEd25519", "value": "{{Convert.ToBase64String(one.Key.Span)}}"}, "power": "{{one.Power}}"}"""))}}]}
        """;

    /// <summary>A block as it stands in the chain; a copy.</summary>
    public Block Block(long height) => Types.Block.Parser.ParseFrom(this[height].Block.Span);

    /// <summary>Keeps the blocks up to a height in a store.</summary>
    public async Task<TStore> FillAsync<TStore>(TStore store, long? to = null)
        where TStore : IBlockStore
    {
        foreach (StoredBlock[] some in _blocks.TakeWhile(block => block.Height <= (to ?? long.MaxValue)).Chunk(64))
        {
            await store.AppendAsync(some);
        }

        return store;
    }

    /// <summary>A commit of a block by some of the validators, who sign whatever they are given.</summary>
    public Commit Sign(long height, BlockID id, Func<int, BlockIDFlag>? flag = null)
    {
        Commit commit = new() { Height = height, BlockId = id };
        ImmutableArray<TrustedValidator> validators = Validators.All;
        for (int i = 0; i < validators.Length; i++)
        {
            BlockIDFlag what = flag?.Invoke(i) ?? BlockIDFlag.Commit;
            Timestamp time = Timestamp.FromDateTime(Start.AddSeconds(height).AddMilliseconds(i));
            NodeKey key = _keys.Single(key => key.PublicKey.Equals(validators[i].Key));
            commit.Signatures.Add(what == BlockIDFlag.Absent ? Absent : new CommitSig
            {
                BlockIdFlag = what,
                ValidatorAddress = ByteString.CopyFrom(validators[i].Address.Span),
                Timestamp = time,
                Signature = ByteString.CopyFrom(key.Sign(BlockHash.SignBytes(
                    ChainId, SignedMsgType.Precommit, height, 0, what == BlockIDFlag.Commit ? id : null, time))),
            });
        }

        return commit;
    }

    /// <summary>Makes the hashes in a block's header fit what is in the block.</summary>
    public static Block Fit(Block block)
    {
        block.Header.DataHash = ByteString.CopyFrom(BlockHash.OfData(block.Data));
        block.Header.EvidenceHash = ByteString.CopyFrom(BlockHash.OfEvidence(block.Evidence));
        block.Header.LastCommitHash = ByteString.CopyFrom(BlockHash.OfCommit(block.LastCommit));
        return block;
    }

    public void Dispose() => _keys.ForEach(static key => key.Dispose());

    private static TrustedValidators ValidatorsOf(IEnumerable<NodeKey> keys) =>
        new(keys.Select(static (key, i) => new TrustedValidator(key.PublicKey, 10 + (i % 2))));

    private void Append(long height)
    {
        ByteString hash = ByteString.CopyFrom(Validators.Hash.Span);
        Random random = new((int)height);
        Block block = Fit(new Block
        {
            Header = new Header
            {
                Version = new Versions.Consensus { Block = 11, App = 1 },
                ChainId = ChainId,
                Height = height,
                Time = Timestamp.FromDateTime(Start.AddSeconds(height)),
                LastBlockId = _lastId,
                ValidatorsHash = hash,
                NextValidatorsHash = hash,
                ConsensusHash = hash,
                AppHash = ByteString.CopyFrom(new byte[8]),
                LastResultsHash = ByteString.CopyFrom(SHA256.HashData([])),
                ProposerAddress = ByteString.CopyFrom(Validators.All[0].Address.Span),
            },
            Data = new Data { Txs = { Enumerable.Range(0, _transactions).Select(_ => Transaction(random)) } },
            Evidence = new EvidenceList(),
            LastCommit = _lastCommit,
        });
        CheckedBlock good = CheckedBlock.TryCheck(block, out string? fault) ?? throw new InvalidOperationException(fault);
        _lastId = good.Id;
        _lastCommit = Sign(height, good.Id);
        _blocks.Add(new StoredBlock(height, good.Id, good.Bytes, _lastCommit.ToByteArray()));
    }

    private ByteString Transaction(Random random)
    {
        byte[] bytes = new byte[_transactionSize];
        random.NextBytes(bytes);
        return UnsafeByteOperations.UnsafeWrap(bytes);
    }
}
