using System.Text.Json;
using System.Text.Json.Serialization;
using Pipeline.Diagnostics;

namespace Pipeline.Discovery.Crawling;

/// <summary>How a map is written as JSON.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true,
    Converters =
    [
        typeof(NodeIdConverter),
        typeof(NetAddressConverter),
        typeof(SecondsConverter),
        typeof(NodeInfoConverter),
        typeof(CrawlEndConverter),
        typeof(ReachabilityConverter),
    ])]
[JsonSerializable(typeof(NetworkMap))]
internal sealed partial class CrawlJsonContext : JsonSerializerContext
{
    public static CrawlJsonContext Indented => field ??= new(new JsonSerializerOptions(Default.Options) { WriteIndented = true });
}

internal sealed class CrawlEndConverter() : JsonStringEnumConverter<CrawlEnd>(JsonNamingPolicy.SnakeCaseLower);

internal sealed class ReachabilityConverter() : JsonStringEnumConverter<Reachability>(JsonNamingPolicy.SnakeCaseLower);
