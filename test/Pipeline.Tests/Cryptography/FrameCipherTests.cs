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
    public void Each_implementation_opens_what_any_other_sealed()
    {
        byte[] open = RandomNumberGenerator.GetBytes(FrameCipher.OpenSize);
        byte[] sealedFrame = new byte[FrameCipher.SealedSize];
        byte[] opened = new byte[FrameCipher.OpenSize];
        foreach (Func<byte[], AeadCipher> sealing in AeadCiphers.OfThisPlatform)
        {
            foreach (Func<byte[], AeadCipher> opening in AeadCiphers.OfThisPlatform)
            {
                using FrameCipher sender = new(sealing(_key));
                using FrameCipher receiver = new(opening(_key));
                for (int i = 0; i < 3; i++)
                {
                    sender.Seal(open, sealedFrame);
                    Assert.That(receiver.TryOpen(sealedFrame, opened), Is.True);
                    Assert.That(opened, Is.EqualTo(open));
                }
            }
        }
    }

    [Test]
    public void A_frame_that_was_changed_leaves_nothing_to_read_and_harms_no_other_frame()
    {
        byte[] open = RandomNumberGenerator.GetBytes(FrameCipher.OpenSize);
        byte[] changed = new byte[FrameCipher.SealedSize];
        byte[] opened = new byte[FrameCipher.OpenSize];
        foreach (Func<byte[], AeadCipher> make in AeadCiphers.OfThisPlatform)
        {
            using AeadCipher cipher = make(_key);
            byte[] nonce = new byte[AeadCipher.NonceSize];
            cipher.Encrypt(nonce, open, changed, []);
            changed[^1] ^= 1;
            open.CopyTo(opened, 0);
            Assert.That(cipher.TryDecrypt(nonce, changed, opened, []), Is.False);
            Assert.That(opened, Is.Not.EqualTo(open).And.All.EqualTo(0));
            changed[^1] ^= 1;
            Assert.That(cipher.TryDecrypt(nonce, changed, opened, []), Is.True);
            Assert.That(opened, Is.EqualTo(open));
        }
    }

    [Test]
    public void A_cipher_that_was_disposed_of_is_refused()
    {
        foreach (Func<byte[], AeadCipher> make in AeadCiphers.OfThisPlatform)
        {
            AeadCipher cipher = make(_key);
            cipher.Dispose();
            Assert.That(
                () => cipher.Encrypt(new byte[AeadCipher.NonceSize], new byte[1], new byte[1 + AeadCipher.TagSize], []),
                Throws.TypeOf<ObjectDisposedException>());
        }
    }

    [Test]
    public void Openssl_is_used_where_it_is_there()
    {
        Assume.That(OpenSslAead.IsSupported, "The platform has no OpenSSL 3.");
        using AeadCipher cipher = AeadCipher.Create(_key);
        Assert.That(cipher, Is.TypeOf<OpenSslAead>());
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
