using System.IO.Pipelines;
using System.Security.Cryptography;
using Pipeline.Cryptography;
using Pipeline.Testing;
using Pipeline.Tests.Support;
using Pipeline.Transport;

namespace Pipeline.Tests.Transport;

/// <summary>The receiving direction alone, fed with frames that a remote must not send.</summary>
[CancelAfter(60_000)]
public sealed class FrameReaderTests
{
    private readonly byte[] _key = RandomNumberGenerator.GetBytes(AeadCipher.KeySize);

    [Test]
    public async Task A_frame_with_a_flipped_bit_anywhere_is_refused(CancellationToken cancellationToken)
    {
        byte[] frame = Frames.Seal(Cipher(), RandomNumberGenerator.GetBytes(1000));
        for (int bit = 0; bit < 8 * FrameCipher.SealedSize; bit++)
        {
            byte[] changed = [.. frame];
            changed[bit / 8] ^= (byte)(1 << (bit % 8));
            using FrameReader reader = new(new MemoryStream(changed), Cipher());
            SecretConnectionException? e = await Assert.ThrowsAsync<SecretConnectionException>(() => reader.ReadAsync(cancellationToken).AsTask());
            Assert.That(e!.Fault, Is.EqualTo(SecretConnectionFault.FrameNotAuthentic));
            Assert.That(e.Message, Does.Contain("not sealed by the remote, or was changed, repeated, reordered or left out"));
        }
    }

    [Test]
    public async Task A_frame_that_is_cut_off_anywhere_is_refused(CancellationToken cancellationToken)
    {
        byte[] first = Frames.Seal(Cipher(), [7]);
        byte[] second = Frames.Seal(Cipher(counter: 1), [8]);
        for (int length = 1; length < FrameCipher.SealedSize; length++)
        {
            await RefusesAsync(
                [.. first, .. second.AsSpan(0, length)],
                [7],
                SecretConnectionFault.TruncatedFrame,
                $"ended after {length} of the 1044 bytes of a frame",
                cancellationToken);
        }
    }

    [Test]
    public async Task A_cancelled_read_does_not_hide_that_the_last_frame_is_cut_off(CancellationToken cancellationToken)
    {
        using FrameReader reader = new(new MemoryStream([.. Frames.Seal(Cipher(), [7]), 1, 2, 3]), Cipher());
        ReadResult result = await reader.ReadAsync(cancellationToken);
        reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
        await Assert.ThrowsAsync<SecretConnectionException>(() => reader.ReadAsync(cancellationToken).AsTask());

        reader.CancelPendingRead();
        result = await reader.ReadAsync(cancellationToken);

        Assert.That((result.IsCanceled, result.IsCompleted, result.Buffer.Length), Is.EqualTo((true, false, 1L)));
    }

    [TestCase("repeated", new[] { 0, 1, 1 }, 2)]
    [TestCase("repeated later", new[] { 0, 1, 0 }, 2)]
    [TestCase("reordered", new[] { 1, 0 }, 0)]
    [TestCase("left out", new[] { 0, 2 }, 1)]
    public async Task Frames_out_of_their_order_are_refused(string what, int[] order, int good, CancellationToken cancellationToken)
    {
        byte[][] frames = [.. Enumerable.Range(0, 3).Select(i => Frames.Seal(Cipher((ulong)i), [(byte)i]))];

        await RefusesAsync(
            [.. order.SelectMany(i => frames[i])],
            [.. order[..good].Select(i => (byte)i)],
            SecretConnectionFault.FrameNotAuthentic,
            what.Split(' ')[0],
            cancellationToken);
    }

    [TestCase(1025u)]
    [TestCase(0x7fffffffu)]
    [TestCase(uint.MaxValue)]
    public async Task A_length_over_1024_is_refused(uint length, CancellationToken cancellationToken) =>
        await RefusesAsync(
            [.. Frames.Seal(Cipher(), [5, 6]), .. Frames.Seal(Cipher(counter: 1), [7], length)],
            [5, 6],
            SecretConnectionFault.InvalidFrameLength,
            $"says that it holds {length} bytes; the most is 1024",
            cancellationToken);

    [Test]
    public async Task A_frame_after_the_last_nonce_is_refused(CancellationToken cancellationToken) =>
        await RefusesAsync(
            [.. Frames.Seal(Cipher(ulong.MaxValue - 1), [5]), .. Frames.Seal(Cipher(), [6])],
            [5],
            SecretConnectionFault.NoncesExhausted,
            "Every nonce of this connection has been used; it must end.",
            cancellationToken,
            counter: ulong.MaxValue - 1);

    [Test]
    public async Task Frames_of_any_legal_length_are_read_also_empty_ones(CancellationToken cancellationToken)
    {
        Random random = new(1);
        FrameCipher cipher = Cipher();
        using MemoryStream expected = new();
        using MemoryStream stream = new();
        foreach (int length in Enumerable.Range(0, 400).Select(i => i % 3 == 0 ? 0 : i % 7 == 0 ? 1024 : random.Next(1025)))
        {
            byte[] data = RandomNumberGenerator.GetBytes(length);
            expected.Write(data);
            stream.Write(Frames.Seal(cipher, data));
        }

        foreach (Func<int> splits in new[] { Splits.None, Splits.OneByte, Splits.Random(2) })
        {
            using FrameReader reader = new(new ReplayStream(stream.ToArray(), splits), Cipher());
            using MemoryStream read = new();
            await reader.CopyToAsync(read, cancellationToken);
            Assert.That(read.ToArray(), Is.EqualTo(expected.ToArray()));
        }
    }

    [Test]
    public async Task An_empty_frame_brings_nothing_to_look_at(CancellationToken cancellationToken)
    {
        (MemoryDuplex remote, MemoryDuplex local) = MemoryDuplex.CreatePair();
        using FrameReader reader = new(local, Cipher());
        FrameCipher cipher = Cipher();
        await remote.WriteAsync(Frames.Seal(cipher, [1]), cancellationToken);
        ReadResult first = await reader.ReadAsync(cancellationToken);
        reader.AdvanceTo(first.Buffer.Start, first.Buffer.End);

        Task<ReadResult> second = reader.ReadAsync(cancellationToken).AsTask();
        await remote.WriteAsync(Frames.Seal(cipher, []), cancellationToken);
        await remote.DrainAsync(cancellationToken);
        await remote.WriteAsync(Frames.Seal(cipher, [2]), cancellationToken);

        Assert.That((await second).Buffer.FirstSpan.ToArray(), Is.EqualTo(new byte[] { 1, 2 }));
    }

    private FrameCipher Cipher(ulong counter = 0) => new(_key, counter);

    private async Task RefusesAsync(
        byte[] sealedBytes,
        byte[] goodData,
        SecretConnectionFault fault,
        string reason,
        CancellationToken cancellationToken,
        ulong counter = 0)
    {
        using FrameReader reader = new(new MemoryStream(sealedBytes), Cipher(counter));
        byte[] read = new byte[goodData.Length];
        for (int at = 0; at < read.Length;)
        {
            at += await reader.ReadAsync(read.AsMemory(at), cancellationToken);
        }

        Assert.That(read, Is.EqualTo(goodData));

        // The fault stays, whichever way one reads.
        Check(await Assert.CatchAsync(async () => await reader.ReadAsync(new byte[1], cancellationToken)));
        Check(await Assert.CatchAsync(async () => await reader.ReadAsync(cancellationToken)));
        Check(Assert.Catch(() => reader.Read(new byte[1])));
        Check(Assert.Catch(() => reader.TryRead(out _)));

        void Check(Exception? e)
        {
            Assert.That(e, Is.TypeOf<SecretConnectionException>().With.Property(nameof(SecretConnectionException.Fault)).EqualTo(fault));
            Assert.That(e!.Message, Does.Contain(reason));
        }
    }
}
