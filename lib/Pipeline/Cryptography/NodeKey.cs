using System.Security.Cryptography;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Pipeline.Cryptography;

/// <summary>A node's own Ed25519 key pair, which is its identity in the network.</summary>
/// <remarks>
/// The file is the reference's <c>node_key.json</c>:
/// <c>{"priv_key":{"type":"tendermint/PrivKeyEd25519","value":"base64 of the 32-byte seed and the 32-byte public key"}}</c>.
/// </remarks>
public sealed class NodeKey : IDisposable
{
    private const string FileType = "tendermint/PrivKeyEd25519";
    private const int SeedSize = 32;
    private const int MaxFileSize = 64 * 1024;

    // By default '+' would be escaped, which the reference does not do.
    private static readonly KeyFileContext PlainContext = new(new JsonSerializerOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    private readonly SigningKey _key;

    private NodeKey(SigningKey key)
    {
        _key = key;
        PublicKey = key.PublicKey;
        Id = NodeId.FromPublicKey(PublicKey);
    }

    /// <summary>The public half.</summary>
    public PublicKey PublicKey { get; }

    /// <summary>The node's id.</summary>
    public NodeId Id { get; }

    /// <summary>Makes a new key from the system's random numbers.</summary>
    public static NodeKey Create() => new(SigningKey.Create());

    /// <summary>Takes a key from its 32-byte seed (RFC 8032's private key).</summary>
    /// <exception cref="ArgumentException"><paramref name="seed"/> does not have 32 bytes.</exception>
    public static NodeKey FromSeed(ReadOnlySpan<byte> seed) =>
        seed.Length == SeedSize
            ? new NodeKey(SigningKey.FromSeed(seed))
            : throw new ArgumentException($"The seed of an Ed25519 key has {SeedSize} bytes, not {seed.Length}.", nameof(seed));

    /// <summary>Reads a key file.</summary>
    /// <exception cref="NodeKeyFileException">The file is damaged; the message says how, and what would be right.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">The file must not be read, or is a folder.</exception>
    public static NodeKey Load(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        FileInfo file = new(path);
        if (file.Exists && file.Length > MaxFileSize)
        {
            throw new NodeKeyFileException(path, $"it has {file.Length} bytes, where a key file has about 150");
        }

        return Parse(path, File.ReadAllBytes(path));
    }

    /// <summary>Reads the key file, or makes a new key and saves it there when there is no such file.</summary>
    /// <exception cref="NodeKeyFileException">The file is damaged; the message says how, and what would be right.</exception>
    /// <exception cref="IOException">The file cannot be read or written.</exception>
    public static NodeKey LoadOrCreate(string path)
    {
        if (File.Exists(path))
        {
            return Load(path);
        }

        NodeKey key = Create();
        key.Save(path);
        return key;
    }

    /// <summary>
    /// Writes the key file, readable by its owner alone (mode 0600). An existing file is replaced in one step, so that there is always
    /// a whole one.
    /// </summary>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public void Save(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        OwnerFile.Replace(path, ToJson());
    }

    /// <summary>Signs <paramref name="message"/>: 64 bytes (RFC 8032, Ed25519).</summary>
    public byte[] Sign(ReadOnlySpan<byte> message) => _key.Sign(message);

    /// <summary>Wipes the private half from memory.</summary>
    public void Dispose() => _key.Dispose();

    internal byte[] ToJson()
    {
        byte[] seed = _key.ExportSeed();
        byte[] pair = [.. seed, .. PublicKey.Span];
        try
        {
            return JsonSerializer.SerializeToUtf8Bytes(
                new KeyFile(new KeyFile.PrivateKey(FileType, Convert.ToBase64String(pair))),
                PlainContext.KeyFile);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(seed);
            CryptographicOperations.ZeroMemory(pair);
        }
    }

    internal static NodeKey Parse(string path, ReadOnlySpan<byte> json)
    {
        KeyFile? file;
        try
        {
            file = JsonSerializer.Deserialize(json, KeyFileContext.Default.KeyFile);
        }
        catch (JsonException e)
        {
            throw new NodeKeyFileException(path, json.IsEmpty ? "it is empty" : $"it is not JSON of the expected form ({e.Message})", e);
        }

        if (file?.PrivKey is not { } key)
        {
            throw new NodeKeyFileException(path, "it has no \"priv_key\"");
        }

        if (key.Type != FileType)
        {
            throw new NodeKeyFileException(path, key.Type is null ? "its key has no \"type\"" : $"its key is of type '{key.Type}'");
        }

        byte[] pair = new byte[SeedSize + PublicKey.Size];
        if (!Convert.TryFromBase64String(key.Value ?? "", pair, out int length) || length != pair.Length)
        {
            throw new NodeKeyFileException(path, "its \"value\" is not base64 of 64 bytes");
        }

        NodeKey loaded = FromSeed(pair.AsSpan(0, SeedSize));
        bool matches = loaded.PublicKey.Span.SequenceEqual(pair.AsSpan(SeedSize));
        CryptographicOperations.ZeroMemory(pair);
        if (!matches)
        {
            loaded.Dispose();
            throw new NodeKeyFileException(path, "the public key in its \"value\" does not belong to the seed before it");
        }

        return loaded;
    }
}

/// <summary>A node key file is damaged.</summary>
public sealed class NodeKeyFileException : FormatException
{
    internal NodeKeyFileException(string path, string what, Exception? innerException = null)
        : base(
            $"The node key file '{path}' cannot be used: {what}. Expected is {{\"priv_key\":{{\"type\":\"tendermint/PrivKeyEd25519\",\"value\":…}}}} "
            + "with the base64 of the 32-byte seed and its 32-byte public key; restore it from a backup, or delete it to get a new identity.",
            innerException) => Path = path;

    /// <summary>The file.</summary>
    public string Path { get; }
}

internal sealed record KeyFile([property: JsonPropertyName("priv_key")] KeyFile.PrivateKey? PrivKey)
{
    internal sealed record PrivateKey(
        [property: JsonPropertyName("type")] string? Type,
        [property: JsonPropertyName("value")] string? Value);
}

[JsonSerializable(typeof(KeyFile))]
internal sealed partial class KeyFileContext : JsonSerializerContext;
