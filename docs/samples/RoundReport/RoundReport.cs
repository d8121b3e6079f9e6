using Pipeline.Protocols.Consensus;
using Pipeline.Protocols.Observing;
using Pipeline.Reactors;

namespace Pipeline.Samples.RoundReport;

/// <summary>
/// Listens to the consensus of a network, and to evidence of those who break its rules, and writes a line for each height and each piece: enough to be told when
/// rounds fail, take long, or lack votes.
/// </summary>
/// <param name="output">Where the lines go.</param>
public sealed class RoundReport(TextWriter output)
{
    private readonly ConsensusObserverReactor _consensus = new();
    private readonly EvidenceObserverReactor _evidence = new();

    /// <summary>What to add to a switch.</summary>
    public IReadOnlyList<Reactor> Reactors => [_consensus, _evidence];

    /// <summary>Writes until it is cancelled.</summary>
    public Task RunAsync(CancellationToken cancellationToken) => Task.WhenAll(WriteHeightsAsync(cancellationToken), WriteEvidenceAsync(cancellationToken));

    private async Task WriteHeightsAsync(CancellationToken cancellationToken)
    {
        long last = 0;
        await foreach (ConsensusView view in _consensus.Observer.WatchAsync(cancellationToken))
        {
            // The views that a slow reader misses are no loss: each has the last heights.
            foreach (HeightView height in view.Heights.Where(height => height.Height > last && height.CommittedAt is not null))
            {
                last = height.Height;
                string time = height.ProposalToCommit is { } span ? $"{span.TotalMilliseconds:0} ms from proposal to commit" : "proposal not seen";
                string votes = height.CommittedIn is { } round ? $", {round.Precommits.Length} of {height.Validators} precommits" : "";
                await output.WriteLineAsync($"height {height.Height}: round {height.CommitRound}, {time}{votes}");
            }
        }
    }

    private async Task WriteEvidenceAsync(CancellationToken cancellationToken)
    {
        await foreach (ObservedEvidence evidence in _evidence.ReadAsync(cancellationToken))
        {
            await output.WriteLineAsync($"evidence: {evidence.Kind} at height {evidence.Height} by {string.Join(", ", evidence.Validators)}");
        }
    }
}
