using System.Collections.Immutable;
using System.Net;
using CsCheck;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Switching;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

public sealed class BanListTests
{
    private const int SmallCapacity = 4;

    private static readonly NodeId[] Ids = [.. "abc".Select(digit => NodeId.Parse(new string(digit, 40)))];
    private static readonly IPAddress[] Addresses = [.. new[] { "10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1", "2001:db8::1" }.Select(IPAddress.Parse)];

    private static readonly AccessTarget[] Targets =
    [
        .. Ids.Select(AccessTarget.Of),
        .. new[] { "10.0.0.1", "10.0.0.2", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "2001:db8::1" }.Select(AccessTarget.Parse),
    ];

    private static readonly Gen<Step> AnyStep = Gen.Select(
        Gen.Frequency((6, Gen.Const(StepKind.Add)), (1, Gen.Const(StepKind.Remove)), (2, Gen.Const(StepKind.Wait))),
        Gen.OneOf(Targets),
        Gen.Frequency((5, Gen.Int[1, 8].Select(hours => (int?)hours)), (1, Gen.Const((int?)null))),
        (kind, target, hours) => new Step(kind, target, hours));

    private enum StepKind
    {
        Add,
        Remove,
        Wait,
    }

    [Test]
    public void A_list_does_what_the_rules_say_for_any_history() =>
        AnyStep.Array[1, 40].Sample(
            steps =>
            {
                FakeTimeProvider time = new();
                BanList bans = new(SmallCapacity, time);
                List<Ban> added = [];
                bans.Added += added.Add;

                // In the order in which they were added.
                List<Ban> model = [];
                int number = 0;
                foreach (Step step in steps)
                {
                    DateTimeOffset now = time.GetUtcNow();
                    switch (step.Kind)
                    {
                        case StepKind.Add:
                            Ban ban = new(step.Target, $"Reason {number++}.", now, now + (step.Hours is { } hours ? TimeSpan.FromHours(hours) : null));
                            bool isExpected = ModelAdd(model, ban);
                            added.Clear();
                            Assert.That(bans.Add(ban.Target, ban.Reason, ban.Until - now), Is.EqualTo(isExpected));
                            Assert.That(added, Is.EqualTo(isExpected ? [ban] : Array.Empty<Ban>()));
                            break;
                        case StepKind.Remove:
                            Assert.That(bans.Remove(step.Target), Is.EqualTo(model.RemoveAll(ban => ban.Target == step.Target) > 0));
                            break;
                        default:
                            time.Advance(TimeSpan.FromHours(step.Hours ?? 1));
                            model.RemoveAll(ban => ban.Until <= time.GetUtcNow());
                            break;
                    }

                    foreach (NodeId id in Ids)
                    {
                        Assert.That(bans.Find(id), Is.EqualTo(model.Find(ban => ban.Target.Matches(id))));
                    }

                    foreach (IPAddress address in Addresses)
                    {
                        Ban? found = bans.Find(address);
                        Ban[] of = [.. model.Where(ban => ban.Target.Matches(address))];
                        Assert.That(found?.End, Is.EqualTo(of.MaxBy(ban => ban.End)?.End));
                        Assert.That(found is null || of.Contains(found), Is.True);
                    }

                    Assert.That(bans.Bans, Is.EqualTo(model.OrderBy(ban => ban.End)));
                    Assert.That(bans.Count, Is.EqualTo(model.Count));
                }
            },
            iter: 2_000);

    [Test]
    public void A_ban_ends_at_its_end_to_the_tick()
    {
        FakeTimeProvider time = new();
        BanList bans = new(timeProvider: time);
        bans.Add(Targets[0], "A while.", TimeSpan.FromTicks(10));

        time.Advance(TimeSpan.FromTicks(9));
        Assert.That((bans.Find(Ids[0])?.Reason, bans.Count), Is.EqualTo(("A while.", 1)));
        time.Advance(TimeSpan.FromTicks(1));
        Assert.That((bans.Find(Ids[0]), bans.Count, bans.Bans.Length, bans.Remove(Targets[0])), Is.EqualTo(((Ban?)null, 0, 0, false)));
    }

    [Test]
    public void A_ban_that_is_over_is_none_and_a_time_beyond_all_times_is_for_ever()
    {
        FakeTimeProvider time = new();
        BanList bans = new(timeProvider: time);

        Assert.That(bans.Add(new Ban(Targets[0], "Long ago.", DateTimeOffset.MinValue, time.GetUtcNow())), Is.False);
        Assert.That(bans.Add(Targets[0], "For ever.", TimeSpan.MaxValue), Is.True);
        Assert.That(bans.Find(Ids[0])!.Until, Is.Null);
        Assert.That(bans.Find(Ids[0])!.ToString(), Is.EqualTo($"{Ids[0]} is banned for ever: For ever."));
        Assert.That(
            new Ban(Targets[0], "Enough.", time.GetUtcNow(), new DateTimeOffset(2026, 3, 1, 12, 0, 0, TimeSpan.FromHours(1))).ToString(),
            Is.EqualTo($"{Ids[0]} is banned until 2026-03-01 11:00:00Z: Enough."));
        Assert.That(() => bans.Add(Targets[0], "Never.", TimeSpan.Zero), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => new BanList(capacity: 0), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void A_reason_is_one_short_line_of_unicode()
    {
        BanList bans = new();
        bans.Add(Targets[0], new string('x', 255) + "😀", duration: null);
        bans.Add(Targets[1], "a\r\nb\ud800c\u001b", duration: null);

        Assert.That(bans.Find(Ids[0])!.Reason, Is.EqualTo(new string('x', 255)));
        Assert.That(bans.Find(Ids[1])!.Reason, Is.EqualTo("a  b\ufffdc "));
    }

    [Test]
    public void By_default_there_is_room_for_10000_and_a_full_list_is_logged_once()
    {
        RecordedLog<BanList> log = new();
        BanList bans = new(logger: log);
        for (int i = 0; i < 10_100; i++)
        {
            bans.Add(AccessTarget.Of(new IPAddress([10, 0, (byte)(i >> 8), (byte)i])), $"Number {i}.", TimeSpan.FromHours(1));
        }

        Assert.That(bans.Count, Is.EqualTo(10_000));
        Assert.That(log.Entries.Count(entry => entry.Id == 105), Is.EqualTo(1));
        Assert.That(log.Entries.Count(entry => entry.Id == 103), Is.EqualTo(10_100));
        Assert.That(log.Entries, Has.Some.Matches<(int, Microsoft.Extensions.Logging.LogLevel, string Text)>(entry =>
            entry.Text == bans.Find(IPAddress.Parse("10.0.4.0"))!.ToString()));
    }

    [Test, CancelAfter(30_000)]
    public async Task Added_is_raised_after_the_ban_holds_and_with_no_lock_held(CancellationToken cancellationToken)
    {
        BanList bans = new();
        int raised = 0;
        bans.Added += ban =>
        {
            // From another thread, which a lock would keep waiting.
            Task<bool> other = Task.Run(() => bans.Find(ban.Target.Id!.Value) is not null && bans.Remove(ban.Target), cancellationToken);
            raised += other.Wait(TimeSpan.FromSeconds(10), cancellationToken) && other.Result ? 1 : 0;
        };

        await Task.Run(() => bans.Add(Targets[0], "Enough.", TimeSpan.FromHours(1)), cancellationToken).WaitAsync(cancellationToken);

        Assert.That((raised, bans.Count), Is.EqualTo((1, 0)));
    }

    [Test, CancelAfter(60_000)]
    public async Task Many_threads_keep_the_list_whole(CancellationToken cancellationToken)
    {
        const int capacity = 50;
        FakeTimeProvider time = new();
        BanList bans = new(capacity, time);
        AccessTarget[] targets = [.. Enumerable.Range(0, 100).Select(i => AccessTarget.Of(new IPAddress([10, 0, 0, (byte)i])))];
        int added = 0;
        int changes = 0;
        bans.Added += _ => Interlocked.Increment(ref added);

        await Task.WhenAll(Enumerable.Range(0, 8).Select(worker => Task.Run(
            () =>
            {
                Random random = new(worker);
                for (int i = 0; i < 5_000; i++)
                {
                    AccessTarget target = targets[random.Next(targets.Length)];
                    switch (random.Next(6))
                    {
                        case 0:
                            bans.Remove(target);
                            break;
                        case 1:
                            ImmutableArray<Ban> snapshot = bans.Bans;
                            Assert.That(snapshot, Has.Length.LessThanOrEqualTo(capacity));
                            Assert.That(snapshot.Select(ban => ban.Target), Is.Unique);
                            break;
                        case 2:
                            time.Advance(TimeSpan.FromSeconds(1));
                            break;
                        case 3:
                            Assert.That(bans.Find(target.Network!.Value.BaseAddress)?.Target, Is.Null.Or.EqualTo(target));
                            break;
                        default:
                            Interlocked.Add(ref changes, bans.Add(target, "Stress.", TimeSpan.FromMinutes(random.Next(1, 60))) ? 1 : 0);
                            break;
                    }
                }
            },
            cancellationToken))).WaitAsync(cancellationToken);

        Assert.That(added, Is.EqualTo(changes).And.GreaterThan(100));
        Assert.That(
            targets.Select(target => bans.Find(target.Network!.Value.BaseAddress)).OfType<Ban>().ToArray(),
            Is.EquivalentTo(bans.Bans).And.Length.GreaterThan(0));
        time.Advance(TimeSpan.FromHours(2));
        Assert.That((bans.Count, targets.Any(target => bans.Remove(target))), Is.EqualTo((0, false)));
    }

    private static bool ModelAdd(List<Ban> model, Ban ban)
    {
        Ban? former = model.Find(other => other.Target == ban.Target);
        if (former is not null && former.End >= ban.End)
        {
            return false;
        }

        if (former is not null)
        {
            model.Remove(former);
        }

        model.Add(ban);
        if (model.Count > SmallCapacity)
        {
            model.Remove(model.MinBy(other => other.End)!);
        }

        return model.Contains(ban);
    }

    /// <param name="Kind">What is done.</param>
    /// <param name="Target">About whom.</param>
    /// <param name="Hours">For how long; null: for ever.</param>
    private sealed record Step(StepKind Kind, AccessTarget Target, int? Hours);
}
