using System.Diagnostics.Metrics;

namespace Pipeline.Protocols.Consensus;

/// <summary>Counts messages by their kind and what became of them.</summary>
internal sealed class ConsensusCounts
{
    private const int Outcomes = 4;

    // By the number of the kind's field, of which 0 is for none and for those of later versions.
    private static readonly string[] Kinds =
        ["unknown", .. Enumerable.Range(1, Message.Descriptor.Fields.InFieldNumberOrder().Count).Select(number => Message.Descriptor.FindFieldByNumber(number).Name)];

    private readonly long[] _messages = new long[Kinds.Length * Outcomes];
    private long _tooLarge;

    public void Add(Message.SumOneofCase kind, MessageOutcome outcome) => Interlocked.Increment(ref _messages[((int)kind * Outcomes) + (int)outcome]);

    /// <summary>A message was too large to be looked at.</summary>
    public void TooLarge() => Interlocked.Increment(ref _tooLarge);

    public IEnumerable<Measurement<long>> Messages(KeyValuePair<string, object?> chain) => _messages
        .Select((_, i) => (Kind: Kinds[i / Outcomes], Outcome: NameOf((MessageOutcome)(i % Outcomes)), Count: Volatile.Read(ref _messages[i])))
        .Where(message => message.Count > 0)
        .Select(message => new Measurement<long>(message.Count, chain, new("kind", message.Kind), new("outcome", message.Outcome)));

    public IEnumerable<Measurement<long>> Faults(KeyValuePair<string, object?> chain) =>
    [
        new(Volatile.Read(ref _tooLarge), chain, new("fault", "too_large")),
        new(Enumerable.Range(0, Kinds.Length).Sum(kind => Volatile.Read(ref _messages[(kind * Outcomes) + (int)MessageOutcome.Refused])), chain, new("fault", "impossible")),
    ];

    private static string NameOf(MessageOutcome outcome) => outcome switch
    {
        MessageOutcome.News => "news",
        MessageOutcome.Ignored => "ignored",
        MessageOutcome.Refused => "refused",
        _ => "unheard",
    };
}
