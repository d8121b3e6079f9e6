using System.Globalization;
using System.Text.Json.Nodes;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.Tests.BlockSync;

/// <summary>Makes messages from what a node's RPC answers, where hashes are hexadecimal and signatures base64.</summary>
internal static class RpcJson
{
    public static JsonNode Read(string file) =>
        JsonNode.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "data", "chains", file)))!["result"]!;

    public static Block Block(JsonNode json) => new()
    {
        Header = Header(json["header"]!),
        Data = new Data { Txs = { json["data"]!["txs"]!.AsArray().Select(tx => ByteString.FromBase64((string)tx!)) } },
        Evidence = new EvidenceList { Evidence = { json["evidence"]!["evidence"]!.AsArray().Select(one => Duplicate(one!["value"]!)) } },
        LastCommit = Commit(json["last_commit"]!),
    };

    public static Header Header(JsonNode json) => new()
    {
        Version = new Versions.Consensus { Block = (ulong)Number(json["version"]!["block"]), App = (ulong)Number(json["version"]!["app"]) },
        ChainId = (string)json["chain_id"]!,
        Height = Number(json["height"]),
        Time = Time(json["time"]!),
        LastBlockId = BlockId(json["last_block_id"]!),
        LastCommitHash = Hex(json["last_commit_hash"]),
        DataHash = Hex(json["data_hash"]),
        ValidatorsHash = Hex(json["validators_hash"]),
        NextValidatorsHash = Hex(json["next_validators_hash"]),
        ConsensusHash = Hex(json["consensus_hash"]),
        AppHash = Hex(json["app_hash"]),
        LastResultsHash = Hex(json["last_results_hash"]),
        EvidenceHash = Hex(json["evidence_hash"]),
        ProposerAddress = Hex(json["proposer_address"]),
    };

    public static Commit Commit(JsonNode json) => new()
    {
        Height = Number(json["height"]),
        Round = (int)Number(json["round"]),
        BlockId = BlockId(json["block_id"]!),
        Signatures =
        {
            json["signatures"]!.AsArray().Select(one => new CommitSig
            {
                BlockIdFlag = (BlockIDFlag)Number(one!["block_id_flag"]),
                ValidatorAddress = Hex(one["validator_address"]),
                Timestamp = Time(one["timestamp"]!),
                Signature = ByteString.FromBase64((string)one["signature"]!),
            }),
        },
    };

    public static BlockID BlockId(JsonNode json) => new()
    {
        Hash = Hex(json["hash"]),
        PartSetHeader = new PartSetHeader { Total = (uint)Number(json["parts"]!["total"]), Hash = Hex(json["parts"]!["hash"]) },
    };

    private static Evidence Duplicate(JsonNode json) => new()
    {
        DuplicateVoteEvidence = new DuplicateVoteEvidence
        {
            VoteA = Vote(json["vote_a"]!),
            VoteB = Vote(json["vote_b"]!),
            TotalVotingPower = Number(json["total_voting_power"]),
            ValidatorPower = Number(json["validator_power"]),
            Timestamp = Time(json["timestamp"]!),
        },
    };

    private static Vote Vote(JsonNode json) => new()
    {
        Type = (SignedMsgType)Number(json["type"]),
        Height = Number(json["height"]),
        Round = (int)Number(json["round"]),
        BlockId = BlockId(json["block_id"]!),
        Timestamp = Time(json["timestamp"]!),
        ValidatorAddress = Hex(json["validator_address"]),
        ValidatorIndex = (int)Number(json["validator_index"]),
        Signature = ByteString.FromBase64((string)json["signature"]!),
    };

    private static long Number(JsonNode? json) => json is null ? 0 : long.Parse(json.ToString(), CultureInfo.InvariantCulture);

    private static ByteString Hex(JsonNode? json) => ByteString.CopyFrom(Convert.FromHexString((string)json!));

    private static Timestamp Time(JsonNode json) => JsonParser.Default.Parse<Timestamp>(json.ToJsonString());
}
