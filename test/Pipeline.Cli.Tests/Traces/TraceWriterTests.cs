using Google.Protobuf;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cli.Traces;
using Pipeline.Protocols;
using Pipeline.Protocols.Mempool;

namespace Pipeline.Cli.Tests.Traces;

[TestFixture]
public sealed class TraceWriterTests
{
    private static readonly byte[] Transactions = [0x0a, 0x03, 0x0a, 0x01, 0x07];

    private readonly FakeTimeProvider _time = new();
    private string _folder = "";

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("pipeline-record-").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [TestCase("trace")]
    [TestCase("trace.gz")]
    public void What_is_written_is_what_is_read(string name)
    {
        Trace bundled = Trace.ReadBundled();
        using (TraceWriter writer = Open(name))
        {
            writer.Begin();
            TimeSpan before = TimeSpan.Zero;
            foreach (TraceMessage message in bundled.Messages)
            {
                _time.Advance(message.At - before);
                before = message.At;
                Assert.That(writer.Add(message.Peer, message.Channel, message.Data.Span), Is.Null);
            }

            Assert.That(writer.Close(), Is.Null);
            Assert.That((writer.Messages, writer.Bytes), Is.EqualTo((9_725, 3_201_683L)));
        }

        AssertSame(Trace.ReadFile(PathOf(name)), bundled.Messages);
        Assert.That(File.ReadAllBytes(PathOf(name))[0] == 0x1f, Is.EqualTo(name.EndsWith(".gz", StringComparison.Ordinal)));
    }

    [TestCase("trace")]
    [TestCase("trace.gz")]
    public void A_recording_that_was_killed_has_all_that_was_flushed(string name)
    {
        using TraceWriter writer = Open(name);
        writer.Add(2, StandardChannels.Mempool, Transactions);
        writer.Add(3, StandardChannels.PeerExchange, [0x0a, 0x00]);
        Assert.That(writer.Flush(), Is.Null);
        writer.Add(1, StandardChannels.Mempool, Transactions);

        // What a process that is killed now leaves behind.
        File.Copy(PathOf(name), PathOf("left"));
        Trace left = Trace.ReadFile(PathOf("left"), WhenCutShort.UseWhatIsWhole);

        Assert.That(left.Messages.Select(message => message.Peer), Is.EqualTo(new[] { 2, 3 }));
        Assert.That(writer.Close(), Is.Null);
        Assert.That(Trace.ReadFile(PathOf(name)).Messages.Select(message => message.Peer), Is.EqualTo(new[] { 2, 3, 1 }));
    }

    [Test]
    public void Records_go_to_the_file_by_themselves_before_many_wait()
    {
        using TraceWriter writer = Open("trace");
        for (int i = 0; i < 100; i++)
        {
            writer.Add(0, StandardChannels.Mempool, new byte[10_000]);
            Assert.That(writer.Bytes - new FileInfo(PathOf("trace")).Length, Is.LessThan(80_000));
        }
    }

    [Test]
    public void The_limits_of_a_trace_end_a_recording_with_what_came_before()
    {
        using TraceWriter messages = Open("messages", maxMessages: 2);
        using TraceWriter bytes = Open("bytes", maxBytes: 2 * Transactions.Length);
        using TraceWriter time = Open("time");
        TraceWriter[] all = [messages, bytes, time];
        Array.ForEach(all, writer => Assert.That(Add(writer), Is.Null));
        _time.Advance(TraceReader.MaxTime);
        Array.ForEach(all, writer => Assert.That(Add(writer), Is.Null));
        _time.Advance(TimeSpan.FromTicks(TimeSpan.TicksPerMicrosecond));

        Assert.That(Add(messages), Is.EqualTo("The recording has ended: it has 2 messages, which is the most that a trace may have."));
        Assert.That(Add(bytes), Does.Contain("more than 10 bytes"));
        Assert.That(Add(time), Does.Contain("gone on for 24 hours"));
        foreach (TraceWriter writer in all)
        {
            Assert.That(Add(writer), Is.Null, "said once");
            Assert.That(writer.Close(), Is.Null);
            Assert.That(Trace.ReadFile(writer.Path).Messages, Has.Count.EqualTo(2));
        }

        static string? Add(TraceWriter writer) => writer.Add(0, StandardChannels.Mempool, Transactions);
    }

    [Test]
    public void A_recording_of_the_reader_s_limits_is_read()
    {
        using TraceWriter writer = Open("trace");
        string? end = null;
        for (int i = 0; end is null; i++)
        {
            end = writer.Add(i % Trace.MaxPeers, StandardChannels.Mempool, []);
        }

        writer.Close();
        Assert.That(end, Does.Contain("1,000,000 messages"));
        Assert.That(Trace.ReadFile(PathOf("trace")).Messages, Has.Count.EqualTo(TraceReader.MaxMessages));
    }

    [Test]
    public void A_peer_that_no_trace_may_have_is_a_mistake_of_the_caller_s()
    {
        using TraceWriter writer = Open("trace");

        Assert.That(() => writer.Add(16, StandardChannels.Mempool, []), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => writer.Add(-1, StandardChannels.Mempool, []), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void A_file_that_is_there_is_replaced_only_when_that_is_asked_for_and_only_when_something_begins()
    {
        File.WriteAllText(PathOf("trace"), "a former recording");

        Assert.That(() => Open("trace"), Throws.TypeOf<TraceException>().With.Message.EqualTo($"There is a file '{PathOf("trace")}' already; --force replaces it."));
        TraceWriter.Open(PathOf("trace"), WhenFileExists.Replace, _time).Dispose();
        Assert.That(File.ReadAllText(PathOf("trace")), Is.EqualTo("a former recording"));
        using (TraceWriter writer = TraceWriter.Open(PathOf("trace"), WhenFileExists.Replace, _time))
        {
            writer.Add(0, StandardChannels.Mempool, Transactions);
        }

        Assert.That(Trace.ReadFile(PathOf("trace")).Messages, Has.Count.EqualTo(1));
    }

    [Test]
    public void A_file_that_was_made_for_nothing_is_removed()
    {
        Open("trace").Dispose();

        Assert.That(PathOf("trace"), Does.Not.Exist);
    }

    [Test]
    public void A_file_that_cannot_be_made_is_refused()
    {
        AssertRefused("", "not the path of a file");
        AssertRefused("a\0b", "not the path of a file");
        AssertRefused(_folder, "is a folder");
        AssertRefused(PathOf("none/trace"), $"There is no folder '{PathOf("none")}'");
        AssertRefused(PathOf(new string('x', 5_000)), "cannot be written");

        void AssertRefused(string path, string named) =>
            Assert.That(() => TraceWriter.Open(path, WhenFileExists.Refuse, _time), Throws.TypeOf<TraceException>().With.Message.Contains(named));
    }

    [TestCase("trace")]
    [TestCase("trace.gz")]
    public void A_full_disk_ends_the_recording_and_leaves_what_was_whole(string name)
    {
        byte[] noise = new byte[60_000];
        new Random(1).NextBytes(noise);
        byte[] incompressible = new Message { Txs = new Txs { Txs_ = { ByteString.CopyFrom(noise) } } }.ToByteArray();
        using TraceWriter writer = new(PathOf(name), new FullDisk(PathOf(name), room: 200_000), isOurs: true, _time);
        List<string> said = [];
        for (int i = 0; i < 10; i++)
        {
            if (writer.Add(0, StandardChannels.Mempool, incompressible) is { } failure)
            {
                said.Add(failure);
            }
        }

        Assert.That(said, Is.EqualTo(new[] { $"'{PathOf(name)}' cannot be written: The disk is full." }));
        Assert.That(writer.Flush(), Is.EqualTo(said[0]));
        Assert.That(writer.Close(), Is.EqualTo(said[0]));
        Assert.That((writer.Messages, writer.Bytes), Is.EqualTo((2, 2L * incompressible.Length)), "what is in the file");
        Trace left = Trace.ReadFile(PathOf(name), name == "trace" ? WhenCutShort.Refuse : WhenCutShort.UseWhatIsWhole);
        Assert.That(left.Messages, Has.Count.EqualTo(2).And.All.Matches<TraceMessage>(message => message.Data.Span.SequenceEqual(incompressible)));
    }

    [Test, Platform("Linux")]
    public void The_system_s_own_full_device_is_a_full_disk()
    {
        using TraceWriter writer = TraceWriter.Open("/dev/full", WhenFileExists.Replace, _time);
        writer.Add(0, StandardChannels.Mempool, Transactions);

        Assert.That(writer.Close(), Does.StartWith("'/dev/full' cannot be written: No space left on device"));
    }

    [Test, CancelAfter(30_000)]
    public async Task Messages_of_several_threads_are_all_whole(CancellationToken cancellationToken)
    {
        using TraceWriter writer = TraceWriter.Open(PathOf("trace"), WhenFileExists.Refuse, TimeProvider.System);
        Task[] adding = [.. Enumerable.Range(0, 8).Select(peer => Task.Run(
            () =>
            {
                for (int i = 0; i < 2_000; i++)
                {
                    writer.Add(peer, StandardChannels.Mempool, [0x0a, 0x03, 0x0a, 0x01, (byte)peer]);
                }
            },
            cancellationToken))];
        while (!Task.WhenAll(adding).IsCompleted)
        {
            writer.Flush();
            await Task.Yield();
        }

        await Task.WhenAll(adding);
        Assert.That(writer.Close(), Is.Null);
        Trace trace = Trace.ReadFile(PathOf("trace"));
        Assert.That(trace.Messages, Has.Count.EqualTo(16_000).And.All.Matches<TraceMessage>(message => message.Data.Span[4] == message.Peer));
    }

    private static void AssertSame(Trace trace, IReadOnlyList<TraceMessage> wanted)
    {
        Assert.That(trace.Messages.Select(m => (m.At, m.Peer, m.Channel)), Is.EqualTo(wanted.Select(m => (m.At, m.Peer, m.Channel))));
        Assert.That(trace.Messages.Select(m => m.Data.ToArray()), Is.EqualTo(wanted.Select(m => m.Data.ToArray())));
    }

    private string PathOf(string name) => Path.Combine(_folder, name);

    private TraceWriter Open(string name, int maxMessages = TraceReader.MaxMessages, long maxBytes = TraceReader.MaxBytes)
    {
        string path = PathOf(name);
        return File.Exists(path)
            ? TraceWriter.Open(path, WhenFileExists.Refuse, _time)
            : new TraceWriter(path, new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 0), isOurs: true, _time)
            {
                MaxMessages = maxMessages,
                MaxBytes = maxBytes,
            };
    }

    /// <summary>A file on a disk that takes a part of what no longer fits, as real ones do.</summary>
    private sealed class FullDisk(string path, long room) : FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 0)
    {
        // What is written as a span comes here as well.
        public override void Write(byte[] buffer, int offset, int count)
        {
            int fits = (int)Math.Min(count, room - Position);
            base.Write(buffer, offset, fits);
            if (fits < count)
            {
                throw new IOException("The disk is full.");
            }
        }
    }
}
