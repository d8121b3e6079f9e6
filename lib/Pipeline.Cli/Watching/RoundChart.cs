using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using Pipeline.Protocols.Consensus;

namespace Pipeline.Cli.Watching;

/// <summary>
/// Draws heights as SVG, one above the other on one scale of time, which begins when the first proposal or vote of each was heard: when the
/// proposal, its parts and each validator's prevote and precommit came, and when the peers committed.
/// </summary>
internal static class RoundChart
{
    /// <summary>The most heights of a drawing.</summary>
    public const int MostHeights = 100;

    private const int Width = 1000;
    private const int Left = 150;
    private const int Right = 120;
    private const int Top = 74;
    private const int Bottom = 44;
    private const int RowHeight = 13;
    private const int HeightGap = 16;

    // Of more validators than that only the first are drawn, so that a height has room.
    private const int MostValidators = 32;

    private static readonly TimeSpan LeastMargin = TimeSpan.FromMilliseconds(100);

    // Two marks at one moment are both seen: the later step lies under the earlier one, and is larger.
    private const double Under = 5.5;
    private const double Over = 3.5;

    // Chosen so that people who see no red or green tell them apart (Okabe and Ito, 2008).
    private const string ProposalColor = "#e69f00";
    private const string PartColor = "#f0e442";
    private const string PrevoteColor = "#56b4e9";
    private const string PrecommitColor = "#0072b2";
    private const string CommitColor = "#009e73";
    private const string OddColor = "#d55e00";

    /// <summary>Draws the last of some heights whose commit was seen.</summary>
    /// <param name="heights">The heights.</param>
    /// <param name="most">How many are drawn at most, 1 to <see cref="MostHeights"/>.</param>
    /// <param name="title">What the picture is called.</param>
    /// <exception cref="InvalidOperationException">There are none to draw.</exception>
    public static string Draw(IEnumerable<HeightView> heights, int most, string title)
    {
        ImmutableArray<HeightView> drawn = [.. heights.Where(height => height.CommittedAt is not null && height.Rounds.Any(HasVotes)).TakeLast(most)];
        if (drawn.IsEmpty)
        {
            throw new InvalidOperationException("No height was seen from its votes to its commit.");
        }

        double longest = drawn.Select(TimesOf).Max(times => (times.End - times.Start).TotalMilliseconds);
        double step = StepOf(longest);
        double range = Math.Max(step, Math.Ceiling(longest / step) * step);
        int total = Top + Bottom + drawn.Sum(HeightOf);
        StringBuilder svg = new();
        svg.Append(Inv($"""<svg xmlns="http://www.w3.org/2000/svg" width="{Width}" height="{total}" viewBox="0 0 {Width} {total}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="11" fill="#333">"""));
        svg.Append('\n').Append(Inv($"""<rect width="{Width}" height="{total}" fill="#fff"/>""")).Append('\n');
        Text(svg, 16, 24, title, "start", "font-size=\"15\" font-weight=\"bold\"");
        Legend(svg);
        for (double ms = 0; ms <= range + (step / 2); ms += step)
        {
            svg.Append(Inv($"""<line x1="{X(ms):0.#}" y1="{Top - 6}" x2="{X(ms):0.#}" y2="{total - Bottom + 4}" stroke="#ddd"/>""")).Append('\n');
            Text(svg, X(ms), total - Bottom + 18, Inv($"{ms:0} ms"), "middle", "fill=\"#666\"");
        }

        Text(svg, Left, total - 8, "since the first proposal or vote of the height was heard", "start", "fill=\"#666\"");
        int y = Top;
        foreach (HeightView height in drawn)
        {
            DrawHeight(svg, height, y, X);
            y += HeightOf(height);
        }

        return svg.Append("</svg>\n").ToString();

        double X(double ms) => Left + (ms / range * (Width - Left - Right));
    }

    private static void Legend(StringBuilder svg)
    {
        int x = 16;
        Entry(ProposalColor, "proposal", 8);
        Entry(PartColor, "last part", 8);
        Entry(PrevoteColor, "prevote", 8);
        Entry(PrecommitColor, "precommit", 8);
        Entry(CommitColor, "commit of a peer", 3);
        Entry(OddColor, "vote for no block, or for several", 8);
        Text(svg, x, 46, "hollow: known only from who has it", "start");

        void Entry(string color, string text, int width)
        {
            svg.Append(Inv($"""<rect x="{x}" y="37" width="{width}" height="10" fill="{color}"/>""")).Append('\n');
            Text(svg, x + 13, 46, text, "start");
            x += 30 + (int)(text.Length * 6.4);
        }
    }

    private static void DrawHeight(StringBuilder svg, HeightView height, int top, Func<double, double> x)
    {
        (DateTimeOffset start, DateTimeOffset end) = TimesOf(height);
        int rows = RowsOf(height);
        int bottom = top + (rows * RowHeight);
        Text(svg, 16, top + RowHeight - 3, Inv($"height {height.Height}"), "start", "font-weight=\"bold\"");
        int round = height.CommitRound ?? 0;
        if (height.Rounds.Count(HasVotes) > 1 || round > 0)
        {
            Text(svg, 16, top + (2 * RowHeight) - 3, Inv($"round {round}"), "start", "fill=\"#666\"");
        }

        for (int row = 0; row < rows; row++)
        {
            double middle = top + (row * RowHeight) + (RowHeight / 2.0);
            svg.Append(Inv($"""<line x1="{Left}" y1="{middle:0.#}" x2="{Width - Right}" y2="{middle:0.#}" stroke="#f0f0f0"/>""")).Append('\n');
            Text(svg, Left - 10, middle + 4, row == 0 ? "block" : Inv($"validator {row - 1}"), "end", "font-size=\"9\" fill=\"#666\"");
        }

        // The span that the caption gives, from the proposal to the commit.
        if (height.CommittedIn?.Proposal is { } proposal)
        {
            double from = x(Since(proposal.FirstSeen));
            double to = x(Since(height.CommittedAt!.Value));
            svg.Append(Inv($"""<rect x="{from:0.#}" y="{top + 4:0.#}" width="{Math.Max(0, to - from):0.#}" height="5" fill="#e8f5f0"/>""")).Append('\n');
            Text(svg, Width - Right + 12, top + RowHeight - 3, Inv($"{height.ProposalToCommit!.Value.TotalMilliseconds:0} ms to commit"), "start", "font-size=\"10\"");
        }

        foreach (PeerCommit commit in height.Commits.Where(commit => commit.At <= end))
        {
            double at = x(Since(commit.At));
            svg.Append(Inv($"""<line x1="{at:0.#}" y1="{top}" x2="{at:0.#}" y2="{bottom}" stroke="{CommitColor}" stroke-opacity="0.55" stroke-width="1.5"/>""")).Append('\n');
        }

        foreach (RoundView view in height.Rounds)
        {
            if (view.Parts.Any(part => part.FirstSeen <= end))
            {
                Mark(view.Parts.Where(part => part.FirstSeen <= end).Max(part => part.FirstSeen), 0, PartColor, Under, isHollow: false);
            }

            if (view.Proposal is { } offer)
            {
                Mark(offer.FirstSeen, 0, ProposalColor, Over, isHollow: false);
            }

            foreach (VoteView vote in view.Precommits.Where(IsDrawn))
            {
                Mark(vote.FirstSeen, vote.Validator + 1, IsOdd(vote) ? OddColor : PrecommitColor, Under, vote.Block is null);
            }

            foreach (VoteView vote in view.Prevotes.Where(IsDrawn))
            {
                Mark(vote.FirstSeen, vote.Validator + 1, IsOdd(vote) ? OddColor : PrevoteColor, Over, vote.Block is null);
            }
        }

        // What was told before the beginning is drawn there.
        double Since(DateTimeOffset at) => Math.Max(0, (at - start).TotalMilliseconds);

        void Mark(DateTimeOffset at, int row, string color, double radius, bool isHollow)
        {
            if (at > end)
            {
                return;
            }

            string fill = isHollow ? "#fff" : color;
            svg.Append(Inv($"""<circle cx="{x(Since(at)):0.#}" cy="{top + (row * RowHeight) + (RowHeight / 2.0):0.#}" r="{radius}" fill="{fill}" stroke="{(isHollow ? color : "#fff")}"/>""")).Append('\n');
        }
    }

    private static bool IsDrawn(VoteView vote) => vote.Validator < MostValidators;

    private static bool IsOdd(VoteView vote) => vote.Block is { Length: 0 } || vote.Blocks > 1;

    private static bool HasVotes(RoundView round) => round.Prevotes.Length + round.Precommits.Length > 0;

    private static int RowsOf(HeightView height) => 1 + Math.Min(MostValidators, height.Validators);

    private static int HeightOf(HeightView height) => (RowsOf(height) * RowHeight) + HeightGap;

    /// <summary>
    /// From when to when a height is drawn: from the first to the last that was heard of it, but no longer before its first proposal and after its commit than there
    /// was between them. So one peer that tells of it long before or after the others does not stretch the scale.
    /// </summary>
    private static (DateTimeOffset Start, DateTimeOffset End) TimesOf(HeightView height)
    {
        DateTimeOffset committed = height.CommittedAt!.Value;

        // Of a round before, a single peer may send a proposal at any time.
        DateTimeOffset proposed = height.Rounds.Select(round => round.Proposal)
            .Where((proposal, i) => proposal is not null && (height.Rounds[i].Round == height.CommitRound || 2 * proposal.From.Length > height.Commits.Length))
            .Select(proposal => proposal!.FirstSeen)
            .Append(committed - LeastMargin)
            .Min();
        TimeSpan margin = committed - proposed;
        DateTimeOffset[] heard =
        [
            .. height.Rounds
                .SelectMany(round => round.Prevotes.Concat(round.Precommits).Select(vote => vote.FirstSeen).Concat(round.Proposal is { } proposal ? [proposal.FirstSeen] : []))
                .Concat(height.Commits.Select(commit => commit.At))
                .Where(at => at >= proposed - margin && at <= committed + margin),
            committed,
        ];
        return (heard.Min(), heard.Max());
    }

    /// <summary>A step of 1, 2 or 5 times a power of ten that makes five to ten of a length.</summary>
    private static double StepOf(double length)
    {
        double power = Math.Pow(10, Math.Floor(Math.Log10(Math.Max(length, 1) / 5)));
        return power * (length / power) switch
        {
            > 25 => 5,
            > 10 => 2,
            _ => 1,
        };
    }

    private static void Text(StringBuilder svg, double x, double y, string text, string anchor, string attributes = "") =>
        svg.Append(Inv($"""<text x="{x:0.#}" y="{y:0.#}" text-anchor="{anchor}" {attributes}>{System.Security.SecurityElement.Escape(text)}</text>""")).Append('\n');

    private static string Inv(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
