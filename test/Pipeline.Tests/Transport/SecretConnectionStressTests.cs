using System.Buffers;
using System.IO.Pipelines;
using System.Security.Cryptography;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Transport;

/// <summary>
/// Connections that are closed while everything is going on. Buffers come from a pool that the whole process shares: one that goes
/// back too early, or twice, shows as data that somebody else wrote.
/// </summary>
[TestFixture(Medium.Tcp)]
[TestFixture(Medium.Memory)]
public sealed class SecretConnectionStressTests(Medium medium)
{
    private const int Rounds = 100;

    private static readonly byte[] Pattern = RandomNumberGenerator.GetBytes(4_000_037);

    [Test, CancelAfter(120_000)]
    public async Task Closing_at_any_moment_ends_everything_and_mixes_up_no_buffers(CancellationToken cancellationToken)
    {
        using CancellationTokenSource done = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task[] others = [.. Enumerable.Range(0, 2).Select(_ => Task.Run(() => UsePool(done.Token), cancellationToken))];
        Random random = new(11);
        long moved = 0;
        for (int round = 0; round < Rounds; round++)
        {
            moved += await RunAsync(random.Next(), cancellationToken);
        }

        await done.CancelAsync();
        await Task.WhenAll(others);
        Assert.That(moved, Is.GreaterThan(1_000_000), "else it was always closed before anything happened");
    }

    private static void UsePool(CancellationToken cancellationToken)
    {
        for (byte mark = 0; !cancellationToken.IsCancellationRequested; mark++)
        {
            byte[] buffer = ArrayPool<byte>.Shared.Rent(64 * 1024);
            buffer.AsSpan().Fill(mark);
            Thread.Yield();
            if (buffer.AsSpan().ContainsAnyExcept(mark))
            {
                throw new InvalidDataException("A buffer has two owners.");
            }

            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async Task<long> RunAsync(int seed, CancellationToken cancellationToken)
    {
        Random random = new(seed);
        ConnectionPair pair = await ConnectionPair.OverAsync(medium);
        long received = 0;
        TaskCompletionSource enough = new();
        long closeAfter = random.Next(4) == 0 ? 1 : random.Next(400_000);
        Task[] tasks =
        [
            Ends(() => WriteStreamAsync(pair.A, random.Next())),
            Ends(() => WritePipeAsync(pair.B, random.Next())),
            Ends(() => ReadPipeAsync(pair.A, random.Next())),
            Ends(() => ReadStreamAsync(pair.B, random.Next())),
        ];
        await enough.Task.WaitAsync(cancellationToken);

        // From several threads at once, as a switch that stops and a peer that fails would.
        await Task.WhenAll(
            Task.Run(() => pair.A.DisposeAsync().AsTask(), cancellationToken),
            Task.Run(pair.A.Dispose, cancellationToken),
            Task.Run(() => pair.A.Input.CancelPendingRead(), cancellationToken),
            random.Next(2) == 0 ? Task.Run(pair.B.Dispose, cancellationToken) : Task.CompletedTask);
        await Task.WhenAll(tasks).WaitAsync(TimeSpan.FromSeconds(20), cancellationToken);
        await pair.DisposeAsync();
        return received;

        // Closing shows as an end or as one of these, and as nothing else.
        Task Ends(Func<Task> action) => Task.Run(
            async () =>
            {
                try
                {
                    await action();
                }
                catch (Exception e) when (e is ObjectDisposedException or IOException)
                {
                }
            },
            cancellationToken);

        async Task WriteStreamAsync(SecretConnection connection, int seed)
        {
            Random sizes = new(seed);
            for (int at = 0; ;)
            {
                ReadOnlyMemory<byte> piece = Piece(at, sizes.Next(1, 100_000));
                await connection.WriteAsync(piece, CancellationToken.None);
                at = (at + piece.Length) % Pattern.Length;
            }
        }

        async Task WritePipeAsync(SecretConnection connection, int seed)
        {
            Random sizes = new(seed);
            for (int at = 0; ;)
            {
                ReadOnlyMemory<byte> piece = Piece(at, sizes.Next(1, 30_000));
                piece.Span.CopyTo(connection.Output.GetSpan(piece.Length));
                connection.Output.Advance(piece.Length);
                at = (at + piece.Length) % Pattern.Length;
                if (sizes.Next(3) == 0)
                {
                    await connection.Output.FlushAsync(CancellationToken.None);
                }
            }
        }

        async Task ReadStreamAsync(SecretConnection connection, int seed)
        {
            Random sizes = new(seed);
            byte[] buffer = new byte[100_000];
            for (int at = 0; ;)
            {
                int count = await connection.ReadAsync(buffer.AsMemory(0, sizes.Next(1, buffer.Length)), CancellationToken.None);
                if (count == 0)
                {
                    return;
                }

                at = Check(buffer.AsSpan(0, count), at);
                Count(count);
            }
        }

        async Task ReadPipeAsync(SecretConnection connection, int seed)
        {
            Random sizes = new(seed);
            for (int at = 0; ;)
            {
                ReadResult result = await connection.Input.ReadAsync(CancellationToken.None);
                int count = (int)Math.Min(result.Buffer.Length, sizes.Next(1, 200_000));
                Check(result.Buffer.FirstSpan, at);
                Thread.Yield();
                Check(result.Buffer.FirstSpan, at);
                at = (at + count) % Pattern.Length;
                connection.Input.AdvanceTo(result.Buffer.GetPosition(count));
                Count(count);
                if (result.IsCompleted && result.Buffer.Length == count)
                {
                    return;
                }
            }
        }

        void Count(int count)
        {
            if (Interlocked.Add(ref received, count) >= closeAfter)
            {
                enough.TrySetResult();
            }
        }
    }

    private static ReadOnlyMemory<byte> Piece(int at, int length) => Pattern.AsMemory(at, Math.Min(length, Pattern.Length - at));

    private static int Check(ReadOnlySpan<byte> data, int at)
    {
        while (!data.IsEmpty)
        {
            ReadOnlySpan<byte> expected = Piece(at, data.Length).Span;
            if (!data.StartsWith(expected))
            {
                throw new InvalidDataException("What was received is not what was sent.");
            }

            data = data[expected.Length..];
            at = (at + expected.Length) % Pattern.Length;
        }

        return at;
    }
}
