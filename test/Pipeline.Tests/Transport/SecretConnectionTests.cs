using System.Security.Cryptography;
using Microsoft.Extensions.Time.Testing;
using Pipeline.Cryptography;
using Pipeline.Testing;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Transport;

/// <summary>A secret connection used as any stream, by code that knows nothing of the protocol.</summary>
[TestFixture(Medium.Tcp)]
[TestFixture(Medium.Memory)]
[CancelAfter(60_000)]
public sealed class SecretConnectionTests(Medium medium)
{
    [Test]
    public async Task Both_directions_carry_megabytes_at_once_unchanged(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectAsync();
        byte[] fromA = RandomNumberGenerator.GetBytes(5_000_000);
        byte[] fromB = RandomNumberGenerator.GetBytes(3_000_001);

        Task<byte[]> readByA = ReadAsync(pair.A, fromB.Length, seed: 1, cancellationToken);
        Task<byte[]> readByB = ReadAsync(pair.B, fromA.Length, seed: 2, cancellationToken);
        await Task.WhenAll(WriteAsync(pair.A, fromA, seed: 3, cancellationToken), WriteAsync(pair.B, fromB, seed: 4, cancellationToken));

        Assert.That((await readByB).AsSpan().SequenceEqual(fromA), Is.True);
        Assert.That((await readByA).AsSpan().SequenceEqual(fromB), Is.True);
    }

    [Test]
    public async Task Synchronous_reads_and_writes_work_too(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectAsync();
        byte[] fromA = RandomNumberGenerator.GetBytes(700_000);
        byte[] fromB = RandomNumberGenerator.GetBytes(500_000);

        Task<byte[]> readByA = OnThread(() => ReadExactly(pair.A, fromB.Length));
        Task<byte[]> readByB = OnThread(() => ReadExactly(pair.B, fromA.Length));
        Task<byte[]> written = OnThread(() =>
        {
            pair.A.Write(fromA);
            return fromA;
        });
        pair.B.Write(fromB, 0, 100);
        pair.B.Write(fromB, 100, 0);
        pair.B.Write(fromB, 100, fromB.Length - 100);

        await written.WaitAsync(cancellationToken);
        Assert.That((await readByB.WaitAsync(cancellationToken)).AsSpan().SequenceEqual(fromA), Is.True);
        Assert.That((await readByA.WaitAsync(cancellationToken)).AsSpan().SequenceEqual(fromB), Is.True);
    }

    [Test]
    public async Task One_direction_can_end_while_the_other_goes_on(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectAsync();
        await pair.A.WriteAsync("the last"u8.ToArray(), cancellationToken);
        "unflushed"u8.CopyTo(pair.A.Output.GetSpan());
        pair.A.Output.Advance(9);
        await pair.A.CompleteWritesAsync();

        using MemoryStream read = new();
        await pair.B.CopyToAsync(read, cancellationToken);
        Assert.That(read.ToArray(), Is.EqualTo("the lastunflushed"u8.ToArray()));
        Assert.That(await pair.B.ReadAsync(new byte[1], cancellationToken), Is.Zero, "the end stays the end");

        await pair.B.WriteAsync("an answer"u8.ToArray(), cancellationToken);
        Assert.That(await ReadAsync(pair.A, 9, seed: 1, cancellationToken), Is.EqualTo("an answer"u8.ToArray()));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => pair.A.WriteAsync(new byte[1], cancellationToken).AsTask());
        await pair.A.CompleteWritesAsync();
    }

    [Test]
    public async Task A_remote_that_closes_is_the_end_of_the_stream(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectAsync();
        await pair.A.WriteAsync(new byte[] { 1, 2, 3 }, cancellationToken);
        await pair.A.DisposeAsync();

        Assert.That(await ReadAsync(pair.B, 3, seed: 1, cancellationToken), Is.EqualTo(new byte[] { 1, 2, 3 }));
        Assert.That(await pair.B.ReadAsync(new byte[1], cancellationToken), Is.Zero);
        await Assert.CatchAsync<IOException>(async () =>
        {
            while (true)
            {
                await pair.B.WriteAsync(new byte[10_000], cancellationToken);
            }
        });
        Assert.That(() => pair.B.Write(new byte[1]), Throws.InstanceOf<IOException>().With.Message.Contains("Nothing more can be sent on this connection"));
    }

    [Test, Repeat(20)]
    public async Task Closing_ends_a_pending_read_and_a_pending_write(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectAsync();
        Task<int> read = pair.A.ReadAsync(new byte[10], cancellationToken).AsTask();
        Task write = WriteForeverAsync(pair.A, cancellationToken);

        await pair.A.DisposeAsync();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => read.WaitAsync(cancellationToken));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => write.WaitAsync(cancellationToken));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => pair.A.ReadAsync(new byte[10], cancellationToken).AsTask());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => pair.A.WriteAsync(new byte[10], cancellationToken).AsTask());
    }

    [Test, Repeat(20)]
    public async Task Closing_ends_a_pending_synchronous_read(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectAsync();
        Task<byte[]> read = OnThread(() => ReadExactly(pair.A, 10));
        await pair.B.WriteAsync(new byte[5], cancellationToken);

        await pair.A.DisposeAsync();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => read.WaitAsync(cancellationToken));
    }

    [Test]
    public async Task A_cancelled_read_loses_nothing(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectAsync();
        byte[] sent = RandomNumberGenerator.GetBytes(400_000);
        Task write = WriteAsync(pair.A, sent, seed: 5, cancellationToken);
        using MemoryStream read = new();
        byte[] buffer = new byte[3000];
        for (int i = 0; read.Length < sent.Length; i++)
        {
            using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            ValueTask<int> pending = pair.B.ReadAsync(buffer, i % 2 == 0 ? cancel.Token : cancellationToken);
            await cancel.CancelAsync();
            try
            {
                read.Write(buffer, 0, await pending);
            }
            catch (OperationCanceledException e)
            {
                Assert.That(e.CancellationToken, Is.EqualTo(cancel.Token));
            }
        }

        await write;
        using CancellationTokenSource last = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<int> silent = pair.B.ReadAsync(buffer, last.Token).AsTask();
        await last.CancelAsync();
        await Assert.CatchAsync<OperationCanceledException>(() => silent);
        await pair.A.WriteAsync(new byte[] { 42 }, cancellationToken);
        Assert.That(await pair.B.ReadAsync(buffer, cancellationToken), Is.EqualTo(1));
        Assert.That(buffer[0], Is.EqualTo(42));
        Assert.That(read.ToArray().AsSpan().SequenceEqual(sent), Is.True);
    }

    [Test]
    public async Task A_cancelled_write_ends_sending_but_not_receiving(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectAsync();
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task write = WriteForeverAsync(pair.A, cancel.Token);
        await cancel.CancelAsync();

        await Assert.CatchAsync<OperationCanceledException>(() => write);
        IOException? e = await Assert.CatchAsync<IOException>(() => pair.A.WriteAsync(new byte[1], cancellationToken).AsTask());
        Assert.That(e!.Message, Does.Contain("Nothing more can be sent on this connection"));
        Assert.That(e.InnerException, Is.InstanceOf<OperationCanceledException>());
        await pair.B.WriteAsync(new byte[] { 9 }, cancellationToken);
        Assert.That(await ReadAsync(pair.A, 1, seed: 1, cancellationToken), Is.EqualTo(new byte[] { 9 }));
    }

    [Test]
    public async Task A_write_that_is_cancelled_before_it_begins_does_no_harm(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectAsync();
        CancellationToken cancelled = new(canceled: true);

        await Assert.CatchAsync<OperationCanceledException>(() => pair.A.WriteAsync(new byte[] { 1 }, cancelled).AsTask());
        pair.A.Output.GetSpan()[0] = 2;
        pair.A.Output.Advance(1);
        await Assert.CatchAsync<OperationCanceledException>(() => pair.A.Output.FlushAsync(cancelled).AsTask());
        await pair.A.WriteAsync(new byte[] { 3 }, cancellationToken);

        Assert.That(await ReadAsync(pair.B, 2, seed: 1, cancellationToken), Is.EqualTo(new byte[] { 2, 3 }));
    }

    [Test]
    public async Task A_second_read_or_write_at_the_same_time_is_refused_and_disturbs_nothing(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectAsync();
        byte[] sent = RandomNumberGenerator.GetBytes(8_000_000);
        Task<byte[]> read = ReadAsync(pair.A, 1, seed: 1, cancellationToken);
        Task write = pair.A.WriteAsync(sent, cancellationToken).AsTask();
        Assert.That((read.IsCompleted, write.IsCompleted), Is.EqualTo((false, false)));

        Assert.That(() => pair.A.Read(new byte[1]), Refusal("read"));
        Assert.That(() => pair.A.Input.TryRead(out _), Refusal("read"));
        await Assert.ThatAsync(() => pair.A.ReadAsync(new byte[1], cancellationToken).AsTask(), Refusal("read"));
        await Assert.ThatAsync(() => pair.A.Input.ReadAsync(cancellationToken).AsTask(), Refusal("read"));
        Assert.That(() => pair.A.Write(new byte[1]), Refusal("write"));
        Assert.That(() => pair.A.Output.GetMemory(), Refusal("write"));
        await Assert.ThatAsync(() => pair.A.WriteAsync(new byte[1], cancellationToken).AsTask(), Refusal("write"));
        await Assert.ThatAsync(() => pair.A.Output.FlushAsync(cancellationToken).AsTask(), Refusal("write"));
        await Assert.ThatAsync(() => pair.A.CompleteWritesAsync().AsTask(), Refusal("write"));

        Assert.That((await ReadAsync(pair.B, sent.Length, seed: 2, cancellationToken)).AsSpan().SequenceEqual(sent), Is.True);
        await write;
        await pair.B.WriteAsync(new byte[] { 7 }, cancellationToken);
        Assert.That(await read, Is.EqualTo(new byte[] { 7 }));

        static NUnit.Framework.Constraints.IResolveConstraint Refusal(string operation) =>
            Throws.TypeOf<InvalidOperationException>().With.Message.Contains($"Another {operation} is in progress");
    }

    [Test]
    public async Task A_read_into_no_buffer_waits_for_data(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectAsync();
        Task<int> read = pair.A.ReadAsync(Memory<byte>.Empty, cancellationToken).AsTask();
        Assert.That(read.IsCompleted, Is.False);

        await pair.B.WriteAsync(ReadOnlyMemory<byte>.Empty, cancellationToken);
        await pair.B.WriteAsync(new byte[] { 7 }, cancellationToken);

        Assert.That(await read, Is.Zero);
        Assert.That(await ReadAsync(pair.A, 1, seed: 1, cancellationToken), Is.EqualTo(new byte[] { 7 }));
    }

    [Test]
    public async Task It_is_a_stream_without_length_or_position()
    {
        await using ConnectionPair pair = await ConnectAsync();

        Assert.That((pair.A.CanRead, pair.A.CanWrite, pair.A.CanSeek), Is.EqualTo((true, true, false)));
        Assert.That(() => pair.A.Length, Throws.TypeOf<NotSupportedException>());
        Assert.That(() => pair.A.Position, Throws.TypeOf<NotSupportedException>());
        Assert.That(() => pair.A.Position = 1, Throws.TypeOf<NotSupportedException>());
        Assert.That(() => pair.A.Seek(0, SeekOrigin.Begin), Throws.TypeOf<NotSupportedException>());
        Assert.That(() => pair.A.SetLength(1), Throws.TypeOf<NotSupportedException>());
        Assert.That(pair.A.CanTimeout, Is.EqualTo(pair.StreamA.CanTimeout));
        if (pair.A.CanTimeout)
        {
            pair.A.ReadTimeout = 1234;
            pair.A.WriteTimeout = 2345;
            Assert.That((pair.StreamA.ReadTimeout, pair.StreamA.WriteTimeout), Is.EqualTo((1234, 2345)));
            Assert.That((pair.A.ReadTimeout, pair.A.WriteTimeout), Is.EqualTo((1234, 2345)));
        }
    }

    [Test]
    public async Task It_can_be_closed_more_than_once()
    {
        ConnectionPair pair = await ConnectAsync();

        await pair.A.DisposeAsync();
        await pair.A.DisposeAsync();
        await pair.B.DisposeAsync();
        await pair.B.CompleteWritesAsync();
        pair.A.Input.CancelPendingRead();

        Assert.That(() => pair.A.Read(new byte[1]), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => pair.A.Write(new byte[1]), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => pair.A.Output.GetMemory(), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => pair.A.Input.TryRead(out _), Throws.TypeOf<ObjectDisposedException>());
    }

    internal static async Task WriteAsync(Stream stream, byte[] data, int seed, CancellationToken cancellationToken)
    {
        Func<int> sizes = Splits.Random(seed);
        Random random = new(seed);
        for (int at = 0; at < data.Length;)
        {
            int count = Math.Min(data.Length - at, random.Next(20) == 0 ? random.Next(300_000) : sizes());
            await stream.WriteAsync(data.AsMemory(at, count), cancellationToken);
            at += count;
        }
    }

    internal static async Task<byte[]> ReadAsync(Stream stream, int length, int seed, CancellationToken cancellationToken)
    {
        Func<int> sizes = Splits.Random(seed);
        byte[] data = new byte[length];
        for (int at = 0; at < length;)
        {
            int count = await stream.ReadAsync(data.AsMemory(at, Math.Min(length - at, sizes())), cancellationToken);
            Assert.That(count, Is.GreaterThan(0), "the stream ended too early");
            at += count;
        }

        return data;
    }

    private static async Task WriteForeverAsync(SecretConnection connection, CancellationToken cancellationToken)
    {
        byte[] data = new byte[100_000];
        while (true)
        {
            await connection.WriteAsync(data, cancellationToken);
        }
    }

    private static byte[] ReadExactly(Stream stream, int length)
    {
        byte[] data = new byte[length];
        stream.ReadExactly(data);
        return data;
    }

    private static Task<byte[]> OnThread(Func<byte[]> action) =>
        Task.Factory.StartNew(action, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private Task<ConnectionPair> ConnectAsync() => ConnectionPair.OverAsync(medium);
}

/// <summary>How a secret connection comes about, and what becomes of the stream beneath.</summary>
[CancelAfter(30_000)]
public sealed class SecretConnectionEstablishmentTests
{
    [Test]
    public async Task A_remote_that_says_nothing_runs_out_of_time(CancellationToken cancellationToken)
    {
        FakeTimeProvider time = new();
        using NodeKey key = NodeKey.Create();
        await using ReplayStream stream = new(Array.Empty<byte>()) { StaysSilent = true };
        SecretConnectionOptions options = new() { HandshakeTimeout = TimeSpan.FromSeconds(2.5), TimeProvider = time };

        Task<SecretConnection> connection = SecretConnection.EstablishAsync(stream, key, options, cancellationToken);
        time.Advance(options.HandshakeTimeout);

        HandshakeException? e = await Assert.ThrowsAsync<HandshakeException>(() => connection);
        Assert.That(e!.Failure, Is.EqualTo(HandshakeFailure.Timeout));
        Assert.That(e.Message, Does.Contain("within 2.5 s"));
        Assert.That(stream.IsDisposed, Is.True);
    }

    [Test]
    public async Task An_attempt_can_be_cancelled_also_before_it_begins(CancellationToken cancellationToken)
    {
        using NodeKey key = NodeKey.Create();
        await using ReplayStream silent = new(Array.Empty<byte>()) { StaysSilent = true };
        await using ReplayStream another = new(Array.Empty<byte>()) { StaysSilent = true };
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);

        Task<SecretConnection> connection = SecretConnection.EstablishAsync(silent, key, cancellationToken: cancel.Token);
        await cancel.CancelAsync();

        await Assert.CatchAsync<OperationCanceledException>(() => connection);
        await Assert.CatchAsync<OperationCanceledException>(() => SecretConnection.EstablishAsync(another, key, cancellationToken: cancel.Token));
        Assert.That((silent.IsDisposed, another.IsDisposed), Is.EqualTo((true, true)));
    }

    [Test]
    public async Task A_stream_that_shall_stay_open_stays_open_after_a_failure(CancellationToken cancellationToken)
    {
        using NodeKey key = NodeKey.Create();
        (MemoryDuplex local, MemoryDuplex remote) = MemoryDuplex.CreatePair();
        using Impostor impostor = new(remote);
        Task<SecretConnection> connection = SecretConnection.EstablishAsync(local, key, new SecretConnectionOptions { LeaveOpen = true }, cancellationToken);
        await impostor.AgreeOnKeysAsync(cancellationToken);
        await impostor.SendFrameAsync([0]);

        HandshakeException? e = await Assert.ThrowsAsync<HandshakeException>(() => connection);
        Assert.That(e!.Failure, Is.EqualTo(HandshakeFailure.InvalidAuthentication));
        Assert.That(local.IsDisposed, Is.False);
    }

    [Test]
    public async Task A_stream_that_shall_stay_open_can_be_used_after_the_connection(CancellationToken cancellationToken)
    {
        await using ConnectionPair pair = await ConnectionPair.OverMemoryAsync(leaveOpen: true);
        Task<int> read = pair.A.ReadAsync(new byte[1], cancellationToken).AsTask();
        Task<System.IO.Pipelines.ReadResult> pipeRead = pair.B.Input.ReadAsync(cancellationToken).AsTask();

        await pair.A.DisposeAsync();
        await pair.B.DisposeAsync();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => read);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => pipeRead);
        await pair.StreamA.WriteAsync(new byte[] { 1, 2, 3 }, cancellationToken);
        byte[] plain = new byte[3];
        await pair.StreamB.ReadExactlyAsync(plain, cancellationToken);
        Assert.That(plain, Is.EqualTo(new byte[] { 1, 2, 3 }));
    }
}
