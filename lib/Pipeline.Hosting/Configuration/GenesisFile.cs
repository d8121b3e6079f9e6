using System.Text.Json;

namespace Pipeline.Hosting.Configuration;

/// <summary>A network's first state, of which only the network's id is read.</summary>
internal static class GenesisFile
{
    // Files of hundreds of megabytes hold programs of a few, each in one text.
    private const int MaxTokenSize = 256 << 20;
    private const int FirstBufferSize = 64 * 1024;

    private static ReadOnlySpan<byte> ByteOrderMark => [0xef, 0xbb, 0xbf];

    /// <summary>Reads the top-level <c>chain_id</c>, and nothing after it: the file may be large.</summary>
    /// <returns>The id, or what is wrong as the end of a sentence about the file.</returns>
    public static (string? ChainId, string? Fault) ReadChainId(string path)
    {
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0, FileOptions.SequentialScan);
            return ReadChainId(file);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return (null, "is not there");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return (null, Directory.Exists(path) ? "is a folder" : $"cannot be read ({e.Message})");
        }
        catch (JsonException e)
        {
            return (null, $"is not JSON ({UserText.Escape(e.Message)})");
        }
    }

    private static (string? ChainId, string? Fault) ReadChainId(FileStream file)
    {
        byte[] buffer = new byte[FirstBufferSize];
        JsonReaderState state = new(new JsonReaderOptions { MaxDepth = 1000 });
        int filled = file.ReadAtLeast(buffer.AsSpan(0, ByteOrderMark.Length), ByteOrderMark.Length, throwOnEndOfStream: false);
        bool isNext = false;
        if (filled == 0)
        {
            return (null, "is empty");
        }

        if (buffer.AsSpan(0, filled).StartsWith(ByteOrderMark))
        {
            filled = 0;
        }

        while (true)
        {
            int read = file.Read(buffer, filled, buffer.Length - filled);
            filled += read;
            Utf8JsonReader reader = new(buffer.AsSpan(0, filled), isFinalBlock: read == 0, state);
            while (reader.Read())
            {
                if (isNext)
                {
                    return IdOf(ref reader);
                }

                if (reader.CurrentDepth == 0 && reader.TokenType is not (JsonTokenType.StartObject or JsonTokenType.EndObject))
                {
                    return (null, "is not a JSON object");
                }

                isNext = reader.CurrentDepth == 1 && reader.TokenType == JsonTokenType.PropertyName && reader.ValueTextEquals("chain_id"u8);
            }

            if (read == 0)
            {
                return (null, "has no \"chain_id\"");
            }

            state = reader.CurrentState;
            int consumed = (int)reader.BytesConsumed;
            buffer.AsSpan(consumed, filled - consumed).CopyTo(buffer);
            filled -= consumed;
            if (filled == buffer.Length)
            {
                if (filled >= MaxTokenSize)
                {
                    return (null, $"holds a text of more than {MaxTokenSize >> 20} MiB before its \"chain_id\"");
                }

                Array.Resize(ref buffer, 2 * buffer.Length);
            }
        }
    }

    private static (string? ChainId, string? Fault) IdOf(ref Utf8JsonReader reader)
    {
        try
        {
            if (reader.TokenType == JsonTokenType.String && reader.ValueSpan.Length < 1000 && reader.GetString() is { } id)
            {
                return (ValueKind.Network.Parse(id).Length > 0 ? id : throw new FormatException(), null);
            }
        }
        catch (Exception e) when (e is FormatException or InvalidOperationException)
        {
            // The latter comes from text that is no Unicode.
        }

        return (null, "has a \"chain_id\" that is no text of 1 to 50 printable characters");
    }
}
