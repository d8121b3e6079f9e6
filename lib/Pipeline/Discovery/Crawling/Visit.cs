using System.Buffers;
using System.Collections.Immutable;
using System.IO.Pipelines;
using System.Net;
using Google.Protobuf;
using Pipeline.Cryptography;
using Pipeline.Transport;
using Pipeline.Wire;
using Protos = Pipeline.Wire.Protos.P2P;

namespace Pipeline.Discovery.Crawling;

/// <summary>What came of a visit at one address.</summary>
internal sealed record Visit(Reachability Reachability, string? Detail)
{
    public NodeId AnsweredBy { get; init; }

    public NodeInfo? Info { get; init; }

    public IPEndPoint? EndPoint { get; init; }

    public TimeSpan? ConnectTime { get; init; }

    public TimeSpan? HandshakeTime { get; init; }

    /// <summary>What the node has told; null when it has not answered.</summary>
    public ImmutableArray<NetAddress>? Told { get; init; }
}

/// <summary>
/// Visits nodes, one connection each: connects, shakes hands, asks for addresses and leaves. A connection needs no more memory than the longest answer,
/// and no more time than the visit may take.
/// </summary>
internal sealed class Visitor(CrawlOptions options, NodeKey key)
{
    // Of the longest packet.
    private const int PrefixSize = 10;

    private static readonly byte[] RequestBytes = new Protos.Message { PexRequest = new Protos.PexRequest() }.ToByteArray();

    /// <summary>The network that a visitor says it is on; a node says which one it is on all the same.</summary>
    public string? Network { get; set; }

    /// <summary>Never throws for what a remote does; only when cancelled.</summary>
    public async Task<Visit> VisitAsync(NetAddress address, CancellationToken cancellationToken)
    {
        using CancellationTokenSource deadline = new(options.VisitTimeout, options.TimeProvider);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        Visit visit = new(Reachability.TimedOut, $"It did not answer within {options.VisitTimeout.TotalSeconds:0.###} s.");
        long start = options.TimeProvider.GetTimestamp();
        try
        {
            TransportConnection transport = await ConnectAsync(address, either.Token).ConfigureAwait(false);
            await using (transport.ConfigureAwait(false))
            {
                visit = visit with { ConnectTime = options.TimeProvider.GetElapsedTime(start), EndPoint = transport.RemoteEndPoint };
                bool isLookingForNetwork = Network is null;
                Visit first = await VisitAsync(transport, address, visit, either.Token).ConfigureAwait(false);
                if (!isLookingForNetwork)
                {
                    return first;
                }
            }

            // It has said which network it is on, and closed the connection, because the visitor could not say the same.
            return await VisitAsync(address, cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (either.IsCancellationRequested)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return visit;
        }
        catch (HandshakeException e)
        {
            return visit with { Reachability = KindOf(e.Failure), Detail = e.Message, AnsweredBy = e.RemoteId, Info = e.RemoteInfo };
        }
        catch (Exception e)
        {
            // A transport of the user's may throw anything.
            return visit with { Reachability = visit.ConnectTime is null ? Reachability.Unreachable : Reachability.Refused, Detail = e.Message };
        }
    }

    // A transport may heed no token, and connect when nobody waits any more.
    private async Task<TransportConnection> ConnectAsync(NetAddress address, CancellationToken cancellationToken)
    {
        Task<TransportConnection> connecting = options.Transport.ConnectAsync(address, cancellationToken).AsTask();
        try
        {
            return await connecting.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            _ = DisposeLateAsync(connecting);
            throw;
        }
    }

    private static async Task DisposeLateAsync(Task<TransportConnection> connecting)
    {
        await ((Task)connecting).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (connecting.IsCompletedSuccessfully)
        {
            await connecting.Result.DisposeAsync().ConfigureAwait(false);
        }
    }

    private async Task<Visit> VisitAsync(TransportConnection transport, NetAddress address, Visit visit, CancellationToken cancellationToken)
    {
        HandshakeOptions handshake = new() { Timeout = options.VisitTimeout, TimeProvider = options.TimeProvider };
        AuthenticatedConnection connection = await Handshake.PerformAsync(transport.Stream, key, LocalInfo(), address.Id, handshake, cancellationToken).ConfigureAwait(false);
        await using (connection.ConfigureAwait(false))
        {
            NodeInfo info = connection.RemoteInfo;
            visit = visit with { Info = info, AnsweredBy = info.Id, HandshakeTime = connection.HandshakeTime };
            if (Network is null)
            {
                Network = info.Network;
                return visit;
            }

            if (LocalInfo().FindIncompatibility(info, out HandshakeFailure failure) is { } why && failure != HandshakeFailure.NoCommonChannel)
            {
                return visit with { Reachability = Reachability.OtherNetwork, Detail = $"Node {info.Id} cannot be a peer: {why}." };
            }

            visit = visit with { Reachability = Reachability.Reached, Detail = null };
            if (!info.Channels.Contains(PeerExchange.Channel.Id))
            {
                return visit with { Detail = "It does not take part in peer exchange." };
            }

            try
            {
                Protos.PexAddrs answer = await AskAsync(connection.Connection, cancellationToken).ConfigureAwait(false);
                return PeerExchangeAnswer.FindFault(answer, out List<NetAddress> told) is { } fault
                    ? visit with { Detail = fault }
                    : visit with { Told = [.. told] };
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                return visit with { Detail = "It has not answered in time." };
            }
            catch (Exception e)
            {
                return visit with { Detail = $"It has not answered. {e.Message}" };
            }
        }
    }

    /// <exception cref="ArgumentException">The options make no valid NodeInfo.</exception>
    public void EnsureIsValid()
    {
        if (LocalInfo().FindFault() is { } fault)
        {
            throw new ArgumentException($"The crawl's options make no valid NodeInfo: {fault}.");
        }
    }

    // A port of 0 at no address: nobody takes the crawler for a node that can be dialled.
    private NodeInfo LocalInfo() => new()
    {
        Id = key.Id,
        ProtocolVersions = options.ProtocolVersions,
        ListenAddress = "tcp://0.0.0.0:0",
        Network = Network ?? "",
        Channels = [PeerExchange.Channel.Id],
        Moniker = options.Moniker,
    };

    private static Reachability KindOf(HandshakeFailure failure) => failure switch
    {
        HandshakeFailure.Timeout => Reachability.TimedOut,
        HandshakeFailure.WrongNode or HandshakeFailure.Self or HandshakeFailure.NodeInfoIdMismatch or HandshakeFailure.BadSignature => Reachability.WrongIdentity,
        _ => Reachability.Refused,
    };

    private static async Task<Protos.PexAddrs> AskAsync(SecretConnection connection, CancellationToken cancellationToken)
    {
        await SendAsync(connection, Packet.Message(PeerExchange.Channel.Id, endOfMessage: true, RequestBytes), cancellationToken).ConfigureAwait(false);
        ArrayBufferWriter<byte> message = new();
        while (true)
        {
            ReadResult read = await connection.Input.ReadAsync(cancellationToken).ConfigureAwait(false);
            Step step = Take(read.Buffer, message, out SequencePosition consumed);
            connection.Input.AdvanceTo(consumed, step.IsShort ? read.Buffer.End : consumed);
            if (step.Answer is { } answer)
            {
                return answer;
            }

            if (step.IsPing)
            {
                await SendAsync(connection, Packet.Pong, cancellationToken).ConfigureAwait(false);
            }
            else if (step.IsShort && read.IsCompleted)
            {
                throw new EndOfStreamException("It has closed the connection.");
            }
        }
    }

    /// <summary>Takes one packet from what was read.</summary>
    private static Step Take(ReadOnlySequence<byte> buffer, ArrayBufferWriter<byte> message, out SequencePosition consumed)
    {
        int longest = PacketCodec.MaxPacketSize(PacketCodec.DefaultMaxDataSize);
        ReadOnlySequence<byte> first = buffer.Slice(0, Math.Min(buffer.Length, longest + PrefixSize));
        ReadOnlySpan<byte> bytes = first.IsSingleSegment ? first.FirstSpan : first.ToArray();
        consumed = buffer.Start;
        if (!PacketCodec.TryRead(bytes, longest, out Packet packet, out int length))
        {
            return new Step(IsShort: true);
        }

        consumed = buffer.GetPosition(length);
        if (packet.Kind != PacketKind.Message)
        {
            return new Step(IsPing: packet.Kind == PacketKind.Ping);
        }

        if (packet.ChannelId != PeerExchange.Channel.Id)
        {
            throw new PacketException(PacketFault.UnknownChannel, $"It has sent a message on channel 0x{packet.ChannelId:x2}, which the crawler does not have.");
        }

        if (message.WrittenCount + packet.Data.Length > PeerExchange.Channel.MaxMessageSize)
        {
            throw new PacketException(PacketFault.MessageTooLong, "It has sent a message that is too long.");
        }

        message.Write(packet.Data);
        if (!packet.EndOfMessage)
        {
            return default;
        }

        // It may ask as well, which a crawler has no answer to.
        Protos.Message parsed = Protos.Message.Parser.ParseFrom(message.WrittenSpan);
        message.ResetWrittenCount();
        return new Step(Answer: parsed.PexAddrs);
    }

    private static ValueTask SendAsync(SecretConnection connection, Packet packet, CancellationToken cancellationToken)
    {
        byte[] bytes = new byte[PacketCodec.Size(packet)];
        PacketCodec.Write(bytes, packet);
        return connection.WriteAsync(bytes, cancellationToken);
    }

    private readonly record struct Step(bool IsShort = false, bool IsPing = false, Protos.PexAddrs? Answer = null);
}
