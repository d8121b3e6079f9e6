using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Diagnostics;

/// <summary>How statuses are written as JSON.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true,
    Converters =
    [
        typeof(NodeIdConverter),
        typeof(NetAddressConverter),
        typeof(EndPointConverter),
        typeof(SecondsConverter),
        typeof(ChannelIdsConverter),
        typeof(NodeInfoConverter),
        typeof(ChannelDescriptorConverter),
        typeof(FullLanePolicyConverter),
    ])]
[JsonSerializable(typeof(SwitchStatus))]
[JsonSerializable(typeof(decimal))]
[JsonSerializable(typeof(NodeInfoForm))]
[JsonSerializable(typeof(ChannelForm))]
internal sealed partial class StatusJsonContext : JsonSerializerContext;

/// <summary>What a node says of itself, in the form that the reference's RPC gives it; numbers are numbers.</summary>
internal sealed record NodeInfoForm(
    ProtocolVersionForm ProtocolVersion,
    NodeId Id,
    string ListenAddr,
    string Network,
    string Version,
    ImmutableArray<byte> Channels,
    string Moniker,
    NodeInfoOtherForm Other);

internal sealed record ProtocolVersionForm([property: JsonPropertyName("p2p")] ulong P2P, ulong Block, ulong App);

internal sealed record NodeInfoOtherForm(string TxIndex, string RpcAddress);

/// <summary>A channel with its settings, without the type of its messages.</summary>
internal sealed record ChannelForm(
    string Id,
    string Name,
    int Priority,
    int SendQueueCapacity,
    int SendQueueBytes,
    int MaxMessageSize,
    int ReceiveQueueCapacity,
    int ReceiveQueueBytes,
    FullLanePolicy WhenFull);

/// <summary>Writes something in another form.</summary>
internal abstract class FormConverter<T, TForm> : JsonConverter<T>
    where TForm : notnull
{
    public override T Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        try
        {
            return FromForm(JsonSerializer.Deserialize(ref reader, Form)!);
        }
        catch (Exception e) when (e is FormatException or ArgumentException or OverflowException)
        {
            throw new JsonException(e.Message, e);
        }
    }

    public override void Write(Utf8JsonWriter writer, T value, JsonSerializerOptions options) => JsonSerializer.Serialize(writer, ToForm(value), Form);

    protected abstract JsonTypeInfo<TForm> Form { get; }

    protected abstract T FromForm(TForm form);

    protected abstract TForm ToForm(T value);
}

internal abstract class TextConverter<T> : FormConverter<T, string>
{
    protected override JsonTypeInfo<string> Form => StatusJsonContext.Default.String;
}

internal sealed class NodeIdConverter : TextConverter<NodeId>
{
    protected override NodeId FromForm(string form) => form.Length == 0 ? default : NodeId.Parse(form);

    protected override string ToForm(NodeId value) => value.ToString();
}

internal sealed class NetAddressConverter : TextConverter<NetAddress>
{
    protected override NetAddress FromForm(string form) => NetAddress.Parse(form);

    protected override string ToForm(NetAddress value) => value.ToString();
}

internal sealed class EndPointConverter : TextConverter<IPEndPoint>
{
    protected override IPEndPoint FromForm(string form) => IPEndPoint.Parse(form);

    protected override string ToForm(IPEndPoint value) => value.ToString();
}

/// <summary>Ids of channels, hexadecimal and without anything between them, as the reference writes them.</summary>
internal sealed class ChannelIdsConverter : TextConverter<ImmutableArray<byte>>
{
    protected override ImmutableArray<byte> FromForm(string form) => [.. Convert.FromHexString(form)];

    protected override string ToForm(ImmutableArray<byte> value) => Convert.ToHexStringLower(value.AsSpan());
}

/// <summary>A length of time in seconds, exact to its last digit.</summary>
internal sealed class SecondsConverter : FormConverter<TimeSpan, decimal>
{
    protected override JsonTypeInfo<decimal> Form => StatusJsonContext.Default.Decimal;

    protected override TimeSpan FromForm(decimal form) => TimeSpan.FromTicks((long)(form * TimeSpan.TicksPerSecond));

    protected override decimal ToForm(TimeSpan value) => (decimal)value.Ticks / TimeSpan.TicksPerSecond;
}

internal sealed class NodeInfoConverter : FormConverter<NodeInfo, NodeInfoForm>
{
    protected override JsonTypeInfo<NodeInfoForm> Form => StatusJsonContext.Default.NodeInfoForm;

    protected override NodeInfo FromForm(NodeInfoForm form) => new()
    {
        ProtocolVersions = new ProtocolVersions(form.ProtocolVersion.P2P, form.ProtocolVersion.Block, form.ProtocolVersion.App),
        Id = form.Id,
        ListenAddress = form.ListenAddr,
        Network = form.Network,
        Version = form.Version,
        Channels = form.Channels,
        Moniker = form.Moniker,
        TxIndex = form.Other.TxIndex,
        RpcAddress = form.Other.RpcAddress,
    };

    protected override NodeInfoForm ToForm(NodeInfo value) => new(
        new ProtocolVersionForm(value.ProtocolVersions.P2P, value.ProtocolVersions.Block, value.ProtocolVersions.App),
        value.Id,
        value.ListenAddress,
        value.Network,
        value.Version,
        value.Channels,
        value.Moniker,
        new NodeInfoOtherForm(value.TxIndex, value.RpcAddress));
}

internal sealed class ChannelDescriptorConverter : FormConverter<ChannelDescriptor, ChannelForm>
{
    protected override JsonTypeInfo<ChannelForm> Form => StatusJsonContext.Default.ChannelForm;

    protected override ChannelDescriptor FromForm(ChannelForm form) => new(
        form.Id.StartsWith("0x", StringComparison.Ordinal)
            ? byte.Parse(form.Id.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)
            : throw new FormatException($"'{form.Id}' is not the id of a channel, such as 0x20."),
        form.Name)
    {
        Priority = form.Priority,
        SendQueueCapacity = form.SendQueueCapacity,
        SendQueueBytes = form.SendQueueBytes,
        MaxMessageSize = form.MaxMessageSize,
        ReceiveQueueCapacity = form.ReceiveQueueCapacity,
        ReceiveQueueBytes = form.ReceiveQueueBytes,
        WhenFull = form.WhenFull,
    };

    protected override ChannelForm ToForm(ChannelDescriptor value) => new(
        $"0x{value.Id:x2}",
        value.Name,
        value.Priority,
        value.SendQueueCapacity,
        value.SendQueueBytes,
        value.MaxMessageSize,
        value.ReceiveQueueCapacity,
        value.ReceiveQueueBytes,
        value.WhenFull);
}

internal sealed class FullLanePolicyConverter() : JsonStringEnumConverter<FullLanePolicy>(JsonNamingPolicy.SnakeCaseLower);
