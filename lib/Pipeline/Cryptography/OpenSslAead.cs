using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Pipeline.Cryptography;

/// <summary>
/// ChaCha20-Poly1305 of the OpenSSL that the framework uses on Linux, called without the framework in between: its class does the same in half
/// as much time again.
/// </summary>
/// <remarks>
/// Source: OpenSSL's manual, EVP_EncryptInit(3). All of these functions are in every OpenSSL 3 with these signatures, which the library's name stands for; where
/// it is not there, or does not compute what RFC 8439 says, <see cref="IsSupported"/> is false.
/// </remarks>
internal sealed class OpenSslAead : AeadCipher
{
    private const string Library = "libcrypto.so.3";

    // EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG.
    private const int GetTag = 0x10;
    private const int SetTag = 0x11;

    // Looked up once: to name the algorithm for each context would make OpenSSL search for it every time.
    private static nint _algorithm;

    private readonly Context _context;

    // A context is for one direction at a time, until it is given the key again. A cipher of a connection has one direction. The key is where the garbage
    // collector does not make copies of it.
    private readonly byte[] _key = GC.AllocateArray<byte>(KeySize, pinned: true);
    private int _direction = -1;

    public OpenSslAead(ReadOnlySpan<byte> key)
    {
        if (key.Length != KeySize)
        {
            throw new ArgumentException($"A key has {KeySize} bytes, not {key.Length}.", nameof(key));
        }

        key.CopyTo(_key);
        _context = new Context();
    }

    /// <summary>Whether this process can use it.</summary>
    public static bool IsSupported { get; } = OperatingSystem.IsLinux() && System.Security.Cryptography.ChaCha20Poly1305.IsSupported && CanBeTrusted();

    public override void Encrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> plaintext, Span<byte> ciphertext, ReadOnlySpan<byte> associatedData)
    {
        Check(nonce, plaintext, ciphertext);
        using Use use = Begin(encrypt: 1, nonce);
        bool done = Process(use.Context, plaintext, ciphertext, associatedData)
            && EVP_CIPHER_CTX_ctrl(use.Context, GetTag, TagSize, ref MemoryMarshal.GetReference(ciphertext[plaintext.Length..])) == 1;
        if (!done)
        {
            throw Failure();
        }
    }

    public override bool TryDecrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> ciphertext, Span<byte> plaintext, ReadOnlySpan<byte> associatedData)
    {
        Check(nonce, plaintext, ciphertext);
        using Use use = Begin(encrypt: 0, nonce);
        Span<byte> tag = stackalloc byte[TagSize];
        ciphertext[plaintext.Length..].CopyTo(tag);
        if (EVP_CIPHER_CTX_ctrl(use.Context, SetTag, TagSize, ref MemoryMarshal.GetReference(tag)) != 1)
        {
            throw Failure();
        }

        if (Process(use.Context, ciphertext[..plaintext.Length], plaintext, associatedData))
        {
            return true;
        }

        // It decrypts before it knows whether it should, and keeps a list of its errors for each thread.
        CryptographicOperations.ZeroMemory(plaintext);
        ERR_clear_error();
        return false;
    }

    public override void Dispose()
    {
        _context.Dispose();
        CryptographicOperations.ZeroMemory(_key);
    }

    private static void Check(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> plaintext, ReadOnlySpan<byte> ciphertext)
    {
        // OpenSSL takes pointers at their word.
        if (nonce.Length != NonceSize || ciphertext.Length != plaintext.Length + TagSize)
        {
            throw new ArgumentException(
                $"A nonce has {NonceSize} bytes and a ciphertext {TagSize} more than its plaintext; these have {nonce.Length}, {ciphertext.Length} and {plaintext.Length}.");
        }
    }

    private static bool Process(nint context, ReadOnlySpan<byte> input, Span<byte> output, ReadOnlySpan<byte> associatedData)
    {
        // Associated data is what comes without a place for output.
        return (associatedData.IsEmpty || Update(context, [], associatedData))
            && (input.IsEmpty || Update(context, output, input))
            && EVP_CipherFinal_ex(context, ref MemoryMarshal.GetReference(output), out _) == 1;
    }

    private static bool Update(nint context, Span<byte> output, ReadOnlySpan<byte> input) => EVP_CipherUpdate(
        context,
        ref MemoryMarshal.GetReference(output),
        out _,
        ref MemoryMarshal.GetReference(input),
        input.Length) == 1;

    private static bool CanLoad() =>
        NativeLibrary.TryLoad(Library, typeof(OpenSslAead).Assembly, searchPath: null, out nint library)
        && new[]
        {
            nameof(EVP_CIPHER_fetch),
            nameof(EVP_CIPHER_CTX_new),
            nameof(EVP_CIPHER_CTX_free),
            nameof(EVP_CipherInit_ex),
            nameof(EVP_CipherUpdate),
            nameof(EVP_CipherFinal_ex),
            nameof(EVP_CIPHER_CTX_ctrl),
            nameof(ERR_clear_error),
        }.All(name => NativeLibrary.TryGetExport(library, name, out _))
        && (_algorithm = EVP_CIPHER_fetch(0, "ChaCha20-Poly1305", 0)) != 0;

    // The framework has loaded and prepared OpenSSL by now. Whatever goes wrong, this is then not for us.
    private static bool CanBeTrusted()
    {
        try
        {
            return CanLoad() && ComputesWhatItShould();
        }
        catch (Exception)
        {
            return false;
        }
    }

    // A frame, against the framework.
    private static bool ComputesWhatItShould()
    {
        byte[] key = [.. Enumerable.Range(0, KeySize).Select(i => (byte)i)];
        byte[] nonce = [.. Enumerable.Range(0, NonceSize).Select(i => (byte)(i + 1))];
        byte[] plaintext = [.. Enumerable.Range(0, FrameCipher.OpenSize).Select(i => (byte)(3 * i))];
        byte[] expected = new byte[FrameCipher.SealedSize];
        byte[] actual = new byte[FrameCipher.SealedSize];
        byte[] opened = new byte[FrameCipher.OpenSize];
        using AeadCipher framework = new FrameworkAead(key);
        using AeadCipher own = new OpenSslAead(key);
        framework.Encrypt(nonce, plaintext, expected, []);
        own.Encrypt(nonce, plaintext, actual, []);
        bool same = actual.AsSpan().SequenceEqual(expected)
            && own.TryDecrypt(nonce, actual, opened, [])
            && opened.AsSpan().SequenceEqual(plaintext);
        actual[0] ^= 1;
        return same && !own.TryDecrypt(nonce, actual, opened, []);
    }

    private static CryptographicException Failure()
    {
        ERR_clear_error();
        return new CryptographicException("OpenSSL could not seal or open a frame.");
    }

    // The nonce alone, where the direction is the one before: that is what makes it cheap.
    private Use Begin(int encrypt, ReadOnlySpan<byte> nonce)
    {
        Use use = new(_context);
        bool isNew = _direction != encrypt;
        int done = isNew
            ? EVP_CipherInit_ex(
                use.Context,
                _algorithm,
                0,
                ref MemoryMarshal.GetArrayDataReference(_key),
                ref MemoryMarshal.GetReference(nonce),
                encrypt)
            : EVP_CipherInit_ex(use.Context, 0, 0, ref MemoryMarshal.GetReference<byte>([]), ref MemoryMarshal.GetReference(nonce), encrypt);
        if (done != 1)
        {
            _direction = -1;
            use.Dispose();
            throw Failure();
        }

        _direction = encrypt;
        return use;
    }

    /// <summary>Keeps the context while native code has it, once for all calls of a frame.</summary>
    private readonly ref struct Use : IDisposable
    {
        private readonly Context _context;

        public Use(Context context)
        {
            bool isHeld = false;
            context.DangerousAddRef(ref isHeld);
            _context = context;
        }

        public nint Context => _context.DangerousGetHandle();

        public void Dispose() => _context.DangerousRelease();
    }

    private sealed class Context : SafeHandle
    {
        public Context()
            : base(invalidHandleValue: 0, ownsHandle: true)
        {
            SetHandle(EVP_CIPHER_CTX_new());
            if (IsInvalid)
            {
                throw new CryptographicException("OpenSSL could not make a cipher.");
            }
        }

        public override bool IsInvalid => handle == 0;

        protected override bool ReleaseHandle()
        {
            EVP_CIPHER_CTX_free(handle);
            return true;
        }
    }

    [DllImport(Library, CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    private static extern nint EVP_CIPHER_fetch(nint context, string algorithm, nint properties);

    [DllImport(Library)]
    private static extern nint EVP_CIPHER_CTX_new();

    [DllImport(Library)]
    private static extern void EVP_CIPHER_CTX_free(nint context);

    [DllImport(Library)]
    private static extern int EVP_CipherInit_ex(nint context, nint type, nint engine, ref byte key, ref byte nonce, int encrypt);

    // These take less than a microsecond for a frame and wait for nothing, so the runtime need not be told that the thread is away.
    [DllImport(Library)]
    [SuppressGCTransition]
    private static extern int EVP_CipherUpdate(nint context, ref byte output, out int outputLength, ref byte input, int inputLength);

    [DllImport(Library)]
    [SuppressGCTransition]
    private static extern int EVP_CipherFinal_ex(nint context, ref byte output, out int outputLength);

    [DllImport(Library)]
    [SuppressGCTransition]
    private static extern int EVP_CIPHER_CTX_ctrl(nint context, int type, int argument, ref byte pointer);

    [DllImport(Library)]
    private static extern void ERR_clear_error();
}
