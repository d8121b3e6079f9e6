using System.Diagnostics.CodeAnalysis;
using NSec.Cryptography;
using FrameworkCipher = System.Security.Cryptography.ChaCha20Poly1305;
using SodiumKey = NSec.Cryptography.Key;
using SodiumPublicKey = NSec.Cryptography.PublicKey;

namespace Pipeline.Cryptography;

/// <summary>
/// The seam to the cryptographic libraries, in one file so that another can take their place: Ed25519 and X25519 from libsodium
/// by NSec, ChaCha20-Poly1305 from the framework where the platform has it and from libsodium elsewhere; on Linux the framework's
/// own source of it is called directly, see <see cref="OpenSslAead"/>.
/// </summary>
internal static class Provider
{
    /// <summary>Whether <paramref name="signature"/> is the Ed25519 signature of the key's owner over <paramref name="message"/> (RFC 8032).</summary>
    public static bool Verify(ReadOnlySpan<byte> publicKey, ReadOnlySpan<byte> message, ReadOnlySpan<byte> signature) =>
        signature.Length == SignatureAlgorithm.Ed25519.SignatureSize
        && SodiumPublicKey.TryImport(SignatureAlgorithm.Ed25519, publicKey, KeyBlobFormat.RawPublicKey, out SodiumPublicKey? key)
        && key is not null
        && SignatureAlgorithm.Ed25519.Verify(key, message, signature);
}

/// <summary>An Ed25519 private key in libsodium's guarded memory.</summary>
internal sealed class SigningKey : IDisposable
{
    private readonly SodiumKey _key;

    private SigningKey(SodiumKey key) => _key = key;

    public PublicKey PublicKey => new(_key.PublicKey.Export(KeyBlobFormat.RawPublicKey));

    public static SigningKey Create() => new(SodiumKey.Create(SignatureAlgorithm.Ed25519, Exportable));

    public static SigningKey FromSeed(ReadOnlySpan<byte> seed) =>
        new(SodiumKey.Import(SignatureAlgorithm.Ed25519, seed, KeyBlobFormat.RawPrivateKey, Exportable));

    public byte[] ExportSeed() => _key.Export(KeyBlobFormat.RawPrivateKey);

    public byte[] Sign(ReadOnlySpan<byte> message) => SignatureAlgorithm.Ed25519.Sign(_key, message);

    public void Dispose() => _key.Dispose();

    // The node key file holds the seed in plain text.
    private static KeyCreationParameters Exportable => new() { ExportPolicy = KeyExportPolicies.AllowPlaintextExport };
}

/// <summary>An X25519 key pair for one handshake (RFC 7748).</summary>
internal sealed class EphemeralKey : IDisposable
{
    public const int Size = 32;

    private readonly SodiumKey _key;

    private EphemeralKey(SodiumKey key)
    {
        _key = key;
        PublicKey = key.PublicKey.Export(KeyBlobFormat.RawPublicKey);
    }

    public byte[] PublicKey { get; }

    public static EphemeralKey Create() => new(SodiumKey.Create(KeyAgreementAlgorithm.X25519));

    public static EphemeralKey FromPrivateKey(ReadOnlySpan<byte> privateKey) =>
        new(SodiumKey.Import(KeyAgreementAlgorithm.X25519, privateKey, KeyBlobFormat.RawPrivateKey));

    /// <summary>
    /// Computes the shared secret. False when it would be all zeros, as it is for a public key of low order: such a key makes
    /// the secret known to everyone.
    /// </summary>
    public bool TryAgree(ReadOnlySpan<byte> remotePublicKey, [NotNullWhen(true)] out byte[]? secret)
    {
        secret = null;
        if (!SodiumPublicKey.TryImport(KeyAgreementAlgorithm.X25519, remotePublicKey, KeyBlobFormat.RawPublicKey, out SodiumPublicKey? remote)
            || remote is null)
        {
            return false;
        }

        using SharedSecret? shared = KeyAgreementAlgorithm.X25519.Agree(
            _key,
            remote,
            new SharedSecretCreationParameters { ExportPolicy = KeyExportPolicies.AllowPlaintextArchiving });
        secret = shared?.Export(SharedSecretBlobFormat.RawSharedSecret);
        return secret is not null;
    }

    public void Dispose() => _key.Dispose();
}

/// <summary>ChaCha20-Poly1305 (RFC 8439) with one key. Not safe for concurrent use.</summary>
internal abstract class AeadCipher : IDisposable
{
    public const int KeySize = 32;
    public const int NonceSize = 12;
    public const int TagSize = 16;

    /// <summary>The fastest implementation that this platform has.</summary>
    public static AeadCipher Create(ReadOnlySpan<byte> key) =>
        OpenSslAead.IsSupported ? new OpenSslAead(key)
        : FrameworkCipher.IsSupported ? new FrameworkAead(key)
        : new SodiumAead(key);

    /// <summary>Encrypts; <paramref name="ciphertext"/> is <see cref="TagSize"/> bytes longer than <paramref name="plaintext"/>, the tag at its end.</summary>
    public abstract void Encrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> plaintext, Span<byte> ciphertext, ReadOnlySpan<byte> associatedData);

    /// <summary>Decrypts what <see cref="Encrypt"/> made; false, and nothing readable in <paramref name="plaintext"/>, when it was changed.</summary>
    public abstract bool TryDecrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> ciphertext, Span<byte> plaintext, ReadOnlySpan<byte> associatedData);

    public abstract void Dispose();
}

/// <summary>The framework's cipher: OpenSSL, CNG or CryptoKit.</summary>
internal sealed class FrameworkAead(ReadOnlySpan<byte> key) : AeadCipher
{
    private readonly FrameworkCipher _cipher = new(key);

    public override void Encrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> plaintext, Span<byte> ciphertext, ReadOnlySpan<byte> associatedData) =>
        _cipher.Encrypt(nonce, plaintext, ciphertext[..^TagSize], ciphertext[^TagSize..], associatedData);

    public override bool TryDecrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> ciphertext, Span<byte> plaintext, ReadOnlySpan<byte> associatedData)
    {
        try
        {
            _cipher.Decrypt(nonce, ciphertext[..^TagSize], ciphertext[^TagSize..], plaintext, associatedData);
            return true;
        }
        catch (System.Security.Cryptography.AuthenticationTagMismatchException)
        {
            return false;
        }
    }

    public override void Dispose() => _cipher.Dispose();
}

/// <summary>libsodium's cipher.</summary>
internal sealed class SodiumAead(ReadOnlySpan<byte> key) : AeadCipher
{
    private readonly SodiumKey _key = SodiumKey.Import(AeadAlgorithm.ChaCha20Poly1305, key, KeyBlobFormat.RawSymmetricKey);

    public override void Encrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> plaintext, Span<byte> ciphertext, ReadOnlySpan<byte> associatedData) =>
        AeadAlgorithm.ChaCha20Poly1305.Encrypt(_key, nonce, associatedData, plaintext, ciphertext);

    public override bool TryDecrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> ciphertext, Span<byte> plaintext, ReadOnlySpan<byte> associatedData) =>
        AeadAlgorithm.ChaCha20Poly1305.Decrypt(_key, nonce, associatedData, ciphertext, plaintext);

    public override void Dispose() => _key.Dispose();
}
