using System.CommandLine;
using Pipeline.Discovery;
using Pipeline.Experiments.Eclipsing;
using Pipeline.Experiments.Measuring;
using Pipeline.Experiments.Output;

namespace Pipeline.Experiments.Experiments;

/// <summary>How much of what a node knows, and of its peers, somebody can get who has many addresses of one network.</summary>
internal sealed record EclipseExperiment : Experiment
{
    private const int DefaultRuns = 5;
    private const int MaxNewBucketsOfOwn = 1;
    private const int MaxNewBucketsOfInventions = 32;
    private const int MaxOldBuckets = 4;
    private const double MinHonest = 9;
    private const double MinLiveHonest = 7;
    private const int NewBuckets = 256;

    private static readonly TimeSpan DefaultDuration = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan RoundTime = TimeSpan.FromSeconds(30);
    private static readonly (AttackerAnswer Answer, bool HasBook)[] Cases =
        [(AttackerAnswer.Own, true), (AttackerAnswer.Own, false), (AttackerAnswer.Invented, true), (AttackerAnswer.Invented, false)];

    /// <summary>How many rounds of 30 s a node lives.</summary>
    public int Rounds { get; init; } = 480;

    public override string Name => "eclipse";

    public override string Title => "Eclipse";

    public override string Description =>
        $"A node among {Eclipse.HonestNodes:N0} honest ones, of which 70 % can be reached, in a network where an attacker has {Eclipse.Attackers} addresses of one /16. Each of them"
        + " answers whoever dials it, dials the node in each round, and holds 36 of its 40 inbound places, so that it is asked nine times out of ten. It answers with its own addresses, or"
        + $" with {AddressBook.MaxSelection} that it makes up anew each time. Measured is which part of the addresses that the node would dial is the attacker's, and which part of its outbound peers: with"
        + $" the library's address book, and with a plain list of as many addresses. Then the same with whole nodes: {LiveEclipse.HonestNodes} honest ones and {Eclipse.Attackers} of the attacker's, which tell"
        + $" each other's addresses as they do in a network, with rounds of {LiveEclipse.Period.TotalMilliseconds} ms.";

    public static Command CreateCommand(ExperimentCommands commands)
    {
        Option<int> rounds = OptionOf.Count("--rounds", "N", "How many rounds of 30 s the node lives.", 480, 10, 100_000);
        return commands.Create(
            "eclipse",
            "An attacker with many addresses of one network wants to be all peers of a node; which part it gets.",
            $"How long whole nodes are attacked. [default: {DefaultDuration.TotalSeconds} s]",
            DefaultRuns,
            [rounds],
            arguments => new EclipseExperiment { Rounds = arguments.GetValue(rounds) });
    }

    public override async Task<ExperimentResult> RunAsync(RunContext context)
    {
        IReadOnlyList<LiveLook> live = await AttackNodesAsync(context);
        int runs = context.Runs ?? DefaultRuns;
        List<Life> lives = [];
        foreach ((AttackerAnswer answer, bool hasBook) in Cases)
        {
            for (int run = 0; run < runs; run++)
            {
                lives.Add(Live(context, answer, hasBook, run));
            }

            context.Report($"{NameOf(answer, hasBook)}: {Readable.Number(100 * Of(lives, answer, hasBook).Max(life => life.Last.Picks))} % of the picks at the end");
        }

        Table table = new("eclipse", "At the end, the worst of the runs", "answers", "memory", "picks_%", "honest_outbound", "attackers_outbound", "new_buckets", "old_buckets");
        Table series = new("rounds", "Each round, on average over the runs", "answers", "memory", "hours", "picks_%", "honest_outbound", "attackers_outbound") { IsSeries = true };
        OrderedDictionary<string, object?> fields = new() { ["attackers"] = Eclipse.Attackers, ["honest"] = Eclipse.HonestNodes };
        foreach ((AttackerAnswer answer, bool hasBook) in Cases)
        {
            Life[] of = Of(lives, answer, hasBook);
            string memory = hasBook ? "book" : "list";
            table.Add(
                $"{answer}",
                memory,
                100 * of.Max(life => life.Last.Picks),
                of.Min(life => life.Honest),
                of.Max(life => life.Attackers),
                hasBook ? of.Max(life => life.NewBuckets) : null,
                hasBook ? of.Max(life => life.OldBuckets) : null);
            for (int i = 0; i < Rounds; i++)
            {
                series.Add($"{answer}", memory, Hours(i), 100 * Mean(of, i, round => round.Picks), Mean(of, i, round => round.Honest), Mean(of, i, round => round.Attackers));
            }

            string prefix = $"{answer}_{memory}".ToLowerInvariant();
            fields[$"{prefix}_picks_%"] = 100 * of.Max(life => life.Last.Picks);
            fields[$"{prefix}_honest_outbound"] = of.Min(life => life.Honest);
        }

        Table liveSeries = new("live", "Whole nodes: each round", "round", "honest_outbound", "attackers_outbound", "attackers_inbound") { IsSeries = true };
        foreach (LiveLook look in live)
        {
            liveSeries.Add(look.Round, look.Honest, look.Attackers, look.Inbound);
        }

        // Once the node has had the time to find its peers.
        LiveLook[] settled = [.. live.Skip(live.Count / 3)];
        fields["live_honest_outbound"] = settled.Average(look => look.Honest);
        fields["live_attackers_outbound"] = settled.Average(look => look.Attackers);
        fields["live_attackers_inbound"] = settled.Average(look => look.Inbound);
        fields["rounds"] = Rounds;
        fields["runs"] = runs;
        Life[] own = Of(lives, AttackerAnswer.Own, hasBook: true);
        Life[] invented = Of(lives, AttackerAnswer.Invented, hasBook: true);
        return new ExperimentResult(Name)
        {
            Fields = fields,
            Verdicts =
            [
                Verdict.AtMost($"Its own addresses are in at most {MaxNewBucketsOfOwn} of {NewBuckets} new buckets", own.Max(life => life.NewBuckets), MaxNewBucketsOfOwn, "buckets"),
                Verdict.AtMost($"What it makes up is in at most {MaxNewBucketsOfInventions} of {NewBuckets} new buckets", invented.Max(life => life.NewBuckets), MaxNewBucketsOfInventions, "buckets"),
                Verdict.AtMost($"It is in at most {MaxOldBuckets} of 64 old buckets", own.Concat(invented).Max(life => life.OldBuckets), MaxOldBuckets, "buckets"),
                Verdict.AtLeast($"At least {MinHonest} of {Eclipse.MaxOutbound} outbound peers are honest, on average over a run", own.Concat(invented).Min(life => life.Honest), MinHonest, "peers"),
                Verdict.AtLeast($"Of a whole node's {Eclipse.MaxOutbound} outbound peers at least {MinLiveHonest} are honest, on average", settled.Average(look => look.Honest), MinLiveHonest, "peers"),
                new Verdict(
                    "With a list it gets more of what is picked, however it answers",
                    $"{Share(AttackerAnswer.Own)}, {Share(AttackerAnswer.Invented)}",
                    Worst(AttackerAnswer.Own, true) < Worst(AttackerAnswer.Own, false) && Worst(AttackerAnswer.Invented, true) < Worst(AttackerAnswer.Invented, false)),
            ],
            Tables = [table, series, liveSeries],
            Figures =
            [
                new Figure("picks", "The part of the addresses that the node would dial that is the attacker's or made up by it, over a node's life.", () =>
                    Draw("What the attacker gets of the addresses to dial", "%", 100, lives, round => 100 * round.Picks)),
                new Figure("outbound", $"How many of the {Eclipse.MaxOutbound} outbound peers that the node wants are there and honest, over its life. Made up addresses do not answer.", () =>
                    Draw("Honest outbound peers", "peers", Eclipse.MaxOutbound, lives, round => round.Honest)),
                new Figure("live", "Whole nodes: what the peers of the node are, each round.", () => DrawLive(live)),
            ],
        };

        double Worst(AttackerAnswer answer, bool hasBook) => Of(lives, answer, hasBook).Max(life => life.Last.Picks);

        string Share(AttackerAnswer answer) => $"{answer} {Readable.Number(100 * Worst(answer, true))} % against {Readable.Number(100 * Worst(answer, false))} %";
    }

    private static async Task<IReadOnlyList<LiveLook>> AttackNodesAsync(RunContext context)
    {
        await using LiveEclipse live = new();
        IReadOnlyList<LiveLook> looks = await live.RunAsync(context.CreateRandom(0), context.Duration ?? DefaultDuration, context.CancellationToken);
        LiveLook last = looks.Count > 0 ? looks[^1] : throw new ExperimentException("The time was too short to see anything; give it a longer --duration.");
        context.Report($"whole nodes: after {Readable.Number(last.Round)} rounds {last.Honest} honest outbound peers, {last.Attackers} of the attacker's, and {last.Inbound} inbound");
        return looks;
    }

    private static double Hours(int round) => (round + 1) * RoundTime.TotalHours;

    private static Life[] Of(List<Life> lives, AttackerAnswer answer, bool hasBook) => [.. lives.Where(life => life.Answer == answer && life.HasBook == hasBook)];

    private static double Mean(Life[] lives, int round, Func<EclipseRound, double> part) => lives.Average(life => part(life.Rounds[round]));

    private static string NameOf(AttackerAnswer answer, bool hasBook) =>
        $"{(answer == AttackerAnswer.Own ? "answers with its own" : "makes them up")}, {(hasBook ? "address book" : "plain list")}";

    private Life Live(RunContext context, AttackerAnswer answer, bool hasBook, int run)
    {
        context.CancellationToken.ThrowIfCancellationRequested();
        ManualTime time = new();
        Random random = context.CreateRandom(run);
        BookMemory? book = hasBook ? new BookMemory(time, random) : null;
        Eclipse eclipse = new(book ?? (IMemory)new ListMemory(64 * (NewBuckets + 64), random), answer, random);
        List<EclipseRound> rounds = [];
        for (int i = 0; i < Rounds; i++)
        {
            rounds.Add(eclipse.Live(i));
            time.Advance(RoundTime);
        }

        int Buckets(bool isOld) => book is null ? 0
            : book.Book.Entries.Where(entry => entry.IsOld == isOld && Eclipse.IsOfAttacker(entry.Address)).SelectMany(entry => entry.Buckets).Distinct().Count();

        return new Life(answer, hasBook, rounds, Buckets(isOld: false), Buckets(isOld: true));
    }

    private byte[] Draw(string title, string unit, double most, List<Life> lives, Func<EclipseRound, double> part)
    {
        ScottPlot.Plot plot = Chart.Create(title, "hours", unit);
        double[] hours = [.. Enumerable.Range(0, Rounds).Select(Hours)];
        for (int i = 0; i < Cases.Length; i++)
        {
            (AttackerAnswer answer, bool hasBook) = Cases[i];
            Life[] of = Of(lives, answer, hasBook);
            double[] values = [.. Enumerable.Range(0, Rounds).Select(round => Mean(of, round, part))];
            plot.Line(hours, values, Chart.Palette[answer == AttackerAnswer.Own ? 0 : 1], NameOf(answer, hasBook), pattern: hasBook ? null : ScottPlot.LinePattern.Dashed);
        }

        plot.Axes.SetLimitsY(0, most * 1.02);
        plot.LegendBelow();
        return plot.ToPng();
    }

    private static byte[] DrawLive(IReadOnlyList<LiveLook> looks)
    {
        ScottPlot.Plot plot = Chart.Create("Peers of a whole node under attack", "rounds of peer exchange", "peers");
        double[] rounds = [.. looks.Select(look => look.Round)];
        plot.Line(rounds, [.. looks.Select(look => (double)look.Inbound)], Chart.Palette[1], "the attacker's, inbound", pattern: ScottPlot.LinePattern.Dashed);
        plot.Line(rounds, [.. looks.Select(look => (double)look.Attackers)], Chart.Palette[1], "the attacker's, outbound");
        plot.Line(rounds, [.. looks.Select(look => (double)look.Honest)], Chart.Palette[0], "honest, outbound");
        plot.Axes.SetLimitsY(0, 42);
        plot.LegendBelow();
        return plot.ToPng();
    }

    private sealed record Life(AttackerAnswer Answer, bool HasBook, List<EclipseRound> Rounds, int NewBuckets, int OldBuckets)
    {
        public EclipseRound Last => Rounds[^1];

        public double Honest => Rounds.Average(round => round.Honest);

        public double Attackers => Rounds.Average(round => round.Attackers);
    }

    private sealed class ManualTime : TimeProvider
    {
        private DateTimeOffset _now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

        public override DateTimeOffset GetUtcNow() => _now;

        public void Advance(TimeSpan by) => _now += by;
    }
}
