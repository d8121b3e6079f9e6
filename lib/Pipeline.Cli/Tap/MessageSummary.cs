using System.Globalization;
using System.Numerics;
using Google.Protobuf;
using Google.Protobuf.Collections;
using Pipeline.Protocols.Bits;
using Pipeline.Protocols.Types;
using BlockSync = Pipeline.Protocols.BlockSync;
using Consensus = Pipeline.Protocols.Consensus;
using Mempool = Pipeline.Protocols.Mempool;
using PeerExchange = Pipeline.Wire.Protos.P2P;
using StateSync = Pipeline.Protocols.StateSync;

namespace Pipeline.Cli.Tap;

/// <summary>What matters of a message in a line. What a remote wrote may be anything, and is made fit for a terminal.</summary>
internal static class MessageSummary
{
    private const int MostAddresses = 3;

    // The steps of a round as the reference numbers them, from 1.
    private static readonly string[] Steps =
        ["new height", "new round", "propose", "prevote", "prevote wait", "precommit", "precommit wait", "commit"];

    /// <summary>The line; empty when there is nothing to say.</summary>
    public static string Of(IMessage message) => message switch
    {
        Consensus.Message consensus => Of(consensus),
        Mempool.Message { Txs: { } txs } => $"{Number(txs.Txs_.Count, "transaction")}, {Readable.Bytes(txs.Txs_.Sum(tx => (long)tx.Length))}",
        PeerExchange.Message { PexAddrs: { } list } => Of(list.Addrs),
        BlockSync.Message blockSync => Of(blockSync),
        StateSync.Message stateSync => Of(stateSync),
        EvidenceList list => $"{Number(list.Evidence.Count, "piece")} of evidence{string.Concat(list.Evidence.Take(MostAddresses).Select(Of))}",
        _ => "",
    };

    private static string Of(Consensus.Message message) => message.SumCase switch
    {
        Consensus.Message.SumOneofCase.NewRoundStep =>
            $"{At(message.NewRoundStep.Height, message.NewRoundStep.Round)}, {Step(message.NewRoundStep.Step)}, last commit of round {message.NewRoundStep.LastCommitRound}",
        Consensus.Message.SumOneofCase.NewValidBlock =>
            $"{At(message.NewValidBlock.Height, message.NewValidBlock.Round)}, parts {Of(message.NewValidBlock.BlockParts)}{(message.NewValidBlock.IsCommit ? ", commit" : "")}",
        Consensus.Message.SumOneofCase.Proposal => message.Proposal.Proposal_ is { } proposal
            ? $"{At(proposal.Height, proposal.Round)}, {Of(proposal.BlockId)} of {Number(proposal.BlockId?.PartSetHeader?.Total ?? 0, "part")}, valid since round {proposal.PolRound}"
            : "empty",
        Consensus.Message.SumOneofCase.ProposalPol =>
            $"{At(message.ProposalPol.Height, message.ProposalPol.ProposalPolRound)}, votes {Of(message.ProposalPol.ProposalPol)}",
        Consensus.Message.SumOneofCase.BlockPart =>
            $"{At(message.BlockPart.Height, message.BlockPart.Round)}, part {(message.BlockPart.Part?.Index ?? 0) + 1L} of {message.BlockPart.Part?.Proof?.Total ?? 0}, "
            + Readable.Bytes(message.BlockPart.Part?.Bytes.Length ?? 0),
        Consensus.Message.SumOneofCase.Vote => message.Vote.Vote_ is { } vote
            ? $"{At(vote.Height, vote.Round)}, {Name(vote.Type)} of validator {vote.ValidatorIndex} for {Of(vote.BlockId)}{(vote.Extension.IsEmpty ? "" : $", extension of {Readable.Bytes(vote.Extension.Length)}")}"
            : "empty",
        Consensus.Message.SumOneofCase.HasVote =>
            $"{At(message.HasVote.Height, message.HasVote.Round)}, {Name(message.HasVote.Type)} of validator {message.HasVote.Index}",
        Consensus.Message.SumOneofCase.HasProposalBlockPart =>
            $"{At(message.HasProposalBlockPart.Height, message.HasProposalBlockPart.Round)}, part {message.HasProposalBlockPart.Index + 1L}",
        Consensus.Message.SumOneofCase.VoteSetMaj23 =>
            $"{At(message.VoteSetMaj23.Height, message.VoteSetMaj23.Round)}, {Name(message.VoteSetMaj23.Type)}s for {Of(message.VoteSetMaj23.BlockId)}",
        Consensus.Message.SumOneofCase.VoteSetBits =>
            $"{At(message.VoteSetBits.Height, message.VoteSetBits.Round)}, {Name(message.VoteSetBits.Type)}s {Of(message.VoteSetBits.Votes)} for {Of(message.VoteSetBits.BlockId)}",
        _ => "",
    };

    private static string Of(BlockSync.Message message) => message.SumCase switch
    {
        BlockSync.Message.SumOneofCase.BlockRequest => $"height {message.BlockRequest.Height}",
        BlockSync.Message.SumOneofCase.NoBlockResponse => $"height {message.NoBlockResponse.Height}",
        BlockSync.Message.SumOneofCase.BlockResponse =>
            $"height {message.BlockResponse.Block?.Header?.Height ?? 0}, {Number(message.BlockResponse.Block?.Data?.Txs.Count ?? 0, "transaction")}",
        BlockSync.Message.SumOneofCase.StatusResponse => $"heights {message.StatusResponse.Base} to {message.StatusResponse.Height}",
        _ => "",
    };

    private static string Of(StateSync.Message message) => message.SumCase switch
    {
        StateSync.Message.SumOneofCase.SnapshotsResponse =>
            $"height {message.SnapshotsResponse.Height}, format {message.SnapshotsResponse.Format}, {Number(message.SnapshotsResponse.Chunks, "chunk")}, hash {Of(message.SnapshotsResponse.Hash)}",
        StateSync.Message.SumOneofCase.ChunkRequest =>
            $"height {message.ChunkRequest.Height}, format {message.ChunkRequest.Format}, chunk {message.ChunkRequest.Index}",
        StateSync.Message.SumOneofCase.ChunkResponse =>
            $"height {message.ChunkResponse.Height}, format {message.ChunkResponse.Format}, chunk {message.ChunkResponse.Index}, "
            + (message.ChunkResponse.Missing ? "missing" : Readable.Bytes(message.ChunkResponse.Chunk.Length)),
        _ => "",
    };

    private static string Of(RepeatedField<PeerExchange.NetAddress> addresses)
    {
        IEnumerable<string> first = addresses.Take(MostAddresses)
            .Select(address => $"{Printable.Of(address.Id, 8)}@{Printable.Of(address.Ip, 40)}:{address.Port}");
        return Number(addresses.Count, "address") + (addresses.Count == 0 ? "" : ": ") + string.Join(", ", first) + (addresses.Count > MostAddresses ? ", …" : "");
    }

    private static string Of(Evidence evidence) => evidence.SumCase switch
    {
        Evidence.SumOneofCase.DuplicateVoteEvidence =>
            $", duplicate vote of validator {evidence.DuplicateVoteEvidence.VoteA?.ValidatorIndex ?? 0} at height {evidence.DuplicateVoteEvidence.VoteA?.Height ?? 0}",
        Evidence.SumOneofCase.LightClientAttackEvidence => $", light client attack since height {evidence.LightClientAttackEvidence.CommonHeight}",
        _ => ", unknown",
    };

    private static string Of(BitArray? bits) => $"{bits?.Elems.Sum(word => (long)BitOperations.PopCount(word)) ?? 0} of {bits?.Bits ?? 0}";

    private static string Of(BlockID? block) => block is null || block.Hash.IsEmpty ? "no block" : $"block {Of(block.Hash)}";

    private static string Of(ByteString hash) => hash.IsEmpty ? "-" : Convert.ToHexStringLower(hash.Span[..Math.Min(4, hash.Length)]);

    private static string At(long height, int round) => $"height {height}, round {round}";

    private static string Step(uint step) => step >= 1 && step <= Steps.Length ? Steps[step - 1] : $"step {step}";

    private static string Name(SignedMsgType type) => type switch
    {
        SignedMsgType.Prevote => "prevote",
        SignedMsgType.Precommit => "precommit",
        SignedMsgType.Proposal => "proposal",
        _ => $"vote of type {(int)type}",
    };

    private static string Number(long count, string what) =>
        string.Create(CultureInfo.InvariantCulture, $"{count} {what}{(count == 1 ? "" : what.EndsWith('s') ? "es" : "s")}");
}
