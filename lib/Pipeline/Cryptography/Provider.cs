using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
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
/// <remarks>
/// By libsodium's own functions: the library's keys live in guarded memory, which for one that is used once and thrown away costs the system as much work as
/// the two multiplications, and all other threads their memory maps.
/// </remarks>
internal sealed class EphemeralKey : IDisposable
{
    public const int Size = 32;

    // Where the garbage collector does not make copies of it.
    private readonly byte[] _privateKey = GC.AllocateArray<byte>(Size, pinned: true);
    private bool _disposed;

    // Whatever of NSec is used first initialises libsodium.
    static EphemeralKey() => _ = KeyAgreementAlgorithm.X25519;

    private EphemeralKey(ReadOnlySpan<byte> privateKey)
    {
        privateKey.CopyTo(_privateKey);
        PublicKey = new byte[Size];
        if (crypto_scalarmult_curve25519_base(ref PublicKey[0], ref _privateKey[0]) != 0)
        {
            throw new CryptographicException("libsodium could not compute a public key.");
        }
    }

    public byte[] PublicKey { get; }

    public static EphemeralKey Create()
    {
        Span<byte> privateKey = stackalloc byte[Size];
        RandomNumberGenerator.Fill(privateKey);
        EphemeralKey key = new(privateKey);
        CryptographicOperations.ZeroMemory(privateKey);
        return key;
    }

    public static EphemeralKey FromPrivateKey(ReadOnlySpan<byte> privateKey) => privateKey.Length == Size
        ? new EphemeralKey(privateKey)
        : throw new ArgumentException($"A private key has {Size} bytes, not {privateKey.Length}.", nameof(privateKey));

    /// <summary>
    /// Computes the shared secret. False when it would be all zeros, as it is for a public key of low order: such a key makes
    /// the secret known to everyone.
    /// </summary>
    public bool TryAgree(ReadOnlySpan<byte> remotePublicKey, [NotNullWhen(true)] out byte[]? secret)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        secret = new byte[Size];
        if (remotePublicKey.Length == Size
            && crypto_scalarmult_curve25519(ref secret[0], ref _privateKey[0], ref MemoryMarshal.GetReference(remotePublicKey)) == 0
            && secret.AsSpan().ContainsAnyExcept((byte)0))
        {
            return true;
        }

        secret = null;
        return false;
    }

    public void Dispose()
    {
        _disposed = true;
        CryptographicOperations.ZeroMemory(_privateKey);
    }

    [DllImport("libsodium")]
    private static extern int crypto_scalarmult_curve25519(ref byte secret, ref byte privateKey, ref byte publicKey);

    [DllImport("libsodium")]
    private static extern int crypto_scalarmult_curve25519_base(ref byte publicKey, ref byte privateKey);
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
        catch (AuthenticationTagMismatchException)
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
