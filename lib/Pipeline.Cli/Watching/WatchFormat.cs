using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Protocols.Consensus;

namespace Pipeline.Cli.Watching;

/// <summary>Something that happened to a node that is watched.</summary>
/// <param name="At">When, since the beginning.</param>
/// <param name="Event">What, for programs.</param>
/// <param name="Node">The node.</param>
/// <param name="Moniker">What it calls itself; may be any text, and empty.</param>
/// <param name="Text">What, in a sentence for people; not yet fit for a terminal.</param>
internal sealed record WatchNews(TimeSpan At, string Event, NodeId Node, string Moniker, string Text);

/// <summary>What came of watching.</summary>
/// <param name="End">What was known at the end.</param>
/// <param name="Elapsed">How long it was.</param>
/// <param name="Committed">How many heights were seen to be committed.</param>
/// <param name="ExitCode">See <see cref="Cli.ExitCode"/>.</param>
internal sealed record WatchResult(ConsensusView End, TimeSpan Elapsed, int Committed, int ExitCode)
{
    /// <summary>Why it ended before it should, in a sentence; null when it did not.</summary>
    public string? Failure { get; init; }

    /// <summary>Of the heights that were committed, from the proposal to the commit, as far as both were seen.</summary>
    public ImmutableArray<TimeSpan> Times { get; init; } = [];
}

/// <summary>How things are written in lines.</summary>
internal interface IWatchFormat
{
    /// <summary>Where news goes; heights and the summary go to the output.</summary>
    TextWriter News { get; }

    string Of(WatchNews news);

    /// <summary>A height that was committed, as it is known at that moment.</summary>
    string Of(HeightView height);

    /// <summary>That so many lines were not written.</summary>
    string Skipped(long lines);

    IEnumerable<string> Of(WatchResult result);
}

/// <summary>Lines for people. What remotes wrote is made fit for a terminal.</summary>
internal sealed class TextWatchFormat(TextWriter news) : IWatchFormat
{
    private const int MostCharacters = 300;

    public TextWriter News => news;

    public string Of(WatchNews news) =>
        $"{Readable.Seconds(news.At),9}  {news.Node.ToString()[..8]} {Printable.Of(news.Moniker, 16)}: {Printable.Of(news.Text, MostCharacters)}";

    public string Of(HeightView height)
    {
        RoundView? round = height.CommittedIn;
        string what = round?.Proposal is { } proposal
            ? string.Create(CultureInfo.InvariantCulture, $"block {proposal.Block[..8]} of {proposal.Parts} {(proposal.Parts == 1 ? "part" : "parts")}")
            : "a block whose proposal was not seen";
        string votes = round is null
            ? "no votes seen"
            : string.Create(CultureInfo.InvariantCulture, $"prevotes {round.Prevotes.Length} and precommits {round.Precommits.Length} of {height.Validators}");
        string odd = Odd(height);
        return string.Create(CultureInfo.InvariantCulture, $"height {height.Height}, round {height.CommitRound?.ToString(CultureInfo.InvariantCulture) ?? "?"}: {what}, {votes}, ")
            + (height.ProposalToCommit is { } time ? $"committed {Readable.Milliseconds(time)} ms after its proposal" : "committed")
            + (odd.Length == 0 ? "" : $"; {odd}");
    }

    public string Skipped(long lines) => $"{Readable.Count(lines)} lines are not shown: they come faster than the output takes them.";

    public IEnumerable<string> Of(WatchResult result)
    {
        yield return string.Create(CultureInfo.InvariantCulture, $"{result.Committed} {(result.Committed == 1 ? "height" : "heights")} in {Readable.Seconds(result.Elapsed)}")
            + (result.Times.IsEmpty ? "." : $"; from proposal to commit {Readable.Milliseconds(result.Times.Min())} to {Readable.Milliseconds(result.Times.Max())} ms, "
                + $"half of them within {Readable.Milliseconds(result.Times.Order().ElementAt((result.Times.Length - 1) / 2))} ms.");
    }

    private static string Odd(HeightView height)
    {
        VoteView[] votes = [.. height.Rounds.SelectMany(round => round.Prevotes.Concat(round.Precommits))];
        int nil = votes.Count(vote => vote.Block is { Length: 0 });
        int several = votes.Count(vote => vote.Blocks > 1);
        return string.Join(", ", (string[])
        [
            .. nil > 0 ? new[] { string.Create(CultureInfo.InvariantCulture, $"{nil} {(nil == 1 ? "vote" : "votes")} for no block") } : [],
            .. several > 0 ? new[] { string.Create(CultureInfo.InvariantCulture, $"{several} {(several == 1 ? "vote" : "votes")} told for several blocks") } : [],
        ]);
    }
}

/// <summary>One JSON object a line, in printable ASCII; <c>event</c> says what it is.</summary>
internal sealed class JsonWatchFormat(TextWriter output) : IWatchFormat
{
    public TextWriter News => output;

    public string Of(WatchNews news) => Printable.Json(JsonSerializer.Serialize(new
    {
        @event = news.Event,
        t_us = (long)news.At.TotalMicroseconds,
        peer = news.Node.ToString(),
        moniker = news.Moniker,
        text = news.Text,
    }));

    public string Of(HeightView height) => Printable.Json(JsonSerializer.Serialize(new
    {
        @event = "height",
        height = height.Height,
        round = height.CommitRound,
        first_seen = height.FirstSeen,
        committed_at = height.CommittedAt,
        proposal_to_commit_us = Microseconds(height.ProposalToCommit),
        validators = height.Validators,
        commits = height.Commits.Select(commit => new { peer = commit.Peer.ToString(), at = commit.At }),
        rounds = height.Rounds.Select(round => new
        {
            round = round.Round,
            proposal = round.Proposal is { } proposal
                ? new { block = proposal.Block, parts = proposal.Parts, valid_round = proposal.ValidRound, first_seen = proposal.FirstSeen, peers = Ids(proposal.From) }
                : null,
            parts = round.Parts.Select(part => new { index = part.Index, first_seen = part.FirstSeen, peers = Ids(part.From) }),
            prevotes = round.Prevotes.Select(Vote),
            precommits = round.Precommits.Select(Vote),
        }),
    }));

    public string Skipped(long lines) => JsonSerializer.Serialize(new { @event = "skipped", lines });

    public IEnumerable<string> Of(WatchResult result)
    {
        yield return Printable.Json(JsonSerializer.Serialize(new
        {
            @event = "summary",
            duration_s = Math.Round(result.Elapsed.TotalSeconds, 3),
            heights = result.Committed,
            height = result.End.Height,
            peers = result.End.Peers.Select(peer => new
            {
                id = peer.Id.ToString(),
                moniker = peer.Moniker,
                connected = peer.IsConnected,
                height = peer.Height,
                round = peer.Round,
                step = (int)peer.Step,
                ignored = peer.Ignored,
            }),
            error = result.Failure,
        }));
    }

    private static object Vote(VoteView vote) =>
        new { validator = vote.Validator, address = vote.Address, block = vote.Block, blocks = vote.Blocks, first_seen = vote.FirstSeen, peers = Ids(vote.From) };

    private static IEnumerable<string> Ids(IEnumerable<NodeId> ids) => ids.Select(id => id.ToString());

    private static long? Microseconds(TimeSpan? time) => (long?)time?.TotalMicroseconds;
}
