using Pipeline.Dataflow;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Switching;

/// <summary>What happened in histories, so that a test can say that they hold what they are for.</summary>
internal sealed class HistoryTally
{
    private readonly SortedDictionary<DisconnectKind, int> _reasons = [];

    public int Histories { get; private set; }

    public long Connections { get; set; }

    public TimeSpan Simulated { get; set; }

    /// <summary>Peers of reactors, whose reason to leave is counted below.</summary>
    public long Peers { get; private set; }

    public long Added { get; private set; }

    public long GivenUp { get; private set; }

    public long CameBack { get; private set; }

    public int MostAddsAtOnce { get; private set; }

    /// <summary>Pairs of nodes that were connected when they had come to terms.</summary>
    public long Pairs { get; set; }

    public IReadOnlyDictionary<DisconnectKind, int> Reasons => _reasons;

    public void Add(DisconnectKind reason) => _reasons[reason] = _reasons.GetValueOrDefault(reason) + 1;

    public void Add(Grammar grammar)
    {
        Peers += grammar.Initialised;
        Added += grammar.Added;
        GivenUp += grammar.GivenUp;
        CameBack += grammar.CameBack;
        MostAddsAtOnce = Math.Max(MostAddsAtOnce, grammar.MostAddsAtOnce);
    }

    public void Add(HistoryTally other)
    {
        Histories++;
        Connections += other.Connections;
        Simulated += other.Simulated;
        Peers += other.Peers;
        Added += other.Added;
        GivenUp += other.GivenUp;
        CameBack += other.CameBack;
        Pairs += other.Pairs;
        MostAddsAtOnce = Math.Max(MostAddsAtOnce, other.MostAddsAtOnce);
        foreach ((DisconnectKind reason, int count) in other._reasons)
        {
            _reasons[reason] = _reasons.GetValueOrDefault(reason) + count;
        }
    }

    public override string ToString() =>
        $"{Histories} histories of {Simulated.TotalHours:0.0} h: {Connections} connections, {Pairs} pairs connected in the end, {Peers} peers of reactors, {Added} of them added, {CameBack} of nodes that came back, "
        + $"at most {MostAddsAtOnce} added at once; {GivenUp} calls given up. Reasons: {string.Join(", ", _reasons.Select(entry => $"{entry.Key} {entry.Value}"))}.";
}
