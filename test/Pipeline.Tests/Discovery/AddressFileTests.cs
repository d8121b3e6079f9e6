using System.Collections.Concurrent;
using System.Net;
using System.Runtime.Versioning;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using CsCheck;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Discovery;
using Pipeline.Switching;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Discovery;

[CancelAfter(60_000)]
public sealed partial class AddressFileTests
{
    private const string Recorded = "vectors/addrbook.json";

    private static readonly DateTimeOffset Now = new(2026, 11, 24, 12, 0, 0, TimeSpan.Zero);
    private static readonly NetAddress Source = Addresses.At(9_999_999, "80.80.0.1");

    private string _folder = "";

    private string FilePath => Path.Combine(_folder, "addrbook.json");

    private string[] FilesAside => Directory.GetFiles(_folder, "addrbook.json.damaged-*");

    private static AddressBookOptions Options => new() { TimeProvider = new FakeTimeProvider(Now) };

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("pipeline-").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task The_references_file_is_read_with_all_that_is_in_it()
    {
        File.Copy(TestData.PathOf(Recorded), FilePath);
        await using AddressBook book = AddressBook.Open(FilePath, Options);

        Assert.That((book.FileProblem, book.Count, book.NewCount, book.OldCount), Is.EqualTo(((string?)null, 39, 31, 8)));
        foreach (JsonElement entry in TestData.Json(Recorded).GetProperty("addrs").EnumerateArray())
        {
            NetAddress address = AddressOf(entry.GetProperty("addr"));
            AddressBookEntry read = book.Find(address.Id)!;
            Assert.That(read.Address, Is.EqualTo(address));
            Assert.That(read.Source, Is.EqualTo(AddressOf(entry.GetProperty("src"))));
            Assert.That(read.Buckets, Is.EqualTo(entry.GetProperty("buckets").EnumerateArray().Select(bucket => bucket.GetInt32())));
            Assert.That((read.Attempts, read.IsOld ? 2 : 1), Is.EqualTo((entry.GetProperty("attempts").GetInt32(), entry.GetProperty("bucket_type").GetInt32())));
            Assert.That(read.LastAttempt, Is.EqualTo(entry.GetProperty("last_attempt").GetDateTimeOffset()));
            Assert.That(read.LastSuccess ?? DateTimeOffset.MinValue, Is.EqualTo(entry.GetProperty("last_success").GetDateTimeOffset()));
        }
    }

    [Test]
    public async Task What_is_written_is_what_the_reference_would_write(CancellationToken cancellationToken)
    {
        // The reference writes nanoseconds, of which the last two digits have no place here.
        string recorded = Nanoseconds().Replace(File.ReadAllText(TestData.PathOf(Recorded)), match => match.Value[..8].TrimEnd('0'));
        File.WriteAllText(FilePath, recorded);
        await using AddressBook book = AddressBook.Open(FilePath, Options);
        book.Add(Addresses.Of(1), Source);
        book.Remove(Addresses.Id(1));

        Assert.That(await book.FlushAsync(cancellationToken), Is.True);

        File.WriteAllText($"{FilePath}.recorded", recorded);
        Assert.That(EntriesOf(FilePath), Is.EquivalentTo(EntriesOf($"{FilePath}.recorded")).And.Length.EqualTo(39));
        Assert.That(File.ReadAllText(FilePath), Does.StartWith("{\n\t\"key\": \"72c1e0ec42c46744956078ce\",\n\t\"addrs\": [\n\t\t{\n\t\t\t\"addr\": {\n\t\t\t\t\"id\": \"").And.EndsWith("\n\t\t}\n\t]\n}"));

        // With all of their white space.
        static string[] EntriesOf(string path) => [.. Parse(path).GetProperty("addrs").EnumerateArray().Select(entry => entry.GetRawText())];
    }

    [Test]
    public async Task The_secret_of_the_buckets_is_kept_so_that_addresses_stay_where_they_are()
    {
        string? key = null;
        for (int run = 0; run < 3; run++)
        {
            await using (AddressBook book = AddressBook.Open(FilePath, Options))
            {
                book.Remove(Addresses.Id(1));
                book.Add(Addresses.Of(1), Source);
            }

            AddressFile file = AddressFile.Read(File.ReadAllBytes(FilePath), Now);
            Assert.That(file.Addresses.Single().Entry.Buckets, Is.EqualTo(new[] { new BucketPlacement(file.Key!, isStrict: true).NewBucket(Addresses.Of(1), Source) }));
            Assert.That(file.Key, Is.EqualTo(key ??= file.Key).And.Length.EqualTo(24));
        }
    }

    [Test]
    public async Task Addresses_that_are_kept_out_stay_out_after_a_restart_for_as_long_as_was_said()
    {
        FakeTimeProvider time = new(Now);
        AddressBookOptions options = new() { TimeProvider = time };
        await using (AddressBook book = AddressBook.Open(FilePath, options))
        {
            book.Add(Addresses.Of(1), Source);
            book.Add(Addresses.Of(2), Source);
            book.KeepOut(Addresses.Of(1), TimeSpan.FromHours(24));
        }

        JsonElement file = Parse(FilePath);
        Assert.That((file.GetProperty("addrs").GetArrayLength(), file.GetProperty("banned").GetArrayLength()), Is.EqualTo((1, 1)));
        Assert.That(file.GetProperty("banned")[0].GetProperty("last_ban_time").GetDateTimeOffset(), Is.EqualTo(Now.AddHours(24)));
        time.Advance(TimeSpan.FromHours(23));
        byte[] before = File.ReadAllBytes(FilePath);
        await using (AddressBook book = AddressBook.Open(FilePath, options))
        {
            Assert.That((book.FileProblem, book.Count, book.Add(Addresses.Of(1), Source)), Is.EqualTo(((string?)null, 1, AddressVerdict.Banned)));
        }

        Assert.That(File.ReadAllBytes(FilePath), Is.EqualTo(before), "nothing was changed");
        time.Advance(TimeSpan.FromHours(1));
        await using AddressBook last = AddressBook.Open(FilePath, options);
        Assert.That(last.Count, Is.EqualTo(2));
    }

    [Test]
    public async Task Whether_somebody_is_banned_is_up_to_the_list_of_bans_alone()
    {
        BanList bans = new(timeProvider: Options.TimeProvider);
        AddressBookOptions options = Options with { Bans = bans };
        await using (AddressBook book = AddressBook.Open(FilePath, options))
        {
            book.Add(Addresses.Of(1), Source);
            book.Add(Addresses.Of(2), Source);
            bans.Add(AccessTarget.Of(Addresses.Id(1)), "While it ran.", duration: null);
        }

        bans.Add(AccessTarget.Of(Addresses.Id(2)), "While it did not.", duration: null);
        await using (AddressBook book = AddressBook.Open(FilePath, options))
        {
            Assert.That(book.Count, Is.Zero);
        }

        bans.Remove(AccessTarget.Of(Addresses.Id(1)));
        await using AddressBook last = AddressBook.Open(FilePath, options);
        Assert.That(last.Select(), Is.EqualTo(new[] { Addresses.Of(1) }));
    }

    [Test, Platform(Exclude = "Win", Reason = "Windows has no file modes."), UnsupportedOSPlatform("windows")]
    public async Task Only_the_owner_reads_the_file_and_nothing_is_left_beside_it(CancellationToken cancellationToken)
    {
        File.WriteAllText($"{FilePath}.{Guid.NewGuid():N}.tmp", "Of a process that was killed.");
        await using AddressBook book = AddressBook.Open(FilePath, Options);
        Assert.That(Directory.GetFileSystemEntries(_folder), Is.Empty);
        book.Add(Addresses.Of(1), Source);
        Assert.That(await book.FlushAsync(cancellationToken), Is.True);

        Assert.That(File.GetUnixFileMode(FilePath), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
        Assert.That(Directory.GetFileSystemEntries(_folder), Is.EqualTo(new[] { FilePath }));
    }

    [Test]
    public async Task Changes_are_on_disk_within_two_minutes_and_those_of_who_is_kept_out_within_seconds(CancellationToken cancellationToken)
    {
        Pulse pulse = new();
        SteppedTime time = new(pulse);
        ConcurrentQueue<AddressFile> written = [];
        await using AddressBook book = new(new AddressBookOptions { TimeProvider = time }, FilePath, logger: null, (_, content) =>
        {
            written.Enqueue(AddressFile.Read(content, Now));
            pulse.Beat();
        });

        book.Add(Addresses.Of(1), Source);
        await pulse.UntilAsync(() => time.Timers == 1, cancellationToken);
        time.Advance(AddressBook.SaveInterval - TimeSpan.FromTicks(1));
        Assert.That(written, Is.Empty);
        time.Advance(TimeSpan.FromTicks(1));
        await pulse.UntilAsync(() => time.Timers == 2, cancellationToken);
        time.Advance(AddressBook.SavePause);
        await pulse.UntilAsync(() => written.Count == 1, cancellationToken);

        book.KeepOut(Addresses.Of(1), TimeSpan.FromDays(1));
        await pulse.UntilAsync(() => time.Timers == 3, cancellationToken);
        time.Advance(AddressBook.SavePause);
        await pulse.UntilAsync(() => written.Count == 2, cancellationToken);

        Assert.That(written.Select(file => file.Addresses.Single().IsKeptOut), Is.EqualTo(new[] { false, true }));
        Assert.That(AddressBook.SaveInterval + AddressBook.SavePause, Is.LessThan(TimeSpan.FromMinutes(2.1)));
        book.Find(Addresses.Id(1));
        book.Pick(50);
        Assert.That(await book.FlushAsync(cancellationToken), Is.True);
        Assert.That(written, Has.Count.EqualTo(2), "nothing has changed");
    }

    [Test]
    public async Task A_write_that_fails_is_logged_and_tried_again(CancellationToken cancellationToken)
    {
        RecordedLog<AddressBook> log = new();
        string folder = Path.Combine(_folder, "gone");
        string path = Path.Combine(folder, "addrbook.json");
        await using AddressBook book = AddressBook.Open(path, Options, log);
        book.Add(Addresses.Of(1), Source);
        Assert.That(await book.FlushAsync(cancellationToken), Is.False);
        Directory.CreateDirectory(folder);
        Assert.That(await book.FlushAsync(cancellationToken), Is.True);

        Assert.That(log.Entries.Select(entry => (entry.Id, entry.Level)), Is.EqualTo(new[] { (121, LogLevel.Error), (122, LogLevel.Information) }));
        Assert.That(AddressFile.Read(File.ReadAllBytes(path), Now).Count, Is.EqualTo(1));
    }

    [TestCase("", "it is empty", 0)]
    [TestCase("\ufeff", "it is empty", 0)]
    [TestCase("nonsense", "it is not JSON", 0)]
    [TestCase("[]", "it is not an object with a \"key\" and a list of \"addrs\"", 0)]
    [TestCase("{}", "it has no list of \"addrs\"", 0)]
    [TestCase("{\"key\":\"k\",\"addrs\":7}", "it has no list of \"addrs\"", 0)]
    [TestCase("{\"key\":\"k\",\"addrs\":[GOOD] } trailing", "it is not JSON", 1)]
    [TestCase("{\"key\":\"k\",\"addrs\":[GOOD,{\"addr\":{\"id\":\"11", "it is not JSON", 1, Description = "It breaks off.")]
    [TestCase("{\"addrs\":[GOOD]}", "it has no \"key\"", 1)]
    [TestCase("{\"key\":7,\"addrs\":[GOOD]}", "it has no \"key\"", 1)]
    [TestCase("{\"key\":\"\\ud800\",\"addrs\":[GOOD]}", "it has no \"key\"", 1)]
    [TestCase("{\"key\":\"k\",\"addrs\":[7,GOOD]}", "1 of its 2 addresses are not as they should be, the first is number 1: It is not an object with an \"addr\".", 1)]
    [TestCase("{\"key\":\"k\",\"addrs\":[{},GOOD]}", "It has no \"addr\".", 1)]
    [TestCase("{\"key\":\"k\",\"addrs\":[{\"addr\":7},GOOD]}", "Its \"addr\" is not an object", 1)]
    [TestCase("{\"key\":\"k\",\"addrs\":[{\"addr\":{\"id\":\"12\",\"ip\":\"1.2.3.4\",\"port\":1}},GOOD]}", "The \"id\" of its \"addr\" is not that of a node.", 1)]
    [TestCase("{\"key\":\"k\",\"addrs\":[GOOD,GOOD]}", "is there twice", 1)]
    [TestCase("{\"key\":\"k\",\"addrs\":[GOOD],\"banned\":[GOOD]}", "is there twice", 1)]
    public async Task A_damaged_file_is_set_aside_and_the_book_starts_with_what_could_be_read(string content, string what, int count)
    {
        content = content.Replace("GOOD", """{"addr":{"id":"0000000000000000000000000000000000000001","ip":"12.1.2.3","port":1},"src":{"id":"0000000000000000000000000000000000000002","ip":"13.1.2.3","port":1},"buckets":[1]}""", StringComparison.Ordinal);
        File.WriteAllText(FilePath, content, new UTF8Encoding(false));
        RecordedLog<AddressBook> log = new();
        await using (AddressBook book = AddressBook.Open(FilePath, Options, log))
        {
            Assert.That(book.Count, Is.EqualTo(count));
            Assert.That(
                book.FileProblem,
                Does.StartWith($"The file of addresses '{FilePath}' cannot be used as it is: ").And.Contains(what)
                    .And.Contains($"The file was moved to '{FilePath}.damaged-20261124T120000Z'")
                    .And.EndsWith(count == 0 ? "; the book starts empty." : "; the book starts with the 1 addresses that could be read."));
            Assert.That(log.Entries, Is.EqualTo(new[] { (120, LogLevel.Error, book.FileProblem!) }));
        }

        Assert.That(File.ReadAllText(FilesAside.Single()), Is.EqualTo(content.TrimStart('\ufeff')));
        Assert.That(File.Exists(FilePath), Is.EqualTo(count > 0));
        await using AddressBook again = AddressBook.Open(FilePath, Options);
        Assert.That((again.FileProblem, again.Count), Is.EqualTo(((string?)null, count)));
    }

    // One member of an entry is replaced; all that is good of the rest is kept.
    [TestCase("\"attempts\": 2", "\"attempts\": 2147483647", true, null)]
    [TestCase("\"attempts\": 2", "\"attempts\": null", true, null)]
    [TestCase("\"attempts\": 2", "\"attempts\": 1e999", false, "Its \"attempts\" is not a number")]
    [TestCase("\"attempts\": 2", "\"attempts\": NaN", false, "it is not JSON")]
    [TestCase("\"attempts\": 2", "\"attempts\": 99999999999999999999", false, "Its \"attempts\" is not a number")]
    [TestCase("\"attempts\": 2", "\"attempts\": -1", false, "Its \"attempts\" are fewer than none.")]
    [TestCase("\"attempts\": 2", "\"attempts\": \"2\"", false, "Its \"attempts\" is not a number")]
    [TestCase("\"port\": 7", "\"port\": 65536", false, "The \"port\" of its \"addr\" is not a number from 0 to 65535.")]
    [TestCase("\"port\": 7", "\"port\": 70000", false, "The \"port\" of its \"addr\" is not a number from 0 to 65535.")]
    [TestCase("\"port\": 7", "\"port\": -1", false, "The \"port\" of its \"addr\" is not a number from 0 to 65535.")]
    [TestCase("\"port\": 7", "\"port\": 0", false, null)]
    [TestCase("12.1.2.3", "node.example", false, "The \"ip\" of its \"addr\" is not an IP address.")]
    [TestCase("12.1.2.3", "0x7f.1", false, "The \"ip\" of its \"addr\" is not an IP address.")]
    [TestCase("12.1.2.3", "127.0.0.1", false, null)]
    [TestCase("12.1.2.3", "255.255.255.255", false, null)]
    [TestCase("12.1.2.3", "::FFFF:12.1.2.3", true, null)]
    [TestCase("[200]", "[9999]", true, "Its \"buckets\" are not at most 4 numbers from 0 to 255.")]
    [TestCase("[200]", "[-1]", true, "Its \"buckets\" are not at most 4 numbers")]
    [TestCase("[200]", "[200, 1e400]", true, "Its \"buckets\" are not at most 4 numbers")]
    [TestCase("[200]", "[1, 2, 3, 4, 5]", true, "Its \"buckets\" are not at most 4 numbers")]
    [TestCase("[200]", "{\"0\": 200}", true, "Its \"buckets\" are not at most 4 numbers")]
    [TestCase("[200]", "[200, 200, 200]", true, null)]
    [TestCase("[200]", "[]", true, null)]
    [TestCase("[200]", "null", true, null)]
    [TestCase("\"bucket_type\": 1", "\"bucket_type\": 2", true, "Its \"buckets\" are not at most 1 numbers from 0 to 63.")]
    [TestCase("\"bucket_type\": 1", "\"bucket_type\": 3", false, "Its \"bucket_type\" is neither 1 nor 2.")]
    [TestCase("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456789123+14:00", true, null)]
    [TestCase("2026-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", true, null)]
    [TestCase("2026-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", false, "Its \"last_attempt\" is not a time")]
    [TestCase("2026-01-01T00:00:00Z", "0000-01-01T00:00:00Z", false, "Its \"last_attempt\" is not a time")]
    [TestCase("2026-01-01T00:00:00Z", "2026-02-30T00:00:00Z", false, "Its \"last_attempt\" is not a time")]
    [TestCase("2026-01-01T00:00:00Z", "\\ud800", false, "1 of its 2 addresses are not as they should be")]
    [TestCase("\"attempts\": 2", "\"attempts\": 2, \"new_member\": [[[{}]]]", true, null)]
    public async Task Whatever_an_entry_says_the_others_are_kept_and_what_is_wrong_is_said(string part, string replacement, bool isKept, string? what)
    {
        const string good = """
            {"addr": {"id": "00000000000000000000000000000000000000ff", "ip": "14.1.2.3", "port": 1}, "buckets": [7], "bucket_type": 2}
            """;
        string entry = """
            {
              "addr": {"id": "0000000000000000000000000000000000000001", "ip": "12.1.2.3", "port": 7},
              "src": {"id": "0000000000000000000000000000000000000002", "ip": "13.1.2.3", "port": 1},
              "buckets": [200], "attempts": 2, "bucket_type": 1,
              "last_attempt": "2026-01-01T00:00:00Z", "last_success": "0001-01-01T00:00:00Z", "last_ban_time": "0001-01-01T00:00:00Z"
            }
            """;
        Assert.That(entry, Does.Contain(part));
        File.WriteAllText(FilePath, $$"""{"key": "k", "addrs": [{{good}}, {{entry.Replace(part, replacement, StringComparison.Ordinal)}}]}""");
        await using AddressBook book = AddressBook.Open(FilePath, Options);

        Assert.That(book.FileProblem, what is null ? Is.Null : Does.Contain(what));
        Assert.That(book.Find(Addresses.Id(255))!.Buckets, Is.EqualTo(new[] { 7 }));
        Assert.That(book.Find(Addresses.Id(1)) is not null, Is.EqualTo(isKept));
        Assert.That(book.Entries.Select(known => known.LastAttempt), Is.All.LessThanOrEqualTo(Now), "no time is yet to come");
        Addresses.AssertIsSound(book);
        book.MarkAttempt(Addresses.At(1, "12.1.2.3", 7));
        Addresses.AssertIsSound(book);
    }

    [Test]
    public async Task What_the_options_refuse_is_left_out_and_logged_and_no_damage()
    {
        NetAddress[] all = [Addresses.Of(1), Addresses.Of(2), Addresses.At(3, "10.0.0.1"), Addresses.Of(4)];
        await using (AddressBook book = AddressBook.Open(FilePath, Options with { IsStrict = false }))
        {
            foreach (NetAddress address in all)
            {
                book.Add(address, Source);
            }
        }

        RecordedLog<AddressBook> log = new();
        await using AddressBook strict = AddressBook.Open(FilePath, Options with { OwnIds = [Addresses.Id(1)], PrivateIds = [Addresses.Id(2)] }, log);
        Assert.That(strict.Select(), Is.EqualTo(new[] { Addresses.Of(4) }));
        Assert.That((strict.FileProblem, log.Entries.Single().Id), Is.EqualTo(((string?)null, 123)));
        Assert.That(log.Entries.Single().Text, Does.StartWith("3 addresses"));
    }

    [Test]
    public async Task A_file_of_300000_addresses_fills_the_book_and_no_more()
    {
        StringBuilder content = new("{\"key\":\"k\",\"addrs\":[");
        for (int i = 1; i <= 300_000; i++)
        {
            content.Append(System.Globalization.CultureInfo.InvariantCulture, $"{{\"addr\":{{\"id\":\"{i:x40}\",\"ip\":\"{11 + (i % 100)}.{i / 100 % 256}.{i / 25_600}.{i % 251}\",\"port\":1}},\"buckets\":[{i % 256}],\"bucket_type\":{(i % 7 == 0 && i % 256 < 64 ? 2 : 1)}}},");
        }

        content.Append("]}");
        File.WriteAllText(FilePath, content.ToString());
        await using AddressBook book = AddressBook.Open(FilePath, Options);

        Assert.That(book.FileProblem, Is.Null);
        Assert.That(book.Count, Is.GreaterThan(16_000).And.LessThanOrEqualTo(20_480));
        Addresses.AssertIsSound(book);
    }

    [Test]
    public async Task The_largest_book_is_read_and_a_larger_file_is_set_aside()
    {
        NetAddress Long(int number) => Addresses.At(number, new IPAddress([0x26, (byte)(number >> 8), (byte)number, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).ToString(), 65_535);
        IEnumerable<AddressRecord> records = Enumerable.Range(1, AddressTable.Capacity + AddressBook.MaxKeptOut).Select(i => new AddressRecord(
            new AddressBookEntry(Long(i), Long(i), false, [252, 253, 254, 255], int.MaxValue, Now.AddTicks(-1), Now.AddTicks(-1)), DateTimeOffset.MaxValue, i > AddressTable.Capacity));
        byte[] content = AddressFile.Write(new string('k', 24), records);
        Assert.That(content.LongLength * 2, Is.LessThan(AddressFile.MaxSize));
        AddressFile read = AddressFile.Read(content, Now);
        Assert.That((read.Fault, read.Count), Is.EqualTo(((string?)null, AddressTable.Capacity + AddressBook.MaxKeptOut)));

        using (FileStream stream = new(FilePath, FileMode.Create))
        {
            stream.SetLength(AddressFile.MaxSize + 1);
        }

        await using AddressBook book = AddressBook.Open(FilePath, Options);
        Assert.That(book.FileProblem, Does.Contain("it has more than the 67108864 bytes that so many addresses can take"));
        Assert.That(FilesAside, Has.Length.EqualTo(1));
    }

    [Test]
    public void Whatever_happens_to_a_file_it_is_read_without_an_exception()
    {
        byte[] good = File.ReadAllBytes(TestData.PathOf(Recorded))[..4_000];
        good = [.. good[..Array.LastIndexOf(good, (byte)',')], .. "]}"u8];
        Assert.That(AddressFile.Read(good, Now).Fault, Is.Not.Null, "it breaks off in an entry");
        good = AddressFile.Write("k", AddressFile.Read(good, Now).Addresses);
        int count = AddressFile.Read(good, Now).Count;
        int whole = 0;
        Gen.Select(Gen.Int[0, good.Length], Gen.Int[0, good.Length], Gen.Byte.Array[0, 3], Gen.Bool).Sample(
            (at, to, bytes, isCut) =>
            {
                byte[] changed = [.. good[..at], .. bytes, .. isCut ? good[Math.Max(at, to)..] : good[Math.Min(good.Length, at + bytes.Length)..]];
                AddressFile file = AddressFile.Read(changed, Now);
                Interlocked.Add(ref whole, file.Fault is null ? 1 : 0);
                return file.Count <= count && (file.Fault is null || file.Fault.Length > 0);
            },
            iter: 5_000);
        Assert.That(count, Is.GreaterThan(4));
        Assert.That(whole, Is.GreaterThan(10).And.LessThan(4_900));
        Assert.That(AddressFile.Read(Encoding.UTF8.GetBytes(new string('[', 10_000)), Now).Fault, Does.StartWith("it is not"));
        Assert.That(
            AddressFile.Read(Encoding.UTF8.GetBytes($$"""{"key":"k","addrs":[{"addr":{{string.Concat(Enumerable.Repeat("{\"a\":", 100_000))}}"""), Now).Fault,
            Does.StartWith("it is not JSON").And.Length.LessThan(300));
    }

    [Test]
    public void A_folder_is_no_file_and_a_device_neither()
    {
        Assert.That(() => AddressBook.Open(_folder), Throws.ArgumentException.With.Message.Contains($"'{_folder}' is a folder").And.Message.Contains("addrbook.json"));
        Assert.That(() => AddressBook.Open(""), Throws.ArgumentException);
        if (!OperatingSystem.IsWindows())
        {
            Assert.That(() => AddressBook.Open("/dev/no-such-book"), Throws.ArgumentException.With.Message.Contains("make a book without one"));
        }
    }

    private static NetAddress AddressOf(JsonElement address) =>
        NetAddress.Parse($"{address.Text("id")}@{address.Text("ip")}:{address.GetProperty("port").GetInt32()}");

    private static JsonElement Parse(string path)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
        return document.RootElement.Clone();
    }

    [GeneratedRegex(@"\.\d{8,9}(?=Z)")]
    private static partial Regex Nanoseconds();

    private sealed class SteppedTime(Pulse pulse) : FakeTimeProvider(Now)
    {
        private int _timers;

        public int Timers => Volatile.Read(ref _timers);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            ITimer timer = base.CreateTimer(callback, state, dueTime, period);
            Interlocked.Increment(ref _timers);
            pulse.Beat();
            return timer;
        }
    }
}
