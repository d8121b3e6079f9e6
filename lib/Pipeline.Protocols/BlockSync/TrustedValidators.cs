using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Protocols.Types;
using WireKey = Pipeline.Wire.Protos.Crypto.PublicKey;

namespace Pipeline.Protocols.BlockSync;

/// <summary>One of those who decide on blocks.</summary>
/// <param name="Key">The key that it signs with.</param>
/// <param name="Power">Its voting power, 1 to <see cref="TrustedValidators.MaxTotalPower"/>.</param>
public sealed record TrustedValidator(PublicKey Key, long Power)
{
    /// <summary>What commits call it: the first 20 bytes of the SHA-256 of its key.</summary>
    public ReadOnlyMemory<byte> Address { get; } = SHA256.HashData(Key.Span).AsMemory(0, NodeId.Size);
}

/// <summary>A set of validators with their voting powers, which somebody who is trusted has named: it is what makes a block final.</summary>
/// <remarks>Source: <c>types/validator_set.go</c> and <c>types/validation.go</c> of the reference.</remarks>
public sealed class TrustedValidators
{
    /// <summary>The largest sum of voting powers: an eighth of what 64 bits with a sign hold.</summary>
    public const long MaxTotalPower = long.MaxValue / 8;

    /// <summary>The most validators in a set: 10,000, as in the reference.</summary>
    public const int MaxCount = 10_000;

    // What the reference sends for no time: the first second of the year 1.
    private const long NoTime = -62135596800;

    /// <summary>Makes a set.</summary>
    /// <param name="validators">1 to <see cref="MaxCount"/>, in any order; no key twice.</param>
    /// <exception cref="ArgumentException">There are none or too many, a key comes twice, a power is not positive, or the sum is too large.</exception>
    public TrustedValidators(IEnumerable<TrustedValidator> validators)
    {
        ArgumentNullException.ThrowIfNull(validators);

        // The order that the indices of commits and the hash rest on.
        All = [.. validators.OrderByDescending(static one => one.Power).ThenBy(static one => Convert.ToHexString(one.Address.Span), StringComparer.Ordinal)];
        if (All.Length is 0 or > MaxCount)
        {
            throw new ArgumentException($"A set has 1 to {MaxCount} validators, not {All.Length}.", nameof(validators));
        }

        if (All.Select(static one => one.Key).ToHashSet().Count != All.Length)
        {
            throw new ArgumentException("A validator comes twice in the set.", nameof(validators));
        }

        foreach (TrustedValidator validator in All)
        {
            if (validator.Power <= 0 || validator.Power > MaxTotalPower - TotalPower)
            {
                throw new ArgumentException(
                    $"The voting power {validator.Power} of validator {validator.Key} is not positive, or more than {MaxTotalPower} with the others'.", nameof(validators));
            }

            TotalPower += validator.Power;
        }

        Hash = HashOf(All);
    }

    /// <summary>The validators by power, the greatest first, then by address.</summary>
    public ImmutableArray<TrustedValidator> All { get; }

    /// <summary>The sum of their powers.</summary>
    public long TotalPower { get; }

    /// <summary>What headers call the set: <c>validators_hash</c>, 32 bytes.</summary>
    public ReadOnlyMemory<byte> Hash { get; }

    /// <summary>
    /// Reads the set from JSON: a <c>genesis.json</c>, what a node's RPC answers to <c>genesis</c> or <c>validators</c>, or an object with
    /// <c>"validators": [{"pub_key": {"type": "tendermint/PubKeyEd25519", "value": base64}, "power": "10"}]</c>.
    /// </summary>
    /// <param name="json">The JSON, in UTF-8.</param>
    /// <param name="chainId">The <c>chain_id</c> beside the validators; null when there is none.</param>
    /// <exception cref="FormatException">It holds no such set, or a part of one, as RPC answers in pages; the message says what is wrong.</exception>
    public static TrustedValidators Parse(Stream json, out string? chainId)
    {
        ArgumentNullException.ThrowIfNull(json);
        GenesisJson? file;
        try
        {
            file = JsonSerializer.Deserialize(json, GenesisContext.Default.GenesisJson);
        }
        catch (JsonException e)
        {
            throw new FormatException($"It is not JSON of the expected form: {e.Message}", e);
        }

        GenesisJson? found = file?.Result?.Genesis ?? file?.Result ?? file?.Genesis ?? file;
        chainId = found?.ChainId;
        if (found?.Validators is not { Length: > 0 } validators)
        {
            throw new FormatException("It has no \"validators\", or an empty list of them.");
        }

        if (found.Total > validators.Length)
        {
            throw new FormatException(
                $"It has {validators.Length} of {found.Total} validators, a page of them. Ask for all with per_page=100; when there are more, put the lists of all pages into one, {{\"validators\": [...]}}.");
        }

        try
        {
            return new TrustedValidators(validators.Select(static (one, index) => Read(one, index)));
        }
        catch (ArgumentException e)
        {
            throw new FormatException(e.Message, e);
        }
    }

    /// <summary>Says what is wrong with a commit as a proof that more than two thirds of the voting power are for its block.</summary>
    /// <param name="chainId">The network.</param>
    /// <param name="commit">The commit.</param>
    /// <returns>
    /// The fault as a sentence; null when the commit proves it. Every signature in it is checked, also those that are not needed and those of validators who voted for no
    /// block, so that nothing in a commit that is kept or passed on is anybody's invention.
    /// </returns>
    /// <remarks>Source: <c>VerifyCommit</c> in <c>types/validation.go</c> of the reference, and <c>CommitSig.ValidateBasic</c> in <c>types/block.go</c>.</remarks>
    public string? FindFault(string chainId, Commit commit)
    {
        ArgumentNullException.ThrowIfNull(commit);
        if (commit.Signatures.Count != All.Length)
        {
            return $"The commit of block {commit.Height} has {commit.Signatures.Count} signatures of {All.Length} validators.";
        }

        // No more than the sum of all powers, of which three times are still less than 64 bits hold.
        long power = 0;
        for (int i = 0; i < All.Length; i++)
        {
            CommitSig signature = commit.Signatures[i];
            if (FindFault(chainId, commit, signature, All[i]) is { } fault)
            {
                return $"Signature {i} in the commit of block {commit.Height} {fault}.";
            }

            power += signature.BlockIdFlag == BlockIDFlag.Commit ? All[i].Power : 0;
        }

        return power * 3 > TotalPower * 2
            ? null
            : $"The commit of block {commit.Height} is signed by {power} of {TotalPower} voting power, which is not more than two thirds.";
    }

    private static string? FindFault(string chainId, Commit commit, CommitSig signature, TrustedValidator validator)
    {
        switch (signature.BlockIdFlag)
        {
            case BlockIDFlag.Absent:
                return signature is { ValidatorAddress.IsEmpty: true, Signature.IsEmpty: true, Timestamp: { Seconds: NoTime, Nanos: 0 } }
                    ? null
                    : "is said to be absent, and has an address, a time or a signature";

            case BlockIDFlag.Commit or BlockIDFlag.Nil when !signature.ValidatorAddress.Span.SequenceEqual(validator.Address.Span):
                return $"is said to be of {Convert.ToHexStringLower(signature.ValidatorAddress.Span[..Math.Min(NodeId.Size, signature.ValidatorAddress.Length)])}, where {Convert.ToHexStringLower(validator.Address.Span)} stands";

            case BlockIDFlag.Commit or BlockIDFlag.Nil when signature.Timestamp is null:
                return "has no time";

            case BlockIDFlag.Commit or BlockIDFlag.Nil:
                BlockID? votedFor = signature.BlockIdFlag == BlockIDFlag.Commit ? commit.BlockId : null;
                byte[] signed = BlockHash.SignBytes(chainId, SignedMsgType.Precommit, commit.Height, commit.Round, votedFor, signature.Timestamp);
                return validator.Key.Verify(signed, signature.Signature.Span) ? null : $"is not one of {Convert.ToHexStringLower(validator.Address.Span)}";

            default:
                return $"is of the unknown kind {(int)signature.BlockIdFlag}";
        }
    }

    private static byte[] HashOf(ImmutableArray<TrustedValidator> validators)
    {
        using MerkleTree tree = new();
        foreach (TrustedValidator validator in validators)
        {
            WireKey key = new() { Ed25519 = ByteString.CopyFrom(validator.Key.Span) };
            tree.Add(new SimpleValidator { PubKey = key, VotingPower = validator.Power }.ToByteArray());
        }

        return tree.TakeRoot();
    }

    private static TrustedValidator Read(ValidatorJson? json, int index)
    {
        const string Expected = "tendermint/PubKeyEd25519";
        if (json?.PubKey is not { } key)
        {
            throw new FormatException($"Validator {index} has no \"pub_key\".");
        }

        byte[] bytes = new byte[PublicKey.Size];
        return key.Type != Expected
            ? throw new FormatException($"The key of validator {index} is of type '{key.Type}'; only {Expected} can be checked.")
            : !Convert.TryFromBase64String(key.Value ?? "", bytes, out int length) || length != bytes.Length
            ? throw new FormatException($"The key of validator {index} is not base64 of {PublicKey.Size} bytes.")
            : (json.Power ?? json.VotingPower) is { } power
            ? new TrustedValidator(new PublicKey(bytes), power)
            : throw new FormatException($"Validator {index} has no \"power\".");
    }
}

internal sealed record GenesisJson(
    [property: JsonPropertyName("chain_id")] string? ChainId,
    [property: JsonPropertyName("validators")] ValidatorJson[]? Validators,
    [property: JsonPropertyName("total")] long? Total,
    [property: JsonPropertyName("genesis")] GenesisJson? Genesis,
    [property: JsonPropertyName("result")] GenesisJson? Result);

internal sealed record ValidatorJson(
    [property: JsonPropertyName("pub_key")] KeyJson? PubKey,
    [property: JsonPropertyName("power")] long? Power,
    [property: JsonPropertyName("voting_power")] long? VotingPower);

internal sealed record KeyJson([property: JsonPropertyName("type")] string? Type, [property: JsonPropertyName("value")] string? Value);

[JsonSourceGenerationOptions(NumberHandling = JsonNumberHandling.AllowReadingFromString)]
[JsonSerializable(typeof(GenesisJson))]
internal sealed partial class GenesisContext : JsonSerializerContext;
