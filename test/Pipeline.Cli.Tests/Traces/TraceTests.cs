using Pipeline.Cli.Traces;
using Pipeline.Dataflow;

namespace Pipeline.Cli.Tests.Traces;

[TestFixture]
public sealed class TraceTests
{
    private static readonly ChannelDescriptor Mempool = new(0x30, "mempool") { MaxMessageSize = 200_000 };
    private static readonly ChannelDescriptor Pex = new(0x00, "pex") { MaxMessageSize = 64_000 };
    private static readonly Dictionary<byte, ChannelDescriptor> Channels = new() { [0x30] = Mempool, [0x00] = Pex };

    private static readonly byte[] Never = [.. Enumerable.Repeat((byte)0xff, 20)];

    private static TraceBytes TwoRecords => new TraceBytes().Record(1_500, 3, 0x30, 1, 2, 3).Record(300, 0, 0x00, 9);

    [TestCase(true)]
    [TestCase(false)]
    public void Records_are_read_gzipped_or_plain(bool gzipped)
    {
        byte[] large = new byte[150_000];
        Random.Shared.NextBytes(large);
        TraceBytes bytes = TwoRecords.Record(0, 1, 0x30, large);

        Trace trace = Read(gzipped ? bytes.Gzipped : bytes.Plain);

        Assert.That(trace.Messages.Select(m => m.At.TotalMicroseconds), Is.EqualTo(new[] { 1_500, 1_800, 1_800 }));
        Assert.That(trace.Messages.Select(m => m.Peer), Is.EqualTo(new[] { 3, 0, 1 }));
        Assert.That(trace.Messages.Select(m => m.Channel), Is.EqualTo(new[] { Mempool, Pex, Mempool }));
        Assert.That(trace.Messages.Select(m => m.Data.ToArray()), Is.EqualTo(new[] { [1, 2, 3], [9], large }));
    }

    [Test]
    public void A_stream_that_comes_byte_by_byte_reads_the_same()
    {
        using OneByteAtATime stream = new(TwoRecords.Gzipped);

        Assert.That(Trace.Read(stream, "made", Channels).Messages, Has.Count.EqualTo(2));
    }

    [Test]
    public void A_trace_that_was_cut_short_is_refused_wherever_it_was_cut()
    {
        byte[] plain = TwoRecords.Plain;
        byte[] gzipped = TwoRecords.Gzipped;
        int firstRecord = new TraceBytes().Record(1_500, 3, 0x30, 1, 2, 3).Plain.Length;

        Assert.Multiple(() =>
        {
            for (int length = 0; length < gzipped.Length; length++)
            {
                Assert.That(() => Read(gzipped[..length]), Throws.TypeOf<TraceException>(), $"{length} gzipped bytes");
            }

            // Between two records a plain trace may end.
            for (int length = 0; length < plain.Length; length++)
            {
                Assert.That(
                    () => Read(plain[..length]),
                    length == firstRecord ? Throws.Nothing : Throws.TypeOf<TraceException>(),
                    $"{length} plain bytes");
            }
        });
    }

    [Test]
    public void What_is_whole_of_a_trace_that_was_cut_short_is_used_when_that_is_asked_for()
    {
        byte[] plain = TwoRecords.Plain;
        byte[] gzipped = TwoRecords.Gzipped;
        int firstRecord = new TraceBytes().Record(1_500, 3, 0x30, 1, 2, 3).Plain.Length;

        Assert.Multiple(() =>
        {
            for (int length = firstRecord; length < plain.Length; length++)
            {
                Assert.That(Salvage(plain[..length]).Messages, Has.Count.EqualTo(1), $"{length} plain bytes");
            }

            // Without the trailer alone, all records are there.
            Assert.That(Salvage(gzipped[..^8]).Messages, Has.Count.EqualTo(2));
            Assert.That(() => Salvage(plain[..3]), Throws.TypeOf<TraceException>().With.Message.Contains("is cut short"));
            Assert.That(() => Salvage([.. plain, 0, 99]), Throws.TypeOf<TraceException>().With.Message.Contains("peer 99"));
            Assert.That(
                () => Read(plain[..^1]),
                Throws.TypeOf<TraceException>().With.Message.Contains("record 2, at byte 8").And.Message.Contains("The whole records before that (1) can be used with --salvage."));
        });

        static Trace Salvage(byte[] bytes) => Trace.Read(new MemoryStream(bytes), "made", Channels, cutShort: WhenCutShort.UseWhatIsWhole);
    }

    [TestCase(new byte[] { 0 }, 1)]
    [TestCase(new byte[] { 2, 0 }, 3)]
    [TestCase(new byte[] { 15 }, 16)]
    public void A_trace_has_the_peers_up_to_the_last_that_sent_something(byte[] senders, int peers) =>
        Assert.That(Read(senders.Aggregate(new TraceBytes(), (made, peer) => made.Record(0, peer, 0x30, 1)).Plain).Peers, Is.EqualTo(peers));

    [Test]
    public void Every_kind_of_damage_is_named_with_its_place()
    {
        Assert.Multiple(() =>
        {
            AssertRefused([], "is empty");
            AssertRefused([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0], "holds no messages");
            AssertRefused("# Pipeline, a library"u8, "record 1, at byte 0", "peer 32", "0 to 15");
            AssertRefused(TwoRecords.Raw(5).Plain, "record 3, at byte 14", "before its peer");
            AssertRefused(TwoRecords.Raw(5, 2).Plain, "record 3, at byte 14", "before its channel");
            AssertRefused(TwoRecords.Raw(5, 2, 0x30).Plain, "record 3, at byte 14", "before its length");
            AssertRefused(TwoRecords.Raw(5, 2, 0x30, 4, 1, 1).Gzipped, "record 3, at byte 14", "2 of the 4 bytes");
            AssertRefused(TwoRecords.Record(0, 16, 0x30, 1).Plain, "record 3, at byte 14", "peer 16", "0 to 15");
            AssertRefused(TwoRecords.Record(0, 0, 0x31, 1).Plain, "record 3, at byte 14", "channel 0x31", "0x00, 0x30");
            AssertRefused(TwoRecords.Raw(Never).Plain, "record 3, at byte 14", "time that is not a varint");
            AssertRefused(TwoRecords.Raw(0, 0, 0x30).Raw(Never).Plain, "record 3, at byte 14", "length that is not a varint");
            AssertRefused(TwoRecords.Record(0, 0, 0x00, new byte[64_001]).Plain, "record 3, at byte 14", "64,001 bytes", "0x00 pex", "64,000");
            AssertRefused(TwoRecords.Raw(0, 0, 0x30).Varint(ulong.MaxValue).Plain, "record 3", "18,446,744,073,709,551,615 bytes");
            AssertRefused(TwoRecords.Record(ulong.MaxValue, 0, 0x30, 1).Plain, "record 3", "24 hours");
            AssertRefused(TwoRecords.Record(86_400_000_000, 0, 0x30, 1).Plain, "record 3", "24 hours");
            AssertRefused([0x1f, 0x8b, .. "not really"u8], "gzip", "record 0");
        });
    }

    [Test]
    public void A_flipped_bit_in_the_packed_data_never_changes_a_message()
    {
        byte[] gzipped = TwoRecords.Gzipped;
        int noticed = 0;
        for (int bit = 0; bit < 8 * gzipped.Length; bit++)
        {
            byte[] damaged = [.. gzipped];
            damaged[bit / 8] ^= (byte)(1 << (bit % 8));
            try
            {
                Assert.That(Read(damaged).Messages.Select(m => m.Data.ToArray()), Is.EqualTo(new byte[][] { [1, 2, 3], [9] }), $"bit {bit}");
            }
            catch (TraceException)
            {
                noticed++;
            }
        }

        // The others are the time and system in the header, and the padding behind the last block.
        Assert.That(noticed, Is.GreaterThan(8 * (gzipped.Length - 10)));
    }

    [Test]
    public void Bytes_after_the_gzip_data_are_damage() => AssertRefused([.. TwoRecords.Gzipped, 1, 2, 3, 4, 5, 6, 7, 8], "gzip");

    [Test]
    public void A_trace_without_end_is_given_up_at_its_limits()
    {
        using Endless zeros = new([0, 0, 0x30, 0]);
        using Endless large = new([0, 0, 0x30, .. new TraceBytes().Varint(200_000).Plain, .. new byte[200_000]]);

        Assert.That(
            () => Trace.Read(zeros, "made", Channels),
            Throws.TypeOf<TraceException>().With.Message.Contains("more than 1,000,000 records"));
        Assert.That(
            () => Trace.Read(large, "made", Channels),
            Throws.TypeOf<TraceException>().With.Message.Contains("record 1,343").And.Message.Contains("268,435,456 bytes"));
    }

    [Test]
    public void A_length_takes_no_memory_before_its_bytes_are_there()
    {
        Dictionary<byte, ChannelDescriptor> channels = new() { [0x40] = new ChannelDescriptor(0x40, "blocks") { MaxMessageSize = int.MaxValue } };
        byte[] claim = new TraceBytes().Raw(0, 0, 0x40).Varint(int.MaxValue).Raw(1, 2, 3).Plain;
        long before = GC.GetAllocatedBytesForCurrentThread();

        Assert.That(() => Trace.Read(new MemoryStream(claim), "made", channels), Throws.TypeOf<TraceException>());
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(1 << 20));
    }

    private static Trace Read(byte[] bytes) => Trace.Read(new MemoryStream(bytes), "made", Channels);

    private static void AssertRefused(ReadOnlySpan<byte> bytes, params string[] named)
    {
        byte[] copy = bytes.ToArray();
        string? message = Assert.Throws<TraceException>(() => Read(copy))?.Message;
        Assert.That(message, Does.StartWith("The trace made cannot be used: ").And.Not.Contains("\n"));
        foreach (string part in named)
        {
            Assert.That(message, Does.Contain(part));
        }
    }

    private sealed class OneByteAtATime(byte[] bytes) : MemoryStream(bytes)
    {
        public override int Read(Span<byte> buffer) => base.Read(buffer[..Math.Min(1, buffer.Length)]);

        public override int Read(byte[] buffer, int offset, int count) => base.Read(buffer, offset, Math.Min(1, count));
    }

    private sealed class Endless(byte[] pattern) : MemoryStream
    {
        private int _next;

        public override int Read(Span<byte> buffer)
        {
            int count = Math.Min(buffer.Length, pattern.Length - _next);
            pattern.AsSpan(_next, count).CopyTo(buffer);
            _next = (_next + count) % pattern.Length;
            return count;
        }
    }
}
