using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Pipeline.Cryptography;

/// <summary>
/// Seals, or opens, the frames of one direction of a secret connection, in order: each has its number as nonce. Not safe for
/// concurrent use.
/// </summary>
internal sealed class FrameCipher : IDisposable
{
    /// <summary>The most bytes of data in a frame.</summary>
    public const int MaxDataSize = 1024;

    /// <summary>The bytes before the data: its length, little-endian.</summary>
    public const int HeaderSize = 4;

    /// <summary>The bytes of an open frame, padding included.</summary>
    public const int OpenSize = HeaderSize + MaxDataSize;

    /// <summary>The bytes of a sealed frame.</summary>
    public const int SealedSize = OpenSize + AeadCipher.TagSize;

    // Invariant: _counter is the number of frames done so far and never wraps: ulong.MaxValue itself is not used as a nonce.
    private readonly AeadCipher _cipher;
    private ulong _counter;

    public FrameCipher(ReadOnlySpan<byte> key, ulong counter = 0)
        : this(AeadCipher.Create(key), counter)
    {
    }

    internal FrameCipher(AeadCipher cipher, ulong counter = 0)
    {
        _cipher = cipher;
        _counter = counter;
    }

    /// <summary>Whether every nonce has been used, so that the connection has to end.</summary>
    public bool IsExhausted => _counter == ulong.MaxValue;

    /// <summary>Seals <see cref="OpenSize"/> bytes, whose header and padding the caller has written, into <see cref="SealedSize"/> bytes.</summary>
    /// <exception cref="CryptographicException">Every nonce has been used.</exception>
    public void Seal(ReadOnlySpan<byte> open, Span<byte> sealedFrame)
    {
        Span<byte> nonce = stackalloc byte[AeadCipher.NonceSize];
        TakeNonce(nonce);
        _cipher.Encrypt(nonce, open, sealedFrame, associatedData: []);
    }

    /// <summary>Opens <see cref="SealedSize"/> bytes into <see cref="OpenSize"/> bytes; false when they are not the next frame of the remote.</summary>
    /// <exception cref="CryptographicException">Every nonce has been used.</exception>
    public bool TryOpen(ReadOnlySpan<byte> sealedFrame, Span<byte> open)
    {
        Span<byte> nonce = stackalloc byte[AeadCipher.NonceSize];
        TakeNonce(nonce);
        return _cipher.TryDecrypt(nonce, sealedFrame, open, associatedData: []);
    }

    public void Dispose() => _cipher.Dispose();

    private void TakeNonce(Span<byte> nonce)
    {
        if (IsExhausted)
        {
            throw new CryptographicException("Every nonce of this connection has been used; it must end.");
        }

        nonce.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(nonce[4..], _counter++);
    }
}
