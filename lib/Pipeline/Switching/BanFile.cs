using System.Collections.Immutable;
using System.Text.Encodings.Web;
using System.Text.Json;
using Pipeline.Transport;

namespace Pipeline.Switching;

/// <summary>Bans as a file has them: the page docs/concepts/access.md shows it.</summary>
/// <param name="Bans">Those that could be read.</param>
/// <param name="Fault">What is wrong with the file, as the end of a sentence; null when nothing is.</param>
internal sealed record BanFile(ImmutableArray<Ban> Bans, string? Fault) : IFileContent<BanFile>
{
    private const int Version = 1;

    // Longer than any: a message about a wrong one repeats it.
    private const int MaxTargetLength = 100;

    public int Count => Bans.Length;

    private static ReadOnlySpan<byte> ByteOrderMark => [0xef, 0xbb, 0xbf];

    /// <summary>The most bytes of a file with a number of bans: a reason may be all escapes, of six bytes for each character.</summary>
    public static long MaxSize(int bans) => 1024 + (bans * (512L + (6 * BanList.MaxReasonLength)));

    public static BanFile Nothing(string? fault) => new([], fault);

    public static byte[] Write(ImmutableArray<Ban> bans)
    {
        using MemoryStream stream = new();

        // People read the file, and nobody puts it into a web page.
        using (Utf8JsonWriter writer = new(stream, new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartObject();
            writer.WriteNumber("version", Version);
            writer.WriteStartArray("bans");
            foreach (Ban ban in bans)
            {
                writer.WriteStartObject();
                writer.WriteString("target", ban.Target.ToString());
                writer.WriteString("reason", ban.Reason);
                writer.WriteString("since", ban.Since.UtcDateTime);
                if (ban.Until is { } until)
                {
                    writer.WriteString("until", until.UtcDateTime);
                }
                else
                {
                    writer.WriteNull("until");
                }

                writer.WriteEndObject();
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        return stream.ToArray();
    }

    /// <summary>Reads what can be read; nothing in the file makes it throw.</summary>
    /// <param name="file">The file's bytes.</param>
    /// <param name="now">The beginning of bans that do not say theirs.</param>
    public static BanFile Read(ReadOnlyMemory<byte> file, DateTimeOffset now)
    {
        if (file.Span.StartsWith(ByteOrderMark))
        {
            file = file[ByteOrderMark.Length..];
        }

        if (file.IsEmpty)
        {
            return new BanFile([], "it is empty");
        }

        try
        {
            // People write the file too.
            using JsonDocument document = JsonDocument.Parse(file, new JsonDocumentOptions { AllowTrailingCommas = true });
            return Read(document.RootElement, now);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // The latter comes from text that is no Unicode.

            return new BanFile([], $"it is not JSON ({e.Message})");
        }
    }

    private static BanFile Read(JsonElement root, DateTimeOffset now)
    {
        if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("version", out JsonElement version))
        {
            return new BanFile([], "it has no \"version\"");
        }

        if (version.ValueKind != JsonValueKind.Number || !version.TryGetInt32(out int number) || number != Version)
        {
            return new BanFile([], $"its \"version\" is not {Version}, which is the one that this program knows");
        }

        if (!root.TryGetProperty("bans", out JsonElement list) || list.ValueKind != JsonValueKind.Array)
        {
            return new BanFile([], "it has no list of \"bans\"");
        }

        ImmutableArray<Ban>.Builder bans = ImmutableArray.CreateBuilder<Ban>(list.GetArrayLength());
        string? firstFault = null;
        int position = 0, faults = 0;
        foreach (JsonElement entry in list.EnumerateArray())
        {
            position++;
            try
            {
                bans.Add(ReadBan(entry, now));
            }
            catch (Exception e) when (e is FormatException or InvalidOperationException)
            {
                firstFault ??= $"the first is number {position}: {e.Message}";
                faults++;
            }
        }

        return new BanFile(bans.ToImmutable(), firstFault is null ? null : $"{faults} of its {position} bans cannot be read, {firstFault}");
    }

    private static Ban ReadBan(JsonElement entry, DateTimeOffset now)
    {
        if (entry.ValueKind != JsonValueKind.Object)
        {
            throw new FormatException("It is not an object with a \"target\".");
        }

        string target = Text("target") ?? throw new FormatException("It has no \"target\".");
        if (target.Length > MaxTargetLength)
        {
            throw new FormatException($"Its \"target\" has {target.Length} characters.");
        }

        return new Ban(AccessTarget.Parse(target), Text("reason") ?? "", Time("since") ?? now, Time("until"));

        string? Text(string name) =>
            !entry.TryGetProperty(name, out JsonElement value) || value.ValueKind == JsonValueKind.Null ? null
            : value.ValueKind == JsonValueKind.String ? value.GetString()
            : throw new FormatException($"Its \"{name}\" is not text.");

        DateTimeOffset? Time(string name) =>
            Text(name) is null ? null
            : entry.GetProperty(name).TryGetDateTimeOffset(out DateTimeOffset time) ? time
            : throw new FormatException($"Its \"{name}\" is not a time such as 2026-03-01T12:00:00Z.");
    }
}
