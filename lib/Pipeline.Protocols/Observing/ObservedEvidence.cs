using System.Collections.Immutable;
using System.Security.Cryptography;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.Observing;

/// <summary>Kinds of evidence.</summary>
public enum EvidenceKind
{
    /// <summary>A validator has signed two different votes in one round.</summary>
    DuplicateVote,

    /// <summary>Validators have signed a block that contradicts the chain, to deceive a light client.</summary>
    LightClientAttack,
}

/// <summary>Evidence that a peer has sent. Its signatures have not been checked.</summary>
/// <param name="Kind">What it is said to show.</param>
/// <param name="Hash">The SHA-256 hash of its bytes, in upper-case hexadecimal digits; of a duplicate vote, the reference's hash of it.</param>
/// <param name="Height">The height of the votes; of an attack, the last height that both chains have in common.</param>
/// <param name="Validators">
/// The addresses of whom it accuses, in upper-case hexadecimal digits; at most <see cref="EvidenceObserverOptions.MaxValidators"/>.
/// </param>
/// <param name="ValidatorCount">How many it accuses.</param>
/// <param name="TotalVotingPower">What it says of the power of all validators.</param>
/// <param name="Time">When it says that it happened; null when that is no time.</param>
/// <param name="From">Who sent it first.</param>
/// <param name="SeenAt">When it came.</param>
public sealed record ObservedEvidence(
    EvidenceKind Kind,
    string Hash,
    long Height,
    ImmutableArray<string> Validators,
    int ValidatorCount,
    long TotalVotingPower,
    DateTimeOffset? Time,
    NodeId From,
    DateTimeOffset SeenAt)
{
    private const int AddressSize = 20;

    internal static string HashOf(Evidence evidence)
    {
        IMessage? inner = (IMessage?)evidence.DuplicateVoteEvidence ?? evidence.LightClientAttackEvidence;
        return Convert.ToHexString(SHA256.HashData(inner?.ToByteArray() ?? []));
    }

    /// <summary>What cannot be evidence, whoever signed it; null for nothing.</summary>
    internal static string? FindFault(Evidence evidence) => evidence.SumCase switch
    {
        Evidence.SumOneofCase.DuplicateVoteEvidence => FindFault(evidence.DuplicateVoteEvidence),
        Evidence.SumOneofCase.LightClientAttackEvidence => FindFault(evidence.LightClientAttackEvidence),
        _ => "It is of no kind that is known.",
    };

    internal static ObservedEvidence Create(Evidence evidence, string hash, int maxValidators, NodeId from, DateTimeOffset seenAt)
    {
        if (evidence.DuplicateVoteEvidence is { } votes)
        {
            return new ObservedEvidence(
                EvidenceKind.DuplicateVote,
                hash,
                votes.VoteA.Height,
                [Hex(votes.VoteA.ValidatorAddress)],
                1,
                votes.TotalVotingPower,
                TimeOf(votes.Timestamp),
                from,
                seenAt);
        }

        LightClientAttackEvidence attack = evidence.LightClientAttackEvidence;
        return new ObservedEvidence(
            EvidenceKind.LightClientAttack,
            hash,
            attack.CommonHeight,
            [.. attack.ByzantineValidators.Take(maxValidators).Select(validator => Hex(validator.Address))],
            attack.ByzantineValidators.Count,
            attack.TotalVotingPower,
            TimeOf(attack.Timestamp),
            from,
            seenAt);
    }

    private static string? FindFault(DuplicateVoteEvidence evidence)
    {
        if (evidence is not { VoteA: { } a, VoteB: { } b })
        {
            return "A vote is missing.";
        }

        return a.ValidatorAddress.Length != AddressSize || a.Height < 1 ? "A vote names no validator, or no height."
            : a.ValidatorAddress != b.ValidatorAddress || a.Height != b.Height || a.Round != b.Round || a.Type != b.Type ? "The votes are not of one validator, round and kind."
            : Equals(a.BlockId, b.BlockId) ? "The votes are for the same block."
            : null;
    }

    private static string? FindFault(LightClientAttackEvidence evidence) =>
        evidence.ConflictingBlock?.SignedHeader?.Header is null ? "The block is missing."
        : evidence.CommonHeight < 1 ? "There is no common height."
        : evidence.ByzantineValidators.Any(validator => validator.Address.Length != AddressSize) ? "A validator has no address."
        : null;

    private static string Hex(ByteString bytes) => Convert.ToHexString(bytes.Span);

    // Any number can be in the message; those of which there is a date are few.
    private static DateTimeOffset? TimeOf(Google.Protobuf.WellKnownTypes.Timestamp? timestamp)
    {
        try
        {
            return timestamp?.ToDateTimeOffset();
        }
        catch (Exception e) when (e is InvalidOperationException or ArgumentOutOfRangeException)
        {
            return null;
        }
    }
}
