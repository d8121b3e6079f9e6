using System.Collections.Immutable;
using System.Text.Encodings.Web;
using System.Text.Json;
using Pipeline.Cryptography;
using Pipeline.Switching;
using Pipeline.Transport;

namespace Pipeline.Discovery;

/// <summary>Addresses as the reference's file has them, and those that are kept out, of which it knows nothing: docs/concepts/addresses.md shows it.</summary>
/// <param name="Key">The secret of the buckets; null when it could not be read.</param>
/// <param name="Addresses">Those that could be read, each once.</param>
/// <param name="Fault">What is wrong with the file, as the end of a sentence; null when nothing is.</param>
internal sealed record AddressFile(string? Key, ImmutableArray<AddressRecord> Addresses, string? Fault) : IFileContent<AddressFile>
{
    /// <summary>The most bytes of a file: twice what the largest book takes, with room for what other programs may write.</summary>
    public const long MaxSize = 64 * 1024 * 1024;

    private const int MaxKeyLength = 256;
    private const int NewKind = 1;
    private const int OldKind = 2;

    public int Count => Addresses.Length;

    private static ReadOnlySpan<byte> ByteOrderMark => [0xef, 0xbb, 0xbf];

    public static AddressFile Nothing(string? fault) => new(null, [], fault);

    /// <summary>Writes a file that the reference loads. It goes by the numbers of buckets without a check, so they must be right.</summary>
    public static byte[] Write(string key, IEnumerable<AddressRecord> records)
    {
        ILookup<bool, AddressRecord> byPlace = records.ToLookup(record => record.IsKeptOut);
        using MemoryStream stream = new();
        JsonWriterOptions options = new()
        {
            Indented = true,
            IndentCharacter = '\t',
            IndentSize = 1,
            NewLine = "\n",
            Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        };
        using (Utf8JsonWriter writer = new(stream, options))
        {
            writer.WriteStartObject();
            writer.WriteString("key", key);
            WriteList(writer, "addrs", byPlace[false]);
            if (byPlace.Contains(true))
            {
                WriteList(writer, "banned", byPlace[true]);
            }

            writer.WriteEndObject();
        }

        return stream.ToArray();
    }

    public static AddressFile Read(ReadOnlyMemory<byte> file, DateTimeOffset now) =>
        new Reading().Read(file.Span.StartsWith(ByteOrderMark) ? file.Span[ByteOrderMark.Length..] : file.Span);

    private static void WriteList(Utf8JsonWriter writer, string name, IEnumerable<AddressRecord> records)
    {
        writer.WriteStartArray(name);
        foreach ((AddressBookEntry entry, DateTimeOffset keptOutUntil, _) in records)
        {
            writer.WriteStartObject();
            WriteAddress(writer, "addr", entry.Address);
            WriteAddress(writer, "src", entry.Source);
            writer.WriteStartArray("buckets");
            foreach (int bucket in entry.Buckets)
            {
                writer.WriteNumberValue(bucket);
            }

            writer.WriteEndArray();
            writer.WriteNumber("attempts", entry.Attempts);
            writer.WriteNumber("bucket_type", entry.IsOld ? OldKind : NewKind);
            writer.WriteString("last_attempt", entry.LastAttempt.UtcDateTime);
            writer.WriteString("last_success", entry.LastSuccess.GetValueOrDefault().UtcDateTime);
            writer.WriteString("last_ban_time", keptOutUntil.UtcDateTime);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    private static void WriteAddress(Utf8JsonWriter writer, string name, NetAddress address)
    {
        writer.WriteStartObject(name);
        writer.WriteString("id", address.Id.ToString());
        writer.WriteString("ip", address.Ip!.ToString());
        writer.WriteNumber("port", address.Port);
        writer.WriteEndObject();
    }

    /// <summary>One entry after the other, so that of a file that breaks off what comes before is read.</summary>
    private sealed class Reading
    {
        private readonly ImmutableArray<AddressRecord>.Builder _records = ImmutableArray.CreateBuilder<AddressRecord>();

        // A node is in the buckets once, and an address once in all.
        private readonly HashSet<NodeId> _ids = [];
        private readonly HashSet<NetAddress> _addresses = [];

        // Who tells of many is the same object in all of them.
        private readonly Dictionary<NetAddress, NetAddress> _sources = [];

        private string? _key;
        private string? _firstFault;
        private int _entries;
        private int _faults;

        public AddressFile Read(ReadOnlySpan<byte> file)
        {
            string? fault;
            try
            {
                fault = file.IsEmpty ? "it is empty" : ReadObject(new Utf8JsonReader(file, new JsonReaderOptions { AllowTrailingCommas = true }));
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException)
            {
                // The latter comes from text that is no Unicode.
                fault = $"it is not JSON ({e.Message})";
            }

            fault ??= _firstFault is null ? null : $"{_faults} of its {_entries} addresses are not as they should be, {_firstFault}";
            return new AddressFile(_key, _records.ToImmutable(), fault);
        }

        private string? ReadObject(Utf8JsonReader reader)
        {
            reader.Read();
            if (reader.TokenType != JsonTokenType.StartObject)
            {
                return "it is not an object with a \"key\" and a list of \"addrs\"";
            }

            bool hasAddresses = false;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                bool isAddresses = reader.ValueTextEquals("addrs"u8);
                bool isKeptOut = reader.ValueTextEquals("banned"u8);
                bool isKey = reader.ValueTextEquals("key"u8);
                reader.Read();
                if (isKey && reader.TokenType == JsonTokenType.String)
                {
                    _key = KeyOf(ref reader);
                }
                else if ((isAddresses || isKeptOut) && reader.TokenType == JsonTokenType.StartArray)
                {
                    hasAddresses |= isAddresses;
                    ReadList(ref reader, isKeptOut);
                }
                else
                {
                    hasAddresses |= isAddresses && reader.TokenType == JsonTokenType.Null;
                    reader.Skip();
                }
            }

            // Nothing may come behind the end.
            reader.Read();
            return !hasAddresses ? "it has no list of \"addrs\"" : _key is null ? $"it has no \"key\" of 1 to {MaxKeyLength} characters" : null;
        }

        private static string? KeyOf(ref Utf8JsonReader reader)
        {
            try
            {
                return reader.GetString() is { Length: > 0 and <= MaxKeyLength } key ? key : null;
            }
            catch (InvalidOperationException)
            {
                // No Unicode: no reason to lose the addresses.
                return null;
            }
        }

        private void ReadList(ref Utf8JsonReader reader, bool isKeptOut)
        {
            while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            {
                _entries++;
                using JsonDocument entry = JsonDocument.ParseValue(ref reader);
                try
                {
                    ReadEntry(entry.RootElement, isKeptOut);
                }
                catch (Exception e) when (e is FormatException or InvalidOperationException)
                {
                    Faulty(e.Message);
                }
            }
        }

        private void Faulty(string fault)
        {
            _firstFault ??= $"the first is number {_entries}: {fault}";
            _faults++;
        }

        private void ReadEntry(JsonElement entry, bool isKeptOut)
        {
            if (entry.ValueKind != JsonValueKind.Object)
            {
                throw new FormatException("It is not an object with an \"addr\".");
            }

            NetAddress address = AddressOf(entry, "addr") ?? throw new FormatException("It has no \"addr\".");
            NetAddress source = AddressOf(entry, "src") ?? address;
            int kind = Number(entry, "bucket_type", NewKind);
            int attempts = Number(entry, "attempts", 0);
            if (kind is not (NewKind or OldKind))
            {
                throw new FormatException($"Its \"bucket_type\" is neither {NewKind} nor {OldKind}.");
            }

            if (attempts < 0)
            {
                throw new FormatException("Its \"attempts\" are fewer than none.");
            }

            ImmutableArray<int> buckets = Buckets(entry, kind, out string? flaw);
            DateTimeOffset lastSuccess = Time(entry, "last_success");
            AddressRecord record = new(
                new AddressBookEntry(
                    address,
                    _sources.TryGetValue(source, out NetAddress? known) ? known : _sources[source] = source,
                    kind == OldKind,
                    buckets,
                    attempts,
                    Time(entry, "last_attempt"),
                    lastSuccess > default(DateTimeOffset) ? lastSuccess : null),
                Time(entry, "last_ban_time"),
                isKeptOut);
            if (!_addresses.Add(address) || (!isKeptOut && !_ids.Add(address.Id)))
            {
                throw new FormatException($"The node {address.Id} is there twice.");
            }

            _records.Add(record);
            if (flaw is not null)
            {
                Faulty(flaw);
            }
        }

        // The numbers that can be used; the book has others for an entry without.
        private static ImmutableArray<int> Buckets(JsonElement entry, int kind, out string? flaw)
        {
            int most = kind == OldKind ? 1 : AddressTable.MaxNewBuckets;
            int end = kind == OldKind ? BucketPlacement.OldBuckets : BucketPlacement.NewBuckets;
            ImmutableArray<int>.Builder buckets = ImmutableArray.CreateBuilder<int>(most);
            flaw = null;
            if (Find(entry, "buckets") is { } list)
            {
                bool isList = list.ValueKind == JsonValueKind.Array;
                bool isGood = isList && list.GetArrayLength() <= most;
                foreach (JsonElement number in isList ? list.EnumerateArray().AsEnumerable() : [])
                {
                    bool isBucket = number.ValueKind == JsonValueKind.Number && number.TryGetInt32(out int bucket) && bucket >= 0 && bucket < end;
                    isGood &= isBucket;
                    if (isBucket && buckets.Count < most && !buckets.Contains(number.GetInt32()))
                    {
                        buckets.Add(number.GetInt32());
                    }
                }

                flaw = isGood ? null : $"Its \"buckets\" are not at most {most} numbers from 0 to {end - 1}.";
            }

            return buckets.ToImmutable();
        }

        private static NetAddress? AddressOf(JsonElement entry, string name)
        {
            if (Find(entry, name) is not { } address)
            {
                return null;
            }

            if (address.ValueKind != JsonValueKind.Object)
            {
                throw new FormatException($"Its \"{name}\" is not an object with \"id\", \"ip\" and \"port\".");
            }

            string ip = Text(address, "ip", name);
            int port = Number(address, "port", 0);
            return !NodeId.TryParse(Text(address, "id", name), out NodeId id) ? throw new FormatException($"The \"id\" of its \"{name}\" is not that of a node.")
                : port is < 0 or > ushort.MaxValue ? throw new FormatException($"The \"port\" of its \"{name}\" is not a number from 0 to {ushort.MaxValue}.")
                : !NetAddress.HostPort.TryParseIp(ip, out _) ? throw new FormatException($"The \"ip\" of its \"{name}\" is not an IP address.")
                : new NetAddress(id, ip, (ushort)port).WithPlainHost();
        }

        private static string Text(JsonElement entry, string name, string parent) =>
            Find(entry, name) is { ValueKind: JsonValueKind.String } value
                ? value.GetString()!
                : throw new FormatException($"The \"{name}\" of its \"{parent}\" is not text.");

        private static int Number(JsonElement entry, string name, int missing) =>
            Find(entry, name) is not { } value ? missing
            : value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) ? number
            : throw new FormatException($"Its \"{name}\" is not a number of at most {int.MaxValue}.");

        private static DateTimeOffset Time(JsonElement entry, string name) =>
            Find(entry, name) is not { } value ? default
            : value.ValueKind == JsonValueKind.String && value.TryGetDateTimeOffset(out DateTimeOffset time) ? time
            : throw new FormatException($"Its \"{name}\" is not a time such as 2026-03-01T12:00:00Z.");

        private static JsonElement? Find(JsonElement entry, string name) =>
            entry.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }
}

/// <summary>What a file says of an address.</summary>
/// <param name="Entry">What is known of it; of one that is kept out the buckets do not count.</param>
/// <param name="KeptOutUntil">Until when it is kept out because of itself; year 1 when it never was.</param>
/// <param name="IsKeptOut">Whether it is in no bucket, because of itself or of a ban.</param>
internal readonly record struct AddressRecord(AddressBookEntry Entry, DateTimeOffset KeptOutUntil, bool IsKeptOut);
