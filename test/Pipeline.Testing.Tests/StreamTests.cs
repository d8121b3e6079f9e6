using System.Security.Cryptography;
using Pipeline.Transport;

namespace Pipeline.Testing.Tests;

/// <summary>What holds for a socket's stream holds for those of the kit.</summary>
[TestFixture(Medium.Tcp)]
[TestFixture(Medium.Memory)]
[TestFixture(Medium.SplitMemory)]
[TestFixture(Medium.WrappedTcp)]
[CancelAfter(30_000)]
public sealed class StreamTests(Medium medium)
{
    private Stream _a = Stream.Null;
    private Stream _b = Stream.Null;

    [SetUp]
    public async Task ConnectAsync() => (_a, _b) = await Media.ConnectAsync(medium);

    [TearDown]
    public async Task CloseAsync()
    {
        await _a.DisposeAsync();
        await _b.DisposeAsync();
    }

    [Test]
    public async Task Both_directions_carry_everything_in_order_at_once([Range(1, 5)] int seed, CancellationToken cancellationToken)
    {
        byte[] fromA = RandomNumberGenerator.GetBytes(700_000);
        byte[] fromB = RandomNumberGenerator.GetBytes(500_000);

        Task writing = Task.WhenAll(WriteAsync(_a, fromA, seed), WriteAsync(_b, fromB, seed + 10));
        byte[][] read = await Task.WhenAll(ReadAsync(_b, fromA.Length, seed + 20), ReadAsync(_a, fromB.Length, seed + 30));
        await writing;

        Assert.That(read[0].AsSpan().SequenceEqual(fromA), Is.True);
        Assert.That(read[1].AsSpan().SequenceEqual(fromB), Is.True);

        async Task WriteAsync(Stream stream, byte[] bytes, int random)
        {
            Random sizes = new(random);
            for (int at = 0, count; at < bytes.Length; at += count)
            {
                count = Math.Min(sizes.Next(100_000), bytes.Length - at);
                await stream.WriteAsync(bytes.AsMemory(at, count), cancellationToken);
            }
        }

        async Task<byte[]> ReadAsync(Stream stream, int length, int random)
        {
            Random sizes = new(random);
            byte[] bytes = new byte[length];
            for (int at = 0; at < length;)
            {
                int wanted = Math.Min(sizes.Next(1, 1 << sizes.Next(1, 18)), length - at);
                int count = await stream.ReadAsync(bytes.AsMemory(at, wanted), cancellationToken);
                Assert.That(count, Is.InRange(1, wanted));
                at += count;
            }

            return bytes;
        }
    }

    [Test]
    public async Task A_writer_waits_while_nobody_reads(CancellationToken cancellationToken)
    {
        byte[] sent = RandomNumberGenerator.GetBytes(32 << 20);
        Task write = _a.WriteAsync(sent, cancellationToken).AsTask();
        Assert.That(write.IsCompleted, Is.False);

        byte[] read = new byte[sent.Length];
        await _b.ReadExactlyAsync(read, cancellationToken);
        await write;
        Assert.That(read.AsSpan().SequenceEqual(sent), Is.True);
    }

    [Test]
    public async Task One_direction_ends_while_the_other_goes_on(CancellationToken cancellationToken)
    {
        await _a.WriteAsync(new byte[] { 1, 2, 3 }, cancellationToken);
        Assert.That(IHalfClosable.TryCompleteWrites(_a), Is.True);
        Assert.That(IHalfClosable.TryCompleteWrites(_a), Is.True, "a second time");

        Assert.That(await ReadToEndAsync(_b, cancellationToken), Is.EqualTo(new byte[] { 1, 2, 3 }));
        Assert.That(await _b.ReadAsync(new byte[1], cancellationToken), Is.Zero, "the end stays the end");
        await _b.WriteAsync(new byte[] { 4 }, cancellationToken);
        Assert.That(await _a.ReadAsync(new byte[9], cancellationToken), Is.EqualTo(1));
        await Assert.ThrowsAsync<IOException>(() => _a.WriteAsync(new byte[1], cancellationToken).AsTask());
    }

    [Test]
    public async Task What_was_written_before_a_close_is_read_and_then_the_end(CancellationToken cancellationToken)
    {
        await _a.WriteAsync(new byte[] { 1, 2, 3 }, cancellationToken);
        await _a.DisposeAsync();
        Assert.That(IHalfClosable.TryCompleteWrites(_a), Is.True, "of a closed stream");

        Assert.That(await ReadToEndAsync(_b, cancellationToken), Is.EqualTo(new byte[] { 1, 2, 3 }));
    }

    [Test]
    public async Task The_first_write_to_a_closed_end_is_lost_and_later_ones_fail(CancellationToken cancellationToken)
    {
        await _a.DisposeAsync();
        Assert.That(await _b.ReadAsync(new byte[1], cancellationToken), Is.Zero);

        await _b.WriteAsync(new byte[1], cancellationToken);

        await FailsToWriteAsync(_b, cancellationToken);
        Assert.That(await _b.ReadAsync(new byte[1], cancellationToken), Is.Zero, "the end stays the end");
    }

    [Test]
    public async Task A_close_with_unread_data_is_the_end_in_both_directions(CancellationToken cancellationToken)
    {
        await _b.WriteAsync(new byte[2], cancellationToken);
        await _a.ReadExactlyAsync(new byte[1], cancellationToken);
        Task<int> pending = _b.ReadAsync(new byte[1], cancellationToken).AsTask();

        await _a.DisposeAsync();

        Assert.That(await pending, Is.Zero);
        await FailsToWriteAsync(_b, cancellationToken);
    }

    [Test]
    public async Task A_writer_that_waits_learns_of_a_reset(CancellationToken cancellationToken)
    {
        Task write = _b.WriteAsync(new byte[32 << 20], cancellationToken).AsTask();
        await _a.ReadExactlyAsync(new byte[1], cancellationToken);

        await _a.DisposeAsync();

        await Assert.ThrowsAsync<IOException>(() => write);
    }

    [Test]
    public async Task A_stream_that_this_side_closes_ends_what_waits(CancellationToken cancellationToken)
    {
        Task<int> read = _a.ReadAsync(new byte[1], cancellationToken).AsTask();
        Task write = _a.WriteAsync(new byte[32 << 20], cancellationToken).AsTask();

        await _a.DisposeAsync();
        await _a.DisposeAsync();

        try
        {
            Assert.That(await read, Is.Zero, "a socket may say that the stream is at its end");
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
        }

        Assert.That(await Assert.CatchAsync(() => write), Is.InstanceOf<IOException>().Or.InstanceOf<ObjectDisposedException>());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => _a.ReadAsync(new byte[1], cancellationToken).AsTask());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => _a.WriteAsync(new byte[1], cancellationToken).AsTask());
    }

    [Test]
    public async Task A_cancelled_read_takes_nothing(CancellationToken cancellationToken)
    {
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task read = _a.ReadAsync(new byte[1], cancel.Token).AsTask();
        await cancel.CancelAsync();
        await Assert.CatchAsync<OperationCanceledException>(() => read);

        await _b.WriteAsync(new byte[] { 7 }, cancellationToken);
        byte[] one = new byte[1];
        Assert.That((await _a.ReadAsync(one, cancellationToken), one[0]), Is.EqualTo((1, (byte)7)));
    }

    [Test]
    public async Task A_write_that_waits_can_be_cancelled(CancellationToken cancellationToken)
    {
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task write = _a.WriteAsync(new byte[32 << 20], cancel.Token).AsTask();
        await cancel.CancelAsync();

        await Assert.CatchAsync<OperationCanceledException>(() => write);
    }

    [Test]
    public async Task A_read_into_nothing_waits_for_data(CancellationToken cancellationToken)
    {
        Task<int> read = _a.ReadAsync(Memory<byte>.Empty, cancellationToken).AsTask();
        await _b.WriteAsync(new byte[] { 7 }, cancellationToken);
        Assert.That(await read, Is.Zero);
        Assert.That(await _a.ReadAsync(new byte[2], cancellationToken), Is.EqualTo(1));
    }

    [Test]
    public async Task Streams_can_be_used_without_tasks(CancellationToken cancellationToken)
    {
        byte[] read = new byte[4];
        Task reading = Task.Run(() => _b.ReadExactly(read), cancellationToken);
        _a.Write([1, 2]);
        _a.Write([3, 4, 5], 0, 2);
        _a.Flush();
        await reading.WaitAsync(cancellationToken);
        Assert.That(read, Is.EqualTo(new byte[] { 1, 2, 3, 4 }));
    }

    // What says that the other end is closed may be on its way yet.
    private static async Task FailsToWriteAsync(Stream stream, CancellationToken cancellationToken)
    {
        await Assert.ThrowsAsync<IOException>(WriteAsync);

        async Task WriteAsync()
        {
            while (true)
            {
                await stream.WriteAsync(new byte[1], cancellationToken);
            }
        }
    }

    private static async Task<byte[]> ReadToEndAsync(Stream stream, CancellationToken cancellationToken)
    {
        using MemoryStream read = new();
        await stream.CopyToAsync(read, cancellationToken);
        return read.ToArray();
    }
}
