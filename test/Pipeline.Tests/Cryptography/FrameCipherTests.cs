using System.Security.Cryptography;
using Pipeline.Cryptography;

namespace Pipeline.Tests.Cryptography;

public sealed class FrameCipherTests
{
    private readonly byte[] _key = RandomNumberGenerator.GetBytes(AeadCipher.KeySize);

    [Test]
    public void The_nonce_is_four_zero_bytes_and_the_number_of_the_frame_little_endian()
    {
        byte[] open = RandomNumberGenerator.GetBytes(FrameCipher.OpenSize);
        byte[] sealedFrame = new byte[FrameCipher.SealedSize];
        byte[] expected = new byte[FrameCipher.SealedSize];
        using FrameCipher cipher = new(_key, counter: 0x0102030405060708);
        using AeadCipher plain = AeadCipher.Create(_key);
        foreach (byte first in new byte[] { 8, 9, 10 })
        {
            cipher.Seal(open, sealedFrame);
            plain.Encrypt([0, 0, 0, 0, first, 7, 6, 5, 4, 3, 2, 1], open, expected, []);
            Assert.That(sealedFrame, Is.EqualTo(expected));
        }
    }

    [Test]
    public void Both_implementations_open_what_the_other_sealed()
    {
        Assume.That(ChaCha20Poly1305.IsSupported, "The platform has no ChaCha20-Poly1305 of its own.");
        byte[] open = RandomNumberGenerator.GetBytes(FrameCipher.OpenSize);
        byte[] sealedFrame = new byte[FrameCipher.SealedSize];
        byte[] opened = new byte[FrameCipher.OpenSize];
        using FrameCipher framework = new(new FrameworkAead(_key));
        using FrameCipher sodium = new(new SodiumAead(_key));

        framework.Seal(open, sealedFrame);
        Assert.That(sodium.TryOpen(sealedFrame, opened), Is.True);
        Assert.That(opened, Is.EqualTo(open));
        sodium.Seal(open, sealedFrame);
        Assert.That(framework.TryOpen(sealedFrame, opened), Is.True);
        Assert.That(opened, Is.EqualTo(open));
    }

    [Test]
    public void A_counter_never_wraps_and_its_last_value_is_never_used()
    {
        byte[] open = new byte[FrameCipher.OpenSize];
        byte[] sealedFrame = new byte[FrameCipher.SealedSize];
        using FrameCipher sending = new(_key, ulong.MaxValue - 2);
        using FrameCipher receiving = new(_key, ulong.MaxValue - 2);
        for (int i = 0; i < 2; i++)
        {
            Assert.That((sending.IsExhausted, receiving.IsExhausted), Is.EqualTo((false, false)));
            sending.Seal(open, sealedFrame);
            Assert.That(receiving.TryOpen(sealedFrame, open), Is.True);
        }

        Assert.That((sending.IsExhausted, receiving.IsExhausted), Is.EqualTo((true, true)));
        Assert.That(() => sending.Seal(open, sealedFrame), Throws.TypeOf<CryptographicException>());
        Assert.That(() => receiving.TryOpen(sealedFrame, open), Throws.TypeOf<CryptographicException>());
    }
}
