using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Pipeline.Cryptography;
using Pipeline.Testing;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Transport;

/// <summary>The two directions of a secret connection as pipes, by the contract of System.IO.Pipelines.</summary>
[CancelAfter(60_000)]
public sealed class SecretConnectionPipeTests
{
    private ConnectionPair _pair = null!;

    private PipeReader Input => _pair.A.Input;

    private PipeWriter Output => _pair.B.Output;

    [SetUp]
    public async Task Connect() => _pair = await ConnectionPair.OverMemoryAsync();

    [TearDown]
    public async Task Disconnect() => await _pair.DisposeAsync();

    [Test]
    public async Task What_was_not_examined_is_there_at_once(CancellationToken cancellationToken)
    {
        await SendAsync([1, 2, 3, 4], cancellationToken);
        ReadResult result = await Input.ReadAsync(cancellationToken);
        Input.AdvanceTo(result.Buffer.GetPosition(1), result.Buffer.GetPosition(3));

        ValueTask<ReadResult> again = Input.ReadAsync(cancellationToken);

        Assert.That(again.IsCompletedSuccessfully, Is.True);
        result = await again;
        Assert.That(result.Buffer.ToArray(), Is.EqualTo(new byte[] { 2, 3, 4 }));
        Input.AdvanceTo(result.Buffer.End);
    }

    [Test]
    public async Task What_was_examined_comes_again_with_more(CancellationToken cancellationToken)
    {
        await SendAsync([1, 2], cancellationToken);
        ReadResult result = await Input.ReadAsync(cancellationToken);
        Input.AdvanceTo(result.Buffer.Start, result.Buffer.End);

        Assert.That(Input.TryRead(out _), Is.False);
        Task<ReadResult> more = Input.ReadAsync(cancellationToken).AsTask();
        Assert.That(more.IsCompleted, Is.False);
        await SendAsync([3], cancellationToken);

        Assert.That((await more).Buffer.ToArray(), Is.EqualTo(new byte[] { 1, 2, 3 }));
        Input.AdvanceTo((await more).Buffer.End);
        Assert.That(Input.TryRead(out _), Is.False);
    }

    [Test]
    public async Task The_end_is_told_with_what_is_left_before_it(CancellationToken cancellationToken)
    {
        await SendAsync([1, 2], cancellationToken);
        await _pair.B.DisposeAsync();
        ReadResult result = await Input.ReadAsync(cancellationToken);
        Input.AdvanceTo(result.Buffer.Start, result.Buffer.End);

        ReadResult last = await Input.ReadAsync(cancellationToken);
        Assert.That((last.IsCompleted, last.IsCanceled), Is.EqualTo((true, false)));
        Assert.That(last.Buffer.ToArray(), Is.EqualTo(new byte[] { 1, 2 }));
        Input.AdvanceTo(last.Buffer.End);

        Assert.That(Input.TryRead(out last), Is.True);
        Assert.That((last.IsCompleted, last.Buffer.IsEmpty), Is.EqualTo((true, true)));
        Input.AdvanceTo(last.Buffer.End);
    }

    [Test]
    public async Task A_message_of_many_blocks_can_be_awaited_whole(CancellationToken cancellationToken)
    {
        byte[] sent = RandomNumberGenerator.GetBytes(3_000_000);
        Task send = SendAsync(sent, cancellationToken).AsTask();

        ReadResult result = await Input.ReadAtLeastAsync(sent.Length, cancellationToken);

        await send;
        Assert.That(result.Buffer.IsSingleSegment, Is.True);
        Assert.That(result.Buffer.FirstSpan.SequenceEqual(sent), Is.True);
        Input.AdvanceTo(result.Buffer.End);
    }

    [Test]
    public async Task A_pending_read_can_be_cancelled_without_loss(CancellationToken cancellationToken)
    {
        Task<ReadResult> pending = Input.ReadAsync(cancellationToken).AsTask();
        Input.CancelPendingRead();
        ReadResult cancelled = await pending;
        Assert.That((cancelled.IsCanceled, cancelled.IsCompleted, cancelled.Buffer.IsEmpty), Is.EqualTo((true, false, true)));
        Input.AdvanceTo(cancelled.Buffer.End);

        await SendAsync([1, 2, 3], cancellationToken);
        ReadResult result = await Input.ReadAsync(cancellationToken);
        Assert.That(result.IsCanceled, Is.False);
        Assert.That(result.Buffer.ToArray(), Is.EqualTo(new byte[] { 1, 2, 3 }));
        Input.AdvanceTo(result.Buffer.Start);

        Input.CancelPendingRead();
        ReadResult withData = await Input.ReadAsync(cancellationToken);
        Assert.That((withData.IsCanceled, withData.Buffer.Length), Is.EqualTo((true, 3L)), "a cancellation before a read is for that read");
        Input.AdvanceTo(withData.Buffer.Start);
        Assert.That(Input.TryRead(out result) && !result.IsCanceled && result.Buffer.Length == 3, Is.True);
        Input.AdvanceTo(result.Buffer.End);
    }

    [Test]
    public async Task A_cancelled_token_ends_one_read_and_the_next_is_as_if_it_had_not_been(CancellationToken cancellationToken)
    {
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<ReadResult> pending = Input.ReadAsync(cancel.Token).AsTask();
        await cancel.CancelAsync();
        OperationCanceledException? e = await Assert.CatchAsync<OperationCanceledException>(() => pending);
        Assert.That(e!.CancellationToken, Is.EqualTo(cancel.Token));

        Task<ReadResult> next = Input.ReadAsync(cancellationToken).AsTask();
        Assert.That(next.IsCompleted, Is.False);
        await SendAsync([5], cancellationToken);
        Assert.That(((await next).IsCanceled, (await next).Buffer.FirstSpan[0]), Is.EqualTo((false, (byte)5)));
        Input.AdvanceTo((await next).Buffer.End);
    }

    [Test]
    public async Task A_cancelled_pipe_read_does_not_end_a_read_of_the_stream(CancellationToken cancellationToken)
    {
        Task<byte[]> read = SecretConnectionTests.ReadAsync(_pair.A, 1, seed: 1, cancellationToken);
        Input.CancelPendingRead();
        await SendAsync([5], cancellationToken);

        Assert.That(await read, Is.EqualTo(new byte[] { 5 }));
    }

    [Test, Repeat(200)]
    public async Task No_cancellation_and_no_byte_gets_lost_between_threads(CancellationToken cancellationToken)
    {
        const int total = 20;
        Task cancelling = Task.Run(() => Input.CancelPendingRead(), cancellationToken);
        Task sending = Task.Run(
            async () =>
            {
                for (int i = 0; i < total; i++)
                {
                    await SendAsync([(byte)i], cancellationToken);
                }
            },
            cancellationToken);
        List<byte> read = [];
        int cancelled = 0;
        while (read.Count < total || cancelled == 0)
        {
            ReadResult result = await Input.ReadAsync(cancellationToken);
            cancelled += result.IsCanceled ? 1 : 0;
            read.AddRange(result.Buffer.ToArray());
            Input.AdvanceTo(result.Buffer.End);
        }

        await Task.WhenAll(cancelling, sending);
        Assert.That(cancelled, Is.EqualTo(1));
        Assert.That(read, Is.EqualTo(Enumerable.Range(0, total)));
    }

    [Test]
    public async Task Mistakes_in_the_use_of_the_reader_are_said_and_do_no_harm(CancellationToken cancellationToken)
    {
        Assert.That(() => Input.AdvanceTo(default), Throws.InvalidOperationException.With.Message.Contains("AdvanceTo was called without a buffer"));
        await SendAsync([1, 2, 3], cancellationToken);
        ReadResult result = await Input.ReadAsync(cancellationToken);
        await Assert.ThatAsync(() => Input.ReadAsync(cancellationToken).AsTask(), Throws.InvalidOperationException.With.Message.Contains("has not been given back with AdvanceTo"));
        Assert.That(() => _pair.A.Read(new byte[1]), Throws.InvalidOperationException);
        Assert.That(() => Input.AdvanceTo(result.Buffer.End, result.Buffer.Start), Throws.InstanceOf<ArgumentOutOfRangeException>());

        Assert.That(Input.TryRead(out result), Is.True);
        Assert.That(result.Buffer.ToArray(), Is.EqualTo(new byte[] { 1, 2, 3 }));
        Input.AdvanceTo(result.Buffer.End);
        Assert.That(() => Input.AdvanceTo(result.Buffer.End), Throws.InvalidOperationException);
    }

    [Test]
    public async Task What_is_written_in_pieces_goes_out_at_the_flush(CancellationToken cancellationToken)
    {
        byte[] sent = RandomNumberGenerator.GetBytes(500_000);
        int at = 0;
        Random random = new(3);
        while (at < sent.Length)
        {
            Memory<byte> memory = Output.GetMemory(random.Next(3) == 0 ? random.Next(100_000) : 0);
            int count = Math.Min(Math.Min(memory.Length, sent.Length - at), random.Next(20_000));
            sent.AsSpan(at, count).CopyTo(memory.Span);
            Output.Advance(count);
            at += count;
        }

        Assert.That((Output.CanGetUnflushedBytes, Output.UnflushedBytes), Is.EqualTo((true, (long)sent.Length)));
        long before = ((MemoryDuplex)_pair.StreamB).BytesWritten;
        Task<FlushResult> flush = Output.FlushAsync(cancellationToken).AsTask();
        byte[] received = await SecretConnectionTests.ReadAsync(_pair.A, sent.Length, seed: 1, cancellationToken);

        Assert.That(((await flush).IsCanceled, (await flush).IsCompleted, Output.UnflushedBytes), Is.EqualTo((false, false, 0L)));
        Assert.That(received.AsSpan().SequenceEqual(sent), Is.True);
        int frames = (sent.Length + FrameCipher.MaxDataSize - 1) / FrameCipher.MaxDataSize;
        Assert.That(((MemoryDuplex)_pair.StreamB).BytesWritten - before, Is.EqualTo(frames * FrameCipher.SealedSize), "no frame but the last is partly filled");
    }

    [Test]
    public async Task Mistakes_in_the_use_of_the_writer_are_said_and_do_no_harm(CancellationToken cancellationToken)
    {
        Assert.That(() => Output.Advance(1), Throws.InvalidOperationException);
        Assert.That(() => Output.GetMemory(-1), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => Output.GetMemory(int.MaxValue), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Memory<byte> memory = Output.GetMemory(10);
        Assert.That(() => Output.Advance(-1), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => Output.Advance(memory.Length + 1), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(Output.CancelPendingFlush, Throws.TypeOf<NotSupportedException>());
        memory.Span[0] = 7;
        Output.Advance(1);
        await Output.FlushAsync(cancellationToken);

        Assert.That(await SecretConnectionTests.ReadAsync(_pair.A, 1, seed: 1, cancellationToken), Is.EqualTo(new byte[] { 7 }));
    }

    [Test]
    public async Task Completing_the_writer_at_once_drops_what_was_not_flushed(CancellationToken cancellationToken)
    {
        await SendAsync([1], cancellationToken);
        Output.GetSpan()[0] = 2;
        Output.Advance(1);
        await Output.CompleteAsync(new InvalidOperationException("something went wrong"));
        await _pair.B.DisposeAsync();

        using MemoryStream read = new();
        await Input.CopyToAsync(read, cancellationToken);
        Assert.That(read.ToArray(), Is.EqualTo(new byte[] { 1 }));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => Output.FlushAsync(cancellationToken).AsTask());
    }

    [Test]
    public async Task Pipes_carry_anything_in_any_pieces([Range(1, 12)] int seed, CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectionPair.OverMemoryAsync(splitSeed: seed);
        byte[] sent = RandomNumberGenerator.GetBytes(1_000_000);
        Task writing = WriteAsync();
        Random random = new(seed);
        using MemoryStream read = new();
        while (true)
        {
            if (!pair.A.Input.TryRead(out ReadResult result))
            {
                result = await pair.A.Input.ReadAsync(cancellationToken);
            }

            ReadOnlySequence<byte> buffer = result.Buffer;
            Assert.That(buffer.FirstSpan.SequenceEqual(sent.AsSpan((int)read.Length, (int)buffer.Length)), Is.True);
            long consumed = result.IsCompleted || random.Next(4) == 0 ? buffer.Length : random.NextInt64(buffer.Length + 1);
            long examined = random.Next(2) == 0 ? buffer.Length : random.NextInt64(consumed, buffer.Length + 1);
            read.Write(buffer.Slice(0, consumed).FirstSpan);
            pair.A.Input.AdvanceTo(buffer.GetPosition(consumed), buffer.GetPosition(examined));
            if (result.IsCompleted)
            {
                break;
            }
        }

        await writing;
        Assert.That(read.Length, Is.EqualTo(sent.Length));

        async Task WriteAsync()
        {
            Random sizes = new(seed + 100);
            for (int at = 0; at < sent.Length;)
            {
                int count = Math.Min(sizes.Next(1, 1 << sizes.Next(1, 18)), sent.Length - at);
                pair.B.Output.Write(sent.AsSpan(at, count));
                at += count;
                if (sizes.Next(3) == 0)
                {
                    await pair.B.Output.FlushAsync(cancellationToken);
                }
            }

            await pair.B.CompleteWritesAsync();
        }
    }

    [Test]
    public async Task A_buffer_that_is_read_when_the_connection_closes_stays_what_it_is(CancellationToken cancellationToken)
    {
        byte[] sent = RandomNumberGenerator.GetBytes(5000);
        await SendAsync(sent, cancellationToken);
        ReadResult result = await Input.ReadAtLeastAsync(sent.Length, cancellationToken);

        await _pair.A.DisposeAsync();
        Scribble();

        Assert.That(result.Buffer.ToArray(), Is.EqualTo(sent));
        Assert.That(() => Input.AdvanceTo(result.Buffer.End), Throws.Nothing);
        Scribble();
        Assert.That(result.Buffer.ToArray(), Is.EqualTo(sent));

        static void Scribble()
        {
            foreach (int _ in Enumerable.Range(0, 100))
            {
                Array.Fill(ArrayPool<byte>.Shared.Rent(64 * 1024), (byte)0xee);
            }
        }
    }

    [Test]
    public async Task A_buffer_that_is_written_to_when_the_connection_closes_is_nobody_elses()
    {
        Memory<byte> memory = Output.GetMemory(1000);
        await _pair.B.DisposeAsync();

        Assert.That(MemoryMarshal.TryGetArray(memory, out ArraySegment<byte> lent), Is.True);
        Assert.That(Enumerable.Range(0, 100).Select(_ => ArrayPool<byte>.Shared.Rent(64 * 1024)), Has.None.SameAs(lent.Array));
        Assert.That(() => Output.Advance(10), Throws.Nothing);
        Assert.That(() => Output.GetMemory(), Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public async Task Nothing_can_be_sent_after_the_last_nonce(CancellationToken cancellationToken)
    {
        byte[] key = new byte[AeadCipher.KeySize];
        await using ReplayStream stream = new(Array.Empty<byte>());
        FrameWriter writer = new(stream, new FrameCipher(key, ulong.MaxValue - 2));
        await writer.WriteAllAsync(new byte[1], cancellationToken);

        SecretConnectionException? e = await Assert.ThrowsAsync<SecretConnectionException>(() => writer.WriteAllAsync(new byte[5000], cancellationToken).AsTask());

        Assert.That(e!.Fault, Is.EqualTo(SecretConnectionFault.NoncesExhausted));
        Assert.That(stream.Written, Has.Length.EqualTo(FrameCipher.SealedSize));
        await Assert.CatchAsync<IOException>(() => writer.WriteAllAsync(new byte[1], cancellationToken).AsTask());
        writer.Close();
    }

    [Test]
    public async Task Nothing_is_allocated_for_a_frame(CancellationToken cancellationToken)
    {
        const int frames = 20_000;
        byte[] key = RandomNumberGenerator.GetBytes(AeadCipher.KeySize);
        FrameCipher sealing = new(key);
        byte[] data = new byte[FrameCipher.MaxDataSize];
        byte[] received = [.. Enumerable.Range(0, frames).SelectMany(_ => Frames.Seal(sealing, data))];
        using FrameReader reader = new(new MemoryStream(received), new FrameCipher(key));
        FrameWriter writer = new(Stream.Null, new FrameCipher(key));

        Assert.That(await AllocatedAsync(), Is.LessThan(frames / 10), "in bytes, over half of them");
        writer.Close();

        // All of it completes synchronously, so that it stays on this thread.
        async Task<long> AllocatedAsync()
        {
            long before = 0;
            for (int i = 0; i < frames; i++)
            {
                if (i == frames / 2)
                {
                    before = GC.GetAllocatedBytesForCurrentThread();
                }

                ReadResult result = await reader.ReadAsync(cancellationToken);
                ReadOnlySequence<byte> buffer = result.Buffer.Slice(0, FrameCipher.MaxDataSize);
                writer.Write(buffer.FirstSpan);
                reader.AdvanceTo(buffer.End);
                await writer.WriteAllAsync(data, cancellationToken);
                data.CopyTo(writer.GetSpan(data.Length));
                writer.Advance(data.Length);
                await writer.FlushAsync(cancellationToken);
            }

            return GC.GetAllocatedBytesForCurrentThread() - before;
        }
    }

    private ValueTask SendAsync(byte[] data, CancellationToken cancellationToken) => _pair.B.WriteAsync(data, cancellationToken);
}
