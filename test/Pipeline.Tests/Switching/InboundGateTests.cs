using System.Net;
using CsCheck;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Switching;

namespace Pipeline.Tests.Switching;

public sealed class InboundGateTests
{
    // The first two are one source, and so are the fourth and fifth.
    private static readonly IPAddress[] Addresses =
        [.. new[] { "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1" }.Select(IPAddress.Parse)];

    private static readonly int[] Sources = [0, 0, 1, 2, 2, 3];

    [Test]
    public void For_any_history_slots_are_given_kept_and_taken_by_the_rules()
    {
        long evictions = 0, refusals = 0, busy = 0;
        Gen.Select(
            Gen.Int[1, 4],
            Gen.Int[0, 4],
            Gen.Select(Gen.Frequency((3, Gen.Const(true)), (1, Gen.Const(false))), Gen.Int[0, Addresses.Length - 1], Gen.Int[0, 1000]).Array[1, 60])
            .Sample(
                (max, limit, steps) =>
                {
                    int maxOfSource = limit == 0 ? int.MaxValue : limit;
                    InboundGate gate = new(max, limit == 0 ? null : limit, connectionsPerSecondPerIp: null, TimeProvider.System);

                    // In the order in which they came; a slot that was evicted is in the second until it is disposed.
                    List<(InboundGate.Slot Slot, int Source)> open = [];
                    List<InboundGate.Slot> ending = [];
                    InboundGateCounts counts = default;
                    foreach ((bool isEntry, int from, int which) in steps)
                    {
                        int source = Sources[from];
                        if (!isEntry)
                        {
                            List<InboundGate.Slot> all = [.. open.Select(entry => entry.Slot), .. ending];
                            if (all.Count > 0)
                            {
                                InboundGate.Slot left = all[which % all.Count];
                                left.Dispose();
                                left.Dispose();
                                open.RemoveAll(entry => entry.Slot == left);
                                ending.Remove(left);
                            }
                        }
                        else if (open.Count(entry => entry.Source == source) == maxOfSource)
                        {
                            Assert.That(gate.TryEnter(Addresses[from], out InboundGate.Slot? slot, out string? refusal), Is.False);
                            Assert.That((slot, refusal), Is.EqualTo(((InboundGate.Slot?)null, $"There are {maxOfSource} handshakes with {Addresses[from]}, as many as this node takes at once.")));
                            counts = counts with { TooManyOfSource = counts.TooManyOfSource + 1 };
                        }
                        else if (open.Count == max && ending.Count >= (IsOfMost(open, source) ? (max + 1) / 2 : max))
                        {
                            Assert.That(gate.TryEnter(Addresses[from], out _, out string? refusal), Is.False);
                            Assert.That(refusal, Is.EqualTo($"There are {max} handshakes, and {ending.Count} more are being given up."));
                            counts = counts with { Busy = counts.Busy + 1 };
                        }
                        else
                        {
                            Assert.That(gate.TryEnter(Addresses[from], out InboundGate.Slot? slot, out string? refusal), Is.True);
                            Assert.That(refusal, Is.Null);
                            (InboundGate.Slot Slot, int Source)[] evicted = [.. open.Where(entry => entry.Slot.Token.IsCancellationRequested)];
                            open.Add((slot!, source));
                            if (open.Count > max)
                            {
                                // With the new one, its source has most; and it is the source's oldest.
                                (InboundGate.Slot Slot, int Source) victim = evicted.Single();
                                Assert.That(victim, Is.EqualTo(open.First(entry => entry.Source == victim.Source)));
                                Assert.That(
                                    open.Count(entry => entry.Source == victim.Source),
                                    Is.EqualTo(open.CountBy(entry => entry.Source).Max(count => count.Value)));
                                open.Remove(victim);
                                ending.Add(victim.Slot);
                                counts = counts with { Evicted = counts.Evicted + 1 };
                            }
                            else
                            {
                                Assert.That(evicted, Is.Empty);
                            }
                        }

                        Assert.That((gate.Open, gate.Counts), Is.EqualTo((open.Count, counts)));
                        Assert.That(open.Select(entry => entry.Slot.Token.IsCancellationRequested), Has.None.True);
                    }

                    Interlocked.Add(ref evictions, counts.Evicted);
                    Interlocked.Add(ref refusals, counts.TooManyOfSource);
                    Interlocked.Add(ref busy, counts.Busy);
                },
                iter: 3_000);
        Assert.That(Math.Min(evictions, Math.Min(refusals, busy)), Is.GreaterThan(100), "each rule has been at work");
    }

    [Test]
    public void Of_sources_with_as_many_handshakes_the_oldest_is_ended()
    {
        InboundGate gate = new(3, null, null, TimeProvider.System);
        InboundGate.Slot[] slots = [.. Enumerable.Range(1, 6).Select(i => Enter(gate, $"10.0.0.{i}"))];

        Assert.That(slots.Select(slot => slot.Token.IsCancellationRequested), Is.EqualTo(new[] { true, true, true, false, false, false }));
    }

    [Test]
    public void A_flood_from_one_source_ends_only_its_own_handshakes()
    {
        InboundGate gate = new(64, null, null, TimeProvider.System);
        InboundGate.Slot[] honest = [.. Enumerable.Range(1, 60).Select(i => Enter(gate, $"10.0.0.{i}"))];
        Queue<InboundGate.Slot> flood = [];
        for (int i = 0; i < 10_000; i++)
        {
            flood.Enqueue(Enter(gate, "192.0.2.1"));
            while (flood.Peek().Token.IsCancellationRequested)
            {
                flood.Dequeue().Dispose();
            }
        }

        Assert.That(honest.Select(slot => slot.Token.IsCancellationRequested), Has.None.True);
        Assert.That((gate.Open, gate.Counts, flood.Count), Is.EqualTo((64, new InboundGateCounts(0, 0, 0, 10_000 - 4), 4)));
    }

    [Test]
    public void A_flood_that_is_not_closed_fast_enough_leaves_room_for_others()
    {
        InboundGate gate = new(8, null, null, TimeProvider.System);
        int entered = Enumerable.Range(0, 100).Count(_ => gate.TryEnter(Addresses[0], out InboundGate.Slot? slot, out string? _));
        Assert.That((entered, gate.Counts), Is.EqualTo((8 + 4, new InboundGateCounts(0, 0, 100 - 12, 4))));

        InboundGate.Slot[] honest = [.. Enumerable.Range(1, 4).Select(i => Enter(gate, $"192.0.2.{i}"))];
        Assert.That(honest.Select(slot => slot.Token.IsCancellationRequested), Has.None.True);
        Assert.That(gate.TryEnter(IPAddress.Parse("192.0.2.5"), out _, out _), Is.False, "twice the slots is the bound");
    }

    [Test]
    public void A_source_gets_its_connections_a_second_and_no_more_whatever_others_do() =>
        Gen.Select(Gen.OneOf(1, 2, 8), Gen.Select(Gen.Int[0, Addresses.Length - 1], Gen.Frequency((4, Gen.Const(0)), (4, Gen.Int[1, 20]), (1, Gen.Int[60, 200]))).Array[1, 100])
            .Sample(
                (perSecond, arrivals) =>
                {
                    FakeTimeProvider time = new();
                    InboundGate gate = new(1_000, null, perSecond, time);
                    Dictionary<int, (double Tokens, double At)> model = [];
                    double now = 0;
                    long refused = 0;
                    foreach ((int from, int pause) in arrivals)
                    {
                        // Sixty-fourths of a second, which add up without rounding.
                        time.Advance(TimeSpan.FromTicks(pause * TimeSpan.TicksPerSecond / 64));
                        now += pause / 64.0;
                        (double tokens, double at) = model.GetValueOrDefault(Sources[from], (perSecond, now));
                        tokens = Math.Min(perSecond, tokens + ((now - at) * perSecond));
                        bool enters = tokens >= 1;
                        model[Sources[from]] = (enters ? tokens - 1 : tokens, now);
                        refused += enters ? 0 : 1;

                        Assert.That(gate.TryEnter(Addresses[from], out _, out string? refusal), Is.EqualTo(enters));
                        Assert.That(refusal, Is.EqualTo(enters ? null : $"More than {perSecond} connections a second come from {Addresses[from]}."));
                    }

                    Assert.That(gate.Counts, Is.EqualTo(new InboundGateCounts(refused, 0, 0, 0)));
                },
                iter: 3_000);

    [Test]
    public void Connections_that_come_too_fast_cost_nobody_a_slot()
    {
        InboundGate gate = new(1, null, 1, new FakeTimeProvider());
        InboundGate.Slot slot = Enter(gate, "10.0.0.1");

        Assert.That(gate.TryEnter(Addresses[0], out _, out _), Is.False);
        Assert.That((slot.Token.IsCancellationRequested, gate.Counts.Evicted), Is.EqualTo((false, 0)));
    }

    [Test]
    public void Sources_are_forgotten_when_they_have_not_come_for_a_second_or_are_too_many()
    {
        FakeTimeProvider time = new();
        AddressRates rates = new(perSecond: 2, maxTracked: 3, time);
        for (uint i = 0; i < 3; i++)
        {
            Assert.That((rates.TryTake(new(i)), rates.TryTake(new(i)), rates.TryTake(new(i))), Is.EqualTo((true, true, false)));
            time.Advance(TimeSpan.FromMilliseconds(100));
        }

        // The one that came longest ago makes room, and not one that comes still.
        Assert.That((rates.TryTake(new(0)), rates.TryTake(new(3)), rates.Tracked), Is.EqualTo((false, true, 3)));
        Assert.That((rates.TryTake(new(0)), rates.TryTake(new(2)), rates.TryTake(new(1))), Is.EqualTo((false, false, true)));

        time.Advance(TimeSpan.FromMilliseconds(999));
        Assert.That((rates.TryTake(new(9)), rates.Tracked), Is.EqualTo((true, 3)));
        time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.That((rates.TryTake(new(9)), rates.Tracked), Is.EqualTo((true, 1)));
    }

    [Test]
    public void A_flood_from_everywhere_takes_a_bounded_table()
    {
        AddressRates rates = new(perSecond: 5, maxTracked: 100, new FakeTimeProvider());
        for (uint i = 0; i < 10_000; i++)
        {
            Assert.That(rates.TryTake(new(i)), Is.True);
            Assert.That(rates.Tracked, Is.LessThanOrEqualTo(100));
        }
    }

    [TestCase(0, 1, 1)]
    [TestCase(1, 0, 1)]
    [TestCase(1, 1, 0)]
    public void Limits_are_at_least_one(int max, int maxPerIp, int perSecond) =>
        Assert.That(() => new InboundGate(max, maxPerIp, perSecond, TimeProvider.System), Throws.InstanceOf<ArgumentOutOfRangeException>());

    [Test, CancelAfter(60_000)]
    public async Task Many_threads_keep_the_gate_whole(CancellationToken cancellationToken)
    {
        const int max = 16;
        InboundGate gate = new(max, 6, connectionsPerSecondPerIp: null, TimeProvider.System);
        long entered = 0, refused = 0, evicted = 0;
        int held = 0;
        await Task.WhenAll(Enumerable.Range(0, 8).Select(worker => Task.Run(
            () =>
            {
                Random random = new(worker);
                Queue<InboundGate.Slot> mine = [];
                for (int i = 0; i < 20_000; i++)
                {
                    if (gate.TryEnter(Addresses[random.Next(Addresses.Length)], out InboundGate.Slot? slot, out _))
                    {
                        Interlocked.Increment(ref entered);
                        mine.Enqueue(slot);
                        Assert.That(Interlocked.Increment(ref held), Is.LessThanOrEqualTo(2 * max));
                    }
                    else
                    {
                        Interlocked.Increment(ref refused);
                    }

                    Assert.That(gate.Open, Is.LessThanOrEqualTo(max));
                    while (mine.Count > random.Next(5))
                    {
                        InboundGate.Slot left = mine.Dequeue();
                        Interlocked.Decrement(ref held);
                        left.Dispose();
                        Interlocked.Add(ref evicted, left.Token.IsCancellationRequested ? 1 : 0);
                    }
                }

                foreach (InboundGate.Slot left in mine)
                {
                    Interlocked.Decrement(ref held);
                    left.Dispose();
                    Interlocked.Add(ref evicted, left.Token.IsCancellationRequested ? 1 : 0);
                }
            },
            cancellationToken))).WaitAsync(cancellationToken);

        InboundGateCounts counts = gate.Counts;
        Assert.That(gate.Open, Is.Zero);
        Assert.That(counts.TooManyOfSource + counts.Busy, Is.EqualTo(refused));
        Assert.That(entered + refused, Is.EqualTo(8 * 20_000));
        Assert.That(evicted, Is.LessThanOrEqualTo(counts.Evicted));

        // As good as new.
        InboundGate.Slot[] slots = [.. Enumerable.Range(0, max).Select(i => Enter(gate, $"10.1.0.{i}"))];
        Assert.That((gate.Open, gate.Counts), Is.EqualTo((max, counts)));
        Assert.That(slots.Select(slot => slot.Token.IsCancellationRequested), Has.None.True);
    }

    private static bool IsOfMost(List<(InboundGate.Slot Slot, int Source)> open, int source) =>
        open.Count(entry => entry.Source == source) == open.CountBy(entry => entry.Source).Max(count => count.Value);

    private static InboundGate.Slot Enter(InboundGate gate, string ip)
    {
        Assert.That(gate.TryEnter(IPAddress.Parse(ip), out InboundGate.Slot? slot, out _), Is.True);
        return slot!;
    }
}
