using System.Collections.Immutable;
using System.Net;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Discovery;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Tests.Discovery;

public sealed class AddressBookTests
{
    private static readonly NetAddress Source = Addresses.At(9_999_999, "80.80.0.1");

    [TestCase("12.1.2.3", "12.1.250.1")]
    [TestCase("12.1.2.3", "2002:0c01:0203::1")]
    [TestCase("12.1.2.3", "2001:0:1234::f3fe:fdfc")]
    [TestCase("12.1.2.3", "64:ff9b::0c01:0203")]
    [TestCase("12.1.2.3", "::ffff:0:0c01:0203")]
    [TestCase("2602:100::1", "2602:0100:ffff::1234")]
    [TestCase("2001:470:1f10:a1::2", "2001:470:1fff::1")]
    public void Addresses_of_one_network_are_one_group_however_they_are_written(string one, string other) =>
        Assert.That(Group(one, isStrict: false), Is.EqualTo(Group(other, isStrict: false)).And.EqualTo(Group(other, isStrict: true)));

    [TestCase("12.1.2.3", "12.2.2.3")]
    [TestCase("2602:100::1", "2602:101::1")]
    [TestCase("2001:470:1f10:a1::2", "2001:470:2f10:a1::2")]
    [TestCase("2002:0c01:0203::1", "2002:0c02:0203::1")]
    [TestCase("10.1.2.3", "10.2.2.3")]
    public void Addresses_of_two_networks_are_two_groups(string one, string other) =>
        Assert.That(Group(one, isStrict: false), Is.Not.EqualTo(Group(other, isStrict: false)));

    [Test]
    public void A_strict_book_has_one_group_for_all_that_is_local_and_one_for_all_that_cannot_be_reached()
    {
        AddressGroup local = Group("127.0.0.1", isStrict: true);
        AddressGroup unroutable = Group("10.1.2.3", isStrict: true);
        Assert.That(new[] { "::1", "0.0.0.0", "0.1.2.3" }.Select(ip => Group(ip, isStrict: true)), Is.All.EqualTo(local));
        Assert.That(
            new[] { "255.255.255.255", "172.16.1.2", "192.168.1.2", "2001:db8::1234", "169.254.1.2", "fc00::1234", "2001:10::1234", "fe80::1234" }
                .Select(ip => Group(ip, isStrict: true)),
            Is.All.EqualTo(unroutable));
        Assert.That(local, Is.Not.EqualTo(unroutable));
    }

    [Test]
    public void What_was_heard_of_is_new_until_it_was_of_use()
    {
        FakeTimeProvider time = new();
        AddressBook book = new(new AddressBookOptions { TimeProvider = time });
        NetAddress address = Addresses.Of(1);
        Assert.That((book.Count, book.Pick(50), book.Select().Length, book.Select(50).Length), Is.EqualTo((0, (NetAddress?)null, 0, 0)));

        Assert.That(book.Add(address, Source), Is.EqualTo(AddressVerdict.Added));
        Assert.That((book.NewCount, book.OldCount, book.Pick(50)), Is.EqualTo((1, 0, address)));
        AddressBookEntry heard = book.Find(address.Id)!;
        Assert.That((heard.Source, heard.IsOld, heard.LastAttempt, heard.LastSuccess), Is.EqualTo((Source, false, time.GetUtcNow(), (DateTimeOffset?)null)));

        time.Advance(TimeSpan.FromMinutes(1));
        book.MarkAttempt(address);
        book.MarkAttempt(address);
        Assert.That((book.Find(address.Id)!.Attempts, book.Find(address.Id)!.LastAttempt), Is.EqualTo((2, time.GetUtcNow())));

        time.Advance(TimeSpan.FromMinutes(1));
        book.MarkGood(address);
        AddressBookEntry good = book.Find(address.Id)!;
        Assert.That((good.IsOld, good.Attempts, good.LastAttempt, good.LastSuccess), Is.EqualTo((true, 0, time.GetUtcNow(), (DateTimeOffset?)time.GetUtcNow())));
        Assert.That((book.NewCount, book.OldCount, good.Buckets.Length), Is.EqualTo((0, 1, 1)));
        Assert.That(book.Add(address, Source), Is.EqualTo(AddressVerdict.Known));

        Assert.That((book.Remove(address.Id), book.Remove(address.Id), book.Count), Is.EqualTo((true, false, 0)));
    }

    [TestCase("203.0.113.7", 0, AddressVerdict.Invalid, Description = "no port")]
    [TestCase("0.0.0.0", 26656, AddressVerdict.Invalid)]
    [TestCase("255.255.255.255", 26656, AddressVerdict.Invalid)]
    [TestCase("2001:db8::1", 26656, AddressVerdict.Invalid)]
    [TestCase("node.example", 26656, AddressVerdict.Invalid)]
    [TestCase("127.0.0.1", 26656, AddressVerdict.Unroutable)]
    [TestCase("10.0.0.1", 26656, AddressVerdict.Unroutable)]
    [TestCase("fe80::1", 26656, AddressVerdict.Unroutable)]
    [TestCase("8.8.8.8", 26656, AddressVerdict.Added)]
    public void A_strict_book_takes_what_can_be_reached(string ip, int port, AddressVerdict verdict)
    {
        NetAddress address = Addresses.At(1, ip, (ushort)port);
        Assert.That(new AddressBook().Add(address, Source), Is.EqualTo(verdict));
        AddressVerdict lenient = verdict == AddressVerdict.Unroutable ? AddressVerdict.Added : verdict;
        Assert.That(new AddressBook(new AddressBookOptions { IsStrict = false }).Add(address, Source), Is.EqualTo(lenient));
    }

    [Test]
    public void A_source_has_an_id_and_an_ip_address()
    {
        AddressBook book = new();
        Assert.That(book.Add(Addresses.Of(1), new NetAddress(default, "80.80.0.1", 1)), Is.EqualTo(AddressVerdict.Invalid));
        Assert.That(book.Add(Addresses.Of(1), Addresses.At(2, "node.example")), Is.EqualTo(AddressVerdict.Invalid));
        Assert.That(book.Count, Is.Zero);
    }

    [Test]
    public void The_nodes_own_ids_and_private_ones_are_not_taken_nor_is_what_private_ones_tell()
    {
        AddressBook book = new(new AddressBookOptions { OwnIds = [Addresses.Id(1)], PrivateIds = [Addresses.Id(2)] });
        Assert.That(book.Add(Addresses.Of(1), Source), Is.EqualTo(AddressVerdict.Own));
        Assert.That(book.Add(Addresses.Of(2), Source), Is.EqualTo(AddressVerdict.Private));
        Assert.That(book.Add(Addresses.Of(3), Addresses.Of(2)), Is.EqualTo(AddressVerdict.Private));
        Assert.That(book.Count, Is.Zero);
    }

    [Test]
    public void An_address_is_one_address_however_it_is_written()
    {
        AddressBook book = new();
        book.Add(Addresses.At(1, "2602:0100:0::00AB"), Source);
        NetAddress plain = Addresses.At(1, "2602:100::ab");

        Assert.That(book.Pick(50), Is.EqualTo(plain));
        Assert.That(book.Add(plain, Source), Is.EqualTo(AddressVerdict.Known));
        book.MarkGood(Addresses.At(1, "2602:100:0:0::AB"));
        Assert.That(book.OldCount, Is.EqualTo(1));
    }

    [Test]
    public void Another_address_of_a_known_node_is_not_believed_before_the_first_has_failed()
    {
        AddressBook book = new();
        NetAddress first = Addresses.At(1, "11.0.0.1"), second = Addresses.At(1, "12.0.0.1"), third = Addresses.At(1, "13.0.0.1");
        book.Add(first, Source);
        Assert.That(book.Add(second, Source), Is.EqualTo(AddressVerdict.KnownElsewhere));

        book.MarkAttempt(second);
        book.MarkGood(second);
        Assert.That(book.Add(second, Source), Is.EqualTo(AddressVerdict.KnownElsewhere), "what the book does not have tells nothing of what it has");

        book.MarkAttempt(first);
        Assert.That(book.Add(second, Source), Is.EqualTo(AddressVerdict.Added));
        Assert.That((book.Count, book.Find(first.Id)!.Address), Is.EqualTo((1, second)));

        book.MarkGood(second);
        book.MarkAttempt(second);
        Assert.That(book.Add(third, Source), Is.EqualTo(AddressVerdict.KnownElsewhere), "it was of use");
    }

    [Test]
    public void An_address_gets_into_another_new_bucket_with_a_probability_of_one_half_to_the_number_of_them_and_into_four_at_most()
    {
        const int tries = 20_000;
        int[] told = new int[5];
        int[] entered = new int[5];
        Random random = new(1);
        AddressBook book = new(new AddressBookOptions { Random = random });
        for (int i = 0; i < tries; i++)
        {
            NetAddress address = Addresses.Of(1);
            book.Add(address, Addresses.Of(random.Next(2, 50_000)));
            for (int j = 0; j < 8; j++)
            {
                int before = book.Find(address.Id)!.Buckets.Length;
                book.Add(address, Addresses.Of(random.Next(2, 50_000)));
                int after = book.Find(address.Id)!.Buckets.Length;
                Assert.That(after, Is.LessThanOrEqualTo(4).And.InRange(before, before + 1));
                told[before]++;
                entered[before] += after - before;
            }

            book.Remove(address.Id);
        }

        for (int buckets = 1; buckets < 4; buckets++)
        {
            // Of the 256 buckets it may be told to be in one where it is.
            double expected = Math.Pow(2, -buckets) * (256 - buckets) / 256;
            Assert.That((double)entered[buckets] / told[buckets], Is.EqualTo(expected).Within(0.01), $"from {buckets} buckets");
        }

        Assert.That((told[4] > 1_000, entered[4]), Is.EqualTo((true, 0)));
    }

    [Test]
    public void In_a_full_new_bucket_a_bad_address_makes_room_and_else_the_one_not_tried_for_longest()
    {
        FakeTimeProvider time = new();
        AddressBook book = new(new AddressBookOptions { TimeProvider = time });
        NetAddress Neighbour(int number) => Addresses.At(number, $"11.11.{number / 250}.{number % 250}");
        for (int i = 1; i <= 64; i++)
        {
            book.Add(Neighbour(i), Source);
            time.Advance(TimeSpan.FromSeconds(1));
        }

        for (int i = 0; i < 3; i++)
        {
            book.MarkAttempt(Neighbour(40));
        }

        book.Add(Neighbour(65), Source);
        Assert.That((book.Find(Addresses.Id(1)), book.Find(Addresses.Id(40)) is null, book.Count), Is.EqualTo(((AddressBookEntry?)null, false, 64)), "a minute is given");

        time.Advance(TimeSpan.FromMinutes(1) + TimeSpan.FromTicks(1));
        book.Add(Neighbour(66), Source);
        Assert.That((book.Find(Addresses.Id(2)) is null, book.Find(Addresses.Id(40)), book.Count), Is.EqualTo((false, (AddressBookEntry?)null, 64)));

        book.Add(Neighbour(67), Source);
        Assert.That((book.Find(Addresses.Id(2)), book.Count), Is.EqualTo(((AddressBookEntry?)null, 64)));
    }

    [TestCase(false, 0, 61, 0, ExpectedResult = false, Description = "Nothing is known against it.")]
    [TestCase(false, 3, 61, 0, ExpectedResult = true, Description = "Three attempts without a success.")]
    [TestCase(false, 2, 61, 0, ExpectedResult = false)]
    [TestCase(false, 3, 60, 0, ExpectedResult = false, Description = "It was tried in the last minute.")]
    [TestCase(false, 0, 604_801, 0, ExpectedResult = true, Description = "Not tried for a week.")]
    [TestCase(false, 0, 604_800, 0, ExpectedResult = false)]
    [TestCase(false, 10, 61, 604_801, ExpectedResult = true, Description = "Ten attempts since a success a week ago.")]
    [TestCase(false, 9, 61, 604_801, ExpectedResult = false)]
    [TestCase(false, 10, 61, 604_800, ExpectedResult = false)]
    [TestCase(true, 1000, 700_000, 700_000, ExpectedResult = false, Description = "An old one is never bad.")]
    [TestCase(false, 1000, -700_000, 0, ExpectedResult = false, Description = "The clock went back.")]
    public bool An_address_is_bad_when(bool isOld, int attempts, int secondsSinceAttempt, int secondsSinceSuccess)
    {
        DateTimeOffset now = new(2026, 3, 1, 0, 0, 0, TimeSpan.Zero);
        return new KnownAddress(Addresses.Of(1), Source)
        {
            IsOld = isOld,
            Attempts = attempts,
            LastAttempt = now.AddSeconds(-secondsSinceAttempt),
            LastSuccess = secondsSinceSuccess == 0 ? default : now.AddSeconds(-secondsSinceSuccess),
        }.IsBad(now);
    }

    [Test]
    public void In_a_full_old_bucket_the_one_not_tried_for_longest_becomes_new_again()
    {
        FakeTimeProvider time = new();
        AddressBook book = new(new AddressBookOptions { TimeProvider = time });
        Queue<NodeId> promoted = [];
        for (int i = 1; book.OldCount == promoted.Count; i++)
        {
            NetAddress address = Addresses.At(i, $"11.11.{i / 250}.{i % 250}");
            time.Advance(TimeSpan.FromSeconds(1));
            book.Add(address, Source);
            book.MarkGood(address);
            promoted.Enqueue(address.Id);
        }

        // One of four buckets was full, and as many addresses are known as were added.
        Assert.That((book.OldCount, book.NewCount), Is.EqualTo((promoted.Count - 1, 1)));
        AddressBookEntry displaced = book.Entries.Single(entry => !entry.IsOld);
        int full = book.Find(promoted.Last())!.Buckets[0];
        Assert.That(book.Entries.Count(entry => entry.IsOld && entry.Buckets[0] == full), Is.EqualTo(64));
        Assert.That(book.Entries.Where(entry => entry.IsOld && entry.Buckets[0] == full).Min(entry => entry.LastAttempt), Is.GreaterThan(displaced.LastAttempt));
        Assert.That(displaced.LastSuccess, Is.Not.Null);
    }

    [TestCase(1, 1)]
    [TestCase(31, 31)]
    [TestCase(32, 32)]
    [TestCase(100, 32)]
    [TestCase(200, 46)]
    [TestCase(1_086, 249)]
    [TestCase(1_087, 250)]
    [TestCase(3_000, 250)]
    public void A_selection_is_23_percent_and_at_least_32_and_at_most_250(int known, int selected)
    {
        AddressBook book = new();
        for (int i = 1; book.Count < known; i++)
        {
            book.Add(Addresses.Of(i), Addresses.Of(i));
        }

        Assert.That((book.Select().Length, book.Select(30).Length), Is.EqualTo((selected, selected)));
        Addresses.AssertChoicesAreSound(book, 30);
    }

    [TestCase(0)]
    [TestCase(30)]
    [TestCase(50)]
    [TestCase(100)]
    public void A_selection_has_the_bias_that_is_wanted_as_far_as_there_are_addresses(int bias)
    {
        foreach ((int old, int all) in ((int, int)[])[(0, 100), (100, 100), (5, 100), (95, 100), (300, 600)])
        {
            Addresses.AssertChoicesAreSound(MakeBook(old, all), bias);
        }
    }

    [Test]
    public void Every_address_is_selected_as_often_as_the_others()
    {
        AddressBook book = MakeBook(old: 40, all: 100, new Random(2));
        Dictionary<NodeId, int> times = [];
        const int rounds = 10_000;
        for (int i = 0; i < rounds; i++)
        {
            foreach (NetAddress address in book.Select())
            {
                times[address.Id] = times.GetValueOrDefault(address.Id) + 1;
            }
        }

        // 32 of 100, and six standard deviations.
        Assert.That(times.Values, Has.Count.EqualTo(100).And.All.EqualTo(rounds * 0.32).Within(6 * Math.Sqrt(rounds * 0.32 * 0.68)));
    }

    [TestCase(10)]
    [TestCase(50)]
    [TestCase(90)]
    public void Picks_weigh_both_kinds_by_the_square_root_of_their_number_and_the_bias(int bias)
    {
        AddressBook book = MakeBook(old: 100, all: 1_000, new Random(3));
        const int picks = 20_000;
        int ofNew = Enumerable.Range(0, picks).Count(_ => !book.Find(book.Pick(bias)!.Id)!.IsOld);

        double weightOfNew = Math.Sqrt(900) * bias;
        double expected = weightOfNew / (weightOfNew + (Math.Sqrt(100) * (100 - bias)));
        Assert.That((double)ofNew / picks, Is.EqualTo(expected).Within(6 * Math.Sqrt(expected * (1 - expected) / picks)));
    }

    [Test]
    public void Many_addresses_of_one_bucket_are_not_picked_more_often_than_few_of_another()
    {
        AddressBook book = new(new AddressBookOptions { Random = new Random(4) });
        book.Add(Addresses.Of(1), Source);
        int bucket = book.Find(Addresses.Id(1))!.Buckets[0];

        // The key is random: a network that has another bucket, whichever that is.
        int network = Enumerable.Range(13, 100).First(second =>
        {
            NetAddress probe = Addresses.At(1000 + second, $"13.{second}.0.1");
            book.Add(probe, Source);
            bool isOther = book.Find(probe.Id)!.Buckets[0] != bucket;
            book.Remove(probe.Id);
            return isOther;
        });
        for (int i = 2; i < 52; i++)
        {
            book.Add(Addresses.At(i, $"13.{network}.{i / 250}.{i % 250}"), Source);
        }

        int lonely = Enumerable.Range(0, 10_000).Count(_ => book.Pick(50)!.Id == Addresses.Id(1));
        Assert.That(lonely, Is.EqualTo(5_000).Within(300));
    }

    [Test]
    public void A_bias_is_a_percentage()
    {
        AddressBook book = new();
        Assert.That(() => book.Pick(-1), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => book.Pick(101), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => book.Select(101), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => book.KeepOut(Source, TimeSpan.Zero), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void Who_is_banned_is_out_of_the_book_for_as_long_as_the_ban_lasts()
    {
        FakeTimeProvider time = new();
        BanList bans = new(timeProvider: time);
        AddressBook book = new(new AddressBookOptions { TimeProvider = time, Bans = bans });
        NetAddress byId = Addresses.Of(1), byAddress = Addresses.Of(2), bySubnet = Addresses.Of(3), other = Addresses.Of(4);
        foreach (NetAddress address in (NetAddress[])[byId, byAddress, bySubnet, other])
        {
            book.Add(address, Source);
            book.MarkGood(address);
        }

        bans.Add(AccessTarget.Of(byId.Id), "By id.", TimeSpan.FromHours(1));
        bans.Add(AccessTarget.Of(byAddress.Ip!), "By address.", TimeSpan.FromHours(2));
        bans.Add(AccessTarget.Of(new IPNetwork(new IPAddress([14, 0, 0, 0]), 16)), "By subnet.", TimeSpan.FromHours(3));
        Assert.That(book.Select(), Is.EqualTo(new[] { other }));
        Assert.That(book.Add(byId, Source), Is.EqualTo(AddressVerdict.Banned));
        Assert.That(book.Add(Addresses.At(5, byAddress.Host, 1), Source), Is.EqualTo(AddressVerdict.Banned));

        time.Advance(TimeSpan.FromHours(1));
        Assert.That(book.Find(byId.Id)!.IsOld, Is.False, "it starts again");
        Assert.That(book.Find(byId.Id)!.LastSuccess, Is.Not.Null);
        Assert.That(book.Count, Is.EqualTo(2));
        time.Advance(TimeSpan.FromHours(2));
        Assert.That((book.Count, book.NewCount), Is.EqualTo((4, 3)));
    }

    [Test]
    public void A_ban_that_is_lifted_or_goes_on_counts_as_it_is()
    {
        FakeTimeProvider time = new();
        BanList bans = new(timeProvider: time);
        AddressBook book = new(new AddressBookOptions { TimeProvider = time, Bans = bans });
        book.Add(Addresses.Of(1), Source);
        book.Add(Addresses.Of(2), Source);
        AccessTarget one = AccessTarget.Of(Addresses.Id(1)), both = AccessTarget.Parse("0.0.0.0/0");

        bans.Add(one, "For ever.", duration: null);
        bans.Remove(one);
        Assert.That(book.Find(Addresses.Id(1)), Is.Not.Null);

        bans.Add(one, "An hour.", TimeSpan.FromHours(1));
        bans.Add(both, "Three hours.", TimeSpan.FromHours(3));
        bans.Add(both, "Four hours.", TimeSpan.FromHours(4));
        bans.Remove(one);
        time.Advance(TimeSpan.FromHours(3));
        Assert.That(book.Count, Is.Zero, "the other ban holds");
        time.Advance(TimeSpan.FromHours(1));
        Assert.That(book.Count, Is.EqualTo(2));
    }

    [Test]
    public void A_ban_that_made_room_in_a_full_list_is_over_when_the_address_is_told_again()
    {
        BanList bans = new(capacity: 1);
        AddressBook book = new(new AddressBookOptions { Bans = bans });
        book.Add(Addresses.Of(1), Source);
        bans.Add(AccessTarget.Of(Addresses.Id(1)), "An hour.", TimeSpan.FromHours(1));
        bans.Add(AccessTarget.Of(Addresses.Id(2)), "Two hours.", TimeSpan.FromHours(2));

        Assert.That(book.Add(Addresses.Of(1), Source), Is.EqualTo(AddressVerdict.Known));
        Assert.That(book.Count, Is.EqualTo(1));
    }

    [Test]
    public void An_address_that_is_kept_out_bans_nobody_and_comes_back()
    {
        FakeTimeProvider time = new();
        BanList bans = new(timeProvider: time);
        AddressBook book = new(new AddressBookOptions { TimeProvider = time, Bans = bans });
        NetAddress lie = Addresses.At(1, "11.0.0.1"), truth = Addresses.At(1, "12.0.0.1");
        book.Add(lie, Source);
        book.KeepOut(truth, TimeSpan.FromHours(1));
        Assert.That(book.Count, Is.EqualTo(1), "the book does not have that one");

        book.KeepOut(lie, TimeSpan.FromHours(24));
        Assert.That((book.Count, bans.Count, book.Pick(50)), Is.EqualTo((0, 0, (NetAddress?)null)));
        Assert.That(book.Add(lie, Source), Is.EqualTo(AddressVerdict.Banned));
        Assert.That(book.Add(truth, Source), Is.EqualTo(AddressVerdict.Added), "the node is not to blame");

        time.Advance(TimeSpan.FromHours(24));
        Assert.That((book.Count, book.Find(lie.Id)!.Address), Is.EqualTo((1, truth)), "the node is known elsewhere meanwhile");
        book.KeepOut(truth, TimeSpan.MaxValue);
        time.Advance(TimeSpan.FromDays(1000));
        Assert.That(book.Count, Is.Zero);
    }

    [Test]
    public void Of_addresses_that_are_kept_out_those_are_forgotten_that_would_come_back_first()
    {
        FakeTimeProvider time = new();
        AddressBook book = new(new AddressBookOptions { TimeProvider = time });
        for (int i = 1; i <= AddressBook.MaxKeptOut + 100; i++)
        {
            NetAddress address = Addresses.Of(i);
            book.Add(address, Source);
            book.KeepOut(address, TimeSpan.FromMinutes(i));
        }

        Assert.That(book.Add(Addresses.Of(100), Source), Is.EqualTo(AddressVerdict.Added));
        Assert.That(book.Add(Addresses.Of(101), Source), Is.EqualTo(AddressVerdict.Banned));
        Assert.That(book.Add(Addresses.Of(AddressBook.MaxKeptOut + 100), Source), Is.EqualTo(AddressVerdict.Banned));
    }

    [Test]
    public void A_clock_that_goes_back_does_no_harm()
    {
        SettableTime time = new();
        AddressBook book = new(new AddressBookOptions { TimeProvider = time });
        for (int i = 1; i < 200; i++)
        {
            time.Now = time.Now.AddDays(i % 3 == 0 ? -40 : 10);
            NetAddress address = Addresses.At(i, $"11.11.{i / 250}.{i % 250}");
            book.Add(address, Source);
            book.MarkAttempt(address);
            if (i % 5 == 0)
            {
                book.MarkGood(address);
            }

            if (i % 7 == 0)
            {
                book.KeepOut(address, TimeSpan.FromDays(5));
            }

            Addresses.AssertIsSound(book);
            Addresses.AssertChoicesAreSound(book, 50);
        }

        time.Now = DateTimeOffset.MaxValue;
        Addresses.AssertIsSound(book);
        time.Now = DateTimeOffset.MinValue;
        book.Add(Addresses.Of(1_000), Source);
        Addresses.AssertIsSound(book);
    }

    [Test]
    public void Who_owns_a_hundred_addresses_of_one_network_gets_one_new_bucket_or_four_old_ones()
    {
        for (int repeat = 0; repeat < 20; repeat++)
        {
            AddressBook book = new();
            for (int i = 1; i <= 500; i++)
            {
                book.Add(Addresses.Of(i), Addresses.Of(i + 1_000));
            }

            NetAddress[] owned = [.. Enumerable.Range(0, 100).Select(i => Addresses.At(5_000 + i, $"66.66.{i}.1"))];
            for (int i = 0; i < 50; i++)
            {
                foreach (NetAddress address in owned)
                {
                    book.Add(address, owned[(i * 37) % 100]);
                }
            }

            AddressBookEntry[] entries = [.. book.Entries.Where(entry => owned.Contains(entry.Address))];
            Assert.That(entries, Has.Length.LessThanOrEqualTo(64).And.Length.GreaterThan(40));
            Assert.That(entries.SelectMany(entry => entry.Buckets).Distinct().Count(), Is.EqualTo(1));

            foreach (NetAddress address in owned)
            {
                book.Add(address, owned[0]);
                book.MarkGood(address);
            }

            entries = [.. book.Entries.Where(entry => owned.Contains(entry.Address) && entry.IsOld)];
            Assert.That(entries.SelectMany(entry => entry.Buckets).Distinct().Count(), Is.InRange(1, 4));
        }
    }

    [Test]
    public void Lies_of_one_network_about_all_others_fill_at_most_32_new_buckets()
    {
        AddressBook book = new();
        for (int i = 1; i <= 50_000; i++)
        {
            book.Add(Addresses.Of(i), Addresses.At(100_000 + (i % 250), $"66.66.0.{i % 250}"));
        }

        int buckets = book.Entries.SelectMany(entry => entry.Buckets).Distinct().Count();
        Assert.That(buckets, Is.InRange(25, 32));
        Assert.That(book.Count, Is.LessThanOrEqualTo(32 * 64).And.GreaterThan(25 * 60));
    }

    private static AddressGroup Group(string ip, bool isStrict) => AddressGroup.Of(Addresses.At(1, ip).Ip!, isStrict);

    private static AddressBook MakeBook(int old, int all, Random? random = null)
    {
        AddressBook book = new(new AddressBookOptions { Random = random ?? Random.Shared });
        for (int i = 1; book.Count < all; i++)
        {
            // Each tells of itself, so that no bucket is ever full.
            book.Add(Addresses.Of(i), Addresses.Of(i));
            if (book.OldCount < old)
            {
                book.MarkGood(Addresses.Of(i));
            }
        }

        Assert.That((book.OldCount, book.Count), Is.EqualTo((old, all)));
        return book;
    }

    private sealed class SettableTime : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = new(2026, 3, 1, 0, 0, 0, TimeSpan.Zero);

        public override DateTimeOffset GetUtcNow() => Now;
    }
}
