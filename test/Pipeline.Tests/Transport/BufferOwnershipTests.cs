using System.IO.Pipelines;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Transport;

/// <summary>Every buffer goes back to the pool, and none is held while nothing is in flight.</summary>
[NonParallelizable]
[CancelAfter(60_000)]
public sealed class BufferOwnershipTests
{
    [Test, Repeat(20)]
    public async Task An_idle_connection_owns_no_buffer(CancellationToken cancellationToken)
    {
        using PooledBuffers buffers = new();
        await using ConnectionPair pair = await ConnectionPair.OverTcpAsync();
        byte[] data = new byte[200_000];
        Task<byte[]> received = SecretConnectionTests.ReadAsync(pair.B, data.Length, seed: 1, cancellationToken);
        await pair.A.WriteAsync(data, cancellationToken);
        await received;
        Assert.That(buffers.Rents, Is.GreaterThan(4), "the test sees what it counts");

        Task<int> read = pair.A.ReadAsync(Memory<byte>.Empty, cancellationToken).AsTask();
        Task<ReadResult> pipeRead = pair.B.Input.ReadAsync(cancellationToken).AsTask();
        Assert.That((read.IsCompleted, pipeRead.IsCompleted, buffers.Outstanding), Is.EqualTo((false, false, 0)));

        await pair.A.WriteAsync(new byte[1], cancellationToken);
        await pipeRead;
        Assert.That(buffers.Outstanding, Is.EqualTo(1), "lent to the reader");
        pair.B.Input.AdvanceTo((await pipeRead).Buffer.End);
        Assert.That(buffers.Outstanding, Is.Zero);
        await pair.B.WriteAsync(new byte[1], cancellationToken);
        await read;
        await pair.A.ReadExactlyAsync(new byte[1], cancellationToken);

        // Who waits with a buffer makes the connection have one as well, of three frames for a small one.
        Task<int> small = pair.A.ReadAsync(new byte[10], cancellationToken).AsTask();
        Assert.That((small.IsCompleted, buffers.Outstanding), Is.EqualTo((false, 1)));
        await pair.B.WriteAsync(new byte[1], cancellationToken);
        await small;
        Assert.That(buffers.Outstanding, Is.Zero);
    }

    [Test]
    public async Task A_handshake_that_fails_keeps_no_buffer(CancellationToken cancellationToken)
    {
        Recording recording = Recording.Load("session-2");
        using PooledBuffers buffers = new();
        for (int length = 0; length < Recording.HandshakeBytes; length += 37)
        {
            await using ReplayStream cutOff = new(recording.Received.AsMemory(0, length));
            await Assert.ThrowsAsync<HandshakeException>(() => recording.ReplayAsync(cutOff, cancellationToken: cancellationToken));
            byte[] changed = [.. recording.Received];
            changed[length] ^= 0x40;
            await using ReplayStream damaged = new(changed);
            await Assert.ThrowsAsync<HandshakeException>(() => recording.ReplayAsync(damaged, cancellationToken: cancellationToken));
        }

        Assert.That(buffers.Rents, Is.GreaterThan(100));
        Assert.That(buffers.Outstanding, Is.Zero);
    }

    [Test, Repeat(20)]
    public async Task A_connection_that_closes_keeps_no_buffer([Values] Medium medium, CancellationToken cancellationToken)
    {
        using PooledBuffers buffers = new();
        ConnectionPair pair = await ConnectionPair.OverAsync(medium);
        Task<int> read = pair.A.ReadAsync(new byte[10], cancellationToken).AsTask();
        Task write = pair.A.WriteAsync(new byte[20_000_000], cancellationToken).AsTask();
        await pair.B.ReadExactlyAsync(new byte[100_001], cancellationToken);
        pair.B.Output.GetSpan()[0] = 1;
        pair.B.Output.Advance(1);
        await pair.B.Output.FlushAsync(cancellationToken);
        await read;
        read = pair.A.ReadAsync(new byte[10], cancellationToken).AsTask();

        await pair.A.DisposeAsync();
        await pair.B.DisposeAsync();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => read);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => write);
        Assert.That(buffers.Outstanding, Is.Zero);
    }
}
