using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Protocols;
using Pipeline.Protocols.Consensus;
using Pipeline.Protocols.Types;
using Pipeline.Reactors;
using Pipeline.Testing;
using Proposal = Pipeline.Protocols.Consensus.Proposal;

namespace Pipeline.Samples.Tests;

[CancelAfter(30_000)]
public sealed class RoundReportTests
{
    private readonly RunningSample.ShownLines _lines = new();

    [Test]
    public async Task A_height_and_a_piece_of_evidence_are_a_line_each(CancellationToken cancellationToken)
    {
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await using TestSwitch node = new();
        RoundReport.RoundReport report = new(_lines);
        foreach (Reactor reactor in report.Reactors)
        {
            node.AddReactor(reactor);
        }

        await node.StartAsync(cancellationToken);
        Task running = report.RunAsync(end.Token);
        TestPeer peer = await node.ConnectAsync();
        await StepAsync(10, ConsensusStep.Propose);
        await node.ReceiveAsync(peer, StandardChannels.ConsensusData, new Message
        {
            Proposal = new Proposal
            {
                Proposal_ = new()
                {
                    Type = SignedMsgType.Proposal,
                    Height = 10,
                    PolRound = -1,
                    BlockId = new BlockID { Hash = Bytes(32), PartSetHeader = new PartSetHeader { Total = 1, Hash = Bytes(32) } },
                    Signature = Bytes(64),
                },
            },
        });
        for (int validator = 0; validator < 4; validator++)
        {
            await node.ReceiveAsync(peer, StandardChannels.ConsensusState, new Message
            {
                HasVote = new HasVote { Height = 10, Index = validator, Type = SignedMsgType.Precommit },
            });
        }

        await StepAsync(11, ConsensusStep.NewHeight);
        Assert.That(await _lines.NextAsync().WaitAsync(cancellationToken), Does.Match("^height 10: round 0, [0-9]+ ms from proposal to commit, 4 of 4 precommits$"));

        await node.ReceiveAsync(peer, StandardChannels.Evidence, new EvidenceList
        {
            Evidence = { new Evidence { DuplicateVoteEvidence = new() { VoteA = Vote(1), VoteB = Vote(2), TotalVotingPower = 10, ValidatorPower = 1, Timestamp = new Timestamp() } } },
        });
        Assert.That(await _lines.NextAsync().WaitAsync(cancellationToken), Is.EqualTo("evidence: DuplicateVote at height 7 by " + new string('0', 2 * 20).Replace("00", "01", StringComparison.Ordinal)));
        await end.CancelAsync();
        await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

        Task StepAsync(long height, ConsensusStep step) => node.ReceiveAsync(peer, StandardChannels.ConsensusState, new Message
        {
            NewRoundStep = new NewRoundStep { Height = height, Step = (uint)step },
        });
    }

    private static Pipeline.Protocols.Types.Vote Vote(byte block) => new()
    {
        Type = SignedMsgType.Precommit,
        Height = 7,
        ValidatorAddress = Bytes(20),
        Signature = Bytes(64),
        BlockId = new BlockID { Hash = ByteString.CopyFrom([.. Enumerable.Repeat(block, 32)]), PartSetHeader = new PartSetHeader { Total = 1, Hash = Bytes(32) } },
    };

    private static ByteString Bytes(int length) => ByteString.CopyFrom([.. Enumerable.Repeat((byte)1, length)]);
}
