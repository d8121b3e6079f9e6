namespace Pipeline.Testing;

/// <summary>
/// Which faults happen to a direction of a connection, and at which bytes: some that are given, and random ones. Their places follow from
/// the seed alone, whatever the sizes and times of reads and writes are.
/// </summary>
public sealed record FaultPlan
{
    /// <summary>What the random faults follow from. Default 0.</summary>
    public int Seed { get; init; }

    /// <summary>Faults to happen beside the random ones, in any order. Default none.</summary>
    public IReadOnlyList<Fault> Script { get; init; } = [];

    /// <summary>
    /// The most bytes between two splits; sizes from 1 byte to this, small ones as likely as large ones. At least 1, or null, the default, for
    /// no random splits.
    /// </summary>
    public int? SplitWithin { get; init => field = AtLeastOne(value, nameof(SplitWithin)); }

    /// <summary>Bytes between two drops, on average. At least 1, or null, the default, for none.</summary>
    public long? DropEvery { get; init => field = AtLeastOne(value, nameof(DropEvery)); }

    /// <summary>The most bytes that vanish in one random drop; 1 to this are equally likely. At least 1; default 100.</summary>
    public int MaxDropLength { get; init => field = AtLeastOne(value, nameof(MaxDropLength)); } = 100;

    /// <summary>Bytes between two corrupt ones, on average. At least 1, or null, the default, for none.</summary>
    public long? CorruptEvery { get; init => field = AtLeastOne(value, nameof(CorruptEvery)); }

    /// <summary>Bytes between two delays, on average. At least 1, or null, the default, for none.</summary>
    public long? DelayEvery { get; init => field = AtLeastOne(value, nameof(DelayEvery)); }

    /// <summary>The longest random delay; shorter ones are equally likely. More than 0; default 100 ms.</summary>
    public TimeSpan MaxDelay { get; init => field = Positive(value, nameof(MaxDelay)); } = TimeSpan.FromMilliseconds(100);

    /// <summary>Bytes between two stalls, on average. At least 1, or null, the default, for none.</summary>
    public long? StallEvery { get; init => field = AtLeastOne(value, nameof(StallEvery)); }

    /// <summary>The longest random stall; shorter ones are equally likely. More than 0; default 1 s.</summary>
    public TimeSpan MaxStall { get; init => field = Positive(value, nameof(MaxStall)); } = TimeSpan.FromSeconds(1);

    /// <summary>Bytes until a connection is cut, on average. At least 1, or null, the default, for never.</summary>
    public long? CutEvery { get; init => field = AtLeastOne(value, nameof(CutEvery)); }

    /// <summary>The faults in order of their places; those of one connection and direction differ from another's by <paramref name="salt"/>.</summary>
    internal FaultSchedule CreateSchedule(ulong salt)
    {
        List<IEnumerator<Fault>> sources = [Script.OrderBy(fault => fault.Position).GetEnumerator()];
        Add(FaultKind.Split, SplitWithin, random => random.NextScale(SplitWithin!.Value), (position, _) => Fault.Split(position));
        AddEvery(FaultKind.Drop, DropEvery, (position, random) => Fault.Drop(position, 1 + random.Next(MaxDropLength)));
        AddEvery(FaultKind.Corrupt, CorruptEvery, (position, random) => Fault.Corrupt(position, (byte)(1 + random.Next(byte.MaxValue))));
        AddEvery(FaultKind.Delay, DelayEvery, (position, random) => Fault.Delay(position, Part(MaxDelay, random)));
        AddEvery(FaultKind.Stall, StallEvery, (position, random) => Fault.Stall(position, Part(MaxStall, random)));
        AddEvery(FaultKind.Cut, CutEvery, (position, _) => Fault.Cut(position));
        return new FaultSchedule(sources);

        void AddEvery(FaultKind kind, long? every, Func<long, SeededRandom, Fault> make) =>
            Add(kind, every, random => random.NextDistance(every!.Value), make);

        // Each kind has its own random numbers, so that one more kind of fault does not move the others.
        void Add(FaultKind kind, long? isWanted, Func<SeededRandom, long> distance, Func<long, SeededRandom, Fault> make)
        {
            if (isWanted is not null)
            {
                sources.Add(Generate(new SeededRandom((ulong)Seed, salt, (ulong)kind), distance, make).GetEnumerator());
            }
        }
    }

    private static IEnumerable<Fault> Generate(SeededRandom random, Func<SeededRandom, long> distance, Func<long, SeededRandom, Fault> make)
    {
        long position = 0;
        while (true)
        {
            position += distance(random);
            yield return make(position, random);
        }
    }

    private static TimeSpan Part(TimeSpan most, SeededRandom random) => TimeSpan.FromTicks(1 + random.Next(most.Ticks));

    private static int AtLeastOne(int value, string property) => (int)AtLeastOne((long)value, property);

    private static long AtLeastOne(long value, string property)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, property);
        return value;
    }

    private static int? AtLeastOne(int? value, string property) => value is { } number ? AtLeastOne(number, property) : null;

    private static long? AtLeastOne(long? value, string property) => value is { } number ? AtLeastOne(number, property) : null;

    private static TimeSpan Positive(TimeSpan value, string property)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(value, TimeSpan.Zero, property);
        return value;
    }
}

/// <summary>The faults of one direction of one connection, as a queue in order of their places.</summary>
internal sealed class FaultSchedule
{
    private readonly PriorityQueue<IEnumerator<Fault>, (long Position, FaultKind Kind)> _sources = new();

    public FaultSchedule(IEnumerable<IEnumerator<Fault>> sources)
    {
        foreach (IEnumerator<Fault> source in sources)
        {
            EnqueueNext(source);
        }
    }

    /// <summary>Where the next fault is; null when no more come.</summary>
    public long? NextPosition => _sources.TryPeek(out IEnumerator<Fault>? source, out _) ? source.Current.Position : null;

    public Fault Dequeue()
    {
        IEnumerator<Fault> source = _sources.Dequeue();
        Fault fault = source.Current;
        EnqueueNext(source);
        return fault;
    }

    private void EnqueueNext(IEnumerator<Fault> source)
    {
        if (source.MoveNext())
        {
            _sources.Enqueue(source, (source.Current.Position, source.Current.Kind));
        }
    }
}
