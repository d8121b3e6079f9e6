using System.Collections.Immutable;
using System.Diagnostics;
using System.Net;
using CsCheck;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Discovery;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Tests.Discovery;

/// <summary>What holds for a book whatever has been done with it.</summary>
public sealed class AddressBookModelTests
{
    // Few nodes at few places in few networks, so that all rules are met: half a thousand of one network find room for 64.
    private const int Nodes = 500;
    private const int Places = 3;
    private const int Sources = 40;

    private static readonly Gen<Step> AnyStep = Gen.Select(
        Gen.Frequency(
            (12, Gen.Const(StepKind.Add)),
            (12, Gen.Const(StepKind.AddMany)),
            (6, Gen.Const(StepKind.MarkGood)),
            (3, Gen.Const(StepKind.MarkManyGood)),
            (4, Gen.Const(StepKind.MarkAttempt)),
            (2, Gen.Const(StepKind.Remove)),
            (3, Gen.Const(StepKind.KeepOut)),
            (2, Gen.Const(StepKind.Ban)),
            (2, Gen.Const(StepKind.Lift)),
            (3, Gen.Const(StepKind.Wait)),
            (1, Gen.Const(StepKind.Restart))),
        Gen.Int[0, Nodes - 1],
        Gen.Frequency((5, Gen.Const(0)), (1, Gen.Int[1, Places - 1])),
        Gen.Int[0, Sources - 1],
        Gen.Int[0, 100],
        (kind, node, place, source, number) => new Step(kind, node, place, source, number));

    private enum StepKind
    {
        Add,
        AddMany,
        MarkGood,
        MarkManyGood,
        MarkAttempt,
        Remove,
        KeepOut,
        Ban,
        Lift,
        Wait,
        Restart,
    }

    [Test]
    public async Task The_rules_hold_after_any_history()
    {
        string folder = Directory.CreateTempSubdirectory("pipeline-").FullName;
        try
        {
            await AnyStep.Array[1, 60].SampleAsync(
                async steps =>
                {
                    FakeTimeProvider time = new(new DateTimeOffset(2026, 3, 1, 0, 0, 0, TimeSpan.Zero));
                    BanList bans = new(timeProvider: time);
                    string path = Path.Combine(folder, $"{Guid.NewGuid():N}.json");
                    AddressBookOptions options = new() { TimeProvider = time, Bans = bans, Random = new Random(steps.Length) };
                    AddressBook book = AddressBook.Open(path, options);

                    // Until when each address is kept out.
                    Dictionary<NetAddress, DateTimeOffset> keptOut = [];
                    foreach (Step step in steps)
                    {
                        NetAddress address = Address(step.Node, step.Place);
                        switch (step.Kind)
                        {
                            case StepKind.Add:
                                AddChecked(step.Node, step.Place, step.Source);
                                break;
                            case StepKind.AddMany:
                                for (int i = 0; i < step.Number; i++)
                                {
                                    AddChecked((step.Node + i) % Nodes, step.Place, (step.Source + (i % 3)) % Sources);
                                }

                                break;
                            case StepKind.MarkGood:
                                book.MarkGood(address);
                                Assert.That(book.Find(address.Id) is { } good && good.Address == address && !good.IsOld, Is.False);
                                break;
                            case StepKind.MarkManyGood:
                                foreach (NetAddress one in book.Select(100).Take(step.Number))
                                {
                                    book.MarkGood(one);
                                }

                                break;
                            case StepKind.MarkAttempt:
                                int before = book.Find(address.Id)?.Attempts ?? 0;
                                book.MarkAttempt(address);
                                Assert.That(book.Find(address.Id)?.Attempts ?? 0, Is.EqualTo(before + (book.Find(address.Id)?.Address == address ? 1 : 0)));
                                break;
                            case StepKind.Remove:
                                bool wasKnown = book.Find(address.Id) is not null;
                                Assert.That((book.Remove(address.Id), book.Find(address.Id)), Is.EqualTo((wasKnown, (AddressBookEntry?)null)));
                                break;
                            case StepKind.KeepOut:
                                if (book.Find(address.Id)?.Address == address)
                                {
                                    keptOut[address] = time.GetUtcNow() + TimeSpan.FromMinutes(step.Number + 1);
                                }

                                book.KeepOut(address, TimeSpan.FromMinutes(step.Number + 1));
                                break;
                            case StepKind.Ban:
                                bans.Add(TargetOf(step), "A step.", step.Number % 5 == 0 ? null : TimeSpan.FromMinutes(step.Number + 1));
                                break;
                            case StepKind.Lift when bans.Count > 0:
                                bans.Remove(bans.Bans[step.Number % bans.Count].Target);
                                break;
                            case StepKind.Wait:
                                time.Advance(step.Number % 10 == 0 ? TimeSpan.FromDays(step.Number) : TimeSpan.FromMinutes(step.Number));
                                break;
                            case StepKind.Restart:
                                string[] entries = Addresses.Describe(book);
                                await book.DisposeAsync();
                                book = AddressBook.Open(path, options);
                                Assert.That(book.FileProblem, Is.Null);
                                Assert.That(Addresses.Describe(book), Is.EqualTo(entries));
                                break;
                        }

                        AssertIsSound(step.Number);
                    }

                    await book.DisposeAsync();

                    void AddChecked(int node, int place, int source)
                    {
                        NetAddress address = Address(node, place);
                        AddressBookEntry? known = book.Find(address.Id);
                        AddressVerdict verdict = book.Add(address, SourceOf(source));
                        bool isOut = bans.Find(address.Id) is not null || bans.Find(address.Ip!) is not null
                            || (keptOut.TryGetValue(address, out DateTimeOffset until) && until > time.GetUtcNow());
                        Assert.That(verdict, Is.EqualTo(
                            isOut ? AddressVerdict.Banned
                            : known is null ? AddressVerdict.Added
                            : known.Address == address ? AddressVerdict.Known
                            : known.IsOld || known.LastSuccess is not null || known.Attempts == 0 ? AddressVerdict.KnownElsewhere
                            : AddressVerdict.Added));
                        Assert.That(book.Find(address.Id)?.Address == address, Is.EqualTo(verdict is AddressVerdict.Added or AddressVerdict.Known));
                    }

                    void AssertIsSound(int bias)
                    {
                        Addresses.AssertIsSound(book);
                        Addresses.AssertChoicesAreSound(book, bias);
                        foreach (AddressBookEntry entry in book.Entries)
                        {
                            Assert.That(bans.Find(entry.Address.Id) ?? bans.Find(entry.Address.Ip!), Is.Null);
                            Assert.That(keptOut.GetValueOrDefault(entry.Address), Is.LessThanOrEqualTo(time.GetUtcNow()));
                        }
                    }
                },
                iter: 300,
                threads: 2);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Test]
    public void Numbers_of_buckets_are_a_small_set_in_order() =>
        Gen.Int[0, 300].Array[0, 12].Sample(numbers =>
        {
            BucketNumbers packed = default;
            List<int> model = [];
            foreach (int number in numbers.Select(number => number % 8 == 0 ? number : number % 8))
            {
                if (model.Remove(number))
                {
                    packed.Remove(number);
                }
                else if (model.Count < BucketNumbers.Capacity)
                {
                    packed.Add(number);
                    model.Add(number);
                }

                Assert.That((packed.Count, packed.Contains(number)), Is.EqualTo((model.Count, model.Contains(number))));
                Assert.That(packed.ToImmutableArray(), Is.EqualTo(model));
            }
        });

    [Test, CancelAfter(60_000)]
    public async Task Many_threads_keep_the_book_whole(CancellationToken cancellationToken)
    {
        string folder = Directory.CreateTempSubdirectory("pipeline-").FullName;
        string path = Path.Combine(folder, "addrbook.json");
        FakeTimeProvider time = new(new DateTimeOffset(2026, 3, 1, 0, 0, 0, TimeSpan.Zero));
        BanList bans = new(timeProvider: time);
        AddressBookOptions options = new() { TimeProvider = time, Bans = bans };
        AddressBook book = AddressBook.Open(path, options);
        await Task.WhenAll(Enumerable.Range(0, 8).Select(worker => Task.Run(
            async () =>
            {
                Random random = new(worker);
                for (int i = 0; i < 4_000; i++)
                {
                    NetAddress address = Address(random.Next(Nodes), random.Next(Places));
                    switch (random.Next(14))
                    {
                        case 0:
                            book.MarkGood(address);
                            break;
                        case 1:
                            book.MarkAttempt(address);
                            break;
                        case 2:
                            book.KeepOut(address, TimeSpan.FromSeconds(random.Next(1, 100)));
                            break;
                        case 3:
                            bans.Add(AccessTarget.Of(address.Id), "Stress.", TimeSpan.FromSeconds(random.Next(1, 20)));
                            break;
                        case 4:
                            bans.Remove(AccessTarget.Of(address.Id));
                            break;
                        case 5:
                            time.Advance(TimeSpan.FromSeconds(1));
                            break;
                        case 6:
                            ImmutableArray<NetAddress> selection = book.Select(random.Next(101));
                            Assert.That(selection.Select(one => one.Id).Distinct().Count(), Is.EqualTo(selection.Length));
                            break;
                        case 7:
                            book.Pick(random.Next(101));
                            book.Remove(address.Id);
                            break;
                        case 8 when i % 50 == 0:
                            Assert.That(await book.FlushAsync(cancellationToken), Is.True);
                            break;
                        default:
                            book.Add(address, SourceOf(random.Next(Sources)));
                            break;
                    }
                }
            },
            cancellationToken))).WaitAsync(cancellationToken);

        Addresses.AssertIsSound(book);
        Assert.That(book.Entries.Where(entry => bans.Find(entry.Address.Id) is not null), Is.Empty);
        Assert.That(book.Count, Is.GreaterThan(20));
        string[] entries = Addresses.Describe(book);
        await book.DisposeAsync();
        await using (AddressBook again = AddressBook.Open(path, options))
        {
            Assert.That(Addresses.Describe(again), Is.EqualTo(entries));
        }

        Directory.Delete(folder, recursive: true);
    }

    [Test]
    public void A_hundred_thousand_addresses_are_added_in_less_than_two_seconds()
    {
        const int count = 100_000;
        NetAddress[] addresses = [.. Enumerable.Range(1, count).Select(i => Addresses.At(i, new IPAddress([(byte)(11 + (i % 100)), (byte)(i / 100 % 256), (byte)(i / 25_600), 1]).ToString()))];
        TimeSpan best = TimeSpan.MaxValue;
        for (int run = 0; run < 3; run++)
        {
            AddressBook book = new();
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < count; i++)
            {
                book.Add(addresses[i], addresses[i * 31 % count]);
            }

            TimeSpan elapsed = Stopwatch.GetElapsedTime(start);
            best = elapsed < best ? elapsed : best;
            Assert.That(book.Count, Is.GreaterThan(15_000));
        }

        TestContext.Out.WriteLine($"{count:N0} addresses of 25,600 networks were added in {best.TotalMilliseconds:N0} ms, {count / best.TotalSeconds:N0} a second.");
        Assert.That(best, Is.LessThan(TimeSpan.FromSeconds(2)));
    }

    [Test]
    public void A_book_takes_memory_in_proportion_to_its_addresses_and_an_empty_one_hardly_any()
    {
        Measure(10, out _);
        long empty = Measure(0, out int none);
        long some = Measure(2_000, out int few);
        long full = Measure(100_000, out int many);

        TestContext.Out.WriteLine($"Bytes: empty {empty:N0}; {some / few:N0} an address of {few:N0}; {full / many:N0} an address of {many:N0}.");
        Assert.That(none, Is.Zero);
        Assert.That(empty, Is.LessThan(16_384));
        Assert.That(new[] { some / few, full / many }, Is.All.LessThan(700));

        static long Measure(int count, out int known)
        {
            long before = GC.GetTotalMemory(forceFullCollection: true);
            AddressBook book = new();
            NetAddress source = Addresses.At(0xffffff, "80.80.0.1");
            for (int i = 1; i <= count; i++)
            {
                // A hundred from each source, as in a message.
                source = i % 100 == 0 ? Addresses.Of(i + 7) : source;
                book.Add(Addresses.At(i, new IPAddress([(byte)(11 + (i % 100)), (byte)(i / 100 % 256), (byte)(i / 25_600), 1]).ToString()), source);
            }

            known = book.Count;
            long bytes = GC.GetTotalMemory(forceFullCollection: true) - before;
            GC.KeepAlive(book);
            return bytes;
        }
    }

    // The first half are of one network, the others of many.
    private static NetAddress Address(int node, int place) =>
        node < Nodes / 2
            ? Addresses.At(node + 1, $"{11 + place}.11.{node / 250}.{node % 250}")
            : Addresses.At(node + 1, $"{11 + place}.{node % 256}.{node / 256}.1");

    private static NetAddress SourceOf(int number) => Addresses.At(1_000_000 + number, $"80.{number % 10}.0.{number}");

    private static AccessTarget TargetOf(Step step) => (step.Number % 3) switch
    {
        0 => AccessTarget.Of(Addresses.Id(step.Node + 1)),
        1 => AccessTarget.Of(Address(step.Node, step.Place).Ip!),
        _ => AccessTarget.Parse($"{11 + step.Place}.{step.Node % 16 * 16}.0.0/12"),
    };

    /// <param name="Kind">What is done.</param>
    /// <param name="Node">With which node.</param>
    /// <param name="Place">And which of its addresses.</param>
    /// <param name="Source">Who tells.</param>
    /// <param name="Number">How many, for how long, or with which bias.</param>
    private sealed record Step(StepKind Kind, int Node, int Place, int Source, int Number);
}
