using System.Globalization;
using Pipeline.Protocols.Consensus;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Pipeline.Cli.Watching;

/// <summary>Draws a view of the consensus for a screen of 80 columns and 24 rows or more: the validators by the last rounds.</summary>
internal static class ConsensusTable
{
    private const int NameWidth = 16;
    private const int RoundWidth = 9;

    // The title, the headers, the two lines below the rounds, empty rows, the legend, the last line, and two to spare.
    private const int RowsAround = 11;

    private static readonly Style Faint = new(Color.Grey);

    /// <summary>Draws one moment.</summary>
    /// <param name="view">What is known.</param>
    /// <param name="title">What is watched.</param>
    /// <param name="news">What happened last, a line each.</param>
    /// <param name="width">The width of the screen.</param>
    /// <param name="height">Its height.</param>
    public static IRenderable Render(ConsensusView view, string title, IReadOnlyCollection<string> news, int width, int height)
    {
        (HeightView Height, RoundView Round)[] rounds =
        [
            .. view.Heights.SelectMany(seen => seen.Rounds.Select(round => (seen, round))).Where(seen => seen.seen.Height <= view.Height)
                .TakeLast(Math.Max(1, (width - NameWidth) / RoundWidth)),
        ];
        int peers = Math.Min(view.Peers.Length, Math.Max(2, height / 4));

        // Of the height and the one before, which all peers tell of; of what was before the others came, one peer may say anything.
        int validators = view.Heights.Where(seen => seen.Height >= view.Height - 1 && seen.Height <= view.Height).Select(seen => seen.Validators).DefaultIfEmpty().Max();
        int room = Math.Max(1, height - RowsAround - peers - news.Count);
        int shown = validators <= room ? validators : room - 1;
        List<IRenderable> rows =
        [
            new Text(title, new Style(decoration: Decoration.Bold)),
            Peers(view, peers),
            new Text(""),
            rounds.Length == 0 ? new Text("Nothing has been heard of a round yet.", Faint) : Rounds(rounds, shown, validators),
            new Text(""),
            new Text("prevote, precommit: ■ for a block, □ unknown which, ∅ none, ≠ several, · unseen", Faint),
        ];
        rows.AddRange(news.Select(line => new Text(line.Length < width ? line : line[..(width - 2)] + "…", Faint)));
        rows.Add(new Text("Ctrl+C stops.", Faint));
        return new Rows(rows);
    }

    private static Table Peers(ConsensusView view, int most)
    {
        Table table = NewTable();
        foreach (string header in (string[])["peer", "", "height", "round", "step", "proposal", "parts", "votes"])
        {
            table.AddColumn(Column(header, padding: 2));
        }

        foreach (PeerConsensusView peer in view.Peers.OrderBy(peer => !peer.IsConnected).Take(most))
        {
            Style style = peer.IsConnected ? Style.Plain : Faint;
            string[] cells =
            [
                peer.Id.ToString()[..8], Printable.Of(peer.Moniker, 12), Number(peer.Height), Number(peer.Round), Name(peer.Step), peer.HasProposal ? "yes" : "-",
                Number(peer.Parts.Length), $"{Number(peer.Prevotes.Length)} {Number(peer.Precommits.Length)}",
            ];
            table.AddRow(cells.Select(cell => new Text(cell, style)));
        }

        return table;
    }

    private static Table Rounds((HeightView Height, RoundView Round)[] rounds, int shown, int validators)
    {
        Table table = NewTable();
        table.AddColumn(Column("validator", padding: 0, NameWidth));
        foreach ((HeightView height, RoundView round) in rounds)
        {
            table.AddColumn(Column($"{Last(height.Height)}/{Number(round.Round)}", padding: 1, RoundWidth - 1));
        }

        for (int i = 0; i < shown; i++)
        {
            int validator = i;
            string? address = rounds.SelectMany(round => round.Round.Prevotes.Concat(round.Round.Precommits)).LastOrDefault(vote => vote.Validator == validator && vote.Address is not null)?.Address;
            AddRow($"{validator,3} {address?[..8]}", (_, round) => $"{Mark(round.Prevotes, validator)} {Mark(round.Precommits, validator)}", Style.Plain);
        }

        if (shown < validators)
        {
            AddRow($"{validators - shown} more", static (_, _) => "", Faint);
        }

        AddRow("heard", (height, round) => height.Validators == 0 ? "" : $"{Number(round.Prevotes.Length)} {Number(round.Precommits.Length)}", Faint);
        AddRow("commit after ms", static (height, round) => height.CommitRound == round.Round && height.ProposalToCommit is { } time ? Readable.Milliseconds(time) : "", Faint);
        return table;

        void AddRow(string name, Func<HeightView, RoundView, string> cell, Style style) =>
            table.AddRow([new Text(name, style), .. rounds.Select(round => new Text(cell(round.Height, round.Round), style))]);
    }

    private static char Mark(IEnumerable<VoteView> votes, int validator) => votes.FirstOrDefault(vote => vote.Validator == validator) switch
    {
        null => '·',
        { Blocks: > 1 } => '≠',
        { Block: null } => '□',
        { Block.Length: 0 } => '∅',
        _ => '■',
    };

    private static Table NewTable() => new() { Border = TableBorder.None, Expand = false };

    private static TableColumn Column(string header, int padding, int? width = null) => new(new Text(header, Faint))
    {
        NoWrap = true,
        Padding = new Padding(0, 0, padding, 0),
        Width = width,
    };

    // As many digits as there is room for: heights that follow each other differ in the last.
    private static string Last(long height) => Number(height) is var text && text.Length > 6 ? "…" + text[^5..] : text;

    private static string Name(ConsensusStep step) => step switch
    {
        ConsensusStep.Unknown => "-",
        ConsensusStep.NewHeight => "new height",
        ConsensusStep.NewRound => "new round",
        ConsensusStep.PrevoteWait => "prevote wait",
        ConsensusStep.PrecommitWait => "precommit wait",
        _ => step.ToString().ToLowerInvariant(),
    };

    private static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);
}
