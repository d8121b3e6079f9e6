using Pipeline.Cryptography;
using Pipeline.Wire;
using Pipeline.Wire.Protos.P2P;

namespace Pipeline.Transport;

/// <summary>Settings of a <see cref="Handshake"/>.</summary>
public sealed record HandshakeOptions
{
    /// <summary>How long the whole handshake may take, keys, authentication and NodeInfo together. Default 20 s (<c>handshake_timeout</c>).</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>Where time comes from. Default: the system's clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>
    /// Whether to do nothing before the remote's ephemeral key is here, so that a remote which sends none costs no cryptography. Of two sides
    /// at most one may wait for the other: the one that was dialled. Default false.
    /// </summary>
    internal bool RemoteBegins { get; init; }
}

/// <summary>A connection to a node that has proved who it is and said what it is.</summary>
public sealed class AuthenticatedConnection : IAsyncDisposable
{
    internal AuthenticatedConnection(SecretConnection connection, NodeInfo remoteInfo, TimeSpan handshakeTime)
    {
        Connection = connection;
        RemoteInfo = remoteInfo;
        HandshakeTime = handshakeTime;
    }

    /// <summary>The connection itself.</summary>
    public SecretConnection Connection { get; }

    /// <summary>What the remote says of itself; its id is the authenticated one.</summary>
    public NodeInfo RemoteInfo { get; }

    /// <summary>How long the handshake took.</summary>
    public TimeSpan HandshakeTime { get; }

    /// <summary>Checks that both nodes can be peers: the same block version and network, and a channel in common.</summary>
    /// <exception cref="HandshakeException">They cannot; the exception says why.</exception>
    public void EnsureCompatible(NodeInfo local)
    {
        ArgumentNullException.ThrowIfNull(local);
        if (local.FindIncompatibility(RemoteInfo, out HandshakeFailure failure) is { } why)
        {
            throw new HandshakeException(failure, $"Node {RemoteInfo.Id} cannot be a peer: {why}.")
            {
                RemoteId = RemoteInfo.Id,
                RemoteInfo = RemoteInfo,
            };
        }
    }

    /// <summary>Closes the connection.</summary>
    public ValueTask DisposeAsync() => Connection.DisposeAsync();
}

/// <summary>
/// The way from a stream of bytes to a known node: the secret connection, then one NodeInfo each way.
/// </summary>
/// <remarks>Source: <c>docs/protocol.md</c>, the handshake.</remarks>
public static class Handshake
{
    /// <summary>Runs the handshake with whoever is at the other end of <paramref name="stream"/>. Both sides call this.</summary>
    /// <param name="stream">A duplex stream of bytes, owned by the connection from now on, and closed when it does not come about.</param>
    /// <param name="key">This node's key.</param>
    /// <param name="localInfo">What this node says of itself.</param>
    /// <param name="dialled">The node that must answer; null when the remote dialled.</param>
    /// <param name="options">Settings, or null for the defaults.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <exception cref="ArgumentException"><paramref name="localInfo"/> breaks a rule, or has another id than <paramref name="key"/>.</exception>
    /// <exception cref="HandshakeException">The connection did not come about; the exception says why.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    public static Task<AuthenticatedConnection> PerformAsync(
        Stream stream,
        NodeKey key,
        NodeInfo localInfo,
        NodeId? dialled = null,
        HandshakeOptions? options = null,
        CancellationToken cancellationToken = default) =>
        PerformAsync(stream, key, ephemeral: null, localInfo, dialled, options ?? new HandshakeOptions(), cancellationToken);

    internal static Task<AuthenticatedConnection> PerformAsync(
        Stream stream,
        NodeKey key,
        EphemeralKey? ephemeral,
        NodeInfo localInfo,
        NodeId? dialled,
        HandshakeOptions options,
        CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(localInfo);
        if (FindOwnFault(localInfo, key) is { } fault)
        {
            throw new ArgumentException($"This node's own NodeInfo cannot be used: {fault}.", nameof(localInfo));
        }

        return HandshakeStep.WithDeadlineAsync(
            token => RunAsync(stream, key, ephemeral, localInfo, dialled, options, token),
            stream,
            options.Timeout,
            options.TimeProvider,
            cancellationToken);
    }

    private static async Task<AuthenticatedConnection> RunAsync(
        Stream stream,
        NodeKey key,
        EphemeralKey? ephemeral,
        NodeInfo localInfo,
        NodeId? dialled,
        HandshakeOptions options,
        CancellationToken cancellationToken)
    {
        long start = options.TimeProvider.GetTimestamp();
        SecretConnection connection = await SecretConnection.EstablishAsync(stream, key, ephemeral, options.RemoteBegins, leaveOpen: false, cancellationToken)
            .ConfigureAwait(false);
        try
        {
            NodeId remoteId = connection.RemoteId;
            if (dialled is { } expected && expected != remoteId)
            {
                throw new HandshakeException(HandshakeFailure.WrongNode, $"Node {expected} was dialled, but node {remoteId} answered.")
                {
                    RemoteId = remoteId,
                };
            }

            NodeInfo remoteInfo = await HandshakeStep.ExchangeAsync(
                connection,
                DelimitedMessage.Encode(localInfo.ToProto()),
                token => ReadNodeInfoAsync(connection, token),
                cancellationToken).ConfigureAwait(false);
            Check(remoteInfo, remoteId);
            return new AuthenticatedConnection(connection, remoteInfo, options.TimeProvider.GetElapsedTime(start));
        }
        catch
        {
            await connection.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static async Task<NodeInfo> ReadNodeInfoAsync(SecretConnection connection, CancellationToken cancellationToken)
    {
        try
        {
            DefaultNodeInfo proto = await DelimitedMessage.ReadAsync(connection, DefaultNodeInfo.Parser, NodeInfo.MaxSize, "a NodeInfo", cancellationToken)
                .ConfigureAwait(false);
            return NodeInfo.FromProto(proto);
        }
        catch (DelimitedMessageException e) when (e.Fault != DelimitedMessageFault.EndOfStream)
        {
            throw new HandshakeException(HandshakeFailure.InvalidNodeInfo, $"Node {connection.RemoteId} sent no NodeInfo. {e.Message}", e)
            {
                RemoteId = connection.RemoteId,
            };
        }
    }

    private static string? FindOwnFault(NodeInfo info, NodeKey key)
    {
        int size = info.ToProto().CalculateSize();
        return info.Id != key.Id ? $"its id is {info.Id}, not the key's {key.Id}"
            : size > NodeInfo.MaxSize ? $"it takes {size} bytes; the most is {NodeInfo.MaxSize}"
            : info.FindFault();
    }

    private static void Check(NodeInfo remoteInfo, NodeId remoteId)
    {
        if (remoteInfo.FindFault() is { } fault)
        {
            throw new HandshakeException(HandshakeFailure.InvalidNodeInfo, $"The NodeInfo of node {remoteId} breaks a rule: {fault}.")
            {
                RemoteId = remoteId,
                RemoteInfo = remoteInfo,
            };
        }

        if (remoteInfo.Id != remoteId)
        {
            throw new HandshakeException(
                HandshakeFailure.NodeInfoIdMismatch,
                $"Node {remoteId} says in its NodeInfo that it is {remoteInfo.Id}.")
            {
                RemoteId = remoteId,
                RemoteInfo = remoteInfo,
            };
        }
    }
}
