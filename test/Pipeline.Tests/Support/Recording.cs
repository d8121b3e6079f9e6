using System.Text.Json;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Transport;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Tests.Support;

/// <summary>One connection that was recorded with the reference implementation, keys included.</summary>
internal sealed class Recording
{
    /// <summary>The bytes of the ephemeral key and its length prefix, with which each direction begins.</summary>
    public const int EphemeralKeyBytes = 35;

    /// <summary>The ephemeral key, the frame with the authentication, and the frame with NodeInfo.</summary>
    public const int HandshakeBytes = EphemeralKeyBytes + (2 * FrameCipher.SealedSize);

    private readonly byte[] _nodeKeySeed;
    private readonly byte[] _ephemeralKey;

    private Recording(string name)
    {
        JsonElement meta = TestData.Json($"{name}/meta.json");
        _nodeKeySeed = meta.Hex("node_key_seed_hex");
        _ephemeralKey = meta.Hex("ephemeral_private_key_hex");
        LocalInfo = Info(meta.GetProperty("node_info"));
        LocalPublicKey = meta.Hex("node_key_public_hex");
        RemoteInfo = Info(meta.GetProperty("remote_node_info"));
        RemoteId = NodeId.Parse(meta.Text("remote_id"));
        RemotePublicKey = meta.Hex("remote_public_key_hex");
        Sent = TestData.Bytes($"{name}/sent.bin");
        Received = TestData.Bytes($"{name}/received.bin");
        Messages = [.. TestData.Lines($"{name}/messages.jsonl").Select(RecordedMessage.Parse)];
    }

    public NodeInfo LocalInfo { get; }

    public byte[] LocalPublicKey { get; }

    public NodeInfo RemoteInfo { get; }

    public NodeId RemoteId { get; }

    public byte[] RemotePublicKey { get; }

    public byte[] Sent { get; }

    public byte[] Received { get; }

    public RecordedMessage[] Messages { get; }

    public static Recording Load(string name) => new(name);

    public NodeKey CreateNodeKey() => NodeKey.FromSeed(_nodeKeySeed);

    public EphemeralKey CreateEphemeralKey() => EphemeralKey.FromPrivateKey(_ephemeralKey);

    /// <summary>Runs the handshake as it was recorded, over a stream that plays the remote.</summary>
    public async Task<AuthenticatedConnection> ReplayAsync(Stream stream, HandshakeOptions? options = null, CancellationToken cancellationToken = default)
    {
        using NodeKey key = CreateNodeKey();
        using EphemeralKey ephemeral = CreateEphemeralKey();
        return await Handshake.PerformAsync(stream, key, ephemeral, LocalInfo, RemoteId, options ?? new HandshakeOptions(), cancellationToken);
    }

    /// <summary>The keys of this connection, from the recorded private key and the remote's public key on the wire.</summary>
    public SessionSecrets Secrets()
    {
        using EphemeralKey ephemeral = CreateEphemeralKey();
        byte[] remote = Received[(EphemeralKeyBytes - EphemeralKey.Size)..EphemeralKeyBytes];
        return ephemeral.TryAgree(remote, out byte[]? shared)
            ? SessionSecrets.Derive(shared, ephemeral.PublicKey, remote)
            : throw new InvalidDataException("The recorded keys do not agree on a secret.");
    }

    private static NodeInfo Info(JsonElement json) => NodeInfo.FromProto(JsonParser.Default.Parse<DefaultNodeInfo>(json.GetRawText()));
}

/// <summary>A line of <c>messages.jsonl</c>.</summary>
internal sealed record RecordedMessage(byte Channel, int Length, string Sha256, byte[] Bytes)
{
    public static RecordedMessage Parse(string line)
    {
        using JsonDocument document = JsonDocument.Parse(line);
        JsonElement json = document.RootElement;
        return new RecordedMessage(
            json.GetProperty("channel").GetByte(),
            json.GetProperty("len").GetInt32(),
            json.Text("sha256"),
            json.GetProperty("bytes").GetBytesFromBase64());
    }
}
