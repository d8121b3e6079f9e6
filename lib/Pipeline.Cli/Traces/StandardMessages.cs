using System.Collections.Immutable;
using Google.Protobuf;
using Pipeline.Dataflow;
using Pipeline.Protocols;
using Pipeline.Reactors;
using Pipeline.Wire;

namespace Pipeline.Cli.Traces;

/// <summary>The messages of the standard channels, for those who know only the channel's id.</summary>
internal static class StandardMessages
{
    private static readonly Dictionary<byte, MessageParser> Parsers = new(
    [
        Parser(StandardChannels.PeerExchange),
        Parser(StandardChannels.ConsensusState),
        Parser(StandardChannels.ConsensusData),
        Parser(StandardChannels.ConsensusVote),
        Parser(StandardChannels.ConsensusVoteSetBits),
        Parser(StandardChannels.Mempool),
        Parser(StandardChannels.Evidence),
        Parser(StandardChannels.BlockSync),
        Parser(StandardChannels.StateSyncSnapshots),
        Parser(StandardChannels.StateSyncChunks),
    ]);

    /// <summary>All standard channels by their id.</summary>
    public static IReadOnlyDictionary<byte, ChannelDescriptor> Channels { get; } =
        StandardChannels.All.ToDictionary(channel => channel.Id);

    /// <summary>The kinds of messages of each channel, as <see cref="MessageName.Of"/> names them.</summary>
    public static IReadOnlyDictionary<byte, ImmutableArray<string>> Kinds { get; } =
        Parsers.ToDictionary(parser => parser.Key, parser => KindsOf(parser.Value.ParseFrom(ReadOnlySpan<byte>.Empty)));

    /// <summary>Parses a message of a standard channel; null when it is not one of that channel's.</summary>
    public static IMessage? TryParse(byte channel, ReadOnlySpan<byte> message)
    {
        try
        {
            return Parsers[channel].ParseFrom(message);
        }
        catch (InvalidProtocolBufferException)
        {
            return null;
        }
    }

    /// <summary>Says why a message is not one of its channel's.</summary>
    public static string? FindFault(ChannelDescriptor channel, ReadOnlySpan<byte> message) =>
        TryParse(channel.Id, message) is null ? $"that is not one of channel {channel}" : null;

    /// <summary>What kind of message it is: which of its fields is set, or its type when it has no choice of them.</summary>
    public static string KindOf(IMessage message) => message switch
    {
        Wire.Protos.P2P.Message pex => pex.SumCase.ToString(),
        Protocols.Consensus.Message consensus => consensus.SumCase.ToString(),
        Protocols.Mempool.Message mempool => mempool.SumCase.ToString(),
        Protocols.BlockSync.Message blockSync => blockSync.SumCase.ToString(),
        Protocols.StateSync.Message stateSync => stateSync.SumCase.ToString(),
        _ => message.GetType().Name,
    };

    private static ImmutableArray<string> KindsOf(IMessage empty) => empty.Descriptor.RealOneofCount == 0
        ? [MessageName.Of(empty)]
        : [.. empty.Descriptor.Oneofs[0].Fields.Select(field => field.Name), MessageName.Unknown];

    private static KeyValuePair<byte, MessageParser> Parser<TMessage>(ChannelDescriptor<TMessage> channel)
        where TMessage : class, IMessage<TMessage> => new(channel.Id, channel.Parser);
}
