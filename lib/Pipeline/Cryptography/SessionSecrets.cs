using System.Security.Cryptography;

namespace Pipeline.Cryptography;

/// <summary>
/// What both sides of a secret connection derive from their ephemeral keys: a key for each direction, and the challenge that each
/// signs with its node key (<c>docs/protocol.md</c>, the secret connection).
/// </summary>
internal sealed class SessionSecrets
{
    private SessionSecrets(byte[] receiveKey, byte[] sendKey, byte[] challenge)
    {
        ReceiveKey = receiveKey;
        SendKey = sendKey;
        Challenge = challenge;
    }

    public byte[] ReceiveKey { get; }

    public byte[] SendKey { get; }

    public byte[] Challenge { get; }

    public static SessionSecrets Derive(ReadOnlySpan<byte> sharedSecret, ReadOnlySpan<byte> localPublicKey, ReadOnlySpan<byte> remotePublicKey)
    {
        bool localIsLower = localPublicKey.SequenceCompareTo(remotePublicKey) < 0;
        (byte[] receiveKey, byte[] sendKey) = DeriveKeys(sharedSecret, localIsLower);

        MerlinTranscript transcript = new("TENDERMINT_SECRET_CONNECTION_TRANSCRIPT_HASH"u8);
        transcript.AppendMessage("EPHEMERAL_LOWER_PUBLIC_KEY"u8, localIsLower ? localPublicKey : remotePublicKey);
        transcript.AppendMessage("EPHEMERAL_UPPER_PUBLIC_KEY"u8, localIsLower ? remotePublicKey : localPublicKey);
        transcript.AppendMessage("DH_SECRET"u8, sharedSecret);
        byte[] challenge = new byte[32];
        transcript.ExtractBytes("SECRET_CONNECTION_MAC"u8, challenge);
        return new SessionSecrets(receiveKey, sendKey, challenge);
    }

    public static (byte[] ReceiveKey, byte[] SendKey) DeriveKeys(ReadOnlySpan<byte> sharedSecret, bool localIsLower)
    {
        // The last third is a challenge of an older version of the protocol; the length goes into the derivation all the same.
        Span<byte> okm = stackalloc byte[3 * AeadCipher.KeySize];
        HKDF.DeriveKey(HashAlgorithmName.SHA256, sharedSecret, okm, salt: [], info: "TENDERMINT_SECRET_CONNECTION_KEY_AND_CHALLENGE_GEN"u8);
        byte[] first = okm[..AeadCipher.KeySize].ToArray();
        byte[] second = okm.Slice(AeadCipher.KeySize, AeadCipher.KeySize).ToArray();
        CryptographicOperations.ZeroMemory(okm);
        return localIsLower ? (first, second) : (second, first);
    }
}
