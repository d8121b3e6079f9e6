using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Net;
using System.Runtime.Versioning;
using System.Text;
using System.Text.Json;
using CsCheck;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Switching;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Switching;

[CancelAfter(60_000)]
public sealed class BanFileTests
{
    private const string Good = """
        {"version":1,"bans":[{"target":"10.0.0.1","reason":"r","since":"2026-03-01T12:00:00Z","until":null}]}
        """;

    private static readonly DateTimeOffset Now = new(2026, 3, 1, 12, 0, 0, TimeSpan.Zero);
    private static readonly AccessTarget Target = AccessTarget.Parse("10.0.0.1");
    private static readonly IPAddress Address = IPAddress.Parse("10.0.0.1");

    private static readonly Gen<Ban> AnyBan = Gen.Select(
        Gen.OneOf(
            Gen.Int[0, 255].Select(i => AccessTarget.Of(new IPAddress([10, 0, 0, (byte)i]))),
            Gen.Int[0, 128].Select(bits => AccessTarget.Of(new IPNetwork(IPAddress.IPv6Any, bits))),
            Gen.Int[0, 15].Select(i => AccessTarget.Of(NodeId.Parse(new string("0123456789abcdef"[i], 40))))),
        Gen.String,
        Gen.Int[-1_000_000, 0],
        Gen.Frequency((4, Gen.Int[1, 1_000_000].Select(i => (int?)i)), (1, Gen.Const((int?)null))),
        (target, reason, since, until) =>
            new Ban(target, reason, Now.AddSeconds(since), until is { } seconds ? Now.AddSeconds(seconds).AddTicks(seconds) : null));

    private string _folder = "";

    private string FilePath => Path.Combine(_folder, "bans.json");

    private string[] FilesAside => Directory.GetFiles(_folder, "bans.json.damaged-*");

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("pipeline-").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public Task What_was_banned_is_banned_after_a_restart(CancellationToken cancellationToken) =>
        AnyBan.Array[0, 30].SampleAsync(
            async added =>
            {
                string path = Path.Combine(_folder, $"{Guid.NewGuid():N}.json");
                FakeTimeProvider time = new(Now);
                ImmutableArray<Ban> before;
                await using (BanList bans = BanList.Open(path, timeProvider: time))
                {
                    foreach (Ban ban in added)
                    {
                        bans.Add(ban);
                    }

                    before = bans.Bans;
                }

                await using BanList again = BanList.Open(path, timeProvider: time);
                Assert.That(again.Bans.Select(ban => ban.ToString()), Is.EquivalentTo(before.Select(ban => ban.ToString())));
                Assert.That(again.Bans, Is.EquivalentTo(before));
                Assert.That((again.FileProblem, File.Exists(path)), Is.EqualTo(((string?)null, added.Length > 0)));
            },
            iter: 100,
            threads: 2).WaitAsync(cancellationToken);

    [Test]
    public async Task The_file_is_for_people_too(CancellationToken cancellationToken)
    {
        await using BanList bans = BanList.Open(FilePath, timeProvider: new FakeTimeProvider(Now));
        bans.Add(Target, "It said \"boo\" & was \u00fcbel.", TimeSpan.FromHours(1));
        bans.Add(AccessTarget.Parse("192.0.2.0/24"), "", duration: null);

        Assert.That(await bans.FlushAsync(cancellationToken), Is.True);

        Assert.That(
            File.ReadAllText(FilePath).ReplaceLineEndings("\n"),
            Is.EqualTo("""
                {
                  "version": 1,
                  "bans": [
                    {
                      "target": "10.0.0.1",
                      "reason": "It said \"boo\" & was übel.",
                      "since": "2026-03-01T12:00:00Z",
                      "until": "2026-03-01T13:00:00Z"
                    },
                    {
                      "target": "192.0.2.0/24",
                      "reason": "",
                      "since": "2026-03-01T12:00:00Z",
                      "until": null
                    }
                  ]
                }
                """.ReplaceLineEndings("\n")));
    }

    [Test, Platform(Exclude = "Win", Reason = "Windows has no file modes."), UnsupportedOSPlatform("windows")]
    public async Task Only_the_owner_reads_the_file_and_nothing_is_left_beside_it(CancellationToken cancellationToken)
    {
        File.WriteAllText(FilePath, Good);
        File.SetUnixFileMode(FilePath, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.OtherRead);
        await using BanList bans = BanList.Open(FilePath);
        bans.Remove(Target);
        await bans.FlushAsync(cancellationToken);

        Assert.That(File.GetUnixFileMode(FilePath), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
        Assert.That(Directory.GetFileSystemEntries(_folder), Is.EqualTo(new[] { FilePath }));
    }

    [Test]
    public async Task Changes_that_come_together_are_written_together_a_quarter_of_a_second_later(CancellationToken cancellationToken)
    {
        TimedDisk disk = new();
        await using BanList bans = disk.Open();
        await disk.UntilPausedAfterAsync(() => bans.Add(Target, "The first.", duration: null), cancellationToken);
        for (int i = 0; i < 999; i++)
        {
            bans.Add(AccessTarget.Of(new IPAddress([10, 1, (byte)(i >> 8), (byte)i])), "A burst.", duration: null);
        }

        disk.Time.Advance(BanList.SavePause - TimeSpan.FromTicks(1));
        Assert.That(disk.Written, Is.Empty);
        disk.Time.Advance(TimeSpan.FromTicks(1));
        await disk.UntilAsync(written => written.Count == 1, cancellationToken);
        Assert.That(disk.Written[0].Bans, Has.Length.EqualTo(1000));

        await disk.UntilPausedAfterAsync(() => bans.Remove(Target), cancellationToken);
        disk.Time.Advance(BanList.SavePause);
        await disk.UntilAsync(written => written.Count == 2, cancellationToken);
        Assert.That(disk.Written[1].Bans, Has.Length.EqualTo(999));
        Assert.That(BanList.SavePause, Is.LessThan(TimeSpan.FromSeconds(1)));
    }

    [Test]
    public async Task What_changes_during_a_write_is_in_the_next(CancellationToken cancellationToken)
    {
        using ManualResetEventSlim proceed = new();
        TaskCompletionSource writing = new(TaskCreationOptions.RunContinuationsAsynchronously);
        ConcurrentQueue<BanFile> written = [];
        await using BanList bans = new(FilePath, 10, null, null, (_, content) =>
        {
            writing.TrySetResult();
            proceed.Wait(cancellationToken);
            written.Enqueue(BanFile.Read(content, Now));
        });
        bans.Add(Target, "First.", duration: null);
        Task<bool> first = bans.FlushAsync(cancellationToken);
        await writing.Task.WaitAsync(cancellationToken);

        bans.Add(AccessTarget.Parse("10.0.0.2"), "Second.", duration: null);
        Task<bool> second = bans.FlushAsync(cancellationToken);
        Assert.That((first.IsCompleted, second.IsCompleted), Is.EqualTo((false, false)));
        proceed.Set();

        Assert.That(await first && await second, Is.True);
        Assert.That(written.Select(file => file.Bans.Length), Is.EqualTo(new[] { 1, 2 }));
    }

    [Test]
    public async Task Nothing_is_written_when_nothing_has_changed(CancellationToken cancellationToken)
    {
        File.WriteAllText(FilePath, Good);
        TimedDisk disk = new() { Path = FilePath };
        await using (BanList bans = disk.Open())
        {
            bans.Add(Target, "No longer than it is banned.", TimeSpan.FromHours(1));
            bans.Remove(AccessTarget.Parse("10.0.0.2"));
            Assert.That(await bans.FlushAsync(cancellationToken), Is.True);
        }

        Assert.That(disk.Written, Is.Empty);
        Assert.That(File.ReadAllText(FilePath), Is.EqualTo(Good));
    }

    [Test]
    public async Task A_write_that_fails_is_logged_and_tried_again_with_the_next_change(CancellationToken cancellationToken)
    {
        TimedDisk disk = new() { Fault = new IOException("No space left.") };
        BanList bans = disk.Open();
        Assert.That(bans.Add(Target, "First.", duration: null), Is.True);
        Assert.That(await bans.FlushAsync(cancellationToken), Is.False);
        Assert.That(bans.Find(Address)?.Reason, Is.EqualTo("First."));
        Assert.That(
            disk.Log.Entries.Where(entry => entry.Id == 101),
            Has.One.Matches<(int, LogLevel Level, string Text)>(entry => entry.Level == LogLevel.Error && entry.Text.Contains("No space left.")));

        disk.Fault = null;
        await disk.UntilPausedAfterAsync(() => bans.Add(AccessTarget.Parse("10.0.0.2"), "Second.", duration: null), cancellationToken);
        disk.Time.Advance(BanList.SavePause);
        await disk.UntilAsync(written => written.Count == 1, cancellationToken);

        Assert.That(await bans.FlushAsync(cancellationToken), Is.True);
        Assert.That(disk.Written.Single().Bans, Has.Length.EqualTo(2));
        Assert.That(disk.Log.Entries.Count(entry => entry.Id == 102), Is.EqualTo(1));
        await bans.DisposeAsync();
        Assert.That(disk.Written, Has.Count.EqualTo(1), "what is on disk is not written again");
    }

    [Test]
    public async Task What_could_not_be_written_is_tried_again_at_the_end(CancellationToken cancellationToken)
    {
        TimedDisk disk = new() { Fault = new InvalidOperationException("Not even an IO error.") };
        BanList bans = disk.Open();
        bans.Add(Target, "First.", duration: null);
        Assert.That(await bans.FlushAsync(cancellationToken), Is.False);

        disk.Fault = null;
        await bans.DisposeAsync();

        Assert.That(disk.Written.Single().Bans, Has.Length.EqualTo(1));
    }

    [Test]
    public async Task A_folder_that_is_gone_loses_nothing(CancellationToken cancellationToken)
    {
        string folder = Path.Combine(_folder, "gone");
        await using BanList bans = BanList.Open(Path.Combine(folder, "bans.json"));
        bans.Add(Target, "First.", duration: null);
        Assert.That(await bans.FlushAsync(cancellationToken), Is.False);

        Directory.CreateDirectory(folder);
        Assert.That(await bans.FlushAsync(cancellationToken), Is.True);
        Assert.That(BanFile.Read(File.ReadAllBytes(Path.Combine(folder, "bans.json")), Now).Bans, Has.Length.EqualTo(1));
    }

    [Test]
    public async Task The_end_writes_the_rest_and_later_changes_are_in_memory(CancellationToken cancellationToken)
    {
        TimedDisk disk = new();
        BanList bans = disk.Open();
        bans.Add(Target, "First.", duration: null);
        await Task.WhenAll(bans.DisposeAsync().AsTask(), bans.DisposeAsync().AsTask()).WaitAsync(cancellationToken);
        Assert.That(disk.Written.Single().Bans, Has.Length.EqualTo(1));

        bans.Remove(Target);
        Assert.That(bans.Count, Is.Zero);
        await bans.FlushAsync(cancellationToken);
        Assert.That(disk.Written, Has.Count.EqualTo(1));

        BanList inMemory = new();
        inMemory.Add(Target, "First.", duration: null);
        Assert.That(await inMemory.FlushAsync(cancellationToken), Is.True);
        await inMemory.DisposeAsync();
    }

    [Test]
    public async Task Many_threads_lose_no_change(CancellationToken cancellationToken)
    {
        await using BanList bans = BanList.Open(FilePath);
        await Task.WhenAll(Enumerable.Range(0, 8).Select(worker => Task.Run(
            async () =>
            {
                for (int i = 0; i < 50; i++)
                {
                    AccessTarget target = AccessTarget.Of(new IPAddress([10, 0, (byte)worker, (byte)i]));
                    bans.Add(target, "Stress.", duration: null);
                    Assert.That(await bans.FlushAsync(cancellationToken), Is.True);
                    Assert.That(BanFile.Read(File.ReadAllBytes(FilePath), Now).Bans.Any(ban => ban.Target == target), Is.True);
                }
            },
            cancellationToken))).WaitAsync(cancellationToken);

        Assert.That(BanFile.Read(File.ReadAllBytes(FilePath), Now).Bans, Has.Length.EqualTo(400));
    }

    [TestCase("", "it is empty")]
    [TestCase("\ufeff", "it is empty")]
    [TestCase("{", "it is not JSON")]
    [TestCase("{\"version\":1,\"bans\":[{\"target\":\"10.0.0.1\",\"rea", "it is not JSON")]
    [TestCase("[]", "it has no \"version\"")]
    [TestCase("null", "it has no \"version\"")]
    [TestCase("{\"bans\":[]}", "it has no \"version\"")]
    [TestCase("{\"version\":2,\"bans\":[]}", "its \"version\" is not 1")]
    [TestCase("{\"version\":\"1\",\"bans\":[]}", "its \"version\" is not 1")]
    [TestCase("{\"version\":1e99,\"bans\":[]}", "its \"version\" is not 1")]
    [TestCase("{\"version\":1}", "it has no list of \"bans\"")]
    [TestCase("{\"version\":1,\"bans\":{}}", "it has no list of \"bans\"")]
    [TestCase("{\"version\":1,\"bans\":[7]}", "1 of its 1 bans cannot be read, the first is number 1: It is not an object with a \"target\".")]
    [TestCase("{\"version\":1,\"bans\":[{}]}", "It has no \"target\".")]
    [TestCase("{\"version\":1,\"bans\":[{\"target\":null}]}", "It has no \"target\".")]
    [TestCase("{\"version\":1,\"bans\":[{\"target\":7}]}", "Its \"target\" is not text.")]
    [TestCase("{\"version\":1,\"bans\":[{\"target\":\"10.0.0\"}]}", "'10.0.0' is not a node id, an IP address or a subnet")]
    [TestCase("{\"version\":1,\"bans\":[{\"target\":\"10.0.0.1\",\"reason\":[]}]}", "Its \"reason\" is not text.")]
    [TestCase("{\"version\":1,\"bans\":[{\"target\":\"10.0.0.1\",\"reason\":\"\\ud800\"}]}", "1 of its 1 bans cannot be read")]
    [TestCase("{\"version\":1,\"bans\":[{\"target\":\"10.0.0.1\",\"since\":\"soon\"}]}", "Its \"since\" is not a time such as 2026-03-01T12:00:00Z.")]
    [TestCase("{\"version\":1,\"bans\":[{\"target\":\"10.0.0.1\",\"until\":1}]}", "Its \"until\" is not text.")]
    [TestCase("{\"version\":1,\"bans\":[{\"target\":\"10.0.0.1\",\"until\":\"2026-02-30T00:00:00Z\"}]}", "Its \"until\" is not a time")]
    public async Task A_damaged_file_is_set_aside_and_the_list_starts_empty(string content, string what)
    {
        File.WriteAllText(FilePath, content, new UTF8Encoding(false));
        RecordedLog<BanList> log = new();
        await using (BanList bans = BanList.Open(FilePath, timeProvider: new FakeTimeProvider(Now), logger: log))
        {
            Assert.That(bans.Count, Is.Zero);
            Assert.That(
                bans.FileProblem,
                Does.StartWith($"The file of bans '{FilePath}' cannot be used as it is: ").And.Contains(what).And.EndsWith("; the list starts empty.")
                    .And.Contains($"The file was moved to '{FilePath}.damaged-20260301T120000Z'"));
            Assert.That(log.Entries, Is.EqualTo(new[] { (100, LogLevel.Error, bans.FileProblem!) }));
        }

        Assert.That(File.Exists(FilePath), Is.False);
        Assert.That(FilesAside.Select(File.ReadAllText).Single(), Is.EqualTo(content.TrimStart('\ufeff')));
    }

    [Test]
    public async Task What_can_be_read_of_a_damaged_file_holds(CancellationToken cancellationToken)
    {
        const string content = """
            { "version": 1, "comment": "By hand.", "bans": [
              { "target": "10.0.0.300" },
              { "target": "10.0.0.1", "note": "Neither reason nor times." },
              { "target": "10.0.0.0/9", "reason": "Bits." },
            ] }
            """;
        File.WriteAllText(FilePath, content, new UTF8Encoding(true));
        await using BanList bans = BanList.Open(FilePath, timeProvider: new FakeTimeProvider(Now));
        Assert.That(bans.Bans, Is.EqualTo(new[]
        {
            new Ban(Target, "", Now, null),
            new Ban(AccessTarget.Parse("10.0.0.0/9"), "Bits.", Now, null),
        }));
        Assert.That(bans.FileProblem, Does.Contain("1 of its 3 bans cannot be read, the first is number 1: '10.0.0.300' is not")
            .And.EndsWith("; the list starts with the 2 bans that could be read."));

        Assert.That(await bans.FlushAsync(cancellationToken), Is.True);
        Assert.That(BanFile.Read(File.ReadAllBytes(FilePath), Now), Has.Property(nameof(BanFile.Fault)).Null.And.Property(nameof(BanFile.Bans)).Length.EqualTo(2));
        Assert.That(FilesAside.Select(File.ReadAllText).Single(), Is.EqualTo(content));
    }

    [Test]
    public async Task Of_several_entries_the_longest_counts_and_ended_ones_do_not()
    {
        File.WriteAllText(FilePath, """
            { "version": 1, "bans": [
              { "target": "10.0.0.1", "reason": "Longer.", "until": "2026-03-03T12:00:00Z" },
              { "target": "::ffff:10.0.0.1/128", "reason": "Shorter.", "until": "2026-03-02T12:00:00+01:00" },
              { "target": "10.0.0.2", "reason": "Ended.", "until": "0001-01-01T00:00:00Z" },
              { "target": "10.0.0.3", "reason": "Ends now.", "until": "2026-03-01T12:00:00Z" }
            ] }
            """);
        await using BanList bans = BanList.Open(FilePath, timeProvider: new FakeTimeProvider(Now));

        Assert.That(bans.FileProblem, Is.Null);
        Assert.That(bans.Bans, Is.EqualTo(new[] { new Ban(Target, "Longer.", Now, Now.AddDays(2)) }));
    }

    [Test]
    public async Task A_file_with_more_than_there_is_room_for_keeps_those_that_end_last()
    {
        Ban[] all = [.. Enumerable.Range(1, 20).Select(i => new Ban(AccessTarget.Of(new IPAddress([10, 0, 0, (byte)i])), $"{i}", Now, Now.AddHours(i)))];
        File.WriteAllBytes(FilePath, BanFile.Write([.. all]));
        await using BanList bans = BanList.Open(FilePath, capacity: 5, timeProvider: new FakeTimeProvider(Now));

        Assert.That((bans.FileProblem, bans.Capacity), Is.EqualTo(((string?)null, 5)));
        Assert.That(bans.Bans, Is.EqualTo(all[15..]));
    }

    [Test]
    public async Task The_largest_list_is_read_and_a_larger_file_is_set_aside(CancellationToken cancellationToken)
    {
        string reason = new('\ue000', BanList.MaxReasonLength);
        ImmutableArray<Ban> largest =
        [
            .. Enumerable.Range(0, BanList.DefaultCapacity).Select(i => new Ban(
                AccessTarget.Of(new IPNetwork(new IPAddress([0x20, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, (byte)(i >> 8), (byte)i, 0xff, 0xfe]), 127)),
                reason,
                DateTimeOffset.MaxValue.AddTicks(-1),
                DateTimeOffset.MaxValue)),
        ];
        byte[] content = BanFile.Write(largest);
        Assert.That(content, Has.Length.LessThan(BanFile.MaxSize(largest.Length)));
        File.WriteAllBytes(FilePath, content);
        await using (BanList bans = BanList.Open(FilePath))
        {
            Assert.That((bans.FileProblem, bans.Count), Is.EqualTo(((string?)null, BanList.DefaultCapacity)));
        }

        using (FileStream stream = new(FilePath, FileMode.Open))
        {
            stream.SetLength(BanFile.MaxSize(2 * BanList.DefaultCapacity) + 1);
        }

        await using BanList empty = BanList.Open(FilePath);
        Assert.That(empty.Count, Is.Zero);
        Assert.That(empty.FileProblem, Does.Contain("it has more than the"));
        Assert.That(FilesAside, Has.Length.EqualTo(1));
        Assert.That(await empty.FlushAsync(cancellationToken), Is.True);
    }

    [Test]
    public void Whatever_happens_to_a_file_it_is_read_without_an_exception()
    {
        byte[] good = BanFile.Write([.. Enumerable.Range(0, 3).Select(i => new Ban(AccessTarget.Of(new IPAddress([10, 0, 0, (byte)i])), "é\"\\", Now, Now.AddDays(i)))]);
        int whole = 0;
        Gen.Select(Gen.Int[0, good.Length], Gen.Int[0, good.Length], Gen.Byte.Array[0, 3], Gen.Bool).Sample(
            (at, to, bytes, isCut) =>
            {
                byte[] changed = [.. good[..at], .. bytes, .. isCut ? good[Math.Max(at, to)..] : good[Math.Min(good.Length, at + bytes.Length)..]];
                BanFile file = BanFile.Read(changed, Now);
                Interlocked.Add(ref whole, file.Fault is null ? 1 : 0);
                return file.Bans.Length <= 3 && (file.Fault is null || file.Fault.Length > 0);
            },
            iter: 20_000);
        Assert.That(whole, Is.GreaterThan(10).And.LessThan(19_000));
        Assert.That(BanFile.Read(new byte[] { 0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d }, Now).Fault, Is.Not.Null);
        Assert.That(BanFile.Read(Encoding.UTF8.GetBytes(new string('[', 10_000)), Now).Fault, Does.StartWith("it is not JSON"));
        Assert.That(
            BanFile.Read(JsonSerializer.SerializeToUtf8Bytes(new { version = 1, bans = new[] { new { target = new string('1', 1_000_000) } } }), Now).Fault,
            Does.Contain("Its \"target\" has 1000000 characters.").And.Length.LessThan(200));
    }

    [Test]
    public async Task Each_damaged_file_gets_a_name_of_its_own()
    {
        FakeTimeProvider time = new(Now);
        for (int i = 0; i < 3; i++)
        {
            File.WriteAllText(FilePath, $"Damage {i}.");
            await using BanList bans = BanList.Open(FilePath, timeProvider: time);
        }

        Assert.That(FilesAside.Select(File.ReadAllText), Is.EquivalentTo(new[] { "Damage 0.", "Damage 1.", "Damage 2." }));
    }

    [Test]
    public async Task A_damaged_file_that_cannot_be_moved_is_not_overwritten_before_it_can(CancellationToken cancellationToken)
    {
        // There is no room in the name for the time of the damage.
        string path = Path.Combine(_folder, new string('b', 245));
        File.WriteAllText(path, "Damage.");
        RecordedLog<BanList> log = new();
        await using BanList bans = new(path, 10, null, log, File.WriteAllBytes);
        Assert.That(bans.FileProblem, Does.Contain("it is not JSON").And.Contains("could not be moved out of the way, and will not be overwritten"));

        bans.Add(Target, "First.", duration: null);

        Assert.That(await bans.FlushAsync(cancellationToken), Is.False);
        Assert.That((bans.Count, File.ReadAllText(path)), Is.EqualTo((1, "Damage.")));
        Assert.That(log.Entries.Select(entry => entry.Id), Is.EqualTo(new[] { 100, 103, 101 }));

        File.Delete(path);
        Assert.That(await bans.FlushAsync(cancellationToken), Is.True);
        Assert.That(BanFile.Read(File.ReadAllBytes(path), Now).Bans, Has.Length.EqualTo(1));
    }

    [Test]
    public void A_folder_is_no_file() =>
        Assert.That(() => BanList.Open(_folder), Throws.ArgumentException.With.Message.Contains($"'{_folder}' is a folder").And.Message.Contains("bans.json"));

    // Of files that are not there, because a device that is would be in danger if the rule were broken.
    [Test, Platform(Exclude = "Win")]
    [TestCase("/dev/no-such-bans")]
    [TestCase("/tmp/..//dev/./no-such-bans")]
    public void A_device_is_no_file(string path) =>
        Assert.That(() => BanList.Open(path), Throws.ArgumentException.With.Message.Contains("make a list without one"));

    [Test]
    public async Task A_file_that_is_read_again_counts_and_what_was_not_written_yet_is_kept(CancellationToken cancellationToken)
    {
        // A disk that does not write by itself, because its clock stands still.
        TimedDisk disk = new() { Path = FilePath };
        File.WriteAllBytes(FilePath, BanFile.Write([Permanent(1), Permanent(2), Permanent(3), Permanent(6)]));
        await using BanList bans = disk.Open();
        ConcurrentQueue<Ban> added = [];
        ConcurrentQueue<AccessTarget> lifted = [];
        bans.Added += added.Enqueue;
        bans.Lifted += lifted.Enqueue;
        bans.Add(Permanent(4));
        bans.Remove(Permanent(3).Target);
        added.Clear();
        lifted.Clear();

        // By hand: number 1 stays, 2 is gone, 5 is new, 6 ends earlier; of 4, and of the end of 3, the file does not know.
        File.WriteAllBytes(FilePath, BanFile.Write([Permanent(1), Permanent(3), Permanent(5), Permanent(6) with { Until = Now.AddDays(1) }]));
        Assert.That(await bans.ReloadAsync(cancellationToken), Is.True);

        Assert.That(bans.Bans, Is.EquivalentTo(new[] { Permanent(1), Permanent(4), Permanent(5), Permanent(6) with { Until = Now.AddDays(1) } }));
        Assert.That(added, Is.EqualTo(new[] { Permanent(5) }));
        Assert.That(lifted, Is.EquivalentTo(new[] { Permanent(2).Target, Permanent(6).Target }), "Also of one that ends sooner whoever waits for its end must hear.");
        Assert.That(disk.Written.Single().Bans, Is.EquivalentTo(bans.Bans));
        Assert.That((bans.FileProblem, disk.Log.Entries.Count(entry => entry.Id == 106)), Is.EqualTo(((string?)null, 1)));
    }

    [Test]
    public async Task What_somebody_has_written_into_the_file_is_taken_before_the_next_change_is_written(CancellationToken cancellationToken)
    {
        await using BanList bans = BanList.Open(FilePath);
        bans.Add(Permanent(1));
        await bans.FlushAsync(cancellationToken);
        File.WriteAllBytes(FilePath, BanFile.Write([Permanent(1), Permanent(2)]));

        bans.Add(Permanent(3));
        Assert.That(await bans.FlushAsync(cancellationToken), Is.True);

        Assert.That(bans.Bans, Is.EquivalentTo(new[] { Permanent(1), Permanent(2), Permanent(3) }));
        Assert.That(BanFile.Read(File.ReadAllBytes(FilePath), Now).Bans, Is.EquivalentTo(bans.Bans));
    }

    [Test, Platform(Include = "Unix", Reason = "Loops of links.")]
    public void A_file_that_cannot_be_read_is_not_taken_for_a_damaged_one()
    {
        // What nobody can read, not even root.
        File.CreateSymbolicLink(FilePath, FilePath);

        Assert.That(() => BanList.Open(FilePath), Throws.InstanceOf<IOException>().With.Message.Contains(FilePath));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1));
    }

    [Test]
    public async Task A_file_that_has_not_changed_changes_nothing_when_it_is_read_again(CancellationToken cancellationToken)
    {
        const string content = """{ "version": 1, "bans": [ { "target": "10.0.0.1", "reason": "Neither time is told." } ] }""";
        File.WriteAllText(FilePath, content);
        TimedDisk disk = new() { Path = FilePath };
        await using BanList bans = disk.Open();
        bans.Added += _ => Assert.Fail("Nobody was banned.");
        bans.Lifted += _ => Assert.Fail("No ban was lifted.");
        disk.Time.Advance(TimeSpan.FromHours(1));

        Assert.That(await bans.ReloadAsync(cancellationToken), Is.True);
        Assert.That(await bans.ReloadAsync(cancellationToken), Is.True);

        Assert.That(disk.Written, Is.Empty);
        Assert.That(File.ReadAllText(FilePath), Is.EqualTo(content));
        Assert.That(bans.Count, Is.EqualTo(1));
    }

    [Test]
    public async Task A_damaged_file_that_is_read_again_is_set_aside_and_the_list_stays(CancellationToken cancellationToken)
    {
        File.WriteAllBytes(FilePath, BanFile.Write([Permanent(1)]));
        RecordedLog<BanList> log = new();
        await using BanList bans = BanList.Open(FilePath, timeProvider: new FakeTimeProvider(Now), logger: log);
        File.WriteAllText(FilePath, """{ "version": 1, "bans": [ { "target": "10.0.0.2" }, { "target": "all" } ] }""");

        Assert.That(await bans.ReloadAsync(cancellationToken), Is.False);

        Assert.That(bans.Bans, Is.EqualTo(new[] { Permanent(1) }));
        Assert.That(bans.FileProblem, Does.Contain("1 of its 2 bans cannot be read").And.EndsWith("; the list stays as it is, and is written again."));
        Assert.That(log.Entries, Is.EqualTo(new[] { (100, LogLevel.Error, bans.FileProblem!) }));
        Assert.That(BanFile.Read(File.ReadAllBytes(FilePath), Now).Bans, Is.EqualTo(new[] { Permanent(1) }));
        Assert.That(FilesAside, Has.Length.EqualTo(1));

        Assert.That(await bans.ReloadAsync(cancellationToken), Is.True);
        Assert.That((bans.FileProblem, bans.Count), Is.EqualTo(((string?)null, 1)));
    }

    [Test]
    public async Task A_file_that_is_gone_bans_nobody_when_it_is_read_again(CancellationToken cancellationToken)
    {
        File.WriteAllBytes(FilePath, BanFile.Write([Permanent(1)]));
        await using BanList bans = BanList.Open(FilePath, timeProvider: new FakeTimeProvider(Now));
        File.Delete(FilePath);

        Assert.That(await bans.ReloadAsync(cancellationToken), Is.True);

        Assert.That((bans.Count, File.Exists(FilePath)), Is.EqualTo((0, false)));
    }

    [Test]
    public async Task A_handler_that_throws_while_the_file_is_read_again_keeps_nobody_else_from_hearing(CancellationToken cancellationToken)
    {
        await using BanList bans = BanList.Open(FilePath, timeProvider: new FakeTimeProvider(Now));
        ConcurrentQueue<Ban> heard = [];
        bans.Added += _ => throw new InvalidOperationException("A handler.");
        bans.Added += heard.Enqueue;
        File.WriteAllBytes(FilePath, BanFile.Write([Permanent(1), Permanent(2)]));

        Assert.That(() => bans.ReloadAsync(cancellationToken), Throws.InstanceOf<AggregateException>());

        Assert.That((heard.Count, bans.Count), Is.EqualTo((2, 2)));
        bans.Remove(Permanent(1).Target);
        Assert.That(await bans.FlushAsync(cancellationToken), Is.True);
        Assert.That(BanFile.Read(File.ReadAllBytes(FilePath), Now).Bans, Has.Length.EqualTo(1));
    }

    [Test]
    public async Task A_list_without_a_file_has_none_to_read_and_one_that_has_ended_does_not(CancellationToken cancellationToken)
    {
        BanList bans = BanList.Open(FilePath);
        await bans.DisposeAsync();
        Assert.That(() => bans.ReloadAsync(cancellationToken), Throws.InstanceOf<ObjectDisposedException>());

        BanList inMemory = new();
        inMemory.Add(Permanent(1));
        Assert.That(await inMemory.ReloadAsync(cancellationToken), Is.True);
        Assert.That(inMemory.Count, Is.EqualTo(1));
    }

    [Test]
    public async Task What_a_killed_process_left_unfinished_is_deleted_and_nothing_else(CancellationToken cancellationToken)
    {
        string leftover = $"{FilePath}.{Guid.NewGuid():N}.tmp";
        string[] others = [$"{FilePath}.tmp", $"{FilePath}.7.tmp", Path.Combine(_folder, $"other.json.{Guid.NewGuid():N}.tmp"), $"{FilePath}.{Guid.NewGuid():N}"];
        foreach (string path in others.Prepend(leftover))
        {
            await File.WriteAllTextAsync(path, "Half", cancellationToken);
        }

        await using BanList bans = BanList.Open(FilePath);

        Assert.That(Directory.GetFiles(_folder), Is.EquivalentTo(others));
    }

    private static Ban Permanent(byte number) => new(AccessTarget.Of(new IPAddress([10, 0, 0, number])), $"Number {number}.", Now, null);

    /// <summary>A disk whose faults, and a clock whose time, the test decides.</summary>
    private sealed class TimedDisk
    {
        private readonly Pulse _pulse = new();
        private readonly ConcurrentQueue<BanFile> _written = [];

        public TimedDisk() => Time = new SignallingTime(_pulse);

        public SignallingTime Time { get; }

        public RecordedLog<BanList> Log { get; } = new();

        public string Path { get; init; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"{Guid.NewGuid():N}.json");

        public Exception? Fault { get; set; }

        public IReadOnlyList<BanFile> Written => [.. _written];

        public BanList Open() => new(Path, 10_000, Time, Log, (path, content) =>
        {
            Assert.That(path, Is.EqualTo(Path));
            if (Fault is { } fault)
            {
                throw fault;
            }

            _written.Enqueue(BanFile.Read(content, Now));
            _pulse.Beat();
        });

        /// <summary>Changes something, and waits until the list waits for further changes.</summary>
        public Task UntilPausedAfterAsync(Action change, CancellationToken cancellationToken)
        {
            int before = Time.Timers;
            change();
            return _pulse.UntilAsync(() => Time.Timers > before, cancellationToken);
        }

        public Task UntilAsync(Func<IReadOnlyList<BanFile>, bool> condition, CancellationToken cancellationToken) =>
            _pulse.UntilAsync(() => condition(Written), cancellationToken);
    }

    private sealed class SignallingTime(Pulse pulse) : FakeTimeProvider(Now)
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
