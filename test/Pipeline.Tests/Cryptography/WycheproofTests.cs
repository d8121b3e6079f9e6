using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Tests.Support;

namespace Pipeline.Tests.Cryptography;

/// <summary>The vectors of the project Wycheproof, through the seam behind which the cryptographic libraries are.</summary>
public sealed class WycheproofTests
{
    private const string ZeroSecret = "0000000000000000000000000000000000000000000000000000000000000000";

    // All groups of the file apply. What it calls acceptable is accepted, except where the result is all zeros.
    [Test]
    public void X25519_agrees_with_every_vector_and_refuses_every_secret_of_zeros()
    {
        int agreed = 0;
        int refused = 0;
        foreach (JsonElement test in Groups("x25519").SelectMany(group => Tests(group)))
        {
            using EphemeralKey key = EphemeralKey.FromPrivateKey(test.Hex("private"));
            bool accepted = key.TryAgree(test.Hex("public"), out byte[]? secret);
            if (test.Text("shared") == ZeroSecret)
            {
                Assert.That(accepted, Is.False, Name(test));
                refused++;
            }
            else
            {
                Assert.That(accepted, Is.True, Name(test));
                Assert.That(Convert.ToHexStringLower(secret!), Is.EqualTo(test.Text("shared")), Name(test));
                agreed++;
            }
        }

        Assert.That((agreed, refused), Is.EqualTo((487, 31)));
    }

    // All groups of the file apply.
    [Test]
    public void Ed25519_accepts_the_valid_and_refuses_the_invalid_signatures()
    {
        int valid = 0;
        int invalid = 0;
        foreach (JsonElement group in Groups("ed25519"))
        {
            PublicKey key = new(group.GetProperty("publicKey").Hex("pk"));
            foreach (JsonElement test in Tests(group))
            {
                bool expected = test.Text("result") == "valid";
                Assert.That(key.Verify(test.Hex("msg"), test.Hex("sig")), Is.EqualTo(expected), Name(test));
                _ = expected ? valid++ : invalid++;
            }
        }

        Assert.That((valid, invalid), Is.EqualTo((88, 63)));
    }

    // Of the file's ten groups one applies: the others have nonces of other lengths than the 96 bits that the protocol uses, to show
    // that a library refuses them; the seam has no way to pass one.
    [Test]
    public void ChaCha20Poly1305_seals_and_opens_as_every_vector_says([Values(0, 1, 2)] int implementation)
    {
        Assume.That(implementation, Is.LessThan(AeadCiphers.OfThisPlatform.Count), "The platform has fewer implementations.");
        JsonElement[] groups = [.. Groups("chacha20_poly1305")];
        JsonElement[] applicable = [.. groups.Where(group => group.GetProperty("ivSize").GetInt32() == 8 * AeadCipher.NonceSize)];
        Assert.That((groups.Length, applicable.Length), Is.EqualTo((10, 1)));
        Assert.That(applicable[0].GetProperty("keySize").GetInt32(), Is.EqualTo(8 * AeadCipher.KeySize));
        Assert.That(applicable[0].GetProperty("tagSize").GetInt32(), Is.EqualTo(8 * AeadCipher.TagSize));

        int valid = 0;
        int invalid = 0;
        foreach (JsonElement test in Tests(applicable[0]))
        {
            using AeadCipher cipher = AeadCiphers.OfThisPlatform[implementation](test.Hex("key"));
            byte[] nonce = test.Hex("iv");
            byte[] message = test.Hex("msg");
            byte[] associatedData = test.Hex("aad");
            byte[] expected = [.. test.Hex("ct"), .. test.Hex("tag")];
            byte[] opened = new byte[message.Length];
            Array.Fill(opened, (byte)0xaa);
            bool authentic = cipher.TryDecrypt(nonce, expected, opened, associatedData);
            if (test.Text("result") == "valid")
            {
                byte[] ciphertext = new byte[expected.Length];
                cipher.Encrypt(nonce, message, ciphertext, associatedData);
                Assert.That(ciphertext, Is.EqualTo(expected), Name(test));
                Assert.That(authentic, Is.True, Name(test));
                Assert.That(opened, Is.EqualTo(message), Name(test));
                valid++;
            }
            else
            {
                Assert.That(authentic, Is.False, Name(test));
                Assert.That(opened, message.Length > 0 ? Is.Not.EqualTo(message) : Is.Empty, Name(test));
                invalid++;
            }
        }

        Assert.That((valid, invalid), Is.EqualTo((256, 60)));
    }

    private static JsonElement.ArrayEnumerator Groups(string algorithm) =>
        TestData.Json($"wycheproof/{algorithm}_test.json").GetProperty("testGroups").EnumerateArray();

    private static JsonElement.ArrayEnumerator Tests(JsonElement group) => group.GetProperty("tests").EnumerateArray();

    private static string Name(JsonElement test) => $"{test.GetProperty("tcId")}: {test.Text("comment")}";
}
