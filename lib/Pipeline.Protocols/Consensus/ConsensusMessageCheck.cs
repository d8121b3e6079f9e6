using Google.Protobuf;
using Pipeline.Protocols.Bits;
using Pipeline.Protocols.Types;

namespace Pipeline.Protocols.Consensus;

/// <summary>What no honest node sends, whatever the state of the network.</summary>
/// <remarks>Source: the reference's checks of its consensus messages, and its limits on validators and parts.</remarks>
internal static class ConsensusMessageCheck
{
    /// <summary>The most validators that a network can have.</summary>
    public const int MaxValidators = 10_000;

    /// <summary>The most parts of a block: 100 MiB in pieces of 64 KiB, and one for what is around them.</summary>
    public const int MaxParts = 1_601;

    private const int HashSize = 32;
    private const int AddressSize = 20;

    // One of Ed25519 has 64 bytes, of secp256k1 with a recovery byte 65, of BLS 96, of ML-DSA-65 3,309: which one a network uses is not this check's affair.
    private const int MaxSignatureSize = 4_096;

    /// <summary>Says what is wrong with a message, as in "it has …"; null when nothing is.</summary>
    public static string? FindFault(Message message) => message.SumCase switch
    {
        Message.SumOneofCase.NewRoundStep => FindFault(message.NewRoundStep),
        Message.SumOneofCase.NewValidBlock when message.NewValidBlock is { } block =>
            At(block.Height, block.Round) ?? Header(block.BlockPartSetHeader) ?? Bits(block.BlockParts, MaxParts, "parts")
            ?? (block.BlockParts.Bits != block.BlockPartSetHeader.Total ? "it has parts of another block" : null),
        Message.SumOneofCase.Proposal => message.Proposal.Proposal_ is { } proposal ? FindFault(proposal) : "it has no proposal",
        Message.SumOneofCase.ProposalPol when message.ProposalPol is { } pol =>
            At(pol.Height, pol.ProposalPolRound) ?? Bits(pol.ProposalPol, MaxValidators, "validators"),
        Message.SumOneofCase.BlockPart when message.BlockPart is { } part => At(part.Height, part.Round) ?? FindFault(part.Part),
        Message.SumOneofCase.Vote => message.Vote.Vote_ is { } vote ? FindFault(vote) : "it has no vote",
        Message.SumOneofCase.HasVote when message.HasVote is { } vote => At(vote.Height, vote.Round) ?? Type(vote.Type) ?? Index(vote.Index),
        Message.SumOneofCase.VoteSetMaj23 when message.VoteSetMaj23 is { } votes => At(votes.Height, votes.Round) ?? Type(votes.Type) ?? Block(votes.BlockId),
        Message.SumOneofCase.VoteSetBits when message.VoteSetBits is { } votes =>
            At(votes.Height, votes.Round) ?? Type(votes.Type) ?? Block(votes.BlockId) ?? BitsOrNone(votes.Votes, MaxValidators, "validators"),
        Message.SumOneofCase.HasProposalBlockPart when message.HasProposalBlockPart is { } part =>
            At(part.Height, part.Round) ?? (part.Index is >= 0 and < MaxParts ? null : $"it has the part {part.Index}"),
        _ => null,
    };

    private static string? FindFault(NewRoundStep step) =>
        At(step.Height, step.Round) ?? (step.Step is < (int)ConsensusStep.NewHeight or > (int)ConsensusStep.Commit ? $"it has step {step.Step}, which there is not" : null)
        ?? (step.LastCommitRound < -1 ? $"it has a last commit of round {step.LastCommitRound}" : null);

    private static string? FindFault(Types.Proposal proposal) =>
        At(proposal.Height, proposal.Round) ?? (proposal.Type != SignedMsgType.Proposal ? "it is of another type" : null)
        ?? (proposal.PolRound < -1 || proposal.PolRound >= proposal.Round ? $"it has a valid round {proposal.PolRound} that is not before its own" : null)
        ?? (proposal.BlockId?.Hash.Length != HashSize ? "it has no block" : Header(proposal.BlockId.PartSetHeader)) ?? Signature(proposal.Signature);

    private static string? FindFault(Types.Vote vote) =>
        At(vote.Height, vote.Round) ?? Type(vote.Type) ?? Block(vote.BlockId) ?? Index(vote.ValidatorIndex)
        ?? (vote.ValidatorAddress.Length != AddressSize ? $"it has a validator address of {vote.ValidatorAddress.Length} bytes" : null) ?? Signature(vote.Signature);

    private static string? FindFault(Part? part) =>
        part?.Proof is not { } proof ? "it has no part with a proof"
        : proof.Total is < 1 or > MaxParts || part.Index >= proof.Total || proof.Index != part.Index ? $"it has part {part.Index} of {proof.Total}"
        : null;

    private static string? At(long height, int round) =>
        height < 0 ? $"it has the height {height}" : round < 0 ? $"it has the round {round}" : null;

    private static string? Type(SignedMsgType type) =>
        type is SignedMsgType.Prevote or SignedMsgType.Precommit ? null : $"it is about votes of type {(int)type}, which there are not";

    private static string? Index(int index) => index is >= 0 and < MaxValidators ? null : $"it has the validator index {index}";

    private static string? Signature(ByteString signature) => signature.Length is > 0 and <= MaxSignatureSize ? null : $"it has a signature of {signature.Length} bytes";

    private static string? Header(PartSetHeader? header) =>
        header is not { Total: >= 1 and <= MaxParts } || header.Hash.Length is not (0 or HashSize) ? $"it has a block of {header?.Total ?? 0} parts" : null;

    // A vote for none has an empty one.
    private static string? Block(BlockID? block) =>
        block is null || block.Hash.IsEmpty ? null
        : block.Hash.Length != HashSize ? $"it has a block hash of {block.Hash.Length} bytes"
        : Header(block.PartSetHeader);

    private static string? BitsOrNone(BitArray? bits, int most, string what) => bits is null or { Bits: 0, Elems.Count: 0 } ? null : Bits(bits, most, what);

    private static string? Bits(BitArray? bits, int most, string what) =>
        bits is null || bits.Bits < 1 || bits.Bits > most || bits.Elems.Count != (bits.Bits + 63) / 64
            ? $"it has a bit array of {bits?.Bits ?? 0} {what} in {bits?.Elems.Count ?? 0} elements"
            : null;
}
