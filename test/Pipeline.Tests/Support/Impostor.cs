using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Pipeline.Cryptography;
using Pipeline.Wire;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Tests.Support;

/// <summary>A remote that knows the protocol well enough to break it at any step.</summary>
internal sealed class Impostor(Stream stream) : IDisposable
{
    private readonly EphemeralKey _ephemeral = EphemeralKey.Create();
    private FrameCipher? _sending;
    private FrameCipher? _receiving;
    private byte[] _challenge = [];

    public NodeKey Key { get; } = NodeKey.Create();

    public Stream Stream => stream;

    /// <summary>What goes before the keys are agreed on.</summary>
    public ValueTask SendAsync(ReadOnlyMemory<byte> bytes) => stream.WriteAsync(bytes);

    public ValueTask SendEphemeralKeyAsync(byte[] key) => SendAsync(DelimitedMessage.Encode(new BytesValue { Value = ByteString.CopyFrom(key) }));

    public async Task<byte[]> ReadEphemeralKeyAsync(CancellationToken cancellationToken) =>
        (await DelimitedMessage.ReadAsync(stream, BytesValue.Parser, 1024, "a key", cancellationToken)).Value.ToByteArray();

    /// <summary>Plays by the rules until both have the keys.</summary>
    public async Task AgreeOnKeysAsync(CancellationToken cancellationToken)
    {
        await SendEphemeralKeyAsync(_ephemeral.PublicKey);
        byte[] remote = await ReadEphemeralKeyAsync(cancellationToken);
        Assert.That(_ephemeral.TryAgree(remote, out byte[]? shared), Is.True);
        SessionSecrets secrets = SessionSecrets.Derive(shared!, _ephemeral.PublicKey, remote);
        _challenge = secrets.Challenge;
        _sending = new FrameCipher(secrets.SendKey);
        _receiving = new FrameCipher(secrets.ReceiveKey);
    }

    /// <summary>Plays by the rules until it has proved who it is.</summary>
    public async Task AuthenticateAsync(CancellationToken cancellationToken)
    {
        await AgreeOnKeysAsync(cancellationToken);
        await SendFrameAsync(DelimitedMessage.Encode(Proof()));
    }

    public AuthSigMessage Proof() => Proof(Key);

    public AuthSigMessage Proof(NodeKey key) => new()
    {
        PubKey = new Pipeline.Wire.Protos.Crypto.PublicKey { Ed25519 = ByteString.CopyFrom(key.PublicKey.Span) },
        Sig = ByteString.CopyFrom(key.Sign(_challenge)),
    };

    public ValueTask SendFrameAsync(ReadOnlySpan<byte> data, uint? length = null) => SendAsync(Frame(data, length));

    public ValueTask SendMessageAsync(IMessage message)
    {
        byte[] bytes = DelimitedMessage.Encode(message);
        return SendAsync(bytes.Chunk(FrameCipher.MaxDataSize).SelectMany(data => Frame(data)).ToArray());
    }

    public async Task<byte[]> ReadFrameAsync(CancellationToken cancellationToken)
    {
        byte[] frame = new byte[FrameCipher.SealedSize];
        await stream.ReadExactlyAsync(frame, cancellationToken);
        byte[] open = new byte[FrameCipher.OpenSize];
        Assert.That(_receiving!.TryOpen(frame, open), Is.True);
        return open.AsSpan(FrameCipher.HeaderSize, BitConverter.ToInt32(open)).ToArray();
    }

    /// <summary>The next sealed frame; <paramref name="length"/> where it shall say another length than its data has.</summary>
    public byte[] Frame(ReadOnlySpan<byte> data, uint? length = null) => Frames.Seal(_sending!, data, length);

    public void Dispose()
    {
        _ephemeral.Dispose();
        _sending?.Dispose();
        _receiving?.Dispose();
        Key.Dispose();
        stream.Dispose();
    }
}

/// <summary>Frames by the rule of the protocol, independent of how the library batches them.</summary>
internal static class Frames
{
    public static byte[] Seal(FrameCipher cipher, ReadOnlySpan<byte> data, uint? length = null)
    {
        byte[] open = new byte[FrameCipher.OpenSize];
        BitConverter.TryWriteBytes(open, length ?? (uint)data.Length);
        data.CopyTo(open.AsSpan(FrameCipher.HeaderSize));
        byte[] frame = new byte[FrameCipher.SealedSize];
        cipher.Seal(open, frame);
        return frame;
    }
}
